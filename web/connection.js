// The published SDK's client, and what its events mean for the state. The only file that talks to the server over the socket.
import { canBeNamed, directUsers, nameOf, readPublication } from './channel.js';
import { explain } from './errors.js';
import { Refused, guestToken } from './session.js';

const subscribedMax = 100;      // the server takes 128 a client; the rest are entered when they are opened
const typingEveryMs = 2500;     // shorter than others show it
const newTokensMax = 3;         // in a row, without a connection between
const firstChannel = 'general';

export class Connection {
  // hooks: subscribed(ch, context), online(), own(key), refused(text)
  constructor(state, hooks) {
    this.state = state;
    this.hooks = hooks;
    this.client = null;
    this.newTokens = 0;
    this.typedAt = 0;
    this.left = new Set();
  }

  // With a token, or with a name for which the server makes tokens.
  start({ token, name, user }) {
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const options = { minReconnectDelay: 200, maxReconnectDelay: 8000, name: 'parley-page' };
    if (token) options.token = token;
    if (name) options.getToken = () => this.#newToken(name);
    this.isGuest = Boolean(name);
    this.state.me = { user: user ?? '', name: name ?? '', client: '' };
    const client = new globalThis.Centrifuge(`${scheme}://${location.host}/connection/websocket`, options);
    this.client = client;
    client.on('connecting', () => {
      for (const ch of this.state.channels.values()) ch.typing.clear();
      this.#setConnection(this.state.hasBeenOnline ? 'offline' : 'connecting');
    });
    client.on('connected', (ctx) => this.#onConnected(ctx));
    client.on('disconnected', (ctx) => this.#onDisconnected(ctx));
    client.on('publication', (ctx) => this.#onPersonal(ctx));
    client.on('error', () => { /* The SDK tries again by itself. */ });
    client.connect();
  }

  async #newToken(name) {
    try {
      return (await guestToken(name)).token;
    } catch (e) {
      if (!(e instanceof Refused)) throw e;
      this.refusal = e.message;
      throw new globalThis.Centrifuge.UnauthorizedError(e.message);
    }
  }

  tryNow() {
    this.isTryingNow = true;
    this.client.disconnect();
    this.isTryingNow = false;
    this.client.connect();
  }

  stop() {
    this.client?.removeAllListeners();
    this.client?.disconnect();
    this.client = null;
    this.state.connection = 'offline';   // nothing is sent any more
  }

  get isOnline() { return this.state.connection === 'online'; }

  #setConnection(word) {
    this.state.connection = word;
    this.state.changed();
  }

  async #onConnected(ctx) {
    const { state } = this;
    this.newTokens = 0;
    state.me.client = ctx.client;
    try {
      if (!state.me.user || !state.me.name) {
        const { data } = await this.client.rpc('whoami', {});
        state.me.user = data.user;
        state.me.name = data.info?.name || data.user;
      }
      state.names.set(state.me.user, state.me.name);
      await this.#refresh();
    } catch (e) {
      if (this.client?.state !== 'connected') return;   // connects again, and comes here again
      this.hooks.problem?.(explain(e));
    }
    state.hasBeenOnline = true;
    this.#setConnection('online');
    this.hooks.online();
  }

