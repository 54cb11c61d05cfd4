// The published JavaScript SDK, unchanged, against a real parleyd: what an application does all day.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { UnauthorizedError } from 'centrifuge';
import { Relay, channelName, client, collect, connected, next, now, subscribed, token } from './parleyd.mjs';
import { serve } from './serve.mjs';

let server;
before(async () => {
  server = await serve.start({
    toml: `
[namespace.small]
history_size = 2
history_ttl = "300s"
force_recovery = true
allow_subscribe_for_client = true
allow_publish_for_subscriber = true
allow_history_for_subscriber = true
`,
  });
});
after(() => server.stop());

const open = [];
function user(name, claims = {}, options = {}) {
  const c = client(options.url ?? server.url, { token: token({ sub: name, ...claims }), ...options });
  open.push(c);
  return c;
}
test.afterEach(() => { for (const c of open.splice(0)) c.disconnect(); });

test('connects with a token and is told who it is', async () => {
  const c = user('ann', { exp: now() + 600 });
  const ctx = await connected(c);
  assert.match(ctx.client, /^[0-9a-f-]{36}$/);
  assert.equal(ctx.transport, 'websocket');
  assert.equal((await c.rpc('whoami', {})).data.user, 'ann');
});

test('a bad token ends the connection for good with 3500', async () => {
  const c = client(server.url, { token: token({ sub: 'ann' }, 'other secret') });
  const gone = next(c, 'disconnected');
  c.connect();
  assert.equal((await gone).code, 3500);
});

test('no token is refused, as anonymous clients are not allowed', async () => {
  const c = client(server.url);
  const gone = next(c, 'disconnected');
  c.connect();
  assert.ok([101, 3500, 3507].includes((await gone).code));
});

test('an expired token is replaced through getToken', async () => {
  let asked = 0;
  const c = user('ann', { exp: now() - 5 }, { getToken: async () => { asked += 1; return token({ sub: 'ann', exp: now() + 600 }); } });
  await connected(c);
  assert.equal(asked, 1);
});

test('a token that is about to expire is refreshed on the open connection', async () => {
  let asked = 0;
  const refreshed = new Promise((resolve) => {
    const c = user('ann', { exp: now() + 2 }, {
      getToken: async () => { asked += 1; resolve(c); return token({ sub: 'ann', exp: now() + 600 }); },
    });
    connected(c);
  });
  const c = await refreshed;
  assert.equal((await c.rpc('whoami', {})).data.user, 'ann');
  assert.equal(c.state, 'connected');
  assert.equal(asked, 1);
});

test('getToken that says unauthorized disconnects', async () => {
  const c = client(server.url, { getToken: async () => { throw new UnauthorizedError('no'); } });
  const gone = next(c, 'disconnected');
  c.connect();
  await gone;
});

test('publishes and receives, the author too, with author, offset and time', async () => {
  const name = channelName();
  const a = user('ann', { info: { name: 'Ann' } });
  const b = user('bob');
  const sa = a.newSubscription(name);
  const sb = b.newSubscription(name);
  const [ga, gb] = [collect(sa), collect(sb)];
  a.connect(); b.connect();
  await Promise.all([subscribed(sa), subscribed(sb)]);
  await sa.publish({ text: 'hello\nworld ✓' });
  for (const g of [ga, gb]) {
    const [p] = await g.wait(1);
    assert.deepEqual(p.data, { text: 'hello\nworld ✓' });
    assert.ok(p.offset > 0);
    assert.equal(p.info.user, 'ann');
    assert.deepEqual(p.info.connInfo, { name: 'Ann' });
    assert.ok(Math.abs(Number(p.tags.time) - Date.now()) < 60_000);
  }
});

test('an author sees the push before the reply to the publish', async () => {
  const a = user('ann');
  const sub = a.newSubscription(channelName());
  const order = [];
  sub.on('publication', () => order.push('push'));
  a.connect();
  await subscribed(sub);
  await sub.publish({ n: 1 }).then(() => order.push('reply'));
  assert.deepEqual(order, ['push', 'reply']);
});

