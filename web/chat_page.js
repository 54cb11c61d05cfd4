// The chat screen: puts the views together, says what each action does, and draws after every change.
import { ComposerView } from './composer_view.js';
import { Connection } from './connection.js';
import { directName, kindOf, noDivider } from './channel.js';
import { askText, confirm, showKeys, toast } from './dialogs.js';
import { avatar } from './avatar.js';
import { el } from './dom.js';
import { explain } from './errors.js';
import { HeaderView, PeopleView } from './header_view.js';
import { History } from './history.js';
import { LogView } from './log_view.js';
import { Outbox } from './outbox.js';
import { addressOf, channelOfAddress, isTypable, shortcutOf } from './navigation.js';
import { SidebarView } from './sidebar_view.js';
import { State } from './state.js';
import { recall, remember } from './session.js';
import { textOf } from './text.js';

const typingCheckMs = 1000;
const liveKey = 'parley.live';     // channels without history are not in the server's list of mine
const peopleKey = 'parley.people';

export class ChatPage {
  constructor({ refused, signOut }) {
    this.state = new State();
    this.connection = new Connection(this.state, {
      subscribed: (ch, ctx) => this.#onSubscribed(ch, ctx),
      online: () => this.#onOnline(),
      own: (key) => this.outbox.forget(key),
      problem: toast,
      refused,
    });
    this.history = new History(this.state, this.connection);
    this.outbox = new Outbox(this.state, this.connection);
    this.signOut = signOut;
    this.isPeopleShown = recall(peopleKey) === 'shown';

    const actions = this.#actions();
    this.sidebar = new SidebarView(this.state, actions);
    this.header = new HeaderView(this.state, actions);
    this.people = new PeopleView(this.state, actions);
    this.log = new LogView(this.state, actions);
    this.composer = new ComposerView(this.state, actions);
    this.empty = el('div', { class: 'empty' }, el('span', { class: 'spinner', 'aria-hidden': 'true' }), el('p', {}, 'Connecting…'));
    this.chat = el('div', { class: 'chat' }, this.header.node, this.header.banner, this.log.wrap, this.composer.node);
    this.main = el('main', { class: 'main', 'aria-label': 'Conversation' }, this.chat, this.people.node, this.empty);
    this.node = el('div', { class: 'app' }, this.sidebar.node, this.main);
    this.state.onChange(() => this.#scheduleRender());
    this.ended = new AbortController();
  }

  start(credentials) {
    const { signal } = this.ended;
    document.addEventListener('keydown', (e) => this.#onKey(e), { signal });
    document.addEventListener('visibilitychange', () => this.#onWatching(), { signal });
    for (const event of ['focus', 'blur']) addEventListener(event, () => this.#onWatching(), { signal });
    for (const event of ['online', 'offline']) addEventListener(event, () => this.state.changed(), { signal });
    addEventListener('popstate', () => this.#show(channelOfAddress()), { signal });
    this.typingTimer = setInterval(() => this.#dropStaleTyping(), typingCheckMs);
    this.wanted = channelOfAddress();
    this.#onWatching();
    this.connection.start(credentials);
    this.render();
  }

  stop() {
    this.ended.abort();
    clearInterval(this.typingTimer);
    this.connection.stop();
    this.isStopped = true;
  }

  #onOnline() {
    const { state } = this;
    if (!this.isRestored) {
      this.isRestored = true;
      this.outbox.restore();
      for (const name of JSON.parse(recall(liveKey) || '[]')) if (typeof name === 'string') this.connection.enter(name);
      for (const ch of state.channels.values()) if (ch.pending.length) this.connection.enter(ch.name);
      const isPhone = matchMedia('(max-width: 720px)').matches;
      if (this.wanted && Connection.isMine(this.wanted, state.me.user)) this.#show(this.wanted);
      else if (!isPhone) this.#show(this.#firstChannel(), 'replace');
      this.wanted = '';
    } else {
      document.getElementById('status').textContent = 'Connected again.';
    }
    this.history.tellReads();
    this.outbox.runAll();
  }

  #firstChannel() {
    const all = [...this.state.rooms(), ...this.state.directs()];
    return (all.find((ch) => ch.name === 'general') ?? all[0])?.name ?? '';
  }

  #onSubscribed(ch, ctx) {
    this.history.subscribed(ch, ctx);
    // What was recovered is delivered first: it may hold what waits in the outbox.
    setTimeout(() => this.outbox.run(ch));
  }

  // Is somebody looking at this window?
  #onWatching() {
    const { state } = this;
    state.isWatching = document.visibilityState === 'visible' && document.hasFocus();
    const ch = state.open;
    if (state.isWatching) {
      if (ch && ch.unread > 0 && ch.divider === noDivider) ch.divider = ch.read;   // what came while one looked elsewhere
      this.#seen();
    } else if (ch && ch.unread === 0) {
      ch.divider = noDivider;
    }
    state.changed();
  }

  // The end of the open channel is in view: all is read.
  #seen() {
    const ch = this.state.open;
    if (!ch || !this.state.isWatching || !ch.isLoaded || !this.log.isAtEnd || !this.#isChatShown()) return;
    this.history.markRead(ch);
  }

  #isChatShown() { return this.node.dataset.screen === 'chat' || matchMedia('(min-width: 721px)').matches; }

  // Opens a channel. how: 'push' a step that the back button undoes, 'replace', or '' when the address says it already.
  #show(name, how = '') {
    const { state } = this;
    if (state.open) state.open.divider = noDivider;
    state.editing = null;
    if (how) history[how === 'push' ? 'pushState' : 'replaceState'](null, '', addressOf(name));
    if (!name) {
      state.current = matchMedia('(max-width: 720px)').matches ? '' : this.#firstChannel();
    } else {
      state.current = name;
    }
    this.node.dataset.screen = name ? 'chat' : 'list';
    const ch = state.current ? this.connection.enter(state.current) : null;
    if (ch) {
      if (ch.unread > 0) ch.divider = ch.read;
      this.history.loadNewest(ch);
    }
    state.changed();
    this.render();
    if (ch && matchMedia('(hover: hover)').matches) this.composer.focus();
    this.#seen();
  }

  #select(name) {
    if (name === this.state.current && this.#isChatShown()) return this.composer.focus();
    return this.#show(name, 'push');
  }

  #actions() {
    const { state } = this;
    return {
      select: (name) => this.#select(name),
      back: () => this.#show('', 'push'),
      joinRoom: () => this.#joinRoom(),
      startDirect: () => this.#startDirect(),
      direct: (user) => { const go = this.#openDirect(user); if (typeof go === 'string') toast(go); else go(); },
      showKeys,
      signOut: () => this.#askSignOut(),
      togglePeople: () => this.#togglePeople(),
      leave: () => this.#askLeave(),
      tryNow: () => this.connection.tryNow(),
      toEnd: () => this.#toEnd(),
      seen: () => this.#seen(),
      loadOlder: () => this.history.loadOlder(state.open),
      loadMore: () => { const ch = state.open; ch.loadError = ''; (ch.isLoaded ? this.history.loadOlder(ch) : this.history.loadNewest(ch)) ?? state.changed(); },
      fillGap: () => this.history.fillGap(state.open),
      fillForward: () => this.history.fillForward(state.open),
      focusComposer: () => this.composer.focus(),
      typing: () => this.connection.typing(state.current),
      send: (text) => this.#send(text),
      retry: (one) => this.outbox.retry(state.open, one),
      discard: (one) => this.outbox.discard(state.open, one),
      edit: (offset) => this.#edit(state.open.byOffset.get(offset)),
      editLast: () => this.#edit(state.open.lastOwn(state.me.user)),
      cancelEdit: () => { state.editing = null; state.changed(); },
      saveEdit: (text) => this.#saveEdit(text),
      remove: (offset) => this.#askRemove(offset),
      copy: (text) => navigator.clipboard?.writeText(text).then(() => toast('Copied.'), () => toast('The browser did not allow copying.')),
    };
  }

  #send(text) {
    const ch = this.state.open;
    ch.divider = noDivider;
    if (!this.outbox.send(ch, text)) {
      toast('Too many messages wait already. Send again when the connection is back.');
      return false;
    }
    this.#toEnd();
    return true;
  }

