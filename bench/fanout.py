#!/usr/bin/env python3
"""Question: what does a delivered message cost parleyd, in server CPU time and system calls, against a plain send() loop?

Server on one core, client on the other, floor and parleyd in turns in one run; the figure is the ratio of the medians. Absolute times of a
shared machine mean nothing and are printed only beside it.
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECRET = "bench"
SHAPES = [  # channels, receivers, window, messages
    (1, 1000, 1, 300), (1, 1000, 16, 1600), (100, 10, 1, 150), (100, 10, 4, 300), (500, 2, 1, 100),
]
TOML = """
[client]
commands_per_second = 0
publishes_per_second = 0
[namespace.live]
allow_subscribe_for_client = true
allow_publish_for_client = true
[namespace.kept]
allow_subscribe_for_client = true
allow_publish_for_client = true
history_forever = true
force_recovery = true
"""


def pin(core):
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


class Server:
    def __init__(self, build, kind):
        self.folder = tempfile.TemporaryDirectory()
        if kind == "floor":
            command = [str(build / "bench" / "bench_floor"), "52"]
        else:
            toml = pathlib.Path(self.folder.name) / "bench.toml"
            toml.write_text(TOML)
            command = [str(build / "parleyd"), "--listen", "127.0.0.1:0", "--loops", "1", "--store", f"sqlite:{self.folder.name}/b.sqlite",
                       "--token-hmac-secret", SECRET, "--config", str(toml)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=pin(0))
        for line in self.process.stdout:
            found = re.search(r"listening on http://[^ \"]*:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        else:
            raise SystemExit("the server did not start")

    def cpu_ns(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def run_once(build, kind, shape, count_calls=False):
    channels, receivers, window, messages = shape
    server = Server(build, "floor" if kind == "floor" else "parleyd")
    try:
        load = subprocess.Popen([str(build / "bench" / "bench_load"), "--port", str(server.port), "--mode", "raw" if kind == "floor" else "parley",
                                 "--channels", str(channels), "--receivers", str(receivers), "--window", str(window), "--messages", str(messages),
                                 "--secret", SECRET, "--channel", {"history": "kept:b"}.get(kind, "live:b")],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=pin(1))
        if load.stdout.readline().strip() != "ready":
            raise SystemExit(f"{kind}: the clients could not connect")
        strace = None
        if count_calls:
            strace = subprocess.Popen(["strace", "-f", "-c", "-o", f"{server.folder.name}/calls", "-p", str(server.process.pid)], stderr=subprocess.PIPE, text=True)
            strace.stderr.readline()
        before = server.cpu_ns()
        load.stdin.write("go\n")
        load.stdin.flush()
        result = json.loads(load.stdout.readline())
        cpu = server.cpu_ns() - before
        expected = channels * receivers * messages
        if result["delivered"] != expected:
            raise SystemExit(f"{kind}: {result['delivered']} delivered of {expected}")
        result["cpu_us"] = cpu / 1000 / expected
        if strace:
            strace.terminate()
            strace.wait()
            total = [line for line in open(f"{server.folder.name}/calls") if line.rstrip().endswith("total")]
            result["calls"] = int(total[0].split()[3 if len(total[0].split()) > 4 else 2]) / expected if total else 0.0
        load.stdin.close()
        load.wait()
        return result
    finally:
        server.close()


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--smoke", action="store_true", help="one small round: does it run, is every delivery right?")
    p.add_argument("--shape", help="e.g. 1x1000w16")
    p.add_argument("--calls", action="store_true", help="count system calls with strace instead of CPU time")
    a = p.parse_args()
    build = pathlib.Path(a.build)
    shapes = [(1, 50, 1, 20), (5, 10, 4, 20)] if a.smoke else SHAPES
    if a.shape:
        c, r, w = (int(x) for x in re.fullmatch(r"(\d+)x(\d+)w(\d+)", a.shape).groups())
        shapes = [next((s for s in SHAPES if s[:3] == (c, r, w)), (c, r, w, 300))]
    kinds = ["floor", "ephemeral", "history"]
    unit = "system calls" if a.calls else "server CPU µs"
    print(f"{'shape':>14} {'kind':>10} {unit + ' per delivery':>28} {'x floor':>8} {'msgs/read':>10} {'p99 µs':>8}")
    for shape in shapes:
        rounds = {k: [] for k in kinds}
        for _ in range(1 if a.smoke or a.calls else a.rounds):
            for kind in kinds:
                rounds[kind].append(run_once(build, kind, shape, a.calls))
        field = "calls" if a.calls else "cpu_us"
        floor = statistics.median(r[field] for r in rounds["floor"])
        for kind in kinds:
            cost = statistics.median(r[field] for r in rounds[kind])
            per_read = statistics.median(r["delivered"] / r["reads"] for r in rounds[kind])
            p99 = statistics.median(r["p99_us"] for r in rounds[kind])
            name = f"{shape[0]}x{shape[1]} w{shape[2]}"
            print(f"{name:>14} {kind:>10} {cost:>28.3f} {cost / floor:>8.2f} {per_read:>10.2f} {p99:>8.0f}")


if __name__ == "__main__":
    main()
