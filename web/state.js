// Everything the page knows, and who wants to hear that it changed. No DOM, no network.
import { Channel, directUsers, nameOf } from './channel.js';

export class State {
  constructor() {
    this.me = { user: '', name: '', client: '' };
    this.channels = new Map();
    this.current = '';
    this.connection = 'connecting';   // 'connecting', 'online', 'offline'
    this.hasBeenOnline = false;
    this.names = new Map();           // user -> display name, as last seen
    this.editing = null;              // {channel, offset} of the own message in the composer
    this.listeners = [];
  }

  onChange(listener) { this.listeners.push(listener); }
  changed() { for (const listener of this.listeners) listener(); }

  channel(name) {
    let ch = this.channels.get(name);
    if (!ch) {
      ch = new Channel(name);
      this.channels.set(name, ch);
    }
    return ch;
  }

  remove(name) {
    this.channels.delete(name);
    if (this.current === name) this.current = '';
    if (this.editing?.channel === name) this.editing = null;
  }

  get open() { return this.channels.get(this.current); }

  learnName(info) { if (info?.user) this.names.set(info.user, nameOf(info)); }
  nameOfUser(user) { return this.names.get(user) ?? user; }

  // The other one in a direct message.
  partner(name) { return directUsers(name).find((user) => user !== this.me.user) ?? this.me.user; }

  titleOf(ch) {
    if (ch.kind === 'direct') return this.nameOfUser(this.partner(ch.name));
    return ch.kind === 'live' ? ch.name.slice('live:'.length) : ch.name;
  }

  rooms() { return [...this.channels.values()].filter((ch) => ch.kind !== 'direct').sort((a, b) => a.name.localeCompare(b.name)); }

  directs() {
    const time = (ch) => ch.last?.time ?? Infinity;   // one that was just begun stands first
    return [...this.channels.values()].filter((ch) => ch.kind === 'direct').sort((a, b) => time(b) - time(a));
  }

  isOnline(user) {
    for (const ch of this.channels.values()) for (const one of ch.members.values()) if (one.user === user) return true;
    return false;
  }

  unreadTotal() {
    let total = 0;
    for (const ch of this.channels.values()) total += ch.unread;
    return total;
  }
}