test('a thousand publications arrive in order, without holes', async () => {
  const a = user('ann');
  const sub = a.newSubscription(channelName('live:'));
  const stored = a.newSubscription(channelName());
  const got = collect(stored);
  a.connect();
  await Promise.all([subscribed(sub), subscribed(stored)]);
  for (let i = 0; i < 10; i++) await Promise.all(Array.from({ length: 10 }, (_, k) => stored.publish({ n: i * 10 + k })));
  const all = await got.wait(100);
  assert.deepEqual(all.map((p) => p.offset - all[0].offset), Array.from({ length: 100 }, (_, i) => i));
});

test('subscribe with a token: own, foreign, expired, none', async () => {
  const name = channelName('$vip');
  const c = user('ann');
  c.connect();
  await next(c, 'connected');
  const good = c.newSubscription(name, { token: token({ sub: 'ann', channel: name }) });
  assert.equal((await subscribed(good)).channel, name);

  const none = c.newSubscription(channelName('$vip'));
  const refused = next(none, 'unsubscribed');
  none.subscribe();
  assert.equal((await refused).code, 103);

  const late = channelName('$vip');
  const expired = c.newSubscription(late, {
    token: token({ sub: 'ann', channel: late, exp: now() - 3 }),
    getToken: async () => token({ sub: 'ann', channel: late, exp: now() + 60 }),
  });
  await subscribed(expired);

  const gone = next(c, 'disconnected');
  const foreign = c.newSubscription(channelName('$vip'), { token: token({ sub: 'ann', channel: 'other' }) });
  foreign.subscribe();
  assert.equal((await gone).code, 3500);
});

test('a subscription token is refreshed before it expires', async () => {
  const name = channelName('$vip');
  const c = user('ann');
  let asked = 0;
  const refreshed = new Promise((resolve) => {
    const sub = c.newSubscription(name, {
      token: token({ sub: 'ann', channel: name, exp: now() + 2 }),
      getToken: async () => { asked += 1; resolve(sub); return token({ sub: 'ann', channel: name, exp: now() + 600 }); },
    });
    sub.subscribe();
  });
  c.connect();
  const sub = await refreshed;
  const got = collect(sub);
  await sub.publish({ still: 'here' });
  await got.wait(1);
  assert.equal(sub.state, 'subscribed');
  assert.equal(asked, 1);
});

test('presence, presence stats, join and leave, each once', async () => {
  const name = channelName();
  const a = user('ann');
  const sa = a.newSubscription(name, { joinLeave: true });
  const joins = []; const leaves = [];
  sa.on('join', (ctx) => joins.push(ctx.info.user));
  sa.on('leave', (ctx) => leaves.push(ctx.info.user));
  a.connect();
  await subscribed(sa);
  const b = user('bob', { info: { name: 'Bob' } });
  const sb = b.newSubscription(name);
  const joined = next(sa, 'join', (ctx) => ctx.info.user === 'bob');
  b.connect();
  await subscribed(sb);
  await joined;
  const { clients } = await sa.presence();
  assert.deepEqual(Object.values(clients).map((i) => i.user).sort(), ['ann', 'bob']);
  assert.deepEqual(await sa.presenceStats(), { numClients: 2, numUsers: 2 });
  const left = next(sa, 'leave', (ctx) => ctx.info.user === 'bob');
  b.disconnect();
  await left;
  assert.deepEqual(await sa.presenceStats(), { numClients: 1, numUsers: 1 });
  assert.deepEqual(joins, ['ann', 'bob']);
  assert.deepEqual(leaves, ['bob']);
});