  #toEnd() {
    const ch = this.state.open;
    if (ch.gap && !ch.gap.isLoading) {
      ch.reset();
      this.history.loadNewest(ch);
    }
    this.log.isAtEnd = true;
    this.render();
    this.log.scrollToEnd();
    this.#seen();
    this.state.changed();
  }

  #edit(message) {
    if (!message || message.isDeleted || this.state.open.kind === 'live') return false;
    this.state.editing = { channel: this.state.current, offset: message.offset, text: textOf(message.data) };
    this.render();
    return true;
  }

  async #saveEdit(text) {
    const { state } = this;
    const editing = state.editing;
    const isSame = text === editing.text;
    if (isSame || await this.#change('edit', { channel: editing.channel, offset: editing.offset, data: { text } })) {
      if (state.editing === editing) state.editing = null;
      state.changed();
    }
  }

  async #change(method, data) {
    if (!this.connection.isOnline) {
      toast('There is no connection just now. Try again when it is back.');
      return false;
    }
    try {
      await this.connection.call(method, data);
      return true;
    } catch (e) {
      toast(explain(e));
      return false;
    }
  }

  #askSignOut() {
    const text = this.outbox.count() ? 'Messages that were not sent yet stay on this device until you sign in again.' : 'You can come back with the same name.';
    confirm({ title: 'Sign out?', text, action: 'Sign out', run: () => this.signOut() });
  }

  #askRemove(offset) {
    const ch = this.state.open;
    const message = ch.byOffset.get(offset);
    if (!message || message.isDeleted) return;
    confirm({
      title: 'Delete this message?', text: 'It is removed for everybody and cannot be brought back.',
      quote: textOf(message.data).slice(0, 300), action: 'Delete', isDanger: true,
      run: () => this.#change('delete', { channel: ch.name, offset }),
    });
  }

  #askLeave() {
    const ch = this.state.open;
    if (!ch) return;
    const isDirect = ch.kind === 'direct';
    confirm({
      title: isDirect ? `Close the conversation with ${this.state.titleOf(ch)}?` : `Leave # ${this.state.titleOf(ch)}?`,
      text: isDirect ? 'The messages stay. Write to this person again to see them.' : 'You get no more messages from it. You can join again at any time.',
      action: isDirect ? 'Close' : 'Leave',
      run: async () => {
        try {
          await this.connection.leave(ch);
          this.#rememberLive();
          this.#show(matchMedia('(max-width: 720px)').matches ? '' : this.#firstChannel(), 'replace');
        } catch (e) {
          toast(explain(e));
        }
      },
    });
  }

  #joinRoom() {
    askText({
      title: 'Join or create a channel', label: 'Name of the channel', prefix: '#', placeholder: 'design', action: 'Open',
      help: 'Everybody who knows the name can join. Begin with live: for a channel that keeps nothing.',
      take: (text) => {
        const name = text.replace(/^#\s*/, '').replace(/\s+/g, '-');
        if (!name) return 'Please enter a name.';
        if (!isTypable(name)) return 'A name has no # or $ and at most 80 characters; before a colon only live is possible.';
        return () => {
          this.#show(name, 'push');
          if (kindOf(name) === 'live') this.#rememberLive();
        };
      },
    });
  }

  #rememberLive() {
    remember(liveKey, JSON.stringify([...this.state.channels.values()].filter((ch) => ch.kind === 'live').map((ch) => ch.name).slice(0, 20)));
  }

  #startDirect() {
    const { state } = this;
    const known = [...state.names].filter(([user]) => user && user !== state.me.user).slice(0, 50).sort((a, b) => a[1].localeCompare(b[1]));
    askText({
      title: 'New direct message', label: 'To whom?', placeholder: 'bob', action: 'Open', help: 'The name exactly as they signed in.',
      choices: known.map(([user, name]) => ({ text: user, node: [avatar(user, name, state.isOnline(user) ? 'here' : 'away'), el('span', {}, name)] })),
      take: (text) => this.#openDirect(text),
    });
  }

  // What opens it, or why it cannot be.
  #openDirect(user) {
    if (!user) return 'Please enter a name.';
    if (user === this.state.me.user) return 'That is you.';
    const why = Connection.whyNotDirect(user) || Connection.whyNotDirect(this.state.me.user);
    return why || (() => this.#show(directName(this.state.me.user, user), 'push'));
  }

  #togglePeople() {
    this.isPeopleShown = !this.isPeopleShown;
    remember(peopleKey, this.isPeopleShown ? 'shown' : '');
    this.render();
    (this.isPeopleShown ? this.people.node.querySelector('button') : this.header.people).focus();
  }

  #step(by, isUnreadOnly) {
    const all = [...this.state.rooms(), ...this.state.directs()];
    const at = all.findIndex((ch) => ch.name === this.state.current);
    for (let i = 1; i <= all.length; ++i) {
      const ch = all[(at + by * i + all.length * i) % all.length];
      if (!isUnreadOnly || ch.unread > 0) return this.#show(ch.name, 'push');
    }
    return undefined;
  }

  #onKey(event) {
    if (document.querySelector('dialog[open]')) return;
    const what = shortcutOf(event);
    if (!what) return;
    event.preventDefault();
    if (what === 'keys') showKeys();
    else if (what === 'direct') this.#startDirect();
    else if (what === 'escape') this.#escape();
    else this.#step(what.by, what.isUnreadOnly);
  }

  #escape() {
    if (this.isPeopleShown && matchMedia('(max-width: 1000px)').matches) this.#togglePeople();
    else this.composer.focus();
  }

  #dropStaleTyping() {
    let isChanged = false;
    for (const ch of this.state.channels.values()) isChanged = ch.dropStaleTyping() || isChanged;
    if (isChanged) this.state.changed();
  }

  // Once for all changes of a turn. A hidden window draws no frames, but its title still counts.
  #scheduleRender() {
    if (this.isScheduled || this.isStopped) return;
    this.isScheduled = true;
    const draw = () => { if (this.isScheduled) this.render(); };
    if (document.hidden) setTimeout(draw, 200); else requestAnimationFrame(draw);
  }

  render() {
    this.isScheduled = false;
    if (this.isStopped) return;
    const { state } = this;
    const open = state.open;
    this.chat.hidden = !open;
    this.empty.hidden = Boolean(open);
    this.empty.lastChild.textContent = state.connection === 'online' ? 'Choose a conversation.' : 'Connecting…';
    this.empty.firstChild.hidden = state.connection === 'online';
    this.log.render();
    this.#seen();
    const total = state.unreadTotal();
    this.sidebar.render();
    this.header.render(total - (open?.unread ?? 0));
    this.people.render(this.isPeopleShown);
    this.header.people.setAttribute('aria-expanded', String(this.isPeopleShown));
    this.composer.render();
    this.node.dataset.connection = state.connection;
    document.title = `${total ? `(${total}) ` : ''}${open ? `${state.titleOf(open)} – ` : ''}Parley`;
  }
}
