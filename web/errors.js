// What went wrong, in words for the person at the page. Codes: docs/ERRORS.md; below 100 they are the SDK's own.
const texts = {
  100: 'The server has a problem just now.',
  102: 'There is no such kind of channel here.',
  103: 'You may not do this here.',
  106: 'You are in too many channels at once.',
  107: 'The server did not accept this.',
  108: 'This channel does not offer that.',
  111: 'That was too fast. Wait a moment.',
  113: 'This message was sent before with another text.',
};

export const explain = (e) => texts[e?.code] ?? e?.message ?? 'Something went wrong.';

// The connection went away or the reply did: whether the server has acted is not known.
export const isLost = (e) => !(e?.code >= 100);
export const isTemporary = (e) => e?.temporary === true || e?.code === 111 || e?.code === 100;
