"""The published Python SDK (centrifuge-python) and server API library (cent), unchanged, against a real parleyd."""
import asyncio
import time

import pytest
from cent import (AsyncClient, BatchRequest, BroadcastRequest, CentApiResponseError, CentUnauthorizedError, ChannelsRequest, Disconnect,
                  DisconnectRequest, HistoryRemoveRequest, HistoryRequest, InfoRequest, PresenceRequest, PresenceStatsRequest,
                  PublishRequest, RefreshRequest, StreamPosition as CentPosition, SubscribeRequest, UnsubscribeRequest)
from centrifuge import Client, ClientState, StreamPosition, SubscriptionState

from parleyd import API_KEY, channel_name, token, until


@pytest.fixture
async def people(server):
    """people("ann") is a connected SDK client of that user."""
    clients = []

    async def make(user, claims=None, get_token=None, **options):
        async def own_token():
            return token({"sub": user, **(claims or {})})
        c = Client(server.url, get_token=get_token or own_token, min_reconnect_delay=0.02, max_reconnect_delay=0.2, **options)
        clients.append(c)
        await c.connect()
        await c.ready()
        return c

    yield make
    for c in clients:
        await c.disconnect()


@pytest.fixture
async def api(server):
    c = AsyncClient(f"http://127.0.0.1:{server.port}/api", API_KEY)
    yield c
    await c.close()


async def subscribe(client, channel, **options):
    sub = client.new_subscription(channel, **options)
    got = []

    async def on_publication(ctx):
        got.append(ctx.pub)

    sub.events.on_publication = on_publication
    await sub.subscribe()
    await sub.ready()
    return sub, got


async def test_publish_receive_history_presence(people):
    ann, bob = await people("ann", {"info": {"name": "Ann"}}), await people("bob")
    name = channel_name()
    sa, _ = await subscribe(ann, name)
    _, got = await subscribe(bob, name)
    await sa.publish({"text": "hello"})
    await until(lambda: got, "the publication")
    assert got[0].data == {"text": "hello"} and got[0].offset == 1
    assert got[0].info.user == "ann" and got[0].info.conn_info == {"name": "Ann"}
    assert int(got[0].tags["time"]) > 0
    h = await sa.history(limit=-1)
    assert [p.data for p in h.publications] == [{"text": "hello"}] and h.offset == 1 and h.epoch
    assert len((await sa.presence()).clients) == 2
    stats = await sa.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)


async def test_history_both_ways(people):
    ann = await people("ann")
    sub, _ = await subscribe(ann, channel_name())
    for n in range(1, 8):
        await sub.publish(n)
    top = await sub.history()
    assert top.offset == 7 and top.publications == []
    page = await sub.history(limit=3, since=StreamPosition(offset=2, epoch=top.epoch))
    assert [p.data for p in page.publications] == [3, 4, 5]
    page = await sub.history(limit=3, reverse=True)
    assert [p.data for p in page.publications] == [7, 6, 5]
    page = await sub.history(limit=3, since=StreamPosition(offset=3, epoch=top.epoch), reverse=True)
    assert [p.data for p in page.publications] == [2, 1]


async def test_join_leave(people):
    ann = await people("ann")
    name = channel_name()
    sub = ann.new_subscription(name, join_leave=True)
    joins, leaves = [], []

    async def on_join(ctx):
        joins.append(ctx.info.user)

    async def on_leave(ctx):
        leaves.append(ctx.info.user)

    sub.events.on_join, sub.events.on_leave = on_join, on_leave
    await sub.subscribe()
    await sub.ready()
    bob = await people("bob")
    sb, _ = await subscribe(bob, name)
    await until(lambda: "bob" in joins, "bob's join")
    await sb.unsubscribe()
    await until(lambda: "bob" in leaves, "bob's leave")
    assert joins == ["ann", "bob"] and leaves == ["bob"]


async def test_recovery(people):
    ann, bob = await people("ann"), await people("bob")
    name = channel_name()
    sa, got = await subscribe(ann, name)
    sb, _ = await subscribe(bob, name)
    await sb.publish(0)
    await until(lambda: len(got) == 1, "the first")
    ann._conn.transport.abort()
    await until(lambda: ann.state is not ClientState.CONNECTED, "the cut")
    for n in range(1, 20):
        await sb.publish(n)
    await until(lambda: len(got) == 20, "the missed ones")
    assert [p.data for p in got] == list(range(20)) and [p.offset for p in got] == list(range(1, 21))
    assert sa.state is SubscriptionState.SUBSCRIBED


async def test_token_is_refreshed(people):
    asked = []

    async def get_token():
        asked.append(1)
        return token({"sub": "ann", "exp": int(time.time()) + (2 if len(asked) == 1 else 600)})

    ann = await people("ann", get_token=get_token)
    await until(lambda: len(asked) == 2, "the refresh")
    assert ann.state is ClientState.CONNECTED
    assert (await ann.rpc("whoami", {})).data["user"] == "ann"