test('history pages both ways to the very first message', async () => {
  const c = user('ann');
  const sub = c.newSubscription(channelName());
  c.connect();
  await subscribed(sub);
  const none = await sub.history({});
  for (let i = 1; i <= 25; i++) await sub.publish({ n: i });
  const top = await sub.history({});
  assert.equal(top.publications.length, 0);
  assert.equal(top.offset, none.offset + 25);

  const forward = [];
  let since = { offset: 0, epoch: top.epoch };
  for (;;) {
    const page = await sub.history({ limit: 10, since });
    if (page.publications.length === 0) break;
    forward.push(...page.publications.map((p) => p.data.n));
    since = { offset: page.publications.at(-1).offset, epoch: page.epoch };
  }
  assert.deepEqual(forward, Array.from({ length: 25 }, (_, i) => i + 1));

  const backward = [];
  let page = await sub.history({ limit: 10, reverse: true });
  while (page.publications.length > 0) {
    backward.push(...page.publications.map((p) => p.data.n));
    page = await sub.history({ limit: 10, reverse: true, since: { offset: page.publications.at(-1).offset, epoch: page.epoch } });
  }
  assert.deepEqual(backward, Array.from({ length: 25 }, (_, i) => 25 - i));

  await assert.rejects(sub.history({ limit: 1, since: { offset: 1, epoch: 'foreign' } }), (e) => e.code === 112);
  assert.equal((await sub.history({ limit: -1 })).publications.length, 25);
});

test('a cut connection is resumed with exactly what was missed', async () => {
  const relay = await Relay.to(server.port);
  try {
    const name = channelName();
    const a = user('ann', {}, { url: relay.url });
    const b = user('bob');
    const sa = a.newSubscription(name);
    const sb = b.newSubscription(name);
    const got = collect(sa);
    a.connect(); b.connect();
    await Promise.all([subscribed(sa), subscribed(sb)]);
    for (let i = 1; i <= 5; i++) await sb.publish({ n: i });
    await got.wait(5);
    const lost = next(sa, 'subscribing');
    relay.cut();
    await lost;
    for (let i = 6; i <= 25; i++) await sb.publish({ n: i });
    const back = next(sa, 'subscribed');
    relay.heal();
    const ctx = await back;
    assert.equal(ctx.wasRecovering, true);
    assert.equal(ctx.recovered, true);
    await sb.publish({ n: 26 });
    await got.wait(26);
    assert.deepEqual(got.got.map((p) => p.data.n), Array.from({ length: 26 }, (_, i) => i + 1));
  } finally {
    relay.close();
  }
});

test('beyond the kept history the client is told so, and gets nothing partial', async () => {
  const relay = await Relay.to(server.port);
  try {
    const name = channelName('small:');
    const a = user('ann', {}, { url: relay.url });
    const b = user('bob');
    const sa = a.newSubscription(name);
    const sb = b.newSubscription(name);
    const got = collect(sa);
    a.connect(); b.connect();
    await Promise.all([subscribed(sa), subscribed(sb)]);
    await sb.publish({ n: 1 });
    await got.wait(1);
    const lost = next(sa, 'subscribing');
    relay.cut();
    await lost;
    for (let i = 2; i <= 9; i++) await sb.publish({ n: i });
    const back = next(sa, 'subscribed');
    relay.heal();
    const ctx = await back;
    assert.equal(ctx.wasRecovering, true);
    assert.equal(ctx.recovered, false);
    await sb.publish({ n: 10 });
    await got.wait(2);
    assert.deepEqual(got.got.map((p) => p.data.n), [1, 10]);
    assert.deepEqual((await sa.history({ limit: -1 })).publications.map((p) => p.data.n), [9, 10]);
  } finally {
    relay.close();
  }
});

test('kill -9 and a restart: every message is there and the clients resume by themselves', async () => {
  const own = await serve.one();
  let again;
  try {
    const name = channelName();
    const a = user('ann', {}, { url: own.url });
    const sub = a.newSubscription(name);
    const got = collect(sub);
    a.connect();
    await subscribed(sub);
    for (let i = 1; i <= 20; i++) await sub.publish({ n: i });
    const lost = next(sub, 'subscribing');
    await own.kill('SIGKILL');
    await lost;
    const back = next(sub, 'subscribed', () => true, 15_000);
    again = await serve.one({ again: own, listen: `127.0.0.1:${own.port}` });
    assert.equal((await back).recovered, true);
    await sub.publish({ n: 21 });
    await got.wait(21);
    assert.deepEqual(got.got.map((p) => p.data.n), Array.from({ length: 21 }, (_, i) => i + 1));
    assert.equal((await sub.history({ limit: -1 })).publications.length, 21);
  } finally {
    await again?.stop();
    await own.stop();
  }
});

