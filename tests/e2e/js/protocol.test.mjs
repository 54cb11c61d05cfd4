// The wire itself: batches, error codes that a client can cause, close codes, without an SDK in between.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Raw, Server, channelName, now, token } from './parleyd.mjs';

let server;
before(async () => { server = await Server.start(); });
after(() => server.stop());

async function open(claims = { sub: 'ann' }) {
  const r = await Raw.open(server.url);
  const reply = await r.call({ id: 1, connect: { token: token(claims) } });
  assert.ok(reply.connect, JSON.stringify(reply));
  r.connect = reply.connect;
  return r;
}

test('the connect reply has client, version, ping and pong', async () => {
  const r = await open({ sub: 'ann', exp: now() + 100 });
  assert.match(r.connect.client, /^[0-9a-f-]{36}$/);
  assert.ok(r.connect.version);
  assert.equal(r.connect.ping, 25);
  assert.equal(r.connect.pong, true);
  assert.equal(r.connect.expires, true);
  assert.ok(r.connect.ttl > 0 && r.connect.ttl <= 100);
  r.close();
});

test('a newline batch of commands is answered in order', async () => {
  const r = await Raw.open(server.url);
  const c = channelName();
  r.send({ id: 1, connect: { token: token({ sub: 'ann' }) } }, { id: 2, subscribe: { channel: c } },
    { id: 3, publish: { channel: c, data: { n: 1 } } }, { id: 4, history: { channel: c, limit: 10 } }, { id: 5, unsubscribe: { channel: c } });
  for (const [id, field] of [[1, 'connect'], [2, 'subscribe'], [3, 'publish']]) assert.ok((await r.take((v) => v.id === id))[field], field);
  assert.ok((await r.take((v) => v.id === 5)).unsubscribe);
  r.close();
});

test('ten subscribes and unsubscribes in a row keep their order', async () => {
  const r = await open();
  const c = channelName();
  const commands = [];
  for (let i = 0; i < 10; i++) commands.push({ id: 100 + 2 * i, subscribe: { channel: c } }, { id: 101 + 2 * i, unsubscribe: { channel: c } });
  r.send(...commands);
  for (let i = 0; i < 10; i++) {
    assert.ok((await r.take((v) => v.id === 100 + 2 * i)).subscribe, `subscribe ${i}`);
    assert.ok((await r.take((v) => v.id === 101 + 2 * i)).unsubscribe, `unsubscribe ${i}`);
  }
  const stats = await r.call({ id: 200, subscribe: { channel: c } });
  assert.ok(stats.subscribe);
  const p = await r.call({ id: 201, presence_stats: { channel: c } });
  assert.deepEqual(p.presence_stats, { num_clients: 1, num_users: 1 });
  r.close();
});

test('recovery set by the namespace is forced', async () => {
  const r = await open();
  const reply = await r.call({ id: 2, subscribe: { channel: channelName() } });
  assert.equal(reply.subscribe.recoverable, true);
  assert.equal(reply.subscribe.positioned, true);
  assert.ok(reply.subscribe.epoch);
  r.close();
});

test('ephemeral channels have no offset and no history', async () => {
  const r = await open();
  const c = channelName('live:');
  const s = await r.call({ id: 2, subscribe: { channel: c } });
  assert.ok(!s.subscribe.recoverable && !s.subscribe.positioned);
  r.send({ id: 3, publish: { channel: c, data: 1 } });
  const push = await r.take((v) => v.push?.pub);
  assert.equal('offset' in push.push.pub, false);
  assert.equal((await r.call({ id: 4, history: { channel: c } })).error.code, 108);
  assert.equal((await r.call({ id: 5, rpc: { method: 'send', data: { channel: c, data: 1, key: 'k' } } })).error.code, 108);
  r.close();
});

