// One channel as the page knows it: its messages in order, its own pending ones, who is there, what is read. No DOM, no network.
//
//   held:  first ................. gap.after [missing] gap.before .......... held
//
// Every publication from `first` to `held` is here, but for those between gap.after and gap.before (both exclusive). A gap is
// what a broken connection left out, or what was forgotten at the end while one scrolled far up.
import { textOf } from './text.js';

const messagesMax = 1500;   // in memory; older ones are loaded again by scrolling up
const messagesKept = 600;   // after a trim at the end
const messagesCut = 300;    // what a trim takes away while one has scrolled up
export const noDivider = -1;
const typingMs = 5000;      // somebody who says nothing more for this long has stopped

export const nameOf = (info) => (info.connInfo ?? info.conn_info)?.name || info.user || 'Guest';

// A publication in the page's words. Only the server sets tags, so that an edit or a delete is the author's.
export function readPublication(ctx) {
  const tags = ctx.tags ?? {};
  return {
    offset: ctx.offset ?? 0,
    data: ctx.data,
    user: ctx.info?.user ?? '',
    client: ctx.info?.client ?? '',
    name: ctx.info ? nameOf(ctx.info) : 'Server',
    time: Number(tags.time) || Date.now(),
    key: tags.key ?? (ctx.offset ? '' : String(ctx.data?.key ?? '')),   // without history there are no tags
    type: tags.type ?? '',
    edits: Number(tags.edit) || 0,
    deletes: Number(tags.delete) || 0,
  };
}

export function kindOf(name) {
  if (name.startsWith('dm:#')) return 'direct';
  return name.startsWith('live:') ? 'live' : 'room';
}

// The server compares names by bytes, which is the order of code points.
function compareNames(a, b) {
  const [x, y] = [[...a], [...b]].map((list) => list.map((c) => c.codePointAt(0)));
  for (let i = 0; i < Math.min(x.length, y.length); ++i) if (x[i] !== y[i]) return x[i] - y[i];
  return x.length - y.length;
}

