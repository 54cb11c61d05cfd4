// Lines reach Loki; a Loki that is killed under load costs lines that are counted, no memory and no delay, and comes back by itself.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeLoki, RealLoki } from './loki.mjs';
import { Raw, Server, now, token } from './parleyd.mjs';

const hasReal = Boolean(process.env.LOKI_BIN);
if (!hasReal) console.error('*** LOKI_BIN is not set: the tests with a real Loki are SKIPPED; a stand-in of its push API is used ***');

async function metric(server, name, labels = '') {
  const text = await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text();
  return text.split('\n').filter((l) => l.startsWith(`${name}{`) || l.startsWith(`${name} `)).filter((l) => l.includes(labels))
    .reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' ') + 1)), 0);
}

async function until(what, fact, ms = 20_000) {
  for (const end = Date.now() + ms; ;) {
    const value = await fact();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const rss = async (server) => metric(server, 'process_resident_memory_bytes');

// A client that comes, subscribes and goes: four lines or more.
async function visit(server, user) {
  const r = await Raw.open(server.url);
  const { connect } = await r.call({ id: 1, connect: { token: token({ sub: user, exp: now() + 60 }) } });
  await r.call({ id: 2, subscribe: { channel: 'room' } });
  r.close();
  await r.closed;
  return connect.client;
}

for (const kind of [FakeLoki, RealLoki]) {
  const skip = kind === RealLoki && !hasReal && 'LOKI_BIN is not set';
  const start = async (t, extra = []) => {
    const loki = await kind.new();
    await loki.start();
    t.after(() => loki.stop());
    const toml = `[log]\nloki_url = "${loki.url}"\nloki_labels = ["job=e2e"]\nloki_batch_age = "50ms"\nloki_queue_size_max = "1MiB"\n`
      + `[node]\nname = "n-1"\n[shutdown]\nduration = "0s"\n`;
    const server = await Server.start({ args: extra, toml });
    t.after(() => server.stop());
    return { loki, server };
  };

  test(`${kind.name}: the life of a connection is found by user and by client`, { skip }, async (t) => {
    const { loki, server } = await start(t);
    const client = await visit(server, 'ann');
    const life = await until('the end of the connection', async () => {
      const lines = await loki.lines({ job: 'e2e', node: 'n-1', level: 'debug' }, `client=${client}`);
      return lines.some((l) => l.includes('msg="connection ended"')) && lines;
    });
    for (const msg of ['msg="client connected"', 'msg=subscribed', 'msg=unsubscribed'])
      assert.ok(life.some((l) => l.includes(msg)), msg);
    assert.deepEqual((await loki.lines({ job: 'e2e' }, 'user=ann')).filter((l) => l.includes('client=')).sort(), life.sort());
    assert.equal(await metric(server, 'parley_log_loki_connected'), 1);
    assert.equal(await server.kill('SIGTERM'), 0);
    assert.equal((await loki.lines({ level: 'info', node: 'n-1' }, 'msg=stopped')).length, 1, 'the last line is there');
  });

  test(`${kind.name}: killed under load`, { skip }, async (t) => {
    const { loki, server } = await start(t);
    for (let i = 0; i < 20; i++) await visit(server, 'warm');
    await until('lines in Loki', () => metric(server, 'parley_log_loki_pushed_lines_total'));
    const before = await rss(server);
    await loki.kill();
    let visits = 0;
    const dropped = () => metric(server, 'parley_log_loki_dropped_lines_total', 'reason="full"');
    // A visit is about 2 KiB of lines, so that a mebibyte is full soon.
    while (!(await dropped()) && visits < 20_000) {
      await Promise.all(Array.from({ length: 20 }, () => visit(server, `user-${'x'.repeat(200)}`)));
      visits += 20;
    }
    assert.ok(await dropped() > 0, `${visits} visits`);
    assert.equal(await metric(server, 'parley_log_loki_connected'), 0);
    assert.ok(await metric(server, 'parley_log_loki_queue_bytes') <= 1 << 20);
    const grown = await rss(server) - before;
    await loki.start();
    await until('Loki takes lines again', async () => await metric(server, 'parley_log_loki_connected') === 1);
    await until('the queue is empty', async () => await metric(server, 'parley_log_loki_queue_bytes') < 4096);
    const client = await visit(server, 'later');
    await until('a new line', async () => (await loki.lines({ job: 'e2e' }, `client=${client}`)).length > 0);
    assert.equal(await metric(server, 'parley_log_loki_dropped_lines_total', 'reason="refused"'), 0);
    t.diagnostic(`${visits} visits while Loki was away, ${await dropped()} lines dropped, memory grew by ${(grown / 1024).toFixed()} KiB`);
    // A sanitizer's shadow and quarantine are no memory of ours.
    if (!process.env.E2E_SANITIZED) assert.ok(grown < 32 << 20, `memory grew by ${grown}`);
  });

  test(`${kind.name}: gone at the end`, { skip }, async (t) => {
    const { loki, server } = await start(t);
    await until('Loki takes lines', async () => await metric(server, 'parley_log_loki_connected') === 1);
    await loki.kill();
    const began = Date.now();
    assert.equal(await server.kill('SIGTERM'), 0);
    assert.ok(Date.now() - began < 8000, `${Date.now() - began} ms`);
    assert.ok(server.lines.some((l) => l.includes('did not reach Loki')), 'standard error has it');
  });
}
