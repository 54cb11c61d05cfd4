#!/usr/bin/env python3
"""Writes the Grafana dashboards: grafana/dashboards.py [FOLDER]. The same script always writes the same bytes.

A panel is a title, a unit, what it says, and its queries; everything else of Grafana's JSON is here, once.
"""
import json
import pathlib
import sys

SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH = 24
RATE = "[$__rate_interval]"
NODE = 'instance=~"$node"'


def rate(metric, by="", where=""):
    """The rate of a counter, over all nodes or for each value of a label."""
    return f"sum{' by (' + by + ') ' if by else ''}(rate({metric}{'{' + where + '}' if where else ''}{RATE}))"


def quantile(q, metric, by="", where=""):
    le = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({le}) (rate({metric}_bucket{'{' + where + '}' if where else ''}{RATE})))"


def panel(kind, title, unit, about, queries, width, height, thresholds=None, top=None, low=0):
    """queries: (legend, expression) in the order of their colours."""
    steps = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for value, color in thresholds or []]
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if low is not None:
        defaults["min"] = low
    if top is not None:
        defaults["max"] = top
    if kind == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value", "graphMode": "area",
                   "textMode": "auto", "justifyMode": "auto", "orientation": "auto"}
    else:
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {
        "type": kind, "title": title, "description": about, "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
        "targets": [{"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend, "range": True}
                    for i, (legend, expr) in enumerate(queries)],
        "gridPos": {"h": height, "w": width, "x": 0, "y": 0},
    }


def stat(title, unit, about, expr, thresholds=None):
    return panel("stat", title, unit, about, [("", expr)], 3, 4, thresholds)


def graph(title, unit, about, queries, width=8, **more):
    return panel("timeseries", title, unit, about, queries, width, 8, **more)


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": 0}}


def placed(panels):
    """Left to right, then down; a row begins a new line."""
    x = y = height = 0
    for number, p in enumerate(panels, 1):
        at = p["gridPos"]
        if x + at["w"] > WIDTH:
            x, y, height = 0, y + height, 0
        at["x"], at["y"] = x, y
        x, height = x + at["w"], max(height, at["h"])
        p["id"] = number
    return panels


def variable_node():
    query = 'label_values(up{job="parleyd"}, instance)'
    return {"name": "node", "label": "Node", "type": "query", "datasource": SOURCE, "definition": query, "query": {"query": query, "refId": "node"},
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*", "current": {"selected": True, "text": "All", "value": "$__all"},
            "options": [], "hide": 0}


def dashboard(uid, title, about, panels, has_node=False):
    return {
        "uid": uid, "title": title, "description": about, "tags": ["parley"], "schemaVersion": 39, "version": 1, "editable": False,
        "timezone": "browser", "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "graphTooltip": 1,
        "templating": {"list": [variable_node()] if has_node else []},
        "annotations": {"list": []},
        "links": [{"title": "Parley", "type": "dashboards", "tags": ["parley"], "asDropdown": True, "includeVars": False, "keepTime": True}],
        "panels": placed(panels),
    }


def overview():
    return dashboard("parley-overview", "Parley: overview", "All nodes together: who is there, what is said, how fast, what goes wrong, what is full.", [
        stat("Nodes", "short", "Nodes that answer Prometheus.", "parley:nodes:up", [(0, "red"), (1, "green")]),
        stat("Clients", "short", "Clients whose connect command was accepted.", "sum(parley_clients_connected)"),
        stat("Subscriptions", "short", "Subscriptions of clients.", "sum(parley_subscriptions)"),
        stat("Publications", "ops", "Messages published, once each.", rate("parley_publications_total")),
        stat("Deliveries", "ops", "Messages times receivers.", rate("parley_deliveries_total")),
        stat("Commit, 99 %", "s", "From a publish at its channel's owner to its commit.", quantile(0.99, "parley_commit_duration_seconds"),
             [(0.1, "orange"), (0.5, "red")]),
        stat("Errors 100 and 111", "percentunit", "Share of commands that the server could not or would not do.", "parley:server_errors:ratio5m or vector(0)",
             [(0.001, "orange"), (0.01, "red")]),
        stat("Alerts", "short", "Alerts that fire now.", 'count(ALERTS{alertstate="firing"}) or vector(0)', [(1, "red")]),
        row("Who is there"),
        graph("Clients by node", "short", "An even spread is the load balancer's work; after a restart it takes time.",
              [("{{instance}}", "sum by (instance) (parley_clients_connected)")]),
        graph("Coming and going", "ops", "TCP connections accepted, and connections that ended.",
              [("accepted", rate("parley_connections_accepted_total")), ("ended", rate("parley_connections_ended_total"))]),
        graph("Ends by reason", "ops", "Why connections end; docs/ERRORS.md has the reasons.",
              [("{{reason}}", rate("parley_connections_ended_total", "reason") + " > 0 or " + rate("parley_connections_ended_total", "reason", 'reason="client_closed"'))]),
        row("What is said"),
        graph("Publications and duplicates", "ops", "Duplicates were answered from an idempotency key.",
              [("published", rate("parley_publications_total")), ("answered again", rate("parley_duplicates_total"))]),
        graph("Deliveries by node", "ops", "Publications times subscribers.", [("{{instance}}", rate("parley_deliveries_total", "instance"))]),
        graph("Commands and messages", "ops", "Commands of clients (in), messages queued to clients (out).",
              [("{{direction}}", rate("ws_messages_total", "direction", 'job="parleyd"'))]),
        row("How fast"),
        graph("Commit", "s", "From a publish at its channel's owner to its commit.",
              [(f"{q * 100:g} %", quantile(q, "parley_commit_duration_seconds")) for q in (0.5, 0.9, 0.99)]),
        graph("HTTP, 99 %", "s", "From the first byte of a request to its answer.",
              [("{{route}}", quantile(0.99, "http_request_duration_seconds", "route", 'job="parleyd",route=~"api|page|metrics"'))]),
        graph("Loop lag", "s", "The longest iteration of an event loop that the watchdog sees: everybody on it waits so long.",
              [("{{instance}}", "max by (instance) (parley_loop_lag_seconds)")]),
        row("What goes wrong"),
        graph("Errors by code", "ops", "Error replies to clients; docs/ERRORS.md has the codes.", [("{{code}}", rate("parley_errors_total", "code"))]),
        graph("Recoveries", "ops", "Clients that came back and got what they missed, or were told that they cannot.",
              [("recovered: {{recovered}}", rate("parley_recoveries_total", "recovered"))]),
        graph("HTTP by class", "ops", "Answers by class of the status.", [("{{code}}", rate("http_requests_total", "code", 'job="parleyd"'))]),
        row("What is full"),
        graph("CPU", "percent", "Of the cores that a node may use.", [("{{instance}}", 'cpu_usage_percent{job="parleyd"}')], top=100),
        graph("Memory", "percent", "Resident memory, of the container's limit.", [("{{instance}}", 'memory_usage_percent{job="parleyd"}')], top=100),
        graph("Open files", "percentunit", "Of the limit; every connection is one.",
              [("{{instance}}", 'process_open_fds{job="parleyd"} / process_max_fds{job="parleyd"}')], top=1),
    ])


def node():
    return dashboard("parley-node", "Parley: node", "One node, or several, in detail.", [
        row("The process"),
        graph("CPU", "percent", "Of the cores that it may use.", [("{{instance}}", f'cpu_usage_percent{{job="parleyd",{NODE}}}')], top=100),
        graph("Resident memory", "bytes", "Resident memory.", [("{{instance}}", f'process_resident_memory_bytes{{job="parleyd",{NODE}}}')]),
        graph("Up for", "s", "Time since the process started.", [("{{instance}} {{version}}",
              f'(time() - process_start_time_seconds{{job="parleyd",{NODE}}}) * on (instance) group_right () parley_build_info{{{NODE}}}')]),
        row("Event loops"),
        graph("Lag by loop", "s", "For how long the loop's iteration has been running, as the watchdog saw it.",
              [("{{instance}} loop {{loop}}", f"parley_loop_lag_seconds{{{NODE}}}")]),
        graph("Iterations", "ops", "Iterations of the event loops.", [("{{instance}}", rate("parley_loop_iterations_total", "instance", NODE))]),
        graph("Full mailboxes", "ops", "Requests refused and deliveries that came later, because a loop's mailbox was full.",
              [("refused {{instance}}", rate("parley_mailbox_full_total", "instance", NODE)),
               ("behind {{instance}}", rate("parley_deliveries_behind_total", "instance", NODE))]),
        row("Connections"),
        graph("Connections", "short", "TCP connections, WebSockets, and clients whose connect was accepted.",
              [("TCP {{instance}}", f"parley_connections_open{{{NODE}}}"), ("WebSocket {{instance}}", f'ws_connections_active{{job="parleyd",{NODE}}}'),
               ("clients {{instance}}", f"parley_clients_connected{{{NODE}}}")]),
        graph("Waiting to be sent", "bytes", "Bytes in the connections' out-queues: slow readers.", [("{{instance}}", f"parley_queue_bytes{{{NODE}}}")]),
        graph("Refused and ended for cause", "ops", "Handshakes refused; connections ended as slow, without a pong, by a limit.",
              [("refused {{instance}}", rate("parley_handshakes_refused_total", "instance", NODE)),
               ("{{reason}} {{instance}}", rate("parley_connections_ended_total", "instance, reason", NODE + ',reason=~"slow|no_pong|connection_limit|write_error"'))]),
        graph("Channels", "short", "Channels in use, and with subscribers on each loop.",
              [("in use {{instance}}", f"parley_channels{{{NODE}}}"), ("subscribed {{instance}}", f"parley_channels_subscribed{{{NODE}}}")]),
        graph("Contexts lent", "short", "Connections in the middle of a message.", [("{{instance}}", f"parley_contexts_lent{{{NODE}}}")]),
        graph("Open files", "short", "Open descriptors, and their limit.",
              [("open {{instance}}", f'process_open_fds{{job="parleyd",{NODE}}}'), ("limit {{instance}}", f'process_max_fds{{job="parleyd",{NODE}}}')]),
        row("Network"),
        graph("Bytes", "Bps", "Read from and written to connections.",
              [("{{direction}} {{instance}}", rate("parley_network_bytes_total", "instance, direction", NODE))]),
        graph("System calls", "ops", "That read and write connections; one write may carry many messages.",
              [("{{call}} {{instance}}", rate("parley_network_calls_total", "instance, call", NODE))]),
        graph("Messages a write", "short", "Messages queued to clients for each write call: how much is batched.",
              [("{{instance}}", rate("ws_messages_total", "instance", f'job="parleyd",direction="out",{NODE}') + " / "
                + rate("parley_network_calls_total", "instance", f'call="write",{NODE}'))]),
        row("Server API"),
        graph("Calls", "ops", "Calls of the server API by method.", [("{{method}}", rate("parley_api_calls_total", "method", NODE))], width=12),
        graph("HTTP by route", "ops", "Requests by route.", [("{{route}}", rate("http_requests_total", "route", f'job="parleyd",{NODE}'))], width=12),
    ], has_node=True)


def broker_and_store():
    return dashboard("parley-broker-store", "Parley: broker and store", "What carries publications between nodes, and what keeps them.", [
        row("Broker"),
        graph("Ready", "short", "1 while the broker carries messages on every loop; GET /ready says why it does not.",
              [("{{instance}}", f"parley_broker_ready{{{NODE}}}")], top=1),
        graph("Connections", "short", "Connections to the broker's servers that are open.", [("{{instance}}", f"parley_broker_connections_open{{{NODE}}}")]),
        graph("Connections lost", "ops", "Connections in use that broke.", [("{{instance}}", rate("parley_broker_connections_lost_total", "instance", NODE))]),
        graph("Audits", "ops", "Channels whose newest offset was compared after a reconnect.", [("{{instance}}", rate("parley_broker_audits_total", "instance", NODE))]),
        graph("Repairs", "ops", "Reads that filled a hole, and the publications that came by them.",
              [("reads {{instance}}", rate("parley_broker_repairs_total", "instance", NODE)),
               ("publications {{instance}}", rate("parley_broker_repaired_total", "instance", NODE))]),
        graph("Sent back", "ops", "Channels, and subscriptions, sent back to recover (2500).",
              [("channels {{instance}}", rate("parley_broker_lost_total", "instance", NODE)),
               ("subscriptions {{instance}}", rate("parley_unsubscribes_insufficient_total", "instance", NODE))]),
        row("Commit"),
        graph("Commit time", "s", "From a publish at its channel's owner to its commit.",
              [(f"{q * 100:g} %", quantile(q, "parley_commit_duration_seconds", "", NODE)) for q in (0.5, 0.9, 0.99)], width=12),
        graph("Commits", "ops", "Publications committed, by node.", [("{{instance}}", rate("parley_commit_duration_seconds_count", "instance", NODE))], width=12),
        row("Store"),
        graph("Ready", "short", "1 while the store can commit.", [("{{instance}}", f"parley_store_ready{{{NODE}}}")], top=1),
        graph("Queue", "percentunit", "Requests waiting for the store, of how many may wait.",
              [("{{instance}}", f"parley_store_queue{{{NODE}}} / clamp_min(parley_store_queue_max{{{NODE}}}, 1)")], top=1),
        graph("Size", "bytes", "Size of the store.", [("{{instance}}", f"parley_store_bytes{{{NODE}}}")]),
        graph("Publications and transactions", "ops", "What the store has committed, and in how many transactions.",
              [("publications {{instance}}", rate("parley_store_publications_total", "instance", NODE)),
               ("transactions {{instance}}", rate("parley_store_commits_total", "instance", NODE))]),
        graph("Failures", "ops", "Requests that the store could not do.", [("{{instance}}", rate("parley_store_failures_total", "instance", NODE))]),
        row("MongoDB behind the spool"),
        graph("Connected", "short", "1 while MongoDB takes what it is given; 0 also with any other store.", [("{{instance}}", f"parley_store_connected{{{NODE}}}")], top=1),
        graph("Backlog", "short", "Publications in the spool that are not in MongoDB yet, and how many there may be.",
              [("waiting {{instance}}", f"parley_store_backlog{{{NODE}}}"), ("bound {{instance}}", f"parley_store_backlog_max{{{NODE}}}")]),
        graph("Age of the backlog", "s", "For how long the oldest of them has waited.", [("{{instance}}", f"parley_store_backlog_age_seconds{{{NODE}}}")]),
        graph("Brought to MongoDB", "ops", "Publications, and the bulk writes that brought them.",
              [("publications {{instance}}", rate("parley_store_stored_total", "instance", NODE)),
               ("bulk writes {{instance}}", rate("parley_store_batches_total", "instance", NODE))]),
        graph("Time in bulk writes", "percentunit", "Seconds of bulk writes in a second; the number of writers is the most.",
              [("{{instance}}", rate("parley_store_batch_seconds_total", "instance", NODE))]),
        graph("Tried again, refused, in conflict", "ops", "Conflicts are an alarm at the first.",
              [("tried again {{instance}}", rate("parley_store_retries_total", "instance", NODE)),
               ("had already {{instance}}", rate("parley_store_duplicates_total", "instance", NODE)),
               ("dead letters {{instance}}", rate("parley_store_dead_letters_total", "instance", NODE)),
               ("conflicts {{instance}}", rate("parley_store_conflicts_total", "instance", NODE))]),
    ], has_node=True)


def load():
    return dashboard("parley-load", "Parley: load test", "parley-load beside the nodes that it drives.", [
        graph("Stage", "short", "What the run is doing.", [("{{stage}}", "parley_load_stage")], top=1),
        graph("Connections", "short", "Clients of the tool that are connected, and what the nodes see.",
              [("tool", "sum(parley_load_connections)"), ("nodes", "sum(parley_clients_connected)")]),
        graph("Errors", "ops", "Error replies that the tool got.", [("errors", rate("parley_load_errors_total"))]),
        graph("Sent and acknowledged", "ops", "When the lines part, the server is behind.",
              [("sent", rate("parley_load_sent_total")), ("acknowledged", rate("parley_load_acknowledged_total")), ("published", rate("parley_publications_total"))]),
        graph("Deliveries", "ops", "What the tool got and what the nodes sent.",
              [("tool", rate("parley_load_delivered_total")), ("nodes", rate("parley_deliveries_total"))]),
        graph("Commit", "s", "From a publish at its channel's owner to its commit.",
              [(f"{q * 100:g} %", quantile(q, "parley_commit_duration_seconds")) for q in (0.5, 0.99)]),
        graph("Cores", "short", "Processor time of the tool and of all nodes; near its cores the tool is the bottleneck.",
              [("tool", "sum(parley_load_tool_cpu_cores)"), ("nodes", rate("process_cpu_seconds_total", "", 'job="parleyd"'))]),
        graph("CPU time a delivery", "s", "Processor time of the nodes for each delivered message: what matters for cost.",
              [("", rate("process_cpu_seconds_total", "", 'job="parleyd"') + " / " + rate("parley_deliveries_total"))]),
        graph("Loop lag", "s", "The longest iteration of an event loop that the watchdog sees.", [("{{instance}}", "max by (instance) (parley_loop_lag_seconds)")]),
    ])


DASHBOARDS = {"overview": overview, "node": node, "broker-and-store": broker_and_store, "load": load}


def text_of(name):
    return json.dumps(DASHBOARDS[name](), indent=1, ensure_ascii=False) + "\n"


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent / "dashboards")
    folder.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (folder / f"{name}.json").write_text(text_of(name), encoding="utf-8")


if __name__ == "__main__":
    main()
