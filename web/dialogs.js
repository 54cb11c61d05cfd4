// Small questions in <dialog>, which keeps the focus inside and closes with Esc; and short messages that go by themselves.
import { el, iconButton } from './dom.js';

const toastMs = 6000;

function open(title, body) {
  const id = `dialog-${Math.floor(performance.now())}`;
  const dialog = el('dialog', { 'aria-labelledby': id, onclick: (e) => { if (e.target === dialog) dialog.close(); } },
    el('div', { class: 'dialog-inner' }, el('header', { class: 'dialog-head' }, el('h2', { id }, title), iconButton('close', 'Close', () => dialog.close())), body));
  dialog.addEventListener('close', () => dialog.remove());   // the browser gives the focus back
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// Asks for a line of text. take(text) gives what is wrong with it, or what to do when the dialog has closed. `choices`: texts to pick from.
export function askText({ title, label, help, placeholder, action, prefix, choices = [], take }) {
  const error = el('p', { class: 'form-error', role: 'alert', id: 'dialog-error' });
  const input = el('input', { type: 'text', id: 'dialog-input', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', maxlength: '80', placeholder,
    'aria-describedby': 'dialog-help dialog-error' });
  const use = (text) => {
    const answer = take(text);
    if (typeof answer === 'string') {
      error.textContent = answer;
      input.setAttribute('aria-invalid', 'true');
      input.focus();
    } else {
      dialog.close();
      answer();
    }
  };
  const form = el('form', { class: 'dialog-form', novalidate: true, onsubmit: (e) => { e.preventDefault(); use(input.value.trim()); } },
    el('label', { for: 'dialog-input' }, label),
    el('div', { class: 'field' }, prefix ? el('span', { class: 'prefix', 'aria-hidden': 'true' }, prefix) : null, input),
    el('p', { class: 'help', id: 'dialog-help' }, help),
    error,
    choices.length ? el('ul', { class: 'choices', 'aria-label': 'Suggestions' }, choices.map(({ text, node }) => el('li', {},
      el('button', { type: 'button', class: 'person', onclick: () => use(text) }, node)))) : null,
    el('div', { class: 'dialog-actions' }, el('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'Cancel'),
      el('button', { type: 'submit', class: 'button primary' }, action)));
  const dialog = open(title, form);
  input.focus();
}

export function confirm({ title, text, quote, action, isDanger, run }) {
  const dialog = open(title, el('div', { class: 'dialog-form' }, el('p', {}, text), quote ? el('blockquote', {}, quote) : null,
    el('div', { class: 'dialog-actions' }, el('button', { type: 'button', class: 'button', onclick: () => dialog.close() }, 'Cancel'),
      el('button', { type: 'button', class: `button ${isDanger ? 'danger' : 'primary'}`, autofocus: true, onclick: () => { dialog.close(); run(); } }, action))));
}

const keys = [
  ['Enter', 'Send'], ['Shift + Enter', 'New line'], ['↑ in an empty field', 'Edit your last message'], ['Esc', 'Cancel editing; back to the field'],
  ['Alt + ↑ / Alt + ↓', 'Previous or next channel'], ['Alt + Shift + ↓', 'Next channel with unread messages'],
  ['Ctrl + K', 'New direct message'], ['↑ ↓ in the messages', 'Walk through messages'], ['E / Delete on your message', 'Edit or delete it'],
  ['Ctrl + /', 'This list'],
];

export function showKeys() {
  open('Keyboard', el('dl', { class: 'keys' }, keys.map(([key, what]) => el('div', {}, el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)))));
}

export function toast(text) {
  const node = el('div', { class: 'toast' }, text);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), toastMs);
}
