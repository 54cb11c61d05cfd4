"""What is measured of a side. Each function gives {row: figure}, or {row: a text that says why not}."""
import json
import re
import subprocess

from rank import median
from sides import DRIVERS, HERE, ROOT, CannotRun, sh

TIMES = {"fanout": 60, "token": 300}   # of a driver, and twice that; others 3,000
MESSAGES = 400


def instructions(side):
    out = {}
    for name in DRIVERS:
        driver = side.drivers[name]
        if isinstance(driver, str):
            out[f"instructions.{name}"] = "the driver does not build with these sources: an interface has changed"
            continue
        n = TIMES.get(name, 3000)
        counts = []
        for times in (n, 2 * n):
            done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(driver), str(times)], text=True, capture_output=True)
            found = re.search(r"Collected : (\d+)", done.stderr)
            if done.returncode != 0 or not found:
                raise CannotRun(f"valgrind {name}: {done.stderr[-800:]}")
            counts.append(int(found.group(1)))
        out[f"instructions.{name}"] = (counts[1] - counts[0]) / n
    return out


def drive(server, folder, messages, scenario="publish"):
    """A run of parley-load; its report."""
    text = (HERE / f"{scenario}.toml").read_text()
    file = folder / f"{scenario}-{messages}.toml"
    file.write_text(re.sub(r"(?m)^messages = .*$", f"messages = {messages}", text))
    sh(ROOT / "build/parley-load", "run", file, "--url", server.url(), "--token-hmac-secret", "bench", "--pid", server.pid, "--ceiling", "off", "--logs", "off",
       "--quiet", "--out", folder / "out")
    report = json.loads((folder / "out/report.json").read_text())
    if report["violations"] or report["delivered"] == 0:
        raise CannotRun(f"the run was not correct: {report['violations']} violations, {report['delivered']} deliveries")
    return report


def twice(side, folder, one):
    """(figure(2 M) - figure(M)) / M: start-up, connects and the end drop out."""
    few, many = one(MESSAGES), one(2 * MESSAGES)
    return [(b - a) / MESSAGES for a, b in zip(few, many)]


def calls(side, folder):
    def one(messages):
        counts = folder / "strace"
        server = side.serve(folder, ["strace", "-f", "-c", "-S", "calls", "-U", "calls,name", "-o", str(counts)])
        drive(server, folder, messages)
        server.stop()
        return [sum(int(line.split()[0]) for line in counts.read_text().splitlines() if re.match(r"\s*\d+ (?!total)", line))]
    return {"calls.publication": twice(side, folder, one)[0]}


def allocations(side, folder):
    library = folder / "count_malloc.so"
    if not library.exists():
        sh("cc", "-O2", "-shared", "-fPIC", HERE / "count_malloc.c", "-o", library)

    def one(messages):
        to = folder / "mallocs"
        server = side.serve(folder, environment={"LD_PRELOAD": str(library), "MALLOC_COUNT_TO": str(to)})
        drive(server, folder, messages)
        server.stop()
        return [int(n) for n in to.read_text().split()]
    count, size = twice(side, folder, one)
    return {"allocations.publication": count, "allocated_bytes.publication": size}


def idle(side, connections=4000):
    def one():
        said = sh("python3", ROOT / "bench/idle.py", connections, "--parleyd", side.parleyd, "--build", ROOT / "build")
        return float(re.search(r"connections: (\d+) bytes", said).group(1))
    return {"idle_bytes.connection": median([one() for _ in range(3)])}


def cpu(side, folder, messages=6000):
    """Processor time of the server a delivery, µs."""
    server = side.serve(folder)
    report = drive(server, folder, messages)
    server.stop()
    return report["server_cpu_us_per_delivery"]
