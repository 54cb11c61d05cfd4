// Times and days in the reader's language and time zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const withYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const short = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });

export const clockText = (ms) => clock.format(ms);
export const fullText = (ms) => full.format(ms);

// A number that is the same for all times of one local day.
export function dayOf(ms) {
  const d = new Date(ms);
  return d.getFullYear() * 10000 + (d.getMonth() + 1) * 100 + d.getDate();
}

function dayBefore(now) {
  const d = new Date(now);
  d.setDate(d.getDate() - 1);
  return dayOf(d.getTime());
}

export function dayText(ms, now = Date.now()) {
  if (dayOf(ms) === dayOf(now)) return 'Today';
  if (dayOf(ms) === dayBefore(now)) return 'Yesterday';
  return (new Date(ms).getFullYear() === new Date(now).getFullYear() ? weekday : withYear).format(ms);
}

// For lists: the time today, the date before.
export function shortText(ms, now = Date.now()) {
  return dayOf(ms) === dayOf(now) ? clock.format(ms) : short.format(ms);
}
