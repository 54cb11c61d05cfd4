// Texts, days, addresses and the outbox, without a page.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain, isLost, isTemporary } from '../../web/errors.js';
import { isTypable, shortcutOf } from '../../web/navigation.js';
import { Outbox } from '../../web/outbox.js';
import { State } from '../../web/state.js';
import { initials, textOf, textPieces, tintOf } from '../../web/text.js';
import { dayText, shortText } from '../../web/times.js';

const kinds = (text) => textPieces(text).map((piece) => [piece.kind, piece.text]);

test('links: only http and https, without the sentence around them', () => {
  assert.deepEqual(kinds('see (https://a.example/x_(y)).'), [['text', 'see ('], ['link', 'https://a.example/x_(y)'], ['text', ').']]);
  assert.deepEqual(kinds('javascript:alert(1) data:text/html,x ftp://a.example'), [['text', 'javascript:alert(1) data:text/html,x ftp://a.example']]);
  assert.deepEqual(kinds('https://a.example/<script>'), [['link', 'https://a.example/'], ['text', '<script>']]);
});

test('code: in the line and as a block, no links inside', () => {
  assert.deepEqual(kinds('a `b https://x.example` c'), [['text', 'a '], ['code', 'b https://x.example'], ['text', ' c']]);
  assert.deepEqual(kinds('x\n```js\nlet a;\n```\ny'), [['text', 'x\n'], ['block', 'let a;'], ['text', 'y']]);
});

test('any JSON has a text', () => {
  assert.deepEqual([textOf(null), textOf('a'), textOf({ text: 'b' }), textOf({ n: 1 })], ['', 'a', 'b', '{\n  "n": 1\n}']);
});

test('initials and colours', () => {
  assert.deepEqual(['ann', 'Ann Lee', 'x', ''].map(initials), ['AN', 'AL', 'X', '?']);
  for (const name of ['ann', 'Priya', 'Jonas', '']) assert.ok(tintOf(name, 8) >= 0 && tintOf(name, 8) < 8, name);
});

test('days and times', () => {
  const now = new Date(2026, 5, 15, 12).getTime();
  const day = 24 * 3600 * 1000;
  assert.deepEqual([dayText(now, now), dayText(now - day, now)], ['Today', 'Yesterday']);
  assert.match(dayText(now - 400 * day, now), /2025/);
  assert.notEqual(shortText(now, now), shortText(now - day, now));
});

test('names of channels that may be typed', () => {
  assert.deepEqual(['design', 'live:x', 'live:', 'a b', '#a', '$a', 'dm:x', 'x'.repeat(81)].map(isTypable), [true, true, false, false, false, false, false, false]);
});

test('keys', () => {
  const key = (more) => ({ key: '', altKey: false, ctrlKey: false, metaKey: false, shiftKey: false, ...more });
  assert.deepEqual(shortcutOf(key({ key: 'ArrowDown', altKey: true })), { by: 1, isUnreadOnly: false });
  assert.equal(shortcutOf(key({ key: 'k', metaKey: true })), 'direct');
  assert.equal(shortcutOf(key({ key: 'a' })), null);
});

test('errors: lost, temporary, final', () => {
  assert.deepEqual([{ code: 11 }, { code: 1 }, { code: 103 }].map(isLost), [true, true, false]);
  assert.deepEqual([{ code: 111 }, { code: 113, temporary: false }].map(isTemporary), [true, false]);
  assert.match(explain({ code: 113 }), /another text/);
});

// A browser's storage and a connection, as far as the outbox sees them.
function desk({ call, stored = {} }) {
  const store = new Map(Object.entries(stored));
  globalThis.localStorage = { getItem: (k) => store.get(k) ?? null, setItem: (k, v) => store.set(k, v), removeItem: (k) => store.delete(k) };
  const state = new State();
  state.me = { user: 'ann', name: 'Ann', client: '' };
  const ch = state.channel('general');
  ch.isSubscribed = ch.isLoaded = true;
  const connection = { isOnline: true, call };
  const outbox = new Outbox(state, connection);
  const idle = () => new Promise((resolve) => {
    const look = () => (outbox.running.size ? setTimeout(look, 5) : resolve());
    look();
  });
  return { state, ch, connection, outbox, store, idle };
}

test('outbox: one after the other, the same key until there is an answer, then forgotten', async () => {
  const calls = [];
  let failures = 1;
  const d = desk({
    call: async (method, { data, key }) => {
      calls.push([data.text, key]);
      if (data.text === 'a' && failures-- > 0) throw Object.assign(new Error('timeout'), { code: 1 });
      return { offset: calls.length, time: 1 };
    },
  });
  d.outbox.send(d.ch, 'a');
  d.outbox.send(d.ch, 'b');
  assert.equal(JSON.parse(d.store.get('parley.outbox')).length, 2);
  await d.idle();
  assert.deepEqual(calls.map((c) => c[0]), ['a', 'a', 'b']);
  assert.equal(calls[0][1], calls[1][1]);
  assert.equal(d.ch.pending.length, 0);
  assert.equal(d.store.has('parley.outbox'), false);
});

test('outbox: a refusal is shown and does not hold up the next', async () => {
  const d = desk({
    call: async (method, { data }) => {
      if (data.text === 'no') throw Object.assign(new Error('x'), { code: 103 });
      return { offset: 1, time: 1 };
    },
  });
  d.outbox.send(d.ch, 'no');
  d.outbox.send(d.ch, 'yes');
  await d.idle();
  assert.deepEqual(d.ch.pending.map((one) => [one.data.text, one.state]), [['no', 'failed']]);
  d.outbox.discard(d.ch, d.ch.pending[0]);
  assert.equal(d.store.has('parley.outbox'), false);
});

test('outbox: waits without a connection, is restored for its user only, is bounded', () => {
  const d = desk({ call: async () => ({ offset: 1, time: 1 }) });
  d.connection.isOnline = false;
  for (let i = 0; i < 100; ++i) assert.equal(d.outbox.send(d.ch, `m${i}`), true);
  assert.equal(d.outbox.send(d.ch, 'too many'), false);
  const stored = { 'parley.outbox': d.store.get('parley.outbox') };
  const again = desk({ call: async () => ({}), stored });
  again.outbox.restore();
  assert.equal(again.ch.pending.length, 100);
  assert.deepEqual(again.ch.pending.map((one) => one.key), d.ch.pending.map((one) => one.key));
  const other = desk({ call: async () => ({}), stored });
  other.state.me.user = 'bob';
  other.outbox.restore();
  assert.equal(other.ch.pending.length, 0);
});

test('outbox: what is too old is not sent by itself, and gets a new key when tried again', () => {
  const old = { key: 'old', channel: 'general', user: 'ann', name: 'Ann', data: { text: 'x' }, time: Date.now() - 48 * 3600 * 1000 };
  const d = desk({ call: async () => new Promise(() => {}), stored: { 'parley.outbox': JSON.stringify([old, { junk: true }]) } });
  d.outbox.restore();
  const [one] = d.ch.pending;
  assert.equal(one.state, 'failed');
  d.outbox.retry(d.ch, one);
  assert.notEqual(one.key, 'old');
  assert.deepEqual(JSON.parse(d.store.get('parley.outbox')).map((x) => x.key), [one.key]);
});
