// Who is using the page: the name that is remembered, the token, and how to get the next one.

const nameKey = 'parley.name';

// Storage may be forbidden; then nothing is remembered.
export function recall(key) {
  try { return localStorage.getItem(key) ?? ''; } catch { return ''; }
}

export function remember(key, value) {
  try {
    if (value) localStorage.setItem(key, value); else localStorage.removeItem(key);
  } catch { /* Nothing is remembered. */ }
}

export const rememberedName = () => recall(nameKey);
export const forgetMe = () => remember(nameKey, '');

// A token in the address (…/#token=…) must not stay there: addresses are shared and logged.
export function takeTokenFromAddress() {
  const match = location.hash.match(/^#token=([\w.-]+)$/);
  if (!match) return '';
  history.replaceState(null, '', location.pathname + location.search);
  return match[1];
}

// A refusal that asking again does not change.
export class Refused extends Error {}

export async function guestToken(name) {
  let reply;
  try {
    reply = await fetch('/auth/guest', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ name }) });
  } catch {
    throw new Error('The server cannot be reached.');
  }
  if (reply.status === 404) throw new Refused('This server gives no guest names. Sign in with a token instead.');
  if (!reply.ok) {
    const why = (await reply.text()).trim();
    throw new (reply.status === 400 ? Refused : Error)(why ? why[0].toUpperCase() + why.slice(1) : `The server answered ${reply.status}.`);
  }
  const { token, user } = await reply.json();
  remember(nameKey, name);
  return { token, user };
}