async def test_server_side_subscription(people, api):
    got, joined = [], []
    name = channel_name()
    ann = await people("ann", {"channels": [name]})

    async def on_publication(ctx):
        got.append((ctx.channel, ctx.pub.data))

    ann.events.on_publication = on_publication
    await api.publish(PublishRequest(channel="#ann", data={"x": 1}))
    await api.publish(PublishRequest(channel=name, data={"x": 2}))
    await until(lambda: len(got) == 2, "both")
    assert got == [("#ann", {"x": 1}), (name, {"x": 2})]
    assert joined == []


async def test_cent_publish_broadcast_history(api):
    one, two = channel_name(), channel_name()
    r = await api.publish(PublishRequest(channel=one, data={"n": 1}, tags={"lang": "en"}, idempotency_key="k"))
    assert r.offset == 1 and r.epoch
    assert (await api.publish(PublishRequest(channel=one, data={"n": 1}, tags={"lang": "en"}, idempotency_key="k"))).offset == 1
    b = await api.broadcast(BroadcastRequest(channels=[one, two], data={"n": 2}))
    assert [x.result.offset for x in b.responses] == [2, 1]
    h = await api.history(HistoryRequest(channel=one, limit=10))
    assert [p.data for p in h.publications] == [{"n": 1}, {"n": 2}] and h.offset == 2
    h = await api.history(HistoryRequest(channel=one, limit=10, since=CentPosition(offset=1, epoch=h.epoch)))
    assert [p.data for p in h.publications] == [{"n": 2}]
    h = await api.history(HistoryRequest(channel=one, limit=1, reverse=True))
    assert [p.data for p in h.publications] == [{"n": 2}]
    await api.history_remove(HistoryRemoveRequest(channel=one))
    h = await api.history(HistoryRequest(channel=one, limit=10))
    assert h.publications == [] and h.offset == 2
    assert (await api.publish(PublishRequest(channel=one, data={"n": 3}))).offset == 3
    with pytest.raises(CentApiResponseError) as e:
        await api.publish(PublishRequest(channel="nosuch:x", data=1))
    assert e.value.code == 102


async def test_cent_presence_channels_info(people, api):
    name = channel_name()
    ann = await people("ann")
    await subscribe(ann, name)
    p = await api.presence(PresenceRequest(channel=name))
    assert [i.user for i in p.presence.values()] == ["ann"]
    s = await api.presence_stats(PresenceStatsRequest(channel=name))
    assert (s.num_clients, s.num_users) == (1, 1)
    assert (await api.channels(ChannelsRequest(pattern=name))).channels[name].num_clients == 1
    info = await api.info(InfoRequest())
    assert len(info.nodes) == 1 and info.nodes[0].num_clients >= 1


async def test_cent_subscribe_unsubscribe_refresh_disconnect(people, api):
    name = channel_name()
    dan = await people("dan", {"exp": int(time.time()) + 600})
    on, off, gone = [], [], []

    async def on_subscribed(ctx):
        on.append(ctx.channel)

    async def on_unsubscribed(ctx):
        off.append(ctx.channel)

    async def on_disconnected(ctx):
        gone.append(ctx.code)

    dan.events.on_subscribed, dan.events.on_unsubscribed, dan.events.on_disconnected = on_subscribed, on_unsubscribed, on_disconnected
    await api.subscribe(SubscribeRequest(user="dan", channel=name))
    await until(lambda: name in on, "the subscription")
    await api.unsubscribe(UnsubscribeRequest(user="dan", channel=name))
    await until(lambda: name in off, "the unsubscription")
    await api.refresh(RefreshRequest(user="dan", expire_at=int(time.time()) + 3600))
    assert dan.state is ClientState.CONNECTED
    await api.disconnect(DisconnectRequest(user="dan", disconnect=Disconnect(code=4502, reason="bye")))
    await until(lambda: gone, "the disconnect")
    assert gone == [4502] and dan.state is ClientState.DISCONNECTED


async def test_cent_batch_and_wrong_key(api, server):
    a, b = channel_name(), channel_name()
    r = await api.batch(BatchRequest(requests=[PublishRequest(channel=a, data=1), PublishRequest(channel=b, data=2), InfoRequest()]))
    assert [x.offset for x in r.replies[:2]] == [1, 1]
    wrong = AsyncClient(f"http://127.0.0.1:{server.port}/api", "wrong")
    with pytest.raises(CentUnauthorizedError):
        await wrong.publish(PublishRequest(channel=a, data=1))
    await wrong.close()
    await asyncio.sleep(0)
