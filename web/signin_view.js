// The first screen: a name, or what went wrong.
import { el } from './dom.js';

const mark = () => el('img', { class: 'mark', src: '/favicon.svg', alt: '', width: '44', height: '44' });

// enter(name) may throw: its message is shown and the form stays.
export function signInView({ name, problem, enter }) {
  const error = el('p', { class: 'form-error', id: 'sign-in-error', role: 'alert' }, problem || null);
  const input = el('input', {
    id: 'name', name: 'name', type: 'text', autocomplete: 'username', autocapitalize: 'words', spellcheck: 'false', maxlength: '32', required: true,
    'aria-describedby': 'name-help sign-in-error', placeholder: 'ann', value: name,
  });
  const button = el('button', { type: 'submit', class: 'button primary wide' }, 'Start chatting');
  const form = el('form', { class: 'card sign-in', novalidate: true, onsubmit: submit },
    mark(),
    el('h1', {}, 'Parley'),
    el('p', { class: 'lead' }, 'Choose a name and come in. No password, no account.'),
    el('label', { for: 'name' }, 'Your name'),
    input,
    el('p', { class: 'help', id: 'name-help' }, 'Letters A–Z, digits and _ . - are fine.'),
    error,
    button);

  async function submit(event) {
    event.preventDefault();
    const wanted = input.value.trim().replace(/\s+/g, '-');
    error.textContent = '';
    input.removeAttribute('aria-invalid');
    if (!wanted) return fail('Please enter a name.');
    button.disabled = true;
    try {
      await enter(wanted);
    } catch (e) {
      fail(e.message);
    } finally {
      button.disabled = false;
    }
    return undefined;
  }

  function fail(text) {
    error.textContent = text;
    input.setAttribute('aria-invalid', 'true');
    input.focus();
  }

  return { node: el('main', { class: 'center-screen' }, form), focus: () => { input.focus(); input.select(); } };
}

export function problemView(title, text, action) {
  return el('main', { class: 'center-screen' },
    el('div', { class: 'card sign-in', role: 'alert' }, mark(), el('h1', {}, title), el('p', { class: 'lead' }, text),
      action ? el('button', { type: 'button', class: 'button primary wide', onclick: action.run }, action.text) : null));
}