const c0 = channelName();
for (const [name, command, code] of [
  ['unknown namespace', { subscribe: { channel: 'nosuch:x' } }, 102],
  ['channel without a name', { subscribe: { channel: '' } }, 107],
  ['a name that is too long', { subscribe: { channel: 'x'.repeat(256) } }, 107],
  ['a filter', { subscribe: { channel: c0, tf: { key: 'a', cmp: 'eq', val: 'b' } } }, 107],
  ['a map subscription', { subscribe: { channel: c0, type: 1 } }, 103],
  ['a token channel without token', { subscribe: { channel: '$x' } }, 103],
  ['a bad subscription token', { subscribe: { channel: '$x', token: 'bad' } }, 103],
  ['a stranger’s channel', { subscribe: { channel: 'dm:#bob,carl' } }, 103],
  ['publish without being subscribed', { publish: { channel: channelName(), data: 1 } }, 103],
  ['presence without being subscribed', { presence: { channel: channelName() } }, 103],
  ['history without being subscribed', { history: { channel: channelName() } }, 103],
  ['an unknown rpc method', { rpc: { method: 'nosuch' } }, 108],
]) {
  test(`error: ${name} is ${code}`, async () => {
    const r = await open();
    const reply = await r.call({ id: 9, ...command });
    assert.equal(reply.error?.code, code, JSON.stringify(reply));
    assert.ok(!reply.error.temporary);
    r.close();
  });
}

test('error: already subscribed is 105, too large a publication 107, an expired token 109, a foreign epoch 112', async () => {
  const r = await open();
  const c = channelName();
  await r.call({ id: 2, subscribe: { channel: c } });
  assert.equal((await r.call({ id: 3, subscribe: { channel: c } })).error.code, 105);
  assert.equal((await r.call({ id: 4, publish: { channel: c, data: 'x'.repeat(70_000) } })).error.code, 107);
  assert.ok((await r.call({ id: 5, publish: { channel: c, data: 'x'.repeat(60_000) } })).publish);
  assert.equal((await r.call({ id: 6, history: { channel: c, limit: 1, since: { offset: 0, epoch: 'nope' } } })).error.code, 112);
  const other = channelName();
  assert.equal((await r.call({ id: 7, subscribe: { channel: other, recover: true, offset: 77, epoch: 'nope', flag: 2 } })).error?.code, 112);
  r.close();
  const e = await Raw.open(server.url);
  assert.equal((await e.call({ id: 1, connect: { token: token({ sub: 'ann', exp: 1 }) } })).error.code, 109);
  e.close();
});

test('error: the channel limit is 106, the publish rate 111 and temporary', async () => {
  const r = await open();
  const commands = [];
  for (let i = 0; i < 129; i++) commands.push({ id: 10 + i, subscribe: { channel: `limit${i}` } });
  r.send(...commands);
  assert.ok((await r.take((v) => v.id === 10 + 120)).subscribe);
  assert.equal((await r.take((v) => v.id === 10 + 128)).error.code, 106);
  const flood = [];
  for (let i = 0; i < 300; i++) flood.push({ id: 1000 + i, publish: { channel: 'limit0', data: i } });
  r.send(...flood);
  const refused = await r.take((v) => v.id >= 1000 && v.error);
  assert.equal(refused.error.code, 111);
  assert.equal(refused.error.temporary, true);
  r.close();
});

for (const [name, send, code] of [
  ['a bad connection token', { id: 1, connect: { token: 'bad' } }, 3500],
  ['a command before connect', { id: 1, subscribe: { channel: 'x' } }, 3501],
  ['a command without id', { subscribe: { channel: 'x' } }, 3501],
  ['no JSON', 'hello', 3501],
  ['half a command', '{"id":1', 3501],
]) {
  test(`close: ${name} is ${code}`, async () => {
    const r = await Raw.open(server.url);
    r.send(send);
    assert.equal((await r.closed).code, code);
  });
}

