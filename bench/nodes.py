#!/usr/bin/env python3
"""Question: what does a delivery cost over Redis, and what grows with the number of nodes?

One node with the local broker is the measure; then one, two and four nodes over one redis-server, behind HAProxy when there are several (not counted). Shapes:
  burst   16 messages in flight into one channel of 1,000 members: arrivals of one read must leave in one flush
  rooms   100 channels of 10 members, 2 messages in flight in each: with several nodes most deliveries cross
Processor time of all parleyd together a delivery, and of redis-server a publication; runs in turns, medians. Left out: latency (the machine's mood), the kernel's
part of Redis' network, which is in redis-server's time here.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import json
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOML = "[client]\ncommands_per_second = 0\npublishes_per_second = 0\n"
SHAPES = {
    "burst": dict(window=16, messages=400, count=1, members=1000, publishers=16),
    "rooms": dict(window=2, messages=60, count=100, members=10, publishers=5),
}
SCENARIO = """name = "{name}"
seed = 1
arrivals = "window"
window = {window}
messages = {messages}
checks_presence = false
[[rooms]]
name = "room"
count = {count}
members = {members}
publishers = {publishers}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port, path=None):
    for _ in range(500):
        try:
            with socket.create_connection(("127.0.0.1", port), 0.2) as s:
                if path is None:
                    return
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                if b" 200 " in s.recv(64):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"nothing answers on port {port}")


def redis_program():
    for name in filter(None, (os.environ.get("REDIS_SERVER_BIN"), "redis-server", "valkey-server")):
        if shutil.which(name):
            return name
    raise SystemExit("cannot measure: no redis-server (apt install redis-server, or REDIS_SERVER_BIN)")


@contextlib.contextmanager
def started(*command):
    p = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield p
    finally:
        p.terminate()
        p.wait(20)


def measure(folder, shape, nodes, is_redis, build):
    """(µs of all nodes a delivery, µs of Redis a publication)"""
    with contextlib.ExitStack() as stack:
        redis, broker = None, []
        if is_redis:
            port = free_port()
            redis = stack.enter_context(started(redis_program(), "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder))
            wait_for(port)
            broker = ["--broker", f"redis://127.0.0.1:{port}"]
        else:
            broker = ["--store", "memory"]
        ports, processes = [], []
        for _ in range(nodes):
            ports.append(free_port())
            processes.append(stack.enter_context(started(build / "parleyd", "--listen", f"127.0.0.1:{ports[-1]}", "--loops", 1, "--token-hmac-secret", "bench",
                                                         "--config", folder / "parleyd.toml", *broker)))
        for port in ports:
            wait_for(port, "/ready")
        to = ports[0]
        if nodes > 1:
            to = free_port()
            servers = "".join(f"  server n{i} 127.0.0.1:{p}\n" for i, p in enumerate(ports))
            (folder / "haproxy.cfg").write_text("defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n"
                                                f"listen nodes\n  bind 127.0.0.1:{to}\n  balance roundrobin\n{servers}")
            stack.enter_context(started("haproxy", "-f", folder / "haproxy.cfg", "-db"))
            wait_for(to, "/ready")
        def run(messages):
            """(µs of all nodes, µs of Redis, deliveries, publications) of a run"""
            scenario = folder / f"{shape}.toml"
            scenario.write_text(SCENARIO.format(name=shape, **(SHAPES[shape] | {"messages": messages})))
            before, redis_before = sum(cpu_s(p.pid) for p in processes), cpu_s(redis.pid) if redis else 0
            done = subprocess.run([str(build / "parley-load"), "run", str(scenario), "--url", f"ws://127.0.0.1:{to}/connection/websocket", "--token-hmac-secret",
                                   "bench", "--ceiling", "off", "--logs", "off", "--quiet", "--out", str(folder / "out")], capture_output=True, text=True)
            report = json.loads((folder / "out/report.json").read_text()) if done.returncode == 0 else None
            if report is None or report["violations"]:
                raise SystemExit(f"the run was not correct:\n{done.stdout}{done.stderr}")
            spent, redis_spent = sum(cpu_s(p.pid) for p in processes) - before, (cpu_s(redis.pid) if redis else 0) - redis_before
            return spent * 1e6, redis_spent * 1e6, report["delivered"], report["acked"]

        few, many = run(SHAPES[shape]["messages"]), run(4 * SHAPES[shape]["messages"])   # connects and subscribes drop out
        more = [b - a for a, b in zip(few, many)]
        return more[0] / more[2], more[1] / more[3]


def median(values):
    v = sorted(values)
    return (v[len(v) // 2] + v[(len(v) - 1) // 2]) / 2


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    o = a.parse_args()
    setups = [("local", 1, False), ("redis", 1, True)] + ([("redis", 2, True), ("redis", 4, True)] if shutil.which("haproxy") else [])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "parleyd.toml").write_text(TOML)
        print(f"{'shape':8} {'broker':8} {'nodes':>5} {'µs a delivery':>14} {'x local':>8} {'redis µs a message':>19}")
        for shape in SHAPES:
            found = {s: [] for s in setups}
            for _ in range(o.rounds):
                for s in setups:
                    found[s].append(measure(folder, shape, s[1], s[2], o.build))
            local = median([f[0] for f in found[setups[0]]])
            for s in setups:
                cost = median([f[0] for f in found[s]])
                print(f"{shape:8} {s[0]:8} {s[1]:5} {cost:14.2f} {cost / local:8.2f} {median([f[1] for f in found[s]]):19.1f}", flush=True)
    if len(setups) == 2:
        print("several nodes were not measured: no haproxy (apt install haproxy)")


main()
