// What stands in the log of a channel, from top to bottom, as rows for reconcile(): days, messages, what is new, gaps, notes, what waits.
import { noDivider } from './channel.js';
import { el, icon } from './dom.js';
import { countText } from './history.js';
import { messageNode, pendingNode } from './message_view.js';
import { dayOf, dayText } from './times.js';

const groupMs = 5 * 60 * 1000;   // messages of one author within this stand together

export function logRows(ch, state, actions) {
  const me = state.me.user;
  const isOnline = state.connection === 'online';
  const rows = [top(ch, state, actions)];
  let before = null;
  let isDivided = ch.divider === noDivider || ch.first > ch.divider + 1;   // where the new begins may not be loaded yet
  let notes = [...ch.notes].sort((a, b) => a.after - b.after);
  let isGapShown = !ch.gap;

  function passed(offset) {   // what stands between messages, before the one at `offset`
    if (!isGapShown && offset >= ch.gap.before) {
      rows.push(gapRow(ch, actions));
      isGapShown = true;
      before = null;
    }
    while (notes.length && notes[0].after < offset) {
      const note = notes.shift();
      rows.push({ id: `note-${note.after}-${note.text}`, sig: [], make: () => el('div', { class: 'log-note' }, el('span', {}, note.text)) });
      before = null;
    }
  }

  function day(time) {
    if (before && dayOf(before.time) === dayOf(time)) return;
    const text = dayText(time);
    rows.push({ id: `day-${dayOf(time)}`, sig: [text], make: () => el('div', { class: 'day', role: 'separator', 'aria-label': text }, el('span', {}, text)) });
    before = null;
  }

  for (const m of ch.messages) {
    passed(m.offset);
    if (!before || dayOf(before.time) !== dayOf(m.time)) day(m.time);
    if (!isDivided && m.offset > ch.divider) {
      isDivided = true;
      if (m.user !== me) {
        const make = () => el('div', { class: 'new-divider', role: 'separator', 'aria-label': 'New messages' }, el('span', {}, 'New'));
        rows.push({ id: 'divider', sig: [], make });
        before = null;
      }
    }
    const isFirst = !before || before.user !== m.user || before.name !== m.name || m.time - before.time > groupMs;
    const isMe = m.user !== '' && m.user === me;
    const isEditing = state.editing?.channel === ch.name && state.editing.offset === m.offset;
    rows.push({
      id: m.offset, sig: [isFirst, isMe, m.isEdited, m.isDeleted, m.data, isEditing, m.name],
      make: () => messageNode(m, { isFirst, isMe, isEditing }, actions),
    });
    before = m;
  }
  passed(Infinity);

  for (const one of ch.pending) {
    if (!before || dayOf(before.time) !== dayOf(one.time)) day(one.time);
    const isFirst = !before || before.user !== one.user || one.time - before.time > groupMs;
    rows.push({ id: `key-${one.key}`, sig: [one.state, isFirst, one.error, isOnline, one.data], make: () => pendingNode(one, { isFirst, isOnline }, actions) });
    before = one;
  }
  return rows;
}

function top(ch, state, actions) {
  const title = state.titleOf(ch);
  if (ch.error) {
    return { id: 'top', sig: ['error', ch.error], make: () => el('div', { class: 'log-top problem' }, icon('lock'),
      el('h2', {}, 'This channel cannot be opened'), el('p', {}, ch.error),
      el('button', { type: 'button', class: 'button', onclick: () => actions.leave() }, 'Remove from the list')) };
  }
  if (ch.loadError) {
    return { id: 'top', sig: ['load', ch.loadError], make: () => el('div', { class: 'log-top' }, el('p', {}, ch.loadError),
      el('button', { type: 'button', class: 'button', onclick: () => actions.loadMore() }, 'Try again')) };
  }
  if (!ch.isLoaded || !ch.isAtStart) {
    return { id: 'top', sig: ['loading', ch.isLoaded], make: () => el('div', { class: `log-top loading${ch.isLoaded ? '' : ' tall'}` },
      el('span', { class: 'spinner', 'aria-hidden': 'true' }), el('span', {}, ch.isLoaded ? 'Earlier messages…' : 'Loading messages…')) };
  }
  const texts = {
    direct: `This is the beginning of your conversation with ${title}. Only the two of you can read it.`,
    live: 'Messages here reach those who are present; nothing is kept.',
    room: 'This is the beginning of the channel. Everybody here can read and write.',
  };
  return { id: 'top', sig: ['start', ch.kind, title], make: () => el('div', { class: 'log-top start' },
    el('h2', {}, ch.kind === 'direct' ? title : `# ${title}`), el('p', {}, texts[ch.kind])) };
}

function gapRow(ch, actions) {
  const { after, before, isLoading, error } = ch.gap;
  const text = countText(before - after - 1, 'message');
  return {
    id: 'gap', sig: [text, isLoading, error],
    make: () => el('div', { class: 'gap', role: 'status' }, isLoading
      ? [el('span', { class: 'spinner', 'aria-hidden': 'true' }), el('span', {}, `Loading ${text} that you missed…`)]
      : [el('span', {}, error ? `${error} ${text} not loaded.` : `${text} not loaded.`),
        el('button', { type: 'button', class: 'link-button', onclick: () => actions.fillGap() }, 'Load')]),
  };
}
