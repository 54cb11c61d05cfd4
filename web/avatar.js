// A round picture of two letters in a colour of its own for each name, with a dot that says whether they are here.
import { el } from './dom.js';
import { initials, tintOf } from './text.js';

const tints = 8;   // .tint-0 … in style.css

export function avatar(user, name, presence = '') {
  return el('span', { class: `avatar tint-${tintOf(user || name, tints)}`, 'aria-hidden': 'true' }, initials(name),
    presence ? el('span', { class: `dot ${presence}` }) : null);
}
