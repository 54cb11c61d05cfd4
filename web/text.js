// What people wrote, cut into pieces that can be shown safely: text, links and code. Nothing here makes markup.

const codePattern = /```(?:[\w+-]*\n)?([\s\S]+?)```|`([^`\n]+)`/g;
const linkPattern = /\bhttps?:\/\/[^\s<>"`]+/gi;
const closers = { ')': '(', ']': '[', '}': '{' };

// Each piece: {kind: 'text' | 'link' | 'code' | 'block', text}; a link's text is its address.
export function textPieces(text) {
  const out = [];
  let at = 0;
  for (const match of text.matchAll(codePattern)) {
    addLinks(out, text.slice(at, match.index));
    const isBlock = match[1] !== undefined;
    out.push({ kind: isBlock ? 'block' : 'code', text: isBlock ? match[1].replace(/^\n|\n$/g, '') : match[2] });
    at = match.index + match[0].length;
    if (isBlock && text[at] === '\n') ++at;   // a block ends its line
  }
  addLinks(out, text.slice(at));
  return out;
}

function addLinks(out, text) {
  let at = 0;
  for (const match of text.matchAll(linkPattern)) {
    const link = withoutTrail(match[0]);
    if (!isWebAddress(link)) continue;
    if (match.index > at) out.push({ kind: 'text', text: text.slice(at, match.index) });
    out.push({ kind: 'link', text: link });
    at = match.index + link.length;
  }
  if (at < text.length) out.push({ kind: 'text', text: text.slice(at) });
}

// A full stop, or a bracket that was opened before the link, belongs to the sentence.
function withoutTrail(link) {
  let end = link.length;
  while (end > 0) {
    const last = link[end - 1];
    const rest = link.slice(0, end);
    const isLoneCloser = last in closers && rest.split(last).length > rest.split(closers[last]).length;
    if (!isLoneCloser && !'.,;:!?\'*_'.includes(last)) break;
    --end;
  }
  return link.slice(0, end);
}

export function isWebAddress(link) {
  try {
    const url = new URL(link);
    return (url.protocol === 'http:' || url.protocol === 'https:') && url.hostname !== '';
  } catch {
    return false;
  }
}

// The text of a publication's data, whoever made it: the page writes {"text": …}, servers may publish any JSON.
export function textOf(data) {
  if (data === null || data === undefined) return '';
  if (typeof data === 'string') return data;
  if (typeof data.text === 'string') return data.text;
  return JSON.stringify(data, null, 2);
}

// Up to two letters for an avatar.
export function initials(name) {
  const words = name.split(/[\s._-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]].map((word) => [...word][0]) : [...(words[0] ?? '?')].slice(0, 2);
  return letters.join('').toUpperCase();
}

// One of `count` colours, the same everywhere and always for the same name (FNV-1a).
export function tintOf(name, count) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return ((hash ^ (hash >>> 13)) >>> 0) % count;
}