test('server-side subscriptions of the token, and the personal channel', async () => {
  const name = channelName();
  const c = user('ann', { channels: [name] });
  const subs = [];
  c.on('subscribed', (ctx) => subs.push(ctx.channel));
  const got = [];
  const three = new Promise((resolve) => c.on('publication', (ctx) => { got.push([ctx.channel, ctx.data]); if (got.length === 2) resolve(); }));
  await connected(c);
  assert.deepEqual(subs.sort(), ['#ann', name].sort());
  await server.api('publish', { channel: name, data: { x: 1 } });
  await server.api('publish', { channel: '#ann', data: { y: 2 } });
  await three;
  assert.deepEqual(got, [[name, { x: 1 }], ['#ann', { y: 2 }]]);
});

test('the server API subscribes, unsubscribes and disconnects', async () => {
  const name = channelName();
  const c = user('carl');
  await connected(c);
  const on = next(c, 'subscribed', (ctx) => ctx.channel === name);
  assert.deepEqual((await server.api('subscribe', { user: 'carl', channel: name })).body, { result: {} });
  await on;
  const off = next(c, 'unsubscribed', (ctx) => ctx.channel === name);
  await server.api('unsubscribe', { user: 'carl', channel: name });
  await off;

  const sub = c.newSubscription(name);
  await subscribed(sub);
  const gone = next(sub, 'unsubscribed');
  await server.api('unsubscribe', { user: 'carl', channel: name });
  assert.equal((await gone).code, 2000);

  const bye = next(c, 'disconnected');
  await server.api('disconnect', { user: 'carl' });
  assert.equal((await bye).code, 3503);
});

test('user-limited channels admit the named users only', async () => {
  const [a, eve] = [user('alice'), user('eve')];
  await Promise.all([connected(a), connected(eve)]);
  await subscribed(a.newSubscription('dm:#alice,bob'));
  const closed = eve.newSubscription('dm:#alice,bob');
  const refused = next(closed, 'unsubscribed');
  closed.subscribe();
  assert.equal((await refused).code, 103);
  const unsorted = a.newSubscription('dm:#bob,alice');
  const bad = next(unsorted, 'unsubscribed');
  unsorted.subscribe();
  assert.equal((await bad).code, 107);
});

test('rpc send is idempotent by key, over connections; another body with the key is refused', async () => {
  const name = channelName();
  const a = user('ann');
  const sub = a.newSubscription(name);
  const got = collect(sub);
  a.connect();
  await subscribed(sub);
  const first = (await a.rpc('send', { channel: name, data: { text: 'once' }, key: 'k1' })).data;
  assert.ok(first.offset > 0);
  assert.ok(!first.duplicate);
  const again = user('ann');
  const subAgain = again.newSubscription(name);
  again.connect();
  await subscribed(subAgain);
  const second = (await again.rpc('send', { channel: name, data: { text: 'once' }, key: 'k1' })).data;
  assert.equal(second.offset, first.offset);
  assert.equal(second.duplicate, true);
  await assert.rejects(again.rpc('send', { channel: name, data: { text: 'other' }, key: 'k1' }), (e) => e.code >= 100);
  await sub.publish({ text: 'end' });
  await got.wait(2);
  assert.deepEqual(got.got.map((p) => p.data.text), ['once', 'end']);
  assert.equal(got.got[0].tags.key, 'k1');
  await assert.rejects(a.rpc('nosuch', {}), (e) => e.code === 108);
});