test('close: a second connect is 3501, send is 3508, another channel’s token 3500', async () => {
  for (const [command, code] of [
    [{ id: 2, connect: {} }, 3501],
    [{ send: { data: 1 } }, 3508],
    [{ id: 2, subscribe: { channel: '$x', token: token({ sub: 'ann', channel: '$y' }) } }, 3500],
    [{ id: 2, subscribe: { channel: '$x', token: token({ sub: 'bob', channel: '$x' }) } }, 3500],
  ]) {
    const r = await open();
    r.send(command);
    assert.equal((await r.closed).code, code, JSON.stringify(command));
  }
});

test('replies that are due precede the close', async () => {
  const r = await open();
  r.send({ id: 2, subscribe: { channel: channelName('live:') } }, 'garbage');
  assert.ok((await r.take((v) => v.id === 2)).subscribe);
  assert.equal((await r.closed).code, 3501);
});

test('a WebSocket ping is answered, Protobuf is refused', async () => {
  const r = await open();
  const pong = new Promise((resolve) => r.ws.once('pong', resolve));
  r.ws.ping('x');
  assert.equal((await pong).toString(), 'x');
  r.close();
  await assert.rejects(Raw.open(server.url, ['centrifuge-protobuf']));
  await assert.rejects(Raw.open(`${server.url}?format=protobuf`));
});

test('data with newlines does not break a batch', async () => {
  const r = await open();
  const c = channelName();
  await r.call({ id: 2, subscribe: { channel: c } });
  const { body } = await server.api('publish', { channel: c, data: { a: 1 } });
  assert.equal(body.result.offset, 1);
  const pretty = await fetch(`http://127.0.0.1:${server.port}/api/publish`, {
    method: 'POST', headers: { 'X-API-Key': 'e2e-api-key' },
    body: `{"channel": "${c}",\n "data": {\n  "a": "line\\nbreak",\r\n "b": [1,\n2]\n}}`,
  });
  assert.equal(pretty.status, 200);
  await r.take((v) => v.push?.pub?.offset === 1);
  const push = await r.take((v) => v.push?.pub?.offset === 2);
  assert.deepEqual(push.push.pub.data, { a: 'line\nbreak', b: [1, 2] });
  r.close();
});

test('the server API: wrong key 401, unknown method 404, errors in a 200', async () => {
  assert.equal((await server.api('info', {}, { 'X-API-Key': 'wrong' })).status, 401);
  assert.equal((await server.api('info', {}, {})).status, 401);
  assert.equal((await server.api('nosuch', {})).status, 404);
  const r = await server.api('publish', { channel: 'nosuch:x', data: 1 });
  assert.equal(r.status, 200);
  assert.equal(r.body.error.code, 102);
});

test('idempotent publish over the server API', async () => {
  const c = channelName();
  const one = await server.api('publish', { channel: c, data: { n: 1 }, idempotency_key: 'a' });
  const two = await server.api('publish', { channel: c, data: { n: 1 }, idempotency_key: 'a' });
  assert.deepEqual(one.body.result, two.body.result);
  assert.equal(one.body.result.offset, 1);
  assert.ok((await server.api('publish', { channel: c, data: { n: 2 }, idempotency_key: 'a' })).body.error);
  assert.equal((await server.api('history', { channel: c, limit: 10 })).body.result.publications.length, 1);
});

test('health, readiness and metrics', async () => {
  const get = async (p) => { const r = await fetch(`http://127.0.0.1:${server.port}${p}`); return [r.status, await r.text()]; };
  assert.equal((await get('/health'))[0], 200);
  assert.equal((await get('/ready'))[0], 200);
  const [status, text] = await get('/metrics');
  assert.equal(status, 200);
  for (const name of ['http_requests_total', 'http_request_duration_seconds', 'ws_connections_active', 'ws_messages_total',
    'cpu_usage_percent', 'memory_usage_percent']) assert.match(text, new RegExp(`^${name}`, 'm'), name);
});
