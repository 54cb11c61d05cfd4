// One channel without a page: order, own messages whichever way they come back, gaps, bounds, what is unread.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Channel, canBeNamed, directName, kindOf, noDivider, readPublication } from '../../web/channel.js';

const me = 'ann';
const pub = (offset, more = {}) => ({ offset, data: { text: `m${offset}` }, user: 'bob', name: 'bob', client: 'c', time: 1000 + offset, key: '', type: '', edits: 0, deletes: 0, ...more });
const pending = (key, text = 'hi') => ({ key, user: me, name: me, data: { text }, time: 1, state: 'sending', error: '' });
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => pub(from + i));
const offsets = (ch) => ch.messages.map((m) => m.offset);

function loaded(from, to) {
  const ch = new Channel('general');
  ch.takeNewest(range(from, to).reverse(), to);
  return ch;
}

test('pages come newest first, are kept in order and never doubled', () => {
  const ch = loaded(11, 20);
  ch.takeOlder(range(1, 12).reverse(), false);
  assert.deepEqual(offsets(ch), Array.from({ length: 20 }, (_, i) => i + 1));
  assert.equal(ch.isAtStart, true);
});

test('the push comes before the reply', () => {
  const ch = loaded(1, 3);
  const one = pending('k1');
  ch.pending.push(one);
  ch.takeLive(pub(4, { user: me, key: 'k1' }), me);
  assert.deepEqual(ch.pending, []);
  ch.confirm(one, { offset: 4, time: 5 });
  assert.deepEqual(offsets(ch), [1, 2, 3, 4]);
});

test('the reply comes before the push', () => {
  const ch = loaded(1, 3);
  const one = pending('k1');
  ch.pending.push(one);
  ch.confirm(one, { offset: 4, time: 5 });
  assert.deepEqual(ch.pending, []);
  ch.takeLive(pub(4, { user: me, key: 'k1' }), me);
  assert.deepEqual(offsets(ch), [1, 2, 3, 4]);
  assert.equal(ch.unread, 0);
});

test('a retry that turns out to be an old message is not put between others', () => {
  const ch = loaded(100, 110);
  const one = pending('k1');
  ch.pending.push(one);
  ch.confirm(one, { offset: 7, time: 5, duplicate: true });
  assert.deepEqual(ch.pending, []);
  assert.equal(ch.messages[0].offset, 100);
});

test('another user with the same key does not take my message away', () => {
  const ch = loaded(1, 1);
  ch.pending.push(pending('k1'));
  ch.takeLive(pub(2, { key: 'k1' }), me);
  assert.equal(ch.pending.length, 1);
});

test('an edit reaches its message in whatever order they come; only the author edits', () => {
  const edit = pub(5, { edits: 2, data: { text: 'new' } });
  for (const order of [[pub(2), edit], [edit, pub(2)]]) {
    const ch = new Channel('general');
    for (const p of order) ch.take(p);
    assert.equal(ch.byOffset.get(2).data.text, 'new');
    assert.equal(ch.byOffset.get(2).isEdited, true);
  }
  const ch = new Channel('general');
  ch.take(pub(2));
  ch.take(pub(5, { user: 'eve', edits: 2, data: { text: 'evil' } }));
  assert.equal(ch.byOffset.get(2).data.text, 'm2');
  ch.take(pub(6, { deletes: 2, data: null }));
  ch.take(pub(7, { edits: 2, data: { text: 'back?' } }));
  assert.equal(ch.byOffset.get(2).isDeleted, true);
});

test('a gap is closed by pages read backwards', () => {
  const ch = loaded(1, 10);
  ch.openGap(30);
  ch.takeLive(pub(31), me);
  assert.equal(ch.takeGapPage(range(21, 30).reverse()), false);
  assert.equal(ch.takeGapPage(range(8, 20).reverse()), true);
  assert.equal(ch.gap, null);
  assert.deepEqual(offsets(ch), Array.from({ length: 31 }, (_, i) => i + 1));
});

test('a gap is closed by pages read forwards, and by an empty page', () => {
  const ch = loaded(1, 10);
  ch.openGap(15);
  ch.takeGapForward(range(11, 13));
  assert.equal(ch.gap.after, 13);
  ch.takeGapForward(range(14, 16));
  assert.equal(ch.gap, null);
  ch.openGap(40);
  assert.equal(ch.takeGapPage([]), true);
});

test('a second break makes one gap of both', () => {
  const ch = loaded(1, 10);
  ch.openGap(20);
  ch.takeGapPage(range(18, 20).reverse());
  ch.openGap(30);
  assert.deepEqual([ch.gap.after, ch.gap.before], [10, 31]);
  assert.deepEqual(offsets(ch).at(-1), 10);
});

test('memory is bounded at the end and while one has scrolled up', () => {
  const atEnd = loaded(1, 1500);
  atEnd.trim();
  assert.equal(atEnd.messages.length, 1500);
  atEnd.takeLive(pub(1501), me);
  atEnd.trim();
  assert.equal(atEnd.messages.length, 600);
  assert.deepEqual([atEnd.first, atEnd.byOffset.size], [902, 600]);
  const above = loaded(1, 1501);
  above.trim(false);
  assert.equal(above.messages.length, 1200);
  assert.deepEqual([above.gap.after, above.gap.before], [1200, 1502]);
  above.takeGapForward(range(1201, 1501));
  assert.equal(above.gap, null);
  assert.equal(above.messages.length, 1501);
});

test('unread: others count, own do not, the list and the live messages do not count twice', () => {
  const ch = loaded(1, 3);
  ch.takeRow({ channel: 'general', offset: 3, read: 3, epoch: 'e' }, me);
  ch.takeLive(pub(4), me);
  ch.takeLive(pub(5, { user: me }), me);
  ch.takeLive(pub(6, { edits: 4 }), me);
  assert.equal(ch.unread, 1);
  ch.takeRow({ channel: 'general', offset: 8, read: 3, epoch: 'e' }, me);
  ch.takeLive(pub(7), me);
  assert.equal(ch.counted, 8);
  assert.equal(ch.setRead(8, me), true);
  assert.equal(ch.setRead(7, me), false);
  assert.equal(ch.unread, 0);
  assert.equal(ch.divider, noDivider);
});

test('names of direct messages are sorted as the server sorts them', () => {
  assert.equal(directName('bob', 'ann'), 'dm:#ann,bob');
  assert.equal(directName('ann', 'Zoe'), 'dm:#Zoe,ann');
  assert.equal(directName('\u{1F600}', '\uFB01'), 'dm:#\uFB01,\u{1F600}');
  assert.equal(canBeNamed('a b'), false);
  assert.deepEqual(['general', 'dm:#a,b', 'live:x'].map(kindOf), ['room', 'direct', 'live']);
});

test('publications of servers and of channels without history are understood', () => {
  const p = readPublication({ data: { text: 'x' }, offset: 3, tags: { time: '77' } });
  assert.deepEqual([p.name, p.user, p.time, p.key], ['Server', '', 77, '']);
  assert.equal(readPublication({ data: { text: 'x', key: 'k' } }).key, 'k');
});
