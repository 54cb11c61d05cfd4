"""kill -9 at random moments under full load: nothing acknowledged or delivered is lost, doubled or reordered (P1-P5)."""
import asyncio
import json
import os
import random
import sqlite3


from checker import acknowledged_twice, check
from parleyd import Wire, free_port

KILLS = int(os.environ.get("PARLEY_CRASH_KILLS", "8"))
WRITERS = 4
OUTSTANDING = 8
CHANNELS = ["crash0", "crash1", "crash2"]

# The rates of a chat are no limit here: full rate is the point.
TOML = """
[client]
commands_per_second = 0
publishes_per_second = 0

[channel]
allow_publish_for_client = true   # the writers need not subscribe
"""


class Run:
    def __init__(self, server, seed):
        self.server = server
        self.random = random.Random(seed)
        self.log = []
        self.is_stopping = False
        self.acked = 0

    async def wire(self, user, on_push):
        """A connected client; tries until the server is back."""
        while True:
            try:
                w = await Wire(on_push).open(self.server.url, open_timeout=5)
                await w.connect(user)
                return w
            except (OSError, ConnectionError, AssertionError, asyncio.TimeoutError, Exception):
                await asyncio.sleep(0.02)   # the server is being killed and restarted: that is this test's weather

    async def writer(self, name):
        pending = {}    # key -> (channel, data): sent or to be sent, not yet acknowledged
        done = []       # (channel, key, data, offset)
        sequence = 0
        wire = await self.wire(name, lambda push: None)
        flights = {}    # future -> (kind, channel, key, data)

        def post(kind, channel, key, data):
            future = wire.post(rpc={"method": "send", "data": {"channel": channel, "data": data, "key": key}})
            flights[future] = (kind, channel, key, data)

        while not (self.is_stopping and not pending):
            while len(flights) < OUTSTANDING and not self.is_stopping:
                roll = self.random.random()
                if done and roll < 0.05:
                    channel, key, data, _ = self.random.choice(done[-500:])
                    post("again", channel, key, data)
                elif done and roll < 0.07:
                    channel, key, _, _ = self.random.choice(done[-500:])
                    post("other", channel, key, {"by": name, "n": -1})
                else:
                    sequence += 1
                    channel, key, data = self.random.choice(CHANNELS), f"{name}-{sequence}", {"by": name, "n": sequence}
                    pending[key] = (channel, data)
                    post("new", channel, key, data)
                    if self.random.random() < 0.03:
                        post("new", channel, key, data)
            if not flights:
                for key, (channel, data) in list(pending.items()):
                    post("new", channel, key, data)
            finished, _ = await asyncio.wait(flights, return_when=asyncio.FIRST_COMPLETED, timeout=10)
            broken = not finished
            for future in finished:
                kind, channel, key, data = flights.pop(future)
                if future.exception() is not None:
                    broken = True
                    continue
                reply = future.result()
                if "error" in reply:
                    code = reply["error"]["code"]
                    if kind == "other" and not reply["error"].get("temporary"):
                        self.log.append(("conflict", channel, key))
                    elif not reply["error"].get("temporary"):
                        raise AssertionError(f"{kind} {key}: error {code}")
                    elif kind == "new" and key in pending:
                        post("new", channel, key, data)
                    continue
                assert kind != "other", f"{key}: other data was accepted"
                result = reply["rpc"]["data"]
                self.log.append(("ack", channel, key, result["offset"], json.dumps(data), bool(result.get("duplicate"))))
                self.acked += 1
                if kind == "again":
                    assert result.get("duplicate"), f"{key} was stored again"
                if pending.pop(key, None):
                    done.append((channel, key, data, result["offset"]))
            if broken:
                for future in flights:
                    future.cancel()
                flights.clear()
                wire.ws.transport.abort()
                wire = await self.wire(name, lambda push: None)
                for key, (channel, data) in list(pending.items()):
                    post("new", channel, key, data)
        await wire.close()

    async def reader(self, name):
        positions = {}   # channel -> (offset, epoch)

        def seen(channel, pub):
            if "offset" not in pub:
                return
            self.log.append(("seen", name, channel, pub["offset"], pub["tags"]["key"], json.dumps(pub["data"])))
            positions[channel] = (pub["offset"], positions.get(channel, (0, ""))[1])

        held = {}

        def on_push(push):
            if "pub" in push:
                if push["channel"] in held:
                    held[push["channel"]].append(push["pub"])
                else:
                    seen(push["channel"], push["pub"])

        while True:
            held.update({c: [] for c in CHANNELS})
            wire = await self.wire(name, on_push)
            try:
                for channel in CHANNELS:
                    request = {"channel": channel}
                    if channel in positions:
                        offset, epoch = positions[channel]
                        request.update(recover=True, offset=offset, epoch=epoch)
                    reply = await wire.call(subscribe=request)
                    result = reply["subscribe"]
                    if channel in positions:
                        assert result.get("was_recovering"), result
                        if not result.get("recovered"):
                            self.log.append(("reset", name, channel))
                            raise AssertionError(f"{name} was not recovered in {channel}: {result}")
                        for pub in result.get("publications", []):
                            seen(channel, pub)
                    else:
                        positions[channel] = (result.get("offset", 0), result["epoch"])
                    positions[channel] = (positions[channel][0], result["epoch"])
                    for pub in held.pop(channel):
                        seen(channel, pub)
                await wire.closed
            except (ConnectionError, KeyError, asyncio.TimeoutError):
                wire.ws.transport.abort()

    async def killer(self):
        for n in range(KILLS):
            before = self.acked
            await asyncio.sleep(self.random.uniform(0.02, 0.5))   # the random moment
            self.server.kill()
            await asyncio.to_thread(self.server.start)
            # Each life of the server does some work, or nothing would be tested.
            while self.acked == before:
                await asyncio.sleep(0.01)


