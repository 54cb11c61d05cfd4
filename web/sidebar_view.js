// The list of channels and direct messages, with what is unread and who is here, and one's own name at the foot.
import { avatar } from './avatar.js';
import { el, icon, iconButton, reconcile } from './dom.js';
import { shortText } from './times.js';

const unreadShown = 99;
const themeNames = { auto: 'as the system', light: 'light', dark: 'dark' };

export class SidebarView {
  constructor(state, actions) {
    this.state = state;
    this.actions = actions;
    this.rooms = el('ul', { class: 'channel-list', 'aria-labelledby': 'rooms-title' });
    this.directs = el('ul', { class: 'channel-list', 'aria-labelledby': 'directs-title' });
    this.known = new Map([[this.rooms, new Map()], [this.directs, new Map()]]);
    this.noDirects = el('p', { class: 'quiet-note' }, 'Nobody yet. Write to somebody with +.');
    this.me = el('div', { class: 'me' });
    this.theme = iconButton('auto', '', () => this.#nextTheme());
    this.node = el('nav', { class: 'sidebar', 'aria-label': 'Conversations' },
      el('header', { class: 'sidebar-head' }, el('img', { src: '/favicon.svg', alt: '', width: '28', height: '28' }), el('span', { class: 'brand' }, 'Parley'),
        iconButton('keys', 'Keyboard shortcuts', () => actions.showKeys())),
      el('div', { class: 'sidebar-scroll' },
        el('div', { class: 'section-head' }, el('h2', { id: 'rooms-title' }, 'Channels'), iconButton('plus', 'Join or create a channel', () => actions.joinRoom())),
        this.rooms,
        el('div', { class: 'section-head' }, el('h2', { id: 'directs-title' }, 'Direct messages'),
          iconButton('plus', 'New direct message', () => actions.startDirect())),
        this.directs, this.noDirects),
      el('footer', { class: 'sidebar-foot' }, this.me, this.theme, iconButton('out', 'Sign out', () => actions.signOut())));
    this.#showTheme(globalThis.parleyTheme.choice);
  }

  #nextTheme() { this.#showTheme(globalThis.parleyTheme.next()); }

  #showTheme(choice) {
    const label = `Colours: ${themeNames[choice]}. Change`;
    this.theme.replaceChildren(icon({ auto: 'auto', light: 'sun', dark: 'moon' }[choice]));
    this.theme.title = label;
    this.theme.setAttribute('aria-label', label);
  }

  render() {
    const { state } = this;
    this.#renderList(this.rooms, state.rooms());
    const directs = state.directs();
    this.#renderList(this.directs, directs);
    this.noDirects.hidden = directs.length > 0;
    const facts = { connecting: 'connecting…', online: 'online', offline: 'offline' };
    const sig = `${state.me.user} ${state.connection}`;
    if (this.meSig === sig) return;
    this.meSig = sig;
    this.me.replaceChildren(avatar(state.me.user, state.me.name, state.connection === 'online' ? 'here' : 'away'),
      el('span', { class: 'me-text' }, el('span', { class: 'me-name' }, state.me.name || '…'), el('span', { class: 'me-fact' }, facts[state.connection])));
  }

  #renderList(list, channels) { reconcile(list, channels.map((ch) => this.#row(ch)), this.known.get(list)); }

  #row(ch) {
    const { state } = this;
    const isCurrent = state.current === ch.name;
    const title = state.titleOf(ch);
    const isDirect = ch.kind === 'direct';
    const partner = isDirect ? state.partner(ch.name) : '';
    const isHere = isDirect && state.connection === 'online' && state.isOnline(partner);
    const { unread } = ch;
    const preview = previewOf(ch, state);
    const time = ch.last ? shortText(ch.last.time) : '';
    const failed = ch.pending.some((one) => one.state === 'failed');
    return {
      id: ch.name,
      sig: [isCurrent, title, isHere, unread, preview, time, failed, Boolean(ch.error)],
      make: () => el('li', {},
        el('button', { type: 'button', class: `channel-row${isCurrent ? ' current' : ''}${unread ? ' unread' : ''}`, 'aria-current': isCurrent ? 'page' : null,
          'data-channel': ch.name, onclick: () => this.actions.select(ch.name) },
        isDirect ? avatar(partner, title, isHere ? 'here' : 'away') : el('span', { class: 'hash', 'aria-hidden': 'true' }, ch.kind === 'live' ? icon('clock') : '#'),
        el('span', { class: 'row-text' },
          el('span', { class: 'row-title' }, title),
          isDirect ? el('span', { class: 'visually-hidden' }, isHere ? ' (online)' : ' (offline)') : null,
          el('span', { class: 'row-preview', 'aria-hidden': 'true' }, preview)),
        el('span', { class: 'row-end' },
          el('span', { class: 'row-time', 'aria-hidden': 'true' }, time),
          failed ? el('span', { class: 'badge alarm', title: 'A message was not sent' }, '!') : null,
          unread ? el('span', { class: 'badge' }, unread > unreadShown ? `${unreadShown}+` : String(unread),
            el('span', { class: 'visually-hidden' }, unread === 1 ? ' new message' : ' new messages')) : null))),
    };
  }
}

function previewOf(ch, state) {
  const typing = [...ch.typing.values()];
  if (typing.length) return ch.kind === 'direct' ? 'typing…' : `${typing[0].name} is typing…`;
  if (ch.error) return ch.error;
  if (ch.draft && state.current !== ch.name) return `Draft: ${ch.draft.replace(/\s+/g, ' ').slice(0, 80)}`;
  const text = ch.preview();
  if (!text) return ch.kind === 'live' ? 'Nothing is kept here' : 'No messages yet';
  if (ch.last.user === state.me.user) return `You: ${text}`;
  return ch.kind === 'direct' ? text : `${ch.last.name}: ${text}`;
}
