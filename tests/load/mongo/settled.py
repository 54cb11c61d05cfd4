"""Waits until everything that a node has committed is in MongoDB: settled.py METRICS-URL FILE MONGODB-PORT. Leaves the metrics in FILE."""
import re
import sys
import time
import urllib.request

import pymongo

SECONDS_MAX = 60

until = time.monotonic() + SECONDS_MAX
pymongo.MongoClient("127.0.0.1", int(sys.argv[3]), serverSelectionTimeoutMS=1000 * SECONDS_MAX).admin.command("ping")
while True:
    try:
        text = urllib.request.urlopen(sys.argv[1], timeout=5).read().decode()
        waiting = float(re.search(r"^parley_store_backlog (\S+)$", text, re.M).group(1))
    except OSError:
        waiting, text = -1, ""    # the node starts again
    if waiting == 0:
        break
    if time.monotonic() > until:
        sys.exit(f"after {SECONDS_MAX} s still {waiting:g} publications wait")
    time.sleep(0.05)    # a gauge tells nobody
with open(sys.argv[2], "w") as out:
    out.write(text)
