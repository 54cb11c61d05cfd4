// Two SDK clients on different nodes behind one load balancer talk to each other, and one who comes later reads it all.
//   node chat.mjs ws://HOST:PORT/connection/websocket SECRET_FILE CHANNEL [EARLIER]     EARLIER: how many messages the channel has already
// Prints one line; exit code 1 says what did not happen.
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../e2e/', import.meta.url));
const { Centrifuge } = require('centrifuge');
const WebSocket = require('ws');

const [url, secretFile, channel, earlier = '0'] = process.argv.slice(2);
const secret = readFileSync(secretFile, 'utf8');
const kMessages = 20;
const kDeadlineMs = 20000;
const clients = [];

function tokenOf(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 600 })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

// The SDK keeps the node's name to itself, so the socket that it is given looks for it in the connect reply.
function socketThatTells(seen) {
  return class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.on('message', (data) => {
        for (const line of String(data).split('\n')) {
          const node = line && JSON.parse(line).connect?.node;
          if (node) seen.node = node;
        }
      });
    }
  };
}

async function enter(user) {
  const client = { user, got: [] };
  clients.push(client);   // at once: whoever does not get in has to be disconnected, too, or this process never ends
  client.sdk = new Centrifuge(url, { websocket: socketThatTells(client), token: tokenOf(user), minReconnectDelay: 50 });
  client.room = client.sdk.newSubscription(channel, { recoverable: true });
  client.room.on('publication', (p) => client.got.push(p.data.text));
  client.room.subscribe();
  client.sdk.connect();
  await client.sdk.ready(kDeadlineMs);
  await client.room.ready(kDeadlineMs);
  return client;
}

async function until(what, question) {
  const end = Date.now() + kDeadlineMs;
  while (!question()) {
    if (Date.now() > end) throw new Error(`not within ${kDeadlineMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

try {
  await enter('ann');
  // Where connections are counted, the next one goes elsewhere; others may be counted, too, so try a few.
  while (clients.length < 10 && clients.at(-1).node === clients[0].node) await enter(`bob${clients.length}`);
  const [ann, bob] = [clients[0], clients.at(-1)];
  if (ann.node === bob.node) throw new Error(`all ${clients.length} clients are on node ${ann.node}`);
  for (let i = 0; i < kMessages; i++) {
    const from = i % 2 ? ann : bob;
    await from.sdk.rpc('send', { channel, data: { text: `${i} from ${from.user}` }, key: randomUUID() });
  }
  const wanted = Array.from({ length: kMessages }, (_, i) => `${i} from ${(i % 2 ? ann : bob).user}`).join();
  for (const c of [ann, bob]) await until(`${c.user} has all messages in order, has: ${c.got}`, () => c.got.join() === wanted);
  const page = await ann.room.history({ limit: 1000 });
  const expected = Number(earlier) + kMessages;
  if (page.publications.length !== expected) throw new Error(`history has ${page.publications.length} messages, not ${expected}`);
  console.log(`${kMessages} messages between ${ann.node} and ${bob.node}, ${expected} in history`);
} catch (e) {
  console.error(String(e.stack ?? e.message ?? JSON.stringify(e)));
  process.exitCode = 1;
} finally {
  for (const c of clients) c.sdk?.disconnect();
}
