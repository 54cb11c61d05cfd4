#!/usr/bin/env python3
"""Is this tree slower than BASE? Counts what does not depend on the machine's mood (instructions, system calls, allocations, memory), and compares time by
interleaved runs and a rank test.

  bench/gate/gate.py BASE [--only counters|time] [--rounds 8] [--json FILE] [--markdown FILE]

BASE is a git ref; it is built in a worktree of its own. Exit: 0 as good, 1 a regression, 3 could not be measured.
limits.toml says how much is too much, and why."""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import tomllib

import measures
from rank import median, p_larger
from sides import HERE, ROOT, CannotRun, Side, base_side, remove_base

LIMITS = tomllib.loads((HERE / "limits.toml").read_text())


def judge(row, base, head):
    """A row's verdict: ok, better, regression, or why it could not be compared."""
    limit = LIMITS[row.split(".")[0]]
    if isinstance(base, str) or isinstance(head, str):
        return {"row": row, "base": None, "head": None, "verdict": "not compared", "why": head if isinstance(head, str) else base}
    allowed = max(limit.get("share", 0) * base, limit.get("more", 0))
    verdict = "regression" if head > base + allowed else "better" if head < base - allowed else "ok"
    return {"row": row, "base": base, "head": head, "allowed": allowed, "verdict": verdict, "why": limit["reason"]}


def counters(side, folder):
    return measures.instructions(side) | measures.calls(side, folder) | measures.allocations(side, folder) | measures.idle(side)


def compare_counters(base, head, folder):
    a, b = counters(base, folder), counters(head, folder)
    return [judge(row, a[row], b[row]) for row in a]


def time_runs(base, head, folder, rounds):
    """One run of each in turns, the first of a pair changing, so that a drift of the machine falls on both."""
    a, b = [], []
    for i in range(rounds):
        for side in ((base, head), (head, base))[i % 2]:
            (a if side is base else b).append(measures.cpu(side, folder))
    return a, b


def compare_time(base, head, folder, rounds):
    """A machine's mood may last as long as the runs do: an alarm counts when fresh runs raise it again."""
    limit = LIMITS["cpu"]
    for _ in range(limit["alarms"]):
        a, b = time_runs(base, head, folder, rounds)
        share, p = median(b) / median(a) - 1, p_larger(a, b)
        is_worse = share > limit["share"] and p < limit["p"]
        if not is_worse:
            break
    return [{"row": "cpu.delivery", "base": median(a), "head": median(b), "allowed": limit["share"] * median(a), "p": p, "rounds": rounds,
             "verdict": "regression" if is_worse else "ok", "why": limit["reason"], "runs": {"base": a, "head": b}}]


def number(value):
    return "–" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def markdown(ref, rows):
    out = [f"## Benchmarks against `{ref}`", "", "| figure | base | this | change | allowed | verdict |", "|---|--:|--:|--:|--:|---|"]
    for r in rows:
        change = "–" if r["base"] is None else f"{(r['head'] / r['base'] - 1) * 100:+.2f} %" if r["base"] else "–"
        sign = {"ok": "✓", "better": "✓ better", "regression": "**✗ regression**"}.get(r["verdict"], f"! {r['verdict']}: {r['why']}")
        out.append(f"| {r['row']} | {number(r['base'])} | {number(r['head'])} | {change} | +{number(r.get('allowed'))} | {sign} |")
    return "\n".join(out) + "\n"


def table(rows):
    for r in rows:
        change = "" if not r["base"] else f"{(r['head'] / r['base'] - 1) * 100:+8.2f} %"
        extra = f"  p = {r['p']:.3f}" if "p" in r else ""
        print(f"{r['row']:32} {number(r['base']):>12} {number(r['head']):>12} {change:>11}  {r['verdict']}{extra}")
        if r["verdict"] in ("regression", "not compared"):
            print(f"    {r['why']}")


def compare(base, head, folder, only=None, rounds=8):
    rows = []
    if only != "time":
        rows += compare_counters(base, head, folder)
    if only != "counters":
        rows += compare_time(base, head, folder, rounds)
    return rows


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("base", help="a git ref: the commit that this tree is compared with")
    a.add_argument("--only", choices=("counters", "time"))
    a.add_argument("--rounds", type=int, default=8, help="of the time comparison")
    a.add_argument("--json", type=pathlib.Path)
    a.add_argument("--markdown", type=pathlib.Path)
    o = a.parse_args()
    for tool in ("valgrind", "strace"):
        if o.only != "time" and shutil.which(tool) is None:
            print(f"cannot measure: {tool} is missing (apt install {tool})", file=sys.stderr)
            return 3
    folder = pathlib.Path(tempfile.mkdtemp(prefix="parley-gate-"))
    try:
        base = base_side(o.base, folder / "base").make()
        head = Side("head", ROOT).make()
        rows = compare(base, head, folder, o.only, o.rounds)
    except CannotRun as e:
        print(f"cannot measure: {e}", file=sys.stderr)
        return 3
    finally:
        remove_base(folder / "base")
        shutil.rmtree(folder, ignore_errors=True)
    table(rows)
    if o.json:
        o.json.write_text(json.dumps({"base": o.base, "rows": rows}, indent=1) + "\n")
    if o.markdown:
        o.markdown.write_text(markdown(o.base, rows))
    worse = [r["row"] for r in rows if r["verdict"] == "regression"]
    print(f"{len(rows)} figures: " + (f"{len(worse)} worse: {', '.join(worse)}" if worse else "none worse"))
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
