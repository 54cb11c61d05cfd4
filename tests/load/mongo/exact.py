"""Whether MongoDB holds exactly what the node says: exact.py MONGO-JAVA-DIR DATABASE-FILE RUN-DIR. Starts the server on the file."""
import json
import socket
import subprocess
import sys

import pymongo

MEMBERS = 5    # of every room in these scenarios

java, file, run = sys.argv[1:4]
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
server = subprocess.Popen(["java", "-Xmx1g", "-cp", f"{java}:{java}/*", "FakeMongo", str(port), file], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
try:
    if server.stdout.readline().strip() != b"ready":
        sys.exit("the server does not start on what it left")
    chat = pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=10_000)["chat"]
    offsets, keys, problems = {}, {}, []
    for p in chat.publications.find({}, {"channel": 1, "offset": 1, "key": 1}):
        offsets.setdefault(p["channel"], []).append(p["offset"])
        if "key" in p:
            keys.setdefault((p["channel"], bytes(p["key"])), []).append(p["offset"])
    tops = {c["_id"]: c["top"] for c in chat.channels.find()}
    for channel, held in sorted(offsets.items()):
        if sorted(held) != list(range(1, len(held) + 1)):
            problems.append(f"{channel}: offsets are not 1, 2, 3 … once each")
        if tops.get(channel) != len(held):
            problems.append(f"{channel}: {len(held)} publications, top {tops.get(channel)}")
    problems += [f"{channel}: one key at {where}" for (channel, _), where in keys.items() if len(where) > 1]
    if chat.dead_letters.count_documents({}):
        problems.append("there are dead letters")
    stored = sum(map(len, offsets.values()))
    sent = json.load(open(f"{run}/report.json"))["expected"] / MEMBERS
    if stored != sent:
        problems.append(f"{stored} publications are stored, {sent:g} messages were acknowledged")
    if problems:
        print("; ".join(problems[:5]))
        sys.exit(1)
    print(f"{stored} in MongoDB, each offset and each key once")
finally:
    server.terminate()
    server.wait()
