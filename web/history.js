// Loads what was before: the newest page, older pages while scrolling up, what a break in the connection left out; and remembers what is read.
import { readPublication } from './channel.js';
import { explain, isLost } from './errors.js';

const pageSize = 60;
const gapPage = 150;
const gapPagesMax = 8;      // loaded without being asked; beyond it a button stands in the gap
const readDelayMs = 350;    // one mark for several messages

const numbers = new Intl.NumberFormat();
export const countText = (n, word) => `${numbers.format(n)} ${word}${n === 1 ? '' : 's'}`;

export class History {
  constructor(state, connection) {
    this.state = state;
    this.connection = connection;
    this.reads = new Map();   // channel -> offset that the server has yet to be told
    this.timer = 0;
  }

  // A subscription is there, for the first time or again.
  subscribed(ch, ctx) {
    if (ch.kind === 'live') {
      ch.isLoaded = ch.isAtStart = true;
      return;
    }
    const position = ctx.streamPosition;
    ch.loadError = '';
    const epochBefore = ch.epoch;
    if (position) ch.epoch = position.epoch;
    if (ch.isLoaded && position && epochBefore && epochBefore !== position.epoch) {
      ch.reset();
      ch.top = position.offset;
      ch.notes.push({ after: 0, text: 'The server began a new history; the messages were loaded again.' });
    }
    if (ch.isLoaded && ctx.wasRecovering && !ctx.recovered && position && position.offset > ch.held) {
      ch.openGap(position.offset);
      this.fillGap(ch);
    } else if (ch.gap?.error) {
      this.fillGap(ch);
    }
    if (!ch.isLoaded && this.state.current === ch.name) this.loadNewest(ch);
  }

  async #load(ch, options, use) {
    ch.isLoading = true;
    ch.loadError = '';
    this.state.changed();
    const life = ch.life;
    try {
      const page = await this.connection.history(ch.name, options);
      if (life !== ch.life) return;
      for (const p of page.publications) if (p.info) this.state.learnName(p.info);
      use(page);
    } catch (e) {
      if (life !== ch.life) return;
      if (!ch.isLoaded) ch.reset();
      ch.loadError = isLost(e) ? 'The connection was lost while loading.' : explain(e);
    } finally {
      if (life === ch.life) ch.isLoading = false;
      this.state.changed();
    }
  }

  loadNewest(ch) {
    if (ch.isLoaded || ch.isLoading || !ch.isSubscribed) return undefined;
    return this.#load(ch, { limit: pageSize, reverse: true }, (page) => {
      ch.epoch = page.epoch;
      ch.takeNewest(page.publications.map(readPublication), page.offset);
      ch.isAtStart = page.publications.length < pageSize && ch.first <= 1;
      if (page.publications.length === 0) ch.isAtStart = true;
      ch.recount(this.state.me.user);
    });
  }

  loadOlder(ch) {
    if (!ch.isLoaded || ch.isLoading || ch.isAtStart || !ch.isSubscribed) return undefined;
    return this.#load(ch, { limit: pageSize, reverse: true, since: { offset: ch.first, epoch: '' } }, (page) => {
      ch.takeOlder(page.publications.map(readPublication), page.publications.length === 0);
    });
  }

  // Backwards from the newest side to where the messages overlap with what was here before.
  async fillGap(ch) {
    const gap = ch.gap;
    if (!gap || gap.isLoading) return;
    gap.isLoading = true;
    gap.error = '';
    this.state.changed();
    try {
      for (let pages = 0; pages < gapPagesMax && ch.gap === gap; ++pages) {
        const page = await this.connection.history(ch.name, { limit: gapPage, reverse: true, since: { offset: gap.before, epoch: '' } });
        if (ch.gap !== gap) return;
        if (ch.takeGapPage(page.publications.map(readPublication))) {
          ch.notes.push({ after: gap.start, text: `${countText(gap.loaded, 'missed message')} loaded after a break in the connection` });
          break;
        }
        this.state.changed();
      }
    } catch (e) {
      gap.error = isLost(e) ? 'The connection was lost.' : explain(e);
    } finally {
      gap.isLoading = false;
      ch.recount(this.state.me.user);
      this.state.changed();
    }
  }

  // Somebody who had scrolled far up comes down again.
  async fillForward(ch) {
    const gap = ch.gap;
    if (!gap || gap.isLoading || ch.isLoading) return;
    gap.isLoading = true;
    this.state.changed();
    try {
      const page = await this.connection.history(ch.name, { limit: pageSize, since: { offset: gap.after, epoch: '' } });
      if (ch.gap === gap) ch.takeGapForward(page.publications.map(readPublication));
    } catch (e) {
      gap.error = isLost(e) ? 'The connection was lost.' : explain(e);
    } finally {
      gap.isLoading = false;
      this.state.changed();
    }
  }

  // Everything up to the newest was seen.
  markRead(ch) {
    const offset = ch.kind === 'live' ? ch.liveOffset : ch.top;
    if (!ch.setRead(offset, this.state.me.user)) return;
    this.state.changed();
    if (ch.kind === 'live') return;
    this.reads.set(ch.name, offset);
    if (!this.timer) this.timer = setTimeout(() => this.tellReads(), readDelayMs);
  }

  // Also when the connection is back: what could not be told is told then.
  tellReads() {
    this.timer = 0;
    if (!this.connection.isOnline) return;
    for (const [channel, offset] of [...this.reads]) {
      this.reads.delete(channel);
      this.connection.call('read', { channel, offset }).catch((e) => {
        if (isLost(e) && !this.reads.has(channel)) this.reads.set(channel, offset);
      });
    }
  }
}