  async #refresh() {
    const { data } = await this.client.rpc('channels', {});
    this.#takeChannels(data.channels);
    this.state.changed();
  }

  #takeChannels(rows) {
    const { state } = this;
    const mine = rows.filter((row) => !row.channel.startsWith('#'));
    for (const row of mine) {
      if (row.last?.info) state.learnName(row.last.info);
      state.channel(row.channel).takeRow(row, state.me.user);
    }
    if (state.channels.size === 0) state.channel(firstChannel);
    let count = 0;
    for (const name of state.channels.keys()) if (count++ < subscribedMax || name === state.current) this.enter(name);
  }

  #onDisconnected({ code, reason }) {
    if (this.isTryingNow) return;
    // A server that was started anew in development has a new secret: the old token is worth nothing, a new one is.
    if (code === 3500 && this.isGuest && this.newTokens < newTokensMax) {
      ++this.newTokens;
      this.client.setToken('');
      this.client.connect();
      return;
    }
    this.#setConnection('offline');
    const texts = { 3500: 'The token is not valid here.', 3507: 'You may not connect.', 3503: 'The server has closed this connection.' };
    this.hooks.refused(this.refusal ?? texts[code] ?? `The server has ended the connection: ${reason}.`);
  }

  // What the server tells all windows of this user.
  #onPersonal(ctx) {
    if (ctx.channel !== `#${this.state.me.user}`) return;
    const { type, channel, offset } = ctx.data ?? {};
    if (typeof channel !== 'string') return;
    if (type === 'read') this.state.channels.get(channel)?.setRead(Number(offset) || 0, this.state.me.user);
    if (type === 'channel') this.enter(channel);
    this.state.changed();
  }

  // Subscribes; harmless when it is done already.
  enter(name) {
    const ch = this.state.channel(name);
    const had = this.client.getSubscription(name);
    if (had) {
      if (had.state === 'unsubscribed' && !ch.error) had.subscribe();
      return ch;
    }
    const sub = this.client.newSubscription(name, { joinLeave: true });
    sub.on('subscribed', (ctx) => this.#onSubscribed(ch, sub, ctx));
    sub.on('subscribing', () => { ch.isSubscribed = false; this.state.changed(); });
    sub.on('unsubscribed', (ctx) => this.#onUnsubscribed(ch, sub, ctx));
    sub.on('publication', (ctx) => this.#onPublication(ch, ctx));
    sub.on('join', ({ info }) => this.#onMember(ch, info, true));
    sub.on('leave', ({ info }) => this.#onMember(ch, info, false));
    sub.on('error', () => { /* Temporary: the SDK tries again. */ });
    sub.subscribe();
    return ch;
  }

  #onSubscribed(ch, sub, ctx) {
    ch.isSubscribed = true;
    ch.error = '';
    // One that the list did not have, as a direct message from somebody new: what is in it?
    const isNew = ch.kind !== 'live' && !ctx.wasRecovering && !ch.isLoaded && ctx.streamPosition?.offset > ch.top;
    if (isNew && ch.name !== this.state.current) this.#refresh().catch(() => {});
    this.hooks.subscribed(ch, ctx);
    this.state.changed();
    if (ch.kind === 'live') return;
    sub.presence().then(({ clients }) => {
      ch.members = new Map(Object.values(clients).map((info) => [info.client, { user: info.user, name: nameOf(info) }]));
      for (const info of Object.values(clients)) this.state.learnName(info);
      this.state.changed();
    }, () => { /* Not offered here, or the connection went: asked again with the next subscribe. */ });
  }

  #onUnsubscribed(ch, sub, { code, reason }) {
    this.client?.removeSubscription(sub);
    ch.isSubscribed = false;
    ch.members.clear();
    if (this.left.delete(ch.name) || code === 2000 || code === 0) this.state.remove(ch.name);
    else ch.error = explain({ code, message: reason });
    this.state.changed();
  }

  #onPublication(ch, ctx) {
    const { state } = this;
    const p = readPublication(ctx);
    if (ctx.info) state.learnName(ctx.info);
    if (p.type === 'typing') {
      if (p.user !== state.me.user) ch.noteTyping(p);
    } else {
      if (!p.offset) p.offset = ++ch.liveOffset;
      ch.takeLive(p, state.me.user);
      if (p.key && p.user === state.me.user) this.hooks.own(p.key);
    }
    state.changed();
  }

  #onMember(ch, info, isHere) {
    if (isHere) ch.members.set(info.client, { user: info.user, name: nameOf(info) });
    else ch.members.delete(info.client);
    if (isHere) this.state.learnName(info);
    this.state.changed();
  }

  async call(method, data) { return (await this.client.rpc(method, data)).data; }
  history(name, options) {
    const sub = this.client?.getSubscription(name);
    return sub ? sub.history(options) : Promise.reject(new Error('The channel is not open.'));
  }
  publish(name, data) { return this.client.getSubscription(name).publish(data); }

  typing(name) {
    if (!this.isOnline || Date.now() - this.typedAt < typingEveryMs) return;
    this.typedAt = Date.now();
    this.call('typing', { channel: name }).catch(() => {});
  }

  // Out of the list, on the server too. Resolves when it is done.
  async leave(ch) {
    if (ch.kind !== 'live') {
      this.left.add(ch.name);
      try {
        await this.call('leave', { channel: ch.name });
      } catch (e) {
        this.left.delete(ch.name);
        if (!ch.error) throw e;   // a channel that could not be entered is left by forgetting it
      }
    }
    this.left.delete(ch.name);
    this.client.getSubscription(ch.name)?.unsubscribe();
    this.state.remove(ch.name);
    this.state.changed();
  }

  // Why a direct message to this user cannot be, or ''.
  static whyNotDirect(user) { return canBeNamed(user) ? '' : 'A name here has no spaces, commas or #.'; }
  static isMine(name, user) { return !name.startsWith('dm:#') || directUsers(name).includes(user); }
}
