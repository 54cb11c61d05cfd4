// Above the log: which channel this is, who is here, and whether there is a connection. Beside it: the list of people.
import { avatar } from './avatar.js';
import { el, icon, iconButton } from './dom.js';

export class HeaderView {
  constructor(state, actions) {
    this.state = state;
    this.title = el('h1', { class: 'title', tabindex: '-1' });
    this.fact = el('p', { class: 'fact' });
    this.peopleCount = el('span', {});
    this.people = el('button', { type: 'button', class: 'people-button', 'aria-expanded': 'false', 'aria-controls': 'people',
      onclick: () => actions.togglePeople() }, icon('people'), this.peopleCount);
    this.backBadge = el('span', { class: 'badge', hidden: true });
    this.back = el('button', { type: 'button', class: 'icon-button back', 'aria-label': 'Back to the list', onclick: () => actions.back() },
      icon('back'), this.backBadge);
    this.leave = iconButton('leave', 'Leave', () => actions.leave());
    this.node = el('header', { class: 'chat-head' }, this.back, el('div', { class: 'chat-title' }, this.title, this.fact), this.people, this.leave);
    this.bannerText = el('span', {});
    this.banner = el('div', { class: 'banner', role: 'status', hidden: true }, el('span', { class: 'spinner', 'aria-hidden': 'true' }), this.bannerText,
      el('button', { type: 'button', class: 'link-button', onclick: () => actions.tryNow() }, 'Try now'));
  }

  render(others) {
    const { state } = this;
    const ch = state.open;
    this.#renderBanner();
    this.backBadge.hidden = others === 0;
    this.backBadge.textContent = others > 99 ? '99+' : String(others);
    if (!ch) return;
    const title = state.titleOf(ch);
    const isOnline = state.connection === 'online';
    const people = ch.people();
    let fact = '';
    if (ch.error) fact = 'not open';
    else if (ch.kind === 'live') fact = 'live: nothing is kept';
    else if (!isOnline) fact = 'offline';
    else if (ch.kind === 'direct') fact = state.isOnline(state.partner(ch.name)) ? 'online' : 'not online now';
    else if (people.length) fact = `${people.length} here now`;
    setText(this.title, ch.kind === 'direct' ? title : `# ${title}`);
    setText(this.fact, fact);
    this.fact.classList.toggle('here', fact === 'online');
    this.people.hidden = ch.kind !== 'room' || ch.error !== '';
    setText(this.peopleCount, isOnline ? String(people.length) : '–');
    const word = `${people.length} people here now`;
    if (this.people.title !== word) {
      this.people.title = word;
      this.people.setAttribute('aria-label', word);
    }
    this.leave.hidden = ch.error !== '';
    this.leave.title = ch.kind === 'direct' ? 'Close this conversation' : 'Leave this channel';
    this.leave.setAttribute('aria-label', this.leave.title);
  }

  #renderBanner() {
    const { state } = this;
    this.banner.hidden = state.connection === 'online' || !state.hasBeenOnline;
    if (!this.banner.hidden) {
      setText(this.bannerText, navigator.onLine === false
        ? 'This device is offline. What you write is sent when it is back.'
        : 'Connection lost. Reconnecting… What you write is sent then.');
    }
  }
}

export class PeopleView {
  constructor(state, actions) {
    this.state = state;
    this.actions = actions;
    this.list = el('ul', { class: 'people-list' });
    this.node = el('aside', { class: 'people', id: 'people', 'aria-label': 'People here now', hidden: true },
      el('header', { class: 'people-head' }, el('h2', {}, 'Here now'), iconButton('close', 'Close the list of people', () => actions.togglePeople())), this.list);
  }

  render(isShown) {
    const { state } = this;
    const ch = state.open;
    this.node.hidden = !isShown || ch?.kind !== 'room';
    if (this.node.hidden) return;
    const people = ch.people();
    const sig = `${ch.name} ${people.map((one) => `${one.user}/${one.name}`).join()}`;
    if (this.sig === sig) return;
    this.sig = sig;
    this.list.replaceChildren(...people.map((one) => el('li', {}, one.user === state.me.user
      ? el('span', { class: 'person' }, avatar(one.user, one.name, 'here'), el('span', {}, one.name), el('span', { class: 'tag' }, 'you'))
      : el('button', { type: 'button', class: 'person', title: `Write to ${one.name}`, onclick: () => this.actions.direct(one.user) },
        avatar(one.user, one.name, 'here'), el('span', {}, one.name)))));
  }
}

function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
