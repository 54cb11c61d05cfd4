// One message as a row of the log: who, when, what, and what can be done with it.
import { avatar } from './avatar.js';
import { el, icon, iconButton } from './dom.js';
import { textOf, textPieces } from './text.js';
import { clockText, fullText } from './times.js';

const emojiOnly = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\p{Emoji_Modifier}|\u200D\p{Extended_Pictographic})*\s*){1,4}$/u;

export function richText(text) {
  return textPieces(text).map((piece) => {
    if (piece.kind === 'link') return el('a', { href: piece.text, target: '_blank', rel: 'noopener noreferrer nofollow' }, piece.text);
    if (piece.kind === 'code') return el('code', {}, piece.text);
    if (piece.kind === 'block') return el('pre', { tabindex: '0' }, el('code', {}, piece.text));
    return piece.text;
  });
}

function body(data) {
  if (typeof data === 'string' || typeof data?.text === 'string') {
    const text = textOf(data);
    return el('div', { class: `text${emojiOnly.test(text.trim()) ? ' jumbo' : ''}` }, richText(text));
  }
  return el('pre', { class: 'text raw', tabindex: '0' }, el('code', {}, textOf(data)));
}

function head(m, isMe, actions) {
  const name = m.user && !isMe
    ? el('button', { type: 'button', class: 'author', title: `Write to ${m.name}`, onclick: () => actions.direct(m.user) }, m.name)
    : el('span', { class: 'author' }, m.name);
  return el('div', { class: 'message-head' }, name, isMe ? el('span', { class: 'tag' }, 'you') : null,
    m.user ? null : el('span', { class: 'tag' }, 'server'), timeOf(m));
}

const timeOf = (m) => el('time', { datetime: new Date(m.time).toISOString(), title: fullText(m.time) }, clockText(m.time));

// m: a message of Channel.messages; facts: {isFirst, isMe, isEditing}
export function messageNode(m, { isFirst, isMe, isEditing }, actions) {
  const own = isMe && !m.isDeleted && typeof m.data?.text === 'string';
  const classes = `message${isFirst ? ' first' : ''}${isMe ? ' own' : ''}${isEditing ? ' editing' : ''}`;
  return el('div', { class: classes, role: 'article', tabindex: '-1', 'data-offset': String(m.offset),
    'aria-label': `${isMe ? 'You' : m.name}, ${clockText(m.time)}` },
  el('div', { class: 'gutter' }, isFirst ? avatar(m.user, m.name) : timeOf(m)),
  el('div', { class: 'message-body' },
    isFirst ? head(m, isMe, actions) : el('span', { class: 'visually-hidden' }, `${m.name}: `),
    m.isDeleted ? el('div', { class: 'text deleted' }, 'Message deleted') : body(m.data),
    m.isEdited && !m.isDeleted ? el('span', { class: 'edited' }, 'edited') : null),
  isMe ? el('span', { class: 'state sent', title: 'Sent' }, icon('check'), el('span', { class: 'visually-hidden' }, 'Sent')) : null,
  m.isDeleted ? null : el('div', { class: 'message-actions', role: 'group', 'aria-label': 'Message actions' },
    iconButton('copy', 'Copy text', () => actions.copy(textOf(m.data))),
    own ? iconButton('edit', 'Edit', () => actions.edit(m.offset)) : null,
    isMe ? iconButton('trash', 'Delete', () => actions.remove(m.offset)) : null));
}

const pendingTexts = { sending: 'Sending…', waiting: 'Waits for the connection' };

// one: a message of Channel.pending
export function pendingNode(one, { isFirst, isOnline }, actions) {
  const isFailed = one.state === 'failed';
  const text = isFailed ? `Not sent: ${one.error}` : pendingTexts[isOnline ? 'sending' : 'waiting'];
  const classes = `message own pending${isFirst ? ' first' : ''}${isFailed ? ' failed' : ''}`;
  return el('div', { class: classes, role: 'article', tabindex: '-1', 'data-key': one.key, 'aria-label': 'You, not sent yet' },
    el('div', { class: 'gutter' }, isFirst ? avatar(one.user, one.name) : null),
    el('div', { class: 'message-body' },
      isFirst ? head(one, true, actions) : null,
      body(one.data),
      el('div', { class: 'send-state' }, icon(isFailed ? 'alert' : 'clock'), el('span', {}, text),
        isFailed ? el('button', { type: 'button', class: 'link-button', onclick: () => actions.retry(one) }, 'Try again') : null,
        isFailed || !isOnline ? el('button', { type: 'button', class: 'link-button', onclick: () => actions.discard(one) }, 'Discard') : null)));
}
