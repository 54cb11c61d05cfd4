#!/usr/bin/env python3
"""The dashboards in the repository are what grafana/dashboards.py makes, and are what Grafana takes: checked field by field."""
import copy
import importlib.util
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "grafana/dashboards"

# Units of Grafana that our metrics can have.
UNITS = {"short", "ops", "s", "bytes", "Bps", "percent", "percentunit"}
DASHBOARD = {"uid": str, "title": str, "description": str, "tags": list, "schemaVersion": int, "version": int, "editable": bool, "timezone": str,
             "refresh": str, "time": dict, "graphTooltip": int, "templating": dict, "annotations": dict, "links": list, "panels": list}
PANEL = {"id": int, "type": str, "title": str, "gridPos": dict}
QUERY_PANEL = {"description": str, "datasource": dict, "fieldConfig": dict, "options": dict, "targets": list}
TARGET = {"refId": str, "datasource": dict, "expr": str, "legendFormat": str, "range": bool}


def generator():
    spec = importlib.util.spec_from_file_location("dashboards_generator", ROOT / "grafana/dashboards.py")
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


def fields(what, value, schema):
    for key, kind in schema.items():
        if type(value.get(key)) is not kind:
            yield f"{what}: {key} is not a {kind.__name__}: {value.get(key)!r}"


def metrics_known():
    names = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/METRICS.md").read_text(), re.M))
    histograms = re.findall(r"^\| `(\w+)` \| histogram", (ROOT / "docs/METRICS.md").read_text(), re.M)
    names |= {h + suffix for h in histograms for suffix in ("_bucket", "_sum", "_count")}
    names |= set(re.findall(r"record: (\S+)", (ROOT / "compose/prometheus/rules.yml").read_text()))
    tool = (ROOT / "loadgen/metrics_listen.cc").read_text()
    return names | set(re.findall(r"parley_load_\w+", tool)) | {"up", "ALERTS"}


def check_panel(what, panel, known, names_of_variables):
    yield from fields(what, panel, PANEL)
    if panel["type"] == "row":
        return
    yield from fields(what, panel, QUERY_PANEL)
    if panel["type"] not in ("stat", "timeseries"):
        yield f"{what}: unknown type {panel['type']}"
    if panel["fieldConfig"]["defaults"].get("unit") not in UNITS:
        yield f"{what}: unit {panel['fieldConfig']['defaults'].get('unit')}"
    if not panel["description"].endswith("."):
        yield f"{what}: what does it say?"
    refs = [t["refId"] for t in panel["targets"]]
    if not refs or len(set(refs)) != len(refs):
        yield f"{what}: queries {refs}"
    for target in panel["targets"]:
        yield from fields(what, target, TARGET)
        used = set(re.findall(r"(?<![\w\"=~])((?:parley|http|ws|process|cpu|memory)_\w+|parley:[\w:]+)", target["expr"]))
        for name in sorted(used - known):
            yield f"{what}: there is no metric {name}"
        for name in set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"} - names_of_variables:
            yield f"{what}: there is no variable {name}"


def check(name, board, known):
    yield from fields(name, board, DASHBOARD)
    panels = board["panels"]
    ids = [p["id"] for p in panels]
    if len(set(ids)) != len(ids):
        yield f"{name}: two panels have one id"
    taken = {}
    for panel in panels:
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            yield f"{name}/{panel['title']}: too wide"
        for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            if cell in taken:
                yield f"{name}/{panel['title']}: lies over {taken[cell]}"
                break
            taken[cell] = panel["title"]
        yield from check_panel(f"{name}/{panel['title']}", panel, known, {v["name"] for v in board["templating"]["list"]})


def self_test(board, known):
    """A check that cannot fail is none: each kind of damage is found."""
    damage = {
        "over": lambda b: b["panels"][1]["gridPos"].update(x=0),
        "one id": lambda b: b["panels"][1].update(id=1),
        "no metric": lambda b: b["panels"][2]["targets"][0].update(expr="sum(parley_no_such_metric)"),
        "no variable": lambda b: b["panels"][2]["targets"][0].update(expr='up{instance="$nobody"}'),
        "unit": lambda b: b["panels"][2]["fieldConfig"]["defaults"].update(unit="furlongs"),
        "uid": lambda b: b.pop("uid"),
    }
    for expected, harm in damage.items():
        harmed = copy.deepcopy(board)
        harm(harmed)
        assert any(expected in p for p in check("x", harmed, known)), expected


def main():
    made = generator()
    known = metrics_known()
    problems = []
    self_test(json.loads(made.text_of("overview")), known)
    for name in made.DASHBOARDS:
        path = FOLDER / f"{name}.json"
        if not path.exists() or path.read_text(encoding="utf-8") != made.text_of(name):
            problems.append(f"{path.relative_to(ROOT)} is not what grafana/dashboards.py makes: run it")
        problems += check(name, json.loads(made.text_of(name)), known)
    extra = {p.name for p in FOLDER.iterdir()} - {f"{n}.json" for n in made.DASHBOARDS}
    problems += [f"grafana/dashboards/{name} is made by nothing" for name in sorted(extra)]
    uids = [made.DASHBOARDS[n]()["uid"] for n in made.DASHBOARDS]
    if len(set(uids)) != len(uids):
        problems.append("two dashboards have one uid")
    count = sum(len(made.DASHBOARDS[n]()["panels"]) for n in made.DASHBOARDS)
    print("\n".join(problems) or f"{len(made.DASHBOARDS)} dashboards, {count} panels and rows")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
