// The channel in the address, what a person may type as a channel's name, and the keys that work everywhere.
const nameMax = 80;

export const addressOf = (name) => (name ? `#/${encodeURIComponent(name)}` : location.pathname + location.search);

export function channelOfAddress() {
  const match = location.hash.match(/^#\/(.+)$/);
  if (!match) return '';
  try { return decodeURIComponent(match[1]); } catch { return ''; }
}

export function isTypable(name) {
  if (name.length > nameMax || /[\s#$]/.test(name)) return false;
  const colon = name.indexOf(':');
  return colon < 0 || (name.slice(0, colon) === 'live' && colon + 1 < name.length);
}

// 'keys', 'direct', 'escape', {by, isUnreadOnly}, or null.
export function shortcutOf({ key, altKey, ctrlKey, metaKey, shiftKey }) {
  if (altKey && (key === 'ArrowUp' || key === 'ArrowDown')) return { by: key === 'ArrowUp' ? -1 : 1, isUnreadOnly: shiftKey };
  if ((ctrlKey || metaKey) && key === '/') return 'keys';
  if ((ctrlKey || metaKey) && key.toLowerCase() === 'k') return 'direct';
  return key === 'Escape' ? 'escape' : null;
}
