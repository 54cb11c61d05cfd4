#!/usr/bin/env python3
"""Every query of every panel, and every recording rule, asked of a real Prometheus while two parleyd over one Redis work under parley-load.

A panel whose query fails or stays empty (no series, or only NaN) fails the test. On the way `promtool check metrics` reads what parleyd and
parley-load really serve. Exit code 77: a program is missing, which is said.
"""
import importlib.util
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARLEYD = os.environ.get("PARLEYD_BIN", str(ROOT / "build/parleyd"))
LOAD = os.environ.get("LOAD_BIN", str(ROOT / "build/parley-load"))
DEADLINE_S = 90   # a run takes about 20 s on an idle machine

SCENARIO = """name = "panels"
about = "A little of everything, for as long as the panels are asked"
seed = 1
drain_s = 5
[[rooms]]
name = "room"
count = 4
members = 8
publishers = 3
rate = 5
retry_share = 0.05
[[phases]]
seconds = 120
[churn]
rate = 2
away_s = 0.5
reconnect_rate = 1
[history]
rate = 5
page = 20
"""


def redis_server():
    for program in (os.environ.get("REDIS_SERVER_BIN"), "redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb"):
        path = program and shutil.which(program)
        if path and subprocess.run(["redis-server", "--version"], executable=path, capture_output=True).returncode == 0:
            return path
    return None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def get(url, data=None, headers=None):
    with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=5) as answer:
        return answer.read().decode()


def wait_for(what, question, deadline):
    while True:
        try:
            if question():
                return
            why = "not yet"
        except OSError as e:
            why = e
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: {what}: {why}")
        time.sleep(0.1)


class programs:
    """Started here, ended here; what they said is kept until all is well."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, args, executable=None):
        log = open(self.folder / f"{name}.log", "w")
        env = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
        process = subprocess.Popen(args, executable=executable, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, env=env)
        self.running.append((name, process))
        return process

    def end(self):
        for _, process in reversed(self.running):
            process.send_signal(signal.SIGTERM)
        for _, process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def queries():
    spec = importlib.util.spec_from_file_location("dashboards_generator", ROOT / "grafana/dashboards.py")
    made = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(made)
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']} ({target['legendFormat'] or target['refId']})", target["expr"]
    for record in re.findall(r"record: (\S+)", (ROOT / "compose/prometheus/rules.yml").read_text()):
        yield f"rule {record}", record


def as_grafana_asks(expr):
    return expr.replace("$__rate_interval", "15s").replace("$node", ".*")


def why_empty(prometheus, expr):
    """"" when there is at least one number; else what is wrong."""
    try:
        answer = json.loads(get(f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": as_grafana_asks(expr)})))
    except urllib.error.HTTPError as e:
        return f"refused: {e.read().decode()[:300]}"
    result = answer["data"]["result"]
    if not result:
        return "no series"
    return "" if any(not math.isnan(float(r["value"][1])) for r in result) else "only NaN"


def check_metrics(url):
    done = subprocess.run(["promtool", "check", "metrics"], input=get(url), capture_output=True, text=True)
    if done.returncode != 0 or done.stderr:
        sys.exit(f"FAILED: promtool check metrics, {url}:\n{done.stdout}{done.stderr}")


def run(folder, redis):
    p = programs(folder)
    try:
        redis_port, a, b, tool, prom = free_ports(5)
        deadline = time.monotonic() + DEADLINE_S
        p.start("redis", ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)], redis)
        wait_for("redis", lambda: socket.create_connection(("127.0.0.1", redis_port), 1).close() is None, deadline)
        for name, port in (("node-a", a), ("node-b", b)):
            p.start(name, [PARLEYD, "--listen", f"127.0.0.1:{port}", "--broker", f"redis://127.0.0.1:{redis_port}",
                           "--token-hmac-secret", "panels", "--api-key", "panels"])
        for port in (a, b):
            wait_for(f"parleyd on {port}", lambda: get(f"http://127.0.0.1:{port}/ready"), deadline)
        (folder / "panels.toml").write_text(SCENARIO)
        p.start("load", [LOAD, "run", "panels.toml", "--url", f"ws://127.0.0.1:{a}/connection/websocket", "--token-hmac-secret", "panels",
                         "--metrics-listen", f"127.0.0.1:{tool}", "--quiet", "--out", "report"])
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}, "rule_files": [str(ROOT / "compose/prometheus/rules.yml")],
            "scrape_configs": [{"job_name": "parleyd", "static_configs": [{"targets": [f"127.0.0.1:{a}", f"127.0.0.1:{b}"]}]},
                               {"job_name": "parley-load", "static_configs": [{"targets": [f"127.0.0.1:{tool}"]}]}]}))
        p.start("prometheus", ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{prom}"])
        prometheus = f"http://127.0.0.1:{prom}"
        wait_for("prometheus", lambda: get(prometheus + "/-/ready"), deadline)

        all_queries = list(queries())
        empty = {what: (expr, "not asked yet") for what, expr in all_queries}
        while empty and time.monotonic() < deadline:
            for port in (a, b):   # the server API, too, has panels
                get(f"http://127.0.0.1:{port}/api/publish", b'{"channel":"panels","data":{}}', {"X-API-Key": "panels"})
            empty = {what: (expr, why) for what, (expr, _) in empty.items() if (why := why_empty(prometheus, expr))}
            time.sleep(0.5)
        for what, (expr, why) in empty.items():
            print(f"FAILED: {what}: {why}: {expr}")
        for port in (a, b, tool):
            check_metrics(f"http://127.0.0.1:{port}/metrics")
        if empty:
            return False
        # A test that finds nothing wrong with anything is none.
        assert why_empty(prometheus, "parley_no_such_metric") == "no series" and why_empty(prometheus, "sum(").startswith("refused")
        assert why_empty(prometheus, "vector(NaN)") == "only NaN"
        print(f"{len(all_queries)} queries of panels and rules have an answer; the metrics of parleyd and parley-load are clean")
        return True
    finally:
        p.end()


def main():
    redis = redis_server()
    missing = [f"{name} (apt install {package})" for name, package in (("prometheus", "prometheus"), ("promtool", "prometheus")) if not shutil.which(name)]
    missing += [] if redis else ["redis-server (apt install redis-tools, or REDIS_SERVER_BIN)"]
    missing += [f"{path} (./dev build)" for path in (PARLEYD, LOAD) if not os.access(path, os.X_OK)]
    if missing:
        print("SKIPPED: queries of the dashboards: missing " + ", ".join(missing), file=sys.stderr)
        sys.exit(77)
    folder = pathlib.Path(tempfile.mkdtemp())
    is_good = run(folder, redis)
    if is_good:
        shutil.rmtree(folder)
    else:
        print(f"logs are in {folder}", file=sys.stderr)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
