// The log of the open channel: keeps its place while messages come and go above and below, and asks for more at its ends.
import { noDivider } from './channel.js';
import { el, icon, reconcile } from './dom.js';
import { logRows } from './log_rows.js';

const endPx = 48;      // this near to the end counts as being there
const topPx = 600;     // this near to the top asks for older messages

export class LogView {
  constructor(state, actions) {
    this.state = state;
    this.actions = actions;
    this.known = new Map();
    this.name = '';
    this.isAtEnd = true;
    this.node = el('div', { class: 'log', role: 'log', tabindex: '0', 'aria-live': 'polite', 'aria-relevant': 'additions',
      onscroll: () => this.#onScroll(), onkeydown: (e) => this.#onKey(e) });
    this.jumpText = el('span', {});
    this.jump = el('button', { type: 'button', class: 'jump', hidden: true, onclick: () => actions.toEnd() }, icon('down'), this.jumpText);
    this.wrap = el('div', { class: 'log-wrap' }, this.node, this.jump);
    new ResizeObserver(() => { if (this.isAtEnd) this.scrollToEnd(); }).observe(this.node);
  }

  // Shows the channel; another one begins at its first new message, or else at the end.
  render() {
    const ch = this.state.open;
    if (!ch) return;
    const isOther = this.name !== ch.name || this.life !== ch.life;
    if (isOther) {
      this.node.replaceChildren();
      this.known.clear();
      this.name = ch.name;
      this.life = ch.life;
      this.isAtEnd = true;
      this.isPlaced = false;
    }
    this.node.setAttribute('aria-label', `Messages in ${this.state.titleOf(ch)}`);
    // Old messages are not news: only what comes while one is here is read out.
    const isQuiet = !this.isPlaced || ch.isLoading || Boolean(ch.gap?.isLoading);
    this.node.setAttribute('aria-live', isQuiet ? 'off' : 'polite');
    this.node.setAttribute('aria-busy', String(ch.isLoading));

    ch.trim(this.isAtEnd);
    const anchor = this.isAtEnd ? null : this.#anchor();
    reconcile(this.node, logRows(ch, this.state, this.actions), this.known);
    if (ch.isLoaded && !this.isPlaced) {
      this.isPlaced = true;
      this.#place(ch);
    } else if (this.isAtEnd) {
      this.scrollToEnd();
    } else if (anchor) {
      this.node.scrollTop += anchor.node.offsetTop - anchor.top;
    }
    this.#showJump(ch);
    queueMicrotask(() => this.#askForMore());
  }

  #place(ch) {
    const divider = ch.divider !== noDivider ? this.known.get('divider')?.node : null;
    this.scrollToEnd();
    if (divider && divider.offsetTop < this.node.scrollTop) {
      this.node.scrollTop = divider.offsetTop - 24;
      this.isAtEnd = this.#isNearEnd();
    }
  }

  // The first message that is seen, and where.
  #anchor() {
    const { scrollTop } = this.node;
    for (const node of this.node.children) {
      if (node.offsetTop + node.offsetHeight > scrollTop && node.matches('.message')) return { node, top: node.offsetTop };
    }
    return null;
  }

  #isNearEnd() { return this.node.scrollHeight - this.node.scrollTop - this.node.clientHeight < endPx; }

  scrollToEnd() {
    this.node.scrollTop = this.node.scrollHeight;
    this.isAtEnd = true;
  }

  #onScroll() {
    const ch = this.state.open;
    if (!ch || this.name !== ch.name) return;
    const was = this.isAtEnd;
    this.isAtEnd = this.#isNearEnd();
    if (was !== this.isAtEnd) {
      if (this.isAtEnd) this.actions.seen();
      this.#showJump(ch);
    }
    this.#askForMore();
  }

  #askForMore() {
    const ch = this.state.open;
    if (!ch || !this.isPlaced || this.name !== ch.name || ch.loadError) return;
    if (this.node.scrollTop < topPx && !ch.isAtStart) this.actions.loadOlder();
    const gap = this.known.get('gap')?.node;
    if (gap && !ch.gap?.error && gap.offsetTop < this.node.scrollTop + this.node.clientHeight && gap.offsetTop > this.node.scrollTop) this.actions.fillForward();
  }

  #showJump(ch) {
    this.jump.hidden = this.isAtEnd;
    this.jumpText.textContent = ch.unread ? `${ch.unread} new` : 'Latest';
    this.jump.setAttribute('aria-label', ch.unread ? `Go to the latest, ${ch.unread} new messages` : 'Go to the latest message');
  }

  // Up and Down walk through the messages; e edits and Delete deletes an own one.
  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const messages = [...this.node.querySelectorAll('.message')];
    const at = messages.indexOf(document.activeElement.closest('.message'));
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const next = messages[at < 0 ? (event.key === 'ArrowUp' ? messages.length - 1 : -1) : at + (event.key === 'ArrowUp' ? -1 : 1)];
      if (next) next.focus();
      else if (at >= 0 && event.key === 'ArrowDown') this.actions.focusComposer();
      else return;
      event.preventDefault();
    } else if (at >= 0 && document.activeElement === messages[at]) {
      const offset = Number(messages[at].dataset.offset);
      const isOwn = messages[at].matches('.own:not(.pending)');
      if (event.key === 'e' && isOwn) this.actions.edit(offset);
      else if (event.key === 'Delete' && isOwn) this.actions.remove(offset);
      else if (event.key === 'Escape') this.actions.focusComposer();
      else return;
      event.preventDefault();
    }
  }
}
