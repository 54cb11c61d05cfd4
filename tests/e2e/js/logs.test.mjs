// The log of a busy server at level debug: it names who did what, and never what they said or showed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Raw, Server, apiKey, channelName, client, connected, marker, next, now, secret, subscribed, token } from './parleyd.mjs';

let server;
before(async () => { server = await Server.start({ args: ['--log-format', 'json'], toml: '[namespace.secret]\npresence = true\n' }); });
after(() => server.stop());

const said = { text: marker, nested: [marker] };
const parsed = () => server.lines.map((l) => JSON.parse(l));

test('what clients and servers say is in no line', async () => {
  const channel = channelName();
  const c = client(server.url, { token: token({ sub: 'ann', exp: now() + 60, info: said }), data: said });
  await connected(c);
  const sub = c.newSubscription(channel, { data: said });
  await subscribed(sub);
  const got = next(sub, 'publication');
  await sub.publish(said);
  await got;
  await c.rpc('send', { channel, data: said }).catch(() => {});
  await c.rpc(marker, said).catch(() => {});
  await c.rpc('typing', { channel, data: said }).catch(() => {});
  await sub.history({ limit: 10 });
  for (const [method, body] of [['publish', { channel, data: said, idempotency_key: marker }],
    ['broadcast', { channels: [channel, 'b'], data: said }], ['subscribe', { user: 'ann', channel: 'by-server', data: said, info: said }],
    ['refresh', { user: 'ann', expire_at: now() + 60 }], ['nothing', said], ['publish', { channel: 5, data: said }]])
    await server.api(method, body);
  await server.api('publish', { channel, data: said }, { 'X-API-Key': `${apiKey}-wrong` });
  await server.api('log_levels', { levels: [marker] });
  c.disconnect();
});

test('what is not understood is in no line', async () => {
  for (const bad of [`{"id":1,"connect":{"token":"${marker}"}}`, `{"id":1,"connect":{"token":"${token({ sub: marker }, 'other')}"}}`,
    `{"id":1,"publish":{"channel":"x","data":"${marker}"`, `{"id":1,"connect":{}}\n{"send":{"data":"${marker}"}}`, `"${marker}"`, `{"id":1,"${marker}":{}}`, marker]) {
    const r = await Raw.open(server.url);
    r.send(bad);
    await Promise.race([r.closed, r.take().catch(() => {})]);
    r.ws.terminate();
  }
  const r = await Raw.open(server.url);
  await r.call({ id: 1, connect: { token: token({ sub: 'bob', exp: now() + 60 }) } });
  await r.call({ id: 2, subscribe: { channel: '$private', token: token({ sub: 'bob', channel: 'x', exp: now() - 600 }) } });
  r.send({ id: 3, subscribe: { channel: '$private', token: token({ sub: 'eve', channel: '$private', exp: now() + 60 }) } });
  await r.closed;
  const get = await fetch(`http://127.0.0.1:${server.port}/${marker}?token=${token({ sub: 'x' })}`);
  assert.equal(get.status, 404);
});

test('the lines are there, with who and where', async () => {
  server.checkLog();
  const lines = parsed();
  const of = (msg) => lines.filter((l) => l.msg === msg);
  const [opened] = of('client connected').filter((l) => l.user === 'ann');
  assert.match(opened.client, /^[0-9a-f-]{36}$/);
  assert.ok(of('subscribed').some((l) => l.client === opened.client && l.user === 'ann' && l.channel === 'by-server'));
  const [ended] = of('connection ended').filter((l) => l.client === opened.client);
  assert.equal(ended.user, 'ann');
  assert.ok(ended.reason);
  assert.ok(of('a token was refused').every((l) => l.client && l.reason));
  assert.ok(of('a subscription token was refused').some((l) => l.user === 'bob' && l.channel === '$private' && l.reason));
  for (const l of lines) for (const key of ['ts', 'level', 'component', 'node', 'msg']) assert.ok(l[key], JSON.stringify(l));
});

test('the check of every run finds what it looks for', () => {
  const other = new Server();
  for (const line of [`text="${marker}"`, `k=${secret}`, `k=${apiKey}`, `token=${token({ sub: 'x' })}`]) {
    other.lines = ['level=info msg=fine', line];
    assert.throws(() => other.checkLog(), /is in the log/);
  }
});