export const directName = (a, b) => `dm:#${[a, b].sort(compareNames).join(',')}`;
export const directUsers = (name) => name.slice('dm:#'.length).split(',');
export const canBeNamed = (user) => user !== '' && !/[\s,#]/.test(user);

export class Channel {
  constructor(name) {
    this.name = name;
    this.kind = kindOf(name);
    this.messages = [];          // by offset, ascending
    this.byOffset = new Map();
    this.changes = new Map();    // offset of a message -> what its author did to it last: {at, user, data, isDelete}
    this.pending = [];           // own messages that are not yet known to be sent; the outbox changes their state
    this.isLoaded = false;
    this.isLoading = false;
    this.isAtStart = false;
    this.first = 0;
    this.held = 0;
    this.gap = null;             // {after, before, start, loaded, isLoading, error}
    this.life = 0;               // an answer that was asked for in an earlier life is not used
    this.loadError = '';         // why the last page did not come
    this.notes = [];             // {after, text}: what happened there
    this.top = 0;                // newest offset that is known to exist
    this.counted = 0;            // newest offset that `unread` knows about
    this.epoch = '';
    this.read = 0;
    this.unread = 0;
    this.divider = noDivider;    // the first message behind this offset is the first new one
    this.last = null;            // newest publication, for the list
    this.members = new Map();    // client -> {user, name}
    this.typing = new Map();     // user -> {name, until}
    this.draft = '';
    this.error = '';             // why the channel cannot be read
    this.isSubscribed = false;
    this.liveOffset = 0;         // channels without history number their publications here
  }

  // Puts one publication in its place. True when something changed that is shown.
  take(p) {
    if (p.edits || p.deletes) return this.#takeChange(p);
    if (this.byOffset.has(p.offset)) {
      this.#dropPending(p);
      return false;
    }
    const { offset, data, user, name, client, time, key } = p;
    const message = { offset, data, user, name, client, time, key, isEdited: false, isDeleted: data === null };
    const change = this.changes.get(p.offset);
    if (change) this.#apply(message, change);
    let at = this.messages.length;
    while (at > 0 && this.messages[at - 1].offset > p.offset) --at;
    this.messages.splice(at, 0, message);
    this.byOffset.set(p.offset, message);
    this.#dropPending(p);
    return true;
  }

  // Loading backwards meets a change before its message, and an older change after a newer one.
  #takeChange(p) {
    const target = p.edits || p.deletes;
    const before = this.changes.get(target);
    if (before && before.at >= p.offset) return false;
    const change = { at: p.offset, user: p.user, data: p.data, isDelete: p.deletes !== 0 };
    this.changes.set(target, change);
    const message = this.byOffset.get(target);
    if (message) this.#apply(message, change);
    return message !== undefined;
  }

  #apply(message, change) {
    if (change.user !== message.user || message.isDeleted) return;
    if (change.isDelete) {
      message.isDeleted = true;
      message.data = null;
    } else if (change.data !== null) {
      message.data = change.data;
      message.isEdited = true;
    }
  }

  #dropPending(p) {
    if (p.key === '') return;
    const at = this.pending.findIndex((one) => one.key === p.key && one.user === p.user);
    if (at >= 0) this.pending.splice(at, 1);
  }

  // The reply to a send. Usually the publication came before it; when it comes later, it finds its offset taken.
  confirm(pending, { offset, time }) {
    if (this.isLoaded && offset >= this.first && !this.byOffset.has(offset)) {
      this.take({ ...pending, offset, time, edits: 0, deletes: 0 });
    }
    this.pending = this.pending.filter((one) => one !== pending);
    this.top = Math.max(this.top, offset);
  }

  // A live publication: in order, behind everything that came before it on this subscription.
  takeLive(p, me) {
    this.top = Math.max(this.top, p.offset);
    this.last = p;
    this.typing.delete(p.user);
    const isNew = p.offset > this.counted;
    this.counted = Math.max(this.counted, p.offset);
    if (isNew && p.user !== me && !p.edits && !p.deletes && p.offset > this.read) ++this.unread;
    if (!this.isLoaded && !this.isLoading) return;
    this.take(p);
    if (this.isLoaded) this.held = Math.max(this.held, p.offset);
  }

  // The newest page of history, read while live publications may have come already.
  takeNewest(publications, top) {
    for (const p of publications) this.take(p);
    this.isLoaded = true;
    this.held = Math.max(this.held, top, this.messages.at(-1)?.offset ?? 0);
    this.first = publications.length ? Math.min(...publications.map((p) => p.offset)) : top + 1;
    this.top = Math.max(this.top, this.held);
    this.last ??= publications.find((p) => p.offset === this.held) ?? null;
  }

  takeOlder(publications, isLastPage) {
    for (const p of publications) this.take(p);
    if (publications.length) this.first = Math.min(this.first, ...publications.map((p) => p.offset));
    this.isAtStart = isLastPage || this.first <= 1;
  }

  // What lies between `held` and `top` was missed. An older gap that is still open becomes part of this one.
  openGap(top) {
    const after = this.gap?.after ?? this.held;
    this.#forgetBehind(after);
    this.gap = { after, before: top + 1, start: after, loaded: 0, isLoading: false, error: '' };
    this.held = this.top = Math.max(this.top, top);
  }

  // A page read backwards from gap.before. True when it reached what was here before: the gap is closed.
  takeGapPage(publications) {
    const { gap } = this;
    const inside = publications.filter((p) => p.offset > gap.after);
    for (const p of inside) this.take(p);
    gap.loaded += inside.filter((p) => !p.edits && !p.deletes).length;
    gap.before = Math.min(gap.before, ...inside.map((p) => p.offset));
    if (publications.length && inside.length === publications.length && gap.before > gap.after + 1) return false;
    this.gap = null;
    return true;
  }

  // A page read forwards from gap.after.
  takeGapForward(publications) {
    const { gap } = this;
    const inside = publications.filter((p) => p.offset < gap.before);
    for (const p of inside) this.take(p);
    gap.after = Math.max(gap.after, ...inside.map((p) => p.offset));
    if (!publications.length || inside.length < publications.length || gap.after + 1 >= gap.before) this.gap = null;
  }

  #forgetBehind(offset) {
    while (this.messages.length && this.messages.at(-1).offset > offset) this.byOffset.delete(this.messages.pop().offset);
    for (const target of this.changes.keys()) if (target > offset) this.changes.delete(target);
    this.notes = this.notes.filter((note) => note.after <= offset);
  }

  // Forgets the messages but not what waits to be sent.
  reset() {
    ++this.life;
    this.loadError = '';
    this.messages = [];
    this.byOffset.clear();
    this.changes.clear();
    this.notes = [];
    this.gap = null;
    this.isLoaded = this.isLoading = this.isAtStart = false;
    this.first = this.held = 0;
  }

  // Keeps memory bounded: forgets at the far end, the old while one reads the new, the new while one has scrolled up.
  trim(isAtEnd = true) {
    if (this.messages.length <= messagesMax) return;
    if (isAtEnd) {
      const gone = this.messages.splice(0, this.messages.length - messagesKept);
      for (const message of gone) this.byOffset.delete(message.offset);
      this.first = this.messages[0].offset;
      this.isAtStart = this.kind === 'live';
      if (this.gap && this.gap.before <= this.first) this.gap = null;
      for (const [target, change] of this.changes) if (change.at < this.first) this.changes.delete(target);
      this.notes = this.notes.filter((note) => note.after >= this.first);
    } else {
      const after = this.messages[messagesMax - messagesCut - 1].offset;
      this.#forgetBehind(after);
      this.gap = { after, before: this.held + 1, start: after, loaded: 0, isLoading: false, error: '' };
    }
  }

  // What the server says of a channel of mine.
  takeRow(row, me) {
    this.epoch = row.epoch || this.epoch;
    this.top = Math.max(this.top, row.offset);
    this.read = Math.max(this.read, row.read);
    if (row.last) this.last = readPublication(row.last);
    if (row.offset >= this.counted) {
      this.counted = row.offset;
      this.recount(me);
    }
  }

  setRead(offset, me) {
    if (offset <= this.read) return false;
    this.read = offset;
    this.recount(me);
    return true;
  }

  recount(me) {
    const isAnswered = this.last?.user === me && this.last.offset === this.top;   // who writes last has read what was before
    if (this.top <= this.read || isAnswered) {
      this.unread = 0;
    } else if (this.isLoaded && !this.gap && this.first <= this.read + 1) {
      this.unread = this.messages.filter((m) => m.offset > this.read && m.user !== me && !m.isDeleted).length;
    } else {
      this.unread = this.top - this.read;
    }
  }

  noteTyping(p, now = Date.now()) { this.typing.set(p.user, { name: p.name, until: now + typingMs }); }

  dropStaleTyping(now = Date.now()) {
    let isChanged = false;
    for (const [user, one] of this.typing) if (one.until <= now) isChanged = this.typing.delete(user);
    return isChanged;
  }

  lastOwn(me) { return this.messages.findLast((m) => m.user === me && !m.isDeleted && typeof m.data?.text === 'string'); }

  // Different people who are here now: {user, name}, by name.
  people() {
    const seen = new Map();
    for (const one of this.members.values()) if (!seen.has(one.user)) seen.set(one.user, one);
    return [...seen.values()].sort((a, b) => a.name.localeCompare(b.name));
  }

  preview() {
    if (!this.last) return '';
    if (this.last.deletes || this.last.data === null) return 'Message deleted';
    return textOf(this.last.data).replace(/\s+/g, ' ').slice(0, 120);
  }
}