test('channels, unread counts and read markers follow a user over devices', async () => {
  const name = channelName();
  const [a, b1, b2] = [user('ann'), user('bea'), user('bea')];
  const sa = a.newSubscription(name);
  const sb = b1.newSubscription(name);
  for (const c of [a, b1, b2]) c.connect();
  await Promise.all([subscribed(sa), subscribed(sb), next(b2, 'connected')]);
  const none = (await sa.history({})).offset;   // over Redis a channel does not begin at 0
  for (let i = 1; i <= 3; i++) await sa.publish({ n: i });
  const mine = async (c) => (await c.rpc('channels', {})).data.channels.find((x) => x.channel === name);
  let m = await mine(b1);
  assert.equal(m.offset, none + 3);
  assert.equal(m.unread, 3);
  assert.equal(m.last.data.n, 3);
  const told = next(b2, 'publication', (ctx) => ctx.channel === '#bea' && ctx.data.type === 'read');
  await b1.rpc('read', { channel: name, offset: none + 2 });
  assert.deepEqual((await told).data, { type: 'read', channel: name, offset: none + 2 });
  m = await mine(b2);
  assert.equal(m.read, none + 2);
  assert.equal(m.unread, 1);
});

test('a new direct message is announced to the other', async () => {
  const [a, b] = [user('dora'), user('emil')];
  await Promise.all([connected(a), connected(b)]);
  const told = next(b, 'publication', (ctx) => ctx.channel === '#emil');
  const sub = a.newSubscription('dm:#dora,emil');
  await subscribed(sub);
  await sub.publish({ text: 'psst' });
  assert.equal((await told).data.channel, 'dm:#dora,emil');
  assert.ok((await b.rpc('channels', {})).data.channels.some((c) => c.channel === 'dm:#dora,emil' && c.unread === 1));
});

test('edit and delete one’s own message only', async () => {
  const name = channelName();
  const [a, b] = [user('ann'), user('bob')];
  const sa = a.newSubscription(name);
  const got = collect(sa);
  const sb = b.newSubscription(name);
  a.connect(); b.connect();
  await Promise.all([subscribed(sa), subscribed(sb)]);
  await sa.publish({ text: 'secret' });
  const [{ offset }] = await got.wait(1);
  await assert.rejects(b.rpc('edit', { channel: name, offset, data: { text: 'x' } }), (e) => e.code === 103);
  await a.rpc('edit', { channel: name, offset, data: { text: 'edited' } });
  await assert.rejects(b.rpc('delete', { channel: name, offset }), (e) => e.code === 103);
  await a.rpc('delete', { channel: name, offset });
  await got.wait(3);
  assert.equal(got.got[1].tags.edit, String(offset));
  assert.equal(got.got[2].tags.delete, String(offset));
  const { publications } = await sa.history({ limit: -1 });
  assert.ok(!JSON.stringify(publications).includes('secret'));
  assert.ok(!JSON.stringify(publications).includes('edited'));
});

test('typing is seen and leaves no trace', async () => {
  const name = channelName();
  const [a, b] = [user('ann'), user('bob')];
  const sa = a.newSubscription(name);
  const sb = b.newSubscription(name);
  a.connect(); b.connect();
  await Promise.all([subscribed(sa), subscribed(sb)]);
  const before = (await sa.history({})).offset;
  const seen = next(sa, 'publication', (ctx) => ctx.tags?.type === 'typing');
  await b.rpc('typing', { channel: name });
  const ctx = await seen;
  assert.equal(ctx.info.user, 'bob');
  assert.equal(ctx.offset, undefined);
  assert.equal((await sa.history({})).offset, before);
});

test('a graceful stop sends 3001 and loses nothing', async () => {
  const own = await serve.one();
  try {
    const c = user('ann', {}, { url: own.url });
    await connected(c);
    const away = next(c, 'connecting');
    const code = await own.kill('SIGTERM');
    assert.equal((await away).code, 3001);
    assert.equal(code, 0);
  } finally {
    await own.stop();
  }
});
