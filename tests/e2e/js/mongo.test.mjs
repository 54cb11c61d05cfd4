// What a user and an operator see of a MongoDB that stands still.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Mongo, mongoMissing } from './mongo.mjs';
import { channelName, client, collect, Server, subscribed, token } from './parleyd.mjs';

const skip = mongoMissing ?? (process.env.PARLEY_TEST_MONGODB_URI ? 'the server at PARLEY_TEST_MONGODB_URI is not ours to stop' : false);
let mongo, server;
before(async () => {
  if (skip) return;
  mongo = await Mongo.start();
  server = await Server.start({
    store: mongo.freshUrl(),
    toml: '[namespace.sure]\nhistory_forever = true\nacknowledge_stored = true\nallow_subscribe_for_client = true\nallow_publish_for_subscriber = true\n'
      + '[store]\nstored_timeout = "1s"\n',
  });
});
after(async () => {
  mongo?.signal('SIGCONT');
  await server?.stop();
  await mongo?.stop();
});

async function member(channel) {
  const c = client(server.url, { token: token({ sub: 'ann' }) });
  const sub = c.newSubscription(channel);
  const got = collect(sub);
  c.connect();
  await subscribed(sub);
  return { c, got, send: (text, key) => c.rpc('send', { channel, data: { text }, key }) };
}

test('while MongoDB stands still, chatting goes on and /ready tells the backlog', { skip }, async () => {
  const ann = await member(channelName());
  await ann.send('before', 'k1');
  mongo.signal('SIGSTOP');
  for (const n of [1, 2, 3]) await ann.send(`meanwhile ${n}`, `m${n}`);
  await ann.got.wait(4);
  const ready = await (await fetch(`http://127.0.0.1:${server.port}/ready`)).json();
  assert.equal(ready.ready, true);
  assert.ok(ready.store.backlog >= 3, JSON.stringify(ready));
  mongo.signal('SIGCONT');
  ann.c.disconnect();
});

test('where the namespace says so, an author is answered when MongoDB has it, and not before', { skip }, async () => {
  const ann = await member(channelName('sure:'));
  await ann.send('before', 'k1');
  mongo.signal('SIGSTOP');
  const late = ann.send('late', 'k2');
  await ann.got.wait(2);   // delivered
  await assert.rejects(late, (e) => e.code === 100 && e.temporary === true);
  const again = ann.send('late', 'k2');
  mongo.signal('SIGCONT');
  const { data } = await again;
  assert.equal(data.offset, 2);
  assert.equal(data.duplicate, true);
  assert.equal(ann.got.got.length, 2);
  ann.c.disconnect();
});
