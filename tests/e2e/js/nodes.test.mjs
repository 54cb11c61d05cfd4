// Three nodes over one Redis: what a user must not notice when a node or the Redis fails, and what an operator sees.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Nodes, redisMissing, redisProgram } from './nodes.mjs';
import { channelName, client, collect, next, subscribed, token } from './parleyd.mjs';

const skip = redisProgram === undefined ? redisMissing : false;
let nodes;
before(async () => { if (!skip) nodes = await Nodes.start(); });
after(() => nodes?.stop());

const open = [];
function user(name, { url = nodes.url, ...options } = {}) {
  const c = client(url, { token: token({ sub: name }), ...options });
  open.push(c);
  return c;
}
afterEach(() => { for (const c of open.splice(0)) c.disconnect(); });

// Until it holds; throws what it threw last. It asks again and again: what it waits for tells nobody.
async function eventually(check, ms = 20_000) {
  for (const until = Date.now() + ms; ;) {
    try { return await check(); } catch (e) { if (Date.now() > until) throw e; }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function metric(node, name) {
  const text = await (await fetch(`http://127.0.0.1:${node.port}/metrics`)).text();
  return Number(text.match(new RegExp(`^${name} (.*)$`, 'm'))?.[1]);
}

const range = (n) => Array.from({ length: n }, (_, i) => i);

test('a rolling restart: what is said meanwhile is told once, in order, on every node', { skip }, async () => {
  const name = channelName();
  const readers = range(6).map((i) => user(`reader${i}`).newSubscription(name));
  const got = readers.map(collect);
  for (const c of open) c.connect();
  await Promise.all(readers.map(subscribed));
  const writer = user('writer');
  const ready = subscribed(writer.newSubscription(name));
  writer.connect();
  await ready;
  let stop = false;
  const sent = [];
  const writing = (async () => {
    for (let n = 0; !stop; n++) {
      // As an application does: the same key until there is an answer.
      for (;;) {
        try {
          await writer.ready(10_000);
          await writer.rpc('send', { channel: name, data: { n }, key: `k${n}` });
          break;
        } catch (e) {
          if (e.code >= 100 && e.temporary === false) throw e;
          await new Promise((resolve) => setTimeout(resolve, 20));   // an application's back-off
        }
      }
      sent.push(n);
    }
  })();
  const more = async () => {
    const before = sent.length;
    await eventually(() => assert.ok(sent.length >= before + 10, `${sent.length - before} messages more`));
  };
  for (const [i, signal] of [[0, 'SIGTERM'], [1, 'SIGKILL'], [2, 'SIGTERM']]) {
    await more();
    await nodes.restart(i, signal);
  }
  await more();
  stop = true;
  await writing;
  assert.ok(sent.length > 20, `${sent.length} messages`);
  for (const g of got) {
    await g.wait(sent.length, 20_000);
    assert.deepEqual(g.got.map((p) => p.data.n), sent);
  }
});

test('kill -9 of a node: its clients are gone everywhere, each leave is told once', { skip }, async () => {
  const name = channelName();
  const watcher = user('watcher', { url: nodes.nodes[0].url }).newSubscription(name, { joinLeave: true });
  const left = [];
  watcher.on('leave', (ctx) => left.push(ctx.info.user));
  open[0].connect();
  await subscribed(watcher);
  // They do not come back: as if the machine had gone with them.
  const gone = range(20).map((i) => user(`gone${i}`, { url: nodes.nodes[1].url, minReconnectDelay: 120_000, maxReconnectDelay: 120_000 }));
  await Promise.all(gone.map((c) => { const s = c.newSubscription(name); c.connect(); return next(s.subscribe() ?? s, 'subscribed'); }));
  await eventually(async () => assert.equal((await watcher.presenceStats()).numClients, 21));
  await nodes.nodes[1].kill('SIGKILL');
  await eventually(async () => assert.deepEqual(await watcher.presenceStats(), { numClients: 1, numUsers: 1 }), 30_000);
  await eventually(async () => assert.equal(left.length, 20));
  assert.deepEqual(Object.values((await watcher.presence()).clients).map((c) => c.user), ['watcher']);
  assert.equal(new Set(left).size, 20);
  await nodes.restart(1);
});

test('Redis away: connections stay, publishes fail at once and say so, and all heals by itself', { skip }, async () => {
  const name = channelName();
  const a = user('ann');
  const sub = a.newSubscription(name);
  const got = collect(sub);
  a.connect();
  await subscribed(sub);
  await sub.publish({ n: 1 });
  await got.wait(1);
  let drops = 0;
  a.on('connecting', () => { drops += 1; });

  await nodes.redis.kill();
  const status = async () => {
    const r = await fetch(`http://127.0.0.1:${nodes.nodes[0].port}/ready`);
    return { status: r.status, body: await r.json() };
  };
  const away = await eventually(async () => {
    const s = await status();
    assert.equal(s.status, 503);
    return s;
  });
  assert.equal(away.body.broker.ready, false);
  assert.match(away.body.broker.why, /^redis at 127\.0\.0\.1:/);
  for (const n of nodes.nodes)
    await eventually(async () => assert.equal(await metric(n, 'parley_broker_ready'), 0));
  await assert.rejects(sub.publish({ n: 'lost' }), (e) => e.code === 100 && e.temporary === true);

  assert.equal(drops, 0, 'the connection stays');

  // A new epoch: the subscription is told 2500 and comes again; the personal channel's by a reconnect (3010).
  const back = next(sub, 'subscribed', () => true, 20_000);
  await nodes.redis.again();
  const ctx = await back;
  assert.equal(ctx.recovered, false);
  // With a key: the reconnect may cut off the answer to a message that is kept, and it is sent again.
  await eventually(() => a.rpc('send', { channel: name, data: { n: 2 }, key: 'two' }));
  await got.wait(2);
  assert.deepEqual(got.got.map((p) => p.data.n), [1, 2]);
  const kept = await eventually(() => sub.history({ limit: -1 }));
  assert.deepEqual(kept.publications.map((p) => p.data.n), [1, 2]);
  for (const n of nodes.nodes) await n.ready();
  assert.equal(await metric(nodes.nodes[0], 'parley_broker_ready'), 1);
  assert.ok(await metric(nodes.nodes[0], 'parley_broker_connections_lost_total') >= 1);
});

test('the server API knows all nodes and all their channels, and reaches users on any of them', { skip }, async () => {
  const name = channelName();
  const there = user('there', { url: nodes.nodes[1].url });
  const sub = there.newSubscription(name);
  there.connect();
  await subscribed(sub);
  const second = user('second', { url: nodes.nodes[2].url }).newSubscription(name);
  open.at(-1).connect();
  await subscribed(second);
  const here = nodes.nodes[0];
  await eventually(async () => {
    const { body } = await here.api('info', {});
    assert.equal(body.result.nodes.length, 3);
    assert.equal(body.result.nodes.reduce((sum, n) => sum + n.num_clients, 0), 2);
    assert.equal(new Set(body.result.nodes.map((n) => n.uid)).size, 3);
  });
  const { body } = await here.api('channels', { pattern: name });
  assert.deepEqual(body.result, { channels: { [name]: { num_clients: 2 } } });
  assert.deepEqual((await there.rpc('online', { users: ['there', 'second', 'nobody'] })).data.users,
    { there: { online: true }, second: { online: true }, nobody: { online: false } });
  const off = next(sub, 'unsubscribed');
  await here.api('unsubscribe', { user: 'there', channel: name });
  assert.equal((await off).code, 2000);
  const gone = next(there, 'disconnected');
  await here.api('disconnect', { user: 'there' });
  assert.equal((await gone).code, 3503);
  const asker = user('asker');
  asker.connect();
  await eventually(async () => {
    const seen = (await asker.rpc('online', { users: ['there'] })).data.users.there;
    assert.equal(seen.online, false);
    assert.ok(Math.abs(seen.last_seen - Date.now()) < 60_000);
  });
});
