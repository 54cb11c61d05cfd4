// Where one writes: Enter sends, Shift+Enter breaks the line, Up edits the last own message, Esc gives up editing.
import { el, icon, iconButton } from './dom.js';

const textMax = 12000;      // characters; three bytes each still fit the server's 64 KiB
const warnBelow = 500;

export class ComposerView {
  constructor(state, actions) {
    this.state = state;
    this.actions = actions;
    this.name = '';
    this.isFinger = matchMedia('(pointer: coarse)').matches;
    this.input = el('textarea', { id: 'composer', rows: '1', autocomplete: 'off', enterkeyhint: 'send', 'aria-describedby': 'composer-help',
      oninput: () => this.#onInput(), onkeydown: (e) => this.#onKey(e) });
    this.button = el('button', { type: 'submit', class: 'send', 'aria-label': 'Send', title: 'Send (Enter)' }, icon('send'));
    this.typing = el('div', { class: 'typing' });
    this.count = el('span', { class: 'count', hidden: true, role: 'status' });
    this.help = el('span', { class: 'visually-hidden', id: 'composer-help' }, 'Enter sends, Shift and Enter begin a new line. Arrow up edits your last message.');
    this.editBar = el('div', { class: 'edit-bar', hidden: true }, icon('edit'), el('span', {}, 'Editing your message'),
      el('span', { class: 'edit-keys' }, 'Esc cancels, Enter saves'), iconButton('close', 'Cancel editing', () => this.actions.cancelEdit()));
    this.node = el('form', { class: 'composer', onsubmit: (e) => { e.preventDefault(); this.#submit(); } },
      this.typing, this.editBar, el('div', { class: 'composer-box' }, this.input, this.count, this.button), this.help);
  }

  render() {
    const { state } = this;
    const ch = state.open;
    if (!ch) return;
    if (this.name !== ch.name) {
      this.name = ch.name;
      this.editing = null;
      this.#set(ch.draft);
    }
    if (this.editing !== state.editing) {
      this.editing = state.editing;
      this.#set(state.editing ? state.editing.text : ch.draft);
      this.editBar.hidden = !state.editing;
      this.focus();
    }
    const title = state.titleOf(ch);
    const label = `Message ${ch.kind === 'direct' ? title : `#${title}`}`;
    if (this.input.placeholder !== label) {
      this.input.placeholder = label;
      this.input.setAttribute('aria-label', label);
    }
    this.node.hidden = Boolean(ch.error);
    this.#renderTyping(ch);
  }

  #renderTyping(ch) {
    const names = [...ch.typing.values()].map((one) => one.name);
    const text = ['', `${names[0]} is typing`, `${names[0]} and ${names[1]} are typing`][names.length] ?? 'Several people are typing';
    if (this.typingText === text) return;
    this.typingText = text;
    this.typing.replaceChildren(...(text ? [el('span', { class: 'typing-dots', 'aria-hidden': 'true' }, el('i'), el('i'), el('i')), text] : []));
  }

  #set(text) {
    this.input.value = text;
    this.#fit();
    this.input.setSelectionRange(text.length, text.length);
  }

  // As high as its text, up to what the style allows. Set by script through the object model: no style attribute.
  #fit() {
    this.input.style.height = 'auto';
    this.input.style.height = `${this.input.scrollHeight}px`;
    const left = textMax - this.input.value.length;
    this.count.hidden = left >= warnBelow;
    this.count.textContent = left >= 0 ? String(left) : `${-left} too many`;
    this.count.classList.toggle('over', left < 0);
    this.button.disabled = this.input.value.trim() === '' || left < 0;
  }

  focus() { this.input.focus({ preventScroll: true }); }

  #onInput() {
    this.#fit();
    if (this.editing) return;
    this.state.open.draft = this.input.value;
    if (this.input.value.trim()) this.actions.typing();
  }

  #onKey(event) {
    if (event.isComposing || event.keyCode === 229) return;   // an input method is at work
    if (event.key === 'Enter' && !event.shiftKey && !(this.isFinger && !event.ctrlKey)) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === 'ArrowUp' && !event.altKey && this.input.value === '' && !this.editing) {
      if (this.actions.editLast()) event.preventDefault();
    } else if (event.key === 'Escape' && this.editing) {
      event.preventDefault();
      event.stopPropagation();
      this.actions.cancelEdit();
    }
  }

  #submit() {
    const text = this.input.value.replace(/^\s*\n|\s+$/g, '');
    if (!text || text.length > textMax) return;
    if (this.editing) {
      this.actions.saveEdit(text);
    } else if (this.actions.send(text)) {
      this.state.open.draft = '';
      this.#set('');
    }
    this.focus();
  }
}
