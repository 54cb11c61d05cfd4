"""A reader that stops reading is dropped for being slow, harms nobody else, and gets everything when it comes back (P6)."""
import asyncio
import json
import os
import socket

from parleyd import Server, Wire, channel_name, until

TOML = """
[client]
publishes_per_second = 0
commands_per_second = 0
queue_size_max = "256KiB"
"""
# Ours is 512 KiB; half of the out-queue is the most a recovery may be, so that coming back never makes a client slow again.


async def test_slow_reader(tmp_path):
    server = Server(tmp_path, toml=TOML + '\nrecovery_size_max = "128KiB"\n')
    server.start()
    try:
        name = channel_name()
        writer = await Wire().open(server.url)
        await writer.connect("writer")
        await writer.call(subscribe={"channel": name})
        seen = []
        good = await Wire(lambda push: seen.append(push["pub"]["offset"]) if "pub" in push else None).open(server.url)
        await good.connect("good")
        await good.call(subscribe={"channel": name})

        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.setblocking(False)
        slow = await Wire().open(server.url, sock=sock)
        await slow.connect("slow")
        reply = (await slow.call(subscribe={"channel": name}))["subscribe"]
        slow.reader.cancel()
        slow.ws.transport.pause_reading()

        before = server.rss_bytes()
        body = "x" * 4000
        count = 0
        while server.metric("parley_connections_ended_total", 'reason="slow"') < 1:
            for _ in range(50):
                count += 1
                writer.post(publish={"channel": name, "data": {"n": count, "body": body}})
            await writer.call(presence_stats={"channel": name})
            await until(lambda: len(seen) >= count, "everything at the good reader")   # or this process were the slow one
            assert count < 20_000, "never dropped"
        assert seen == list(range(1, count + 1))
        if "E2E_SANITIZED" not in os.environ:   # a sanitizer's shadow and quarantine are no memory of ours
            assert server.rss_bytes() - before < 64 << 20
        assert any("slow" in line for line in server.lines), server.lines[-5:]

        back = await Wire().open(server.url)
        await back.connect("slow")
        again = (await back.call(subscribe={"channel": name, "recover": True, "offset": reply.get("offset", 0), "epoch": reply["epoch"]}))["subscribe"]
        assert again["was_recovering"]
        if again.get("recovered"):
            assert [p["offset"] for p in again["publications"]] == list(range(1, count + 1))
        else:
            assert "publications" not in again
            got, since = [], {"offset": 0, "epoch": again["epoch"]}
            while True:
                page = (await back.call(history={"channel": name, "limit": 300, "since": since}))["history"]
                if not page.get("publications"):
                    break
                assert len(json.dumps(page)) < 520 * 1024
                got += [p["offset"] for p in page["publications"]]
                since["offset"] = got[-1]
            assert got == list(range(1, count + 1))
        assert server.metric("parley_connections_ended_total", 'reason="slow"') == 1
        for wire in (writer, good, back):
            await wire.close()
        slow.ws.transport.abort()
        await asyncio.sleep(0)
    finally:
        server.kill()
