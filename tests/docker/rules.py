#!/usr/bin/env python3
"""Each alert of compose/prometheus/rules.yml is made to fire, alone, and to end: by promtool, on made-up series.

A row says what happens to which series (promtool's notation, one value each 15 s), when exactly this alert fires, and when it no longer
does. An alert without a row, or without its part in docs/OPERATIONS.md, fails the test. Exit code 77: there is no promtool.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "compose/prometheus/rules.yml"
A = 'job="parleyd",instance="a"'
B = 'job="parleyd",instance="b"'


def gauge(name, values, labels=""):
    return {f"{name}{{{A}{',' if labels else ''}{labels}}}": values}


UP = {f"up{{{A}}}": "1x400"}
# alert: (series beside a node that is up, minute at which it fires, minute at which it has ended)
ROWS = {
    "ParleyNoNode": ({f"up{{{A}}}": "1x8 stale _x30 1x100"}, "5m", "20m"),
    "ParleyNodeDown": ({f"up{{{A}}}": "0x20 1x100", f"up{{{B}}}": "1x200"}, "3m", "20m"),
    "ParleyNodesFewer": ({f"up{{{B}}}": "1x8 stale _x200"}, "5m", "40m"),
    "ParleyNodeRestarts": (gauge("process_start_time_seconds", "1x8 2x8 3x8 4x200"), "8m", "40m"),
    "ParleyDrainStuck": (gauge("parley_draining", "1x60 0x100"), "13m", "20m"),
    "ParleyBrokerDown": (gauge("parley_broker_ready", "1x8 0x20 1x100"), "4m", "20m"),
    "ParleyBrokerUnstable": (gauge("parley_broker_connections_lost_total", "0x8 0+1x20 20x200"), "6m", "40m"),
    "ParleyBrokerLost": (gauge("parley_broker_lost_total", "0x8 2x200"), "4m", "30m"),
    "ParleyStoreDown": (gauge("parley_store_ready", "1x8 0x20 1x100"), "4m", "20m"),
    "ParleyStoreFailures": (gauge("parley_store_failures_total", "0x8 3x200"), "4m", "20m"),
    "ParleyStoreQueueFilling": ({**gauge("parley_store_queue", "600x20 5x100"), **gauge("parley_store_queue_max", "1000x200")}, "3m", "20m"),
    "ParleyMongoAway": ({**gauge("parley_store_connected", "0x20 1x100"), **gauge("parley_store_backlog_max", "1000x200")}, "4m", "20m"),
    "ParleyBacklogGrowing": (gauge("parley_store_backlog", "2000+100x80 0x200"), "18m", "30m"),
    "ParleyBacklogFilling": ({**gauge("parley_store_backlog", "600x20 0x100"), **gauge("parley_store_backlog_max", "1000x200")}, "3m", "20m"),
    "ParleyStoreConflict": (gauge("parley_store_conflicts_total", "1x20 0x100"), "2m", "20m"),
    "ParleyDeadLetters": (gauge("parley_store_dead_letters_total", "0x8 1x400"), "4m", "80m"),
    "ParleyCommitsSlow": ({**gauge("parley_commit_duration_seconds_bucket", "0x400", 'le="0.5"'),
                           **gauge("parley_commit_duration_seconds_bucket", "0+10x60 600x300", 'le="1"'),
                           **gauge("parley_commit_duration_seconds_bucket", "0+10x60 600x300", 'le="+Inf"')}, "12m", "40m"),
    "ParleyLoopLag": (gauge("parley_loop_lag_seconds", "0.9x20 0x100", 'loop="0"'), "3m", "20m"),
    "ParleyErrors": ({**gauge("parley_errors_total", "0+2x40 80x200", 'code="111"'),
                      **gauge("ws_messages_total", "0+100x300", 'direction="in"')}, "8m", "30m"),
    "ParleyApiErrors": (gauge("http_requests_total", "0+10x40 400x200", 'route="api",code="5xx"'), "6m", "30m"),
    "ParleyMailboxFull": (gauge("parley_mailbox_full_total", "0x8 7x200"), "4m", "20m"),
    "ParleySlowReaders": (gauge("parley_connections_ended_total", "0+60x60 3600x200", 'reason="slow"'), "12m", "40m"),
    "ParleyRecoveriesFail": ({**gauge("parley_recoveries_total", "0+30x300", 'recovered="true"'),
                              **gauge("parley_recoveries_total", "0+20x60 1200x240", 'recovered="false"')}, "14m", "50m"),
    "ParleyHandshakesRefused": (gauge("parley_handshakes_refused_total", "0+60x60 3600x200"), "12m", "40m"),
    "ParleyFilesLow": ({**gauge("process_open_fds", "900x20 5x100"), **gauge("process_max_fds", "1000x200")}, "4m", "20m"),
    "ParleyFilesOut": (gauge("parley_accept_emfile_total", "0x8 5x200"), "4m", "20m"),
    "ParleyMemoryHigh": (gauge("memory_usage_percent", "95x40 10x100"), "8m", "20m"),
    "ParleyCpuHigh": (gauge("cpu_usage_percent", "95x60 10x100"), "13m", "30m"),
}


def test_of(name, series, fires, ended):
    """All alerts that fire are looked at, so that one which fires too easily is found as well."""
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1}]
    return {
        "interval": "15s",
        "input_series": [{"series": s, "values": v} for s, v in {**UP, **series}.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": fires, "exp_samples": samples},
            {"expr": firing, "eval_time": ended, "exp_samples": []},
        ],
    }


def main():
    if not shutil.which("promtool"):
        print("SKIPPED: alerts: missing promtool (apt install prometheus)", file=sys.stderr)
        sys.exit(77)
    alerts = re.findall(r"^ +- alert: (\w+)", RULES.read_text(), re.M)
    guide = ROOT / "docs/OPERATIONS.md"
    parts = re.findall(r"^#+ (\w+)$", guide.read_text(), re.M) if guide.exists() else []
    problems = [f"{a} has no row here" for a in alerts if a not in ROWS] + [f"{a} is no alert any more" for a in ROWS if a not in alerts]
    problems += [f"{a} has no part in docs/OPERATIONS.md" for a in alerts if a not in parts]
    with tempfile.TemporaryDirectory() as folder:
        test = pathlib.Path(folder) / "test.json"   # YAML takes JSON as it is
        test.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "15s",
                                    "tests": [test_of(name, *row) for name, row in ROWS.items()]}))
        done = subprocess.run(["promtool", "test", "rules", str(test)], capture_output=True, text=True)
    if done.returncode != 0:
        problems.append(done.stdout + done.stderr)
    print("\n".join(problems) or f"{len(alerts)} alerts fire and end")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