def read_store(path):
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store, tops = {}, {}
    for channel_id, name, top in db.execute("SELECT id, name, top FROM channel"):
        if name not in CHANNELS:
            continue
        tops[name] = top
        store[name] = {offset: (json.loads(tags)["key"], json.dumps(json.loads(data)))
                       for offset, data, tags in db.execute("SELECT offset, data, tags FROM publication WHERE channel_id = ?", (channel_id,))}
    return store, tops


async def test_kill_nine(own_server):
    seed = int(os.environ.get("PARLEY_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed}")
    own_server.toml = TOML
    own_server.port = free_port()
    own_server.start()
    run = Run(own_server, seed)
    readers = [asyncio.create_task(run.reader(f"reader{i}")) for i in range(3)]
    writers = [asyncio.create_task(run.writer(f"w{i}")) for i in range(WRITERS)]
    killer = asyncio.create_task(run.killer())
    everyone = [*readers, *writers, killer]
    try:
        await run_to_the_end(run, readers, writers, killer)
    finally:   # nobody may go on against a server that is gone, or the test would not end
        for task in everyone:
            task.cancel()
        await asyncio.wait(everyone, timeout=10)
    own_server.kill()
    store, tops = read_store(own_server.folder / "parley.sqlite")
    problems = check(run.log, store, tops) + acknowledged_twice(run.log)
    duplicates = sum(1 for r in run.log if r[0] == "ack" and r[5])
    conflicts = sum(1 for r in run.log if r[0] == "conflict")
    print(f"{KILLS} kills, {run.acked} acknowledged, {duplicates} duplicates answered, {conflicts} conflicts refused, tops {tops}")
    assert not problems, f"seed {seed}: {len(problems)} problems: {problems[:10]}"
    assert run.acked > KILLS and duplicates > 0 and (conflicts > 0 or run.acked < 200)


async def run_to_the_end(run, readers, writers, killer):
    """All kills done, all writers acknowledged, all readers caught up."""
    done, _ = await asyncio.wait([*readers, *writers, killer], return_when=asyncio.FIRST_COMPLETED, timeout=KILLS * 20)
    assert done, "no progress"
    for task in done:
        task.result()
    assert killer.done()
    run.is_stopping = True
    await asyncio.wait_for(asyncio.gather(*writers), 60)

    def caught_up():
        last = {}
        for record in run.log:
            if record[0] == "seen":
                last[(record[1], record[2])] = record[3]
        top = {}
        for record in run.log:
            if record[0] == "ack":
                top[record[1]] = max(top.get(record[1], 0), record[3])
        return all(last.get((f"reader{i}", c), 0) >= top.get(c, 0) for i in range(3) for c in CHANNELS)

    for _ in range(1000):
        if caught_up():
            break
        for task in readers:
            if task.done():
                task.result()
        await asyncio.sleep(0.02)
