#!/usr/bin/env python3
"""Question: what does an idle connection hold in parleyd's user space, and does churn make the process grow?

Each connection is a token user with a 12-byte name, one positioned subscription, presence on; `--personal` gives each its personal channel too, as
without a configuration. The figure is the difference of the resident set; the kernel's part of a socket is not in it.
"""
import argparse
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOML = """
[client]
commands_per_second = 0
personal_channel = PERSONAL
[namespace.idle]
allow_subscribe_for_client = true
presence = true
history_forever = true
force_recovery = true
"""


def rss(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def load(build, port, connections, channels):
    p = subprocess.Popen([str(build / "bench" / "bench_load"), "--port", str(port), "--channels", str(channels), "--receivers", str(connections // channels),
                          "--secret", "bench", "--channel", "idle:c", "--idle", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if p.stdout.readline().strip() != "ready":
        raise SystemExit("the clients could not connect")
    return p


def main():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("connections", nargs="?", type=int, default=15000)
    a.add_argument("--channels", type=int, default=100)
    a.add_argument("--churn", type=int, default=0, help="connects and disconnects after the first measurement, in waves")
    a.add_argument("--personal", action="store_true", help="with a personal channel each")
    a.add_argument("--build", default=str(ROOT / "build"))
    a.add_argument("--parleyd", help="instead of the build's")
    o = a.parse_args()
    build = pathlib.Path(o.build)
    with tempfile.TemporaryDirectory() as folder:
        toml = pathlib.Path(folder) / "idle.toml"
        toml.write_text(TOML.replace("PERSONAL", str(o.personal).lower()))
        server = subprocess.Popen([o.parleyd or str(build / "parleyd"), "--listen", "127.0.0.1:0", "--loops", "1", "--store", f"sqlite:{folder}/i.sqlite",
                                   "--token-hmac-secret", "bench", "--config", str(toml)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            port = next(int(m.group(1)) for line in server.stdout if (m := re.search(r"listening on http://[^ \"]*:(\d+)", line)))
            warm = load(build, port, o.channels, o.channels)
            warm.communicate("\n")
            before = rss(server.pid)
            p = load(build, port, o.connections, o.channels)
            print(f"{o.connections} idle connections: {(rss(server.pid) - before) / o.connections:.0f} bytes of RSS each")
            p.communicate("\n")
            if o.churn:
                wave = min(o.connections, 2000)
                after_first = None
                for i in range(0, o.churn, wave):
                    load(build, port, wave, o.channels).communicate("\n")
                    if i >= o.churn // 4 and after_first is None:
                        after_first = rss(server.pid)
                print(f"churn of {o.churn} connects: RSS {after_first >> 10} KiB after a quarter, {rss(server.pid) >> 10} KiB at the end")
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
