// Own messages on their way: sent one after the other in each channel, again with the same key until the server answers, kept over a reload.
import { explain, isLost, isTemporary } from './errors.js';
import { recall, remember } from './session.js';

const storageKey = 'parley.outbox';
const waitingMax = 100;               // messages
const storedBytesMax = 256 * 1024;    // characters, of about 5 million that a browser gives
const keepMs = 20 * 3600 * 1000;      // the server knows keys for 24 h: after that a retry could double a message
const retryMinMs = 500;
const retryMaxMs = 8000;

// randomUUID is there only under https and on this machine; the page must work in a local network too.
const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');

export class Outbox {
  constructor(state, connection) {
    this.state = state;
    this.connection = connection;
    this.keys = new Set();   // that are stored, as far as this window knows
    this.running = new Set();
  }

  count() {
    let n = 0;
    for (const ch of this.state.channels.values()) n += ch.pending.length;
    return n;
  }

  // False when too many wait already.
  send(ch, text) {
    if (this.count() >= waitingMax) return false;
    const { user, name } = this.state.me;
    const one = { key: newKey(), user, name, data: { text }, time: Date.now(), state: 'waiting', error: '' };
    if (ch.kind === 'live') one.data.key = one.key;
    ch.pending.push(one);
    if (ch.kind !== 'live') this.#store(ch.name, one);
    this.state.changed();
    this.run(ch);
    return true;
  }

  retry(ch, one) {
    if (one.isOld) {
      this.forget(one.key);
      Object.assign(one, { key: newKey(), time: Date.now(), isOld: false });
      this.#store(ch.name, one);
    }
    one.state = 'waiting';
    one.error = '';
    this.state.changed();
    this.run(ch);
  }

  discard(ch, one) {
    ch.pending = ch.pending.filter((x) => x !== one);
    this.forget(one.key);
    this.state.changed();
  }

  // Sends what waits in this channel, oldest first.
  async run(ch) {
    if (this.running.has(ch.name)) return;
    this.running.add(ch.name);
    let wait = retryMinMs;
    try {
      for (;;) {
        const one = ch.pending.find((x) => x.state === 'waiting');
        if (!one || !ch.isSubscribed || !this.connection.isOnline) return;
        one.state = 'sending';
        this.state.changed();
        try {
          await this.#deliver(ch, one);
          wait = retryMinMs;
        } catch (e) {
          if (!ch.pending.includes(one)) continue;   // its publication came meanwhile
          if (ch.kind !== 'live' && (isLost(e) || isTemporary(e))) {
            one.state = 'waiting';
            this.state.changed();
            await new Promise((done) => { setTimeout(done, wait); });
            wait = Math.min(wait * 2, retryMaxMs);
          } else {
            one.state = 'failed';
            one.error = isLost(e) ? 'The connection was lost.' : explain(e);
          }
        }
        this.state.changed();
      }
    } finally {
      this.running.delete(ch.name);
    }
  }

  async #deliver(ch, one) {
    if (ch.kind === 'live') {
      await this.connection.publish(ch.name, one.data);
      ch.pending = ch.pending.filter((x) => x !== one);
      return;
    }
    const sent = await this.connection.call('send', { channel: ch.name, data: one.data, key: one.key });
    ch.confirm(one, sent);
    this.forget(one.key);
  }

  runAll() { for (const ch of this.state.channels.values()) if (ch.pending.length) this.run(ch); }

  // The server has it, or nobody wants it any more.
  forget(key) {
    if (!this.keys.delete(key)) return;
    this.#write(this.#stored().filter((one) => one.key !== key));
  }

  // What an earlier visit of this user left unsent.
  restore() {
    const { user } = this.state.me;
    for (const one of this.#stored()) {
      if (one.user !== user || this.keys.has(one.key)) continue;
      this.keys.add(one.key);
      const isOld = Date.now() - one.time > keepMs;
      const state = isOld ? 'failed' : 'waiting';
      this.state.channel(one.channel).pending.push({ ...one, isOld, state, error: isOld ? 'It is not known whether this was sent.' : '' });
    }
  }

  // Other windows write too: always from what is there now.
  #stored() {
    try {
      const list = JSON.parse(recall(storageKey) || '[]');
      return Array.isArray(list) ? list.filter((one) => typeof one?.key === 'string' && typeof one.channel === 'string' && typeof one.data?.text === 'string') : [];
    } catch {
      return [];
    }
  }

  #write(list) { remember(storageKey, list.length ? JSON.stringify(list) : ''); }

  #store(channel, { key, user, name, data, time }) {
    const list = [...this.#stored(), { key, channel, user, name, data, time }];
    if (list.length > waitingMax || JSON.stringify(list).length > storedBytesMax) return;   // sent all the same, but lost by a reload
    this.keys.add(key);
    this.#write(list);
  }
}
