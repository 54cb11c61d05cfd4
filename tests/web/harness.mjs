// A private parleyd behind a relay that can be cut, a headless Chromium, and verbs for what people do with the page.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.PARLEYD_BIN ?? path.join(here, '../../build/parleyd');
const chromiumBin = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
export const apiKey = 'page-test-api-key';
export const waitMs = 15_000;   // for what happens at once; beyond it the test has failed

function die(text) {
  console.error(text);
  process.exit(1);
}

// No token secret is given: each start makes another, as it is for somebody who tries Parley out.
export class Server {
  static async start({ toml = '' } = {}) {
    if (!existsSync(binary)) die(`parleyd is not at ${binary}: build it (./dev build), or name it with PARLEYD_BIN`);
    const s = new Server();
    s.folder = mkdtempSync(path.join(tmpdir(), 'parley-page-'));
    s.toml = toml;
    s.relay = await Relay.start();
    await s.run();
    return s;
  }

  async run() {
    const args = ['--listen', `127.0.0.1:${this.port ?? 0}`, '--store', `sqlite:${this.folder}/parley.sqlite`, '--api-key', apiKey];
    if (this.toml) {
      writeFileSync(path.join(this.folder, 'parley.toml'), this.toml);
      args.push('--config', path.join(this.folder, 'parley.toml'));
    }
    const lines = [];
    this.process = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.port = await new Promise((resolve, reject) => {
      const look = (line) => {
        lines.push(line);
        const found = line.match(/listening on http:\/\/[^ "]*:(\d+)/);
        if (found) resolve(Number(found[1]));
      };
      for (const stream of [this.process.stdout, this.process.stderr]) createInterface({ input: stream }).on('line', look);
      this.process.once('error', reject);
      this.process.once('exit', (code) => reject(new Error(`parleyd ended (${code}):\n${lines.join('\n')}`)));
    });
    this.relay.target = this.port;
  }

  get url() { return `http://127.0.0.1:${this.relay.port}/`; }

  async kill() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }

  async api(method, body) {
    const r = await fetch(`http://127.0.0.1:${this.port}/api/${method}`, { method: 'POST', headers: { 'X-API-Key': apiKey }, body: JSON.stringify(body) });
    const reply = await r.json();
    if (reply.error) throw new Error(`${method}: ${JSON.stringify(reply.error)}`);
    return reply.result;
  }

  async stop() {
    await this.kill();
    this.relay.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// What lies between a page and its server. 'cut': nothing passes; 'pages only': HTTP passes, the socket does not.
export class Relay {
  static async start() {
    const r = new Relay();
    r.state = 'open';
    r.sockets = new Set();
    r.server = net.createServer((a) => r.#join(a));
    r.server.listen(0, '127.0.0.1');
    await once(r.server, 'listening');
    r.port = r.server.address().port;
    return r;
  }

  #join(a) {
    if (this.state === 'cut') return a.destroy();
    const b = net.connect(this.target, '127.0.0.1');
    for (const [x, y] of [[a, b], [b, a]]) {
      this.sockets.add(x);
      x.on('error', () => {});
      x.on('close', () => { this.sockets.delete(x); y.destroy(); });
    }
    b.pipe(a);
    a.on('data', (data) => {
      if (this.state === 'pages only' && data.includes('GET /connection/websocket')) a.destroy();
      else b.write(data);
    });
    return undefined;
  }

  set(state) {
    this.state = state;
    if (state !== 'open') for (const s of this.sockets) s.destroy();
  }

  close() { this.set('cut'); this.server.close(); }
}

export async function launch() {
  if (!existsSync(chromiumBin)) die(`No Chromium at ${chromiumBin}: apt-get install chromium, or name one with CHROMIUM_BIN.`);
  return chromium.launch({
    executablePath: chromiumBin,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

// One window with a storage of its own. Whatever the browser complains about is a failure of the test.
export class Window {
  static async open(browser, url, { width = 1280, height = 800, colorScheme = 'light', isPhone = false, context = null } = {}) {
    const w = new Window();
    w.isPhone = isPhone;
    w.context = context ?? await browser.newContext({
      viewport: { width, height }, colorScheme, hasTouch: isPhone, isMobile: isPhone, deviceScaleFactor: isPhone ? 2 : 1, locale: 'en-GB',
    });
    w.page = await w.context.newPage();
    w.page.setDefaultTimeout(waitMs);
    w.complaints = [];
    w.page.on('pageerror', (e) => w.complaints.push(`error: ${e.stack ?? e.message}`));
    w.page.on('console', (m) => {
      const isNetwork = /ERR_|WebSocket connection|Failed to load resource/.test(m.text());
      if (m.type() === 'error' && !isNetwork) w.complaints.push(`console: ${m.text()}`);
    });
    await w.page.goto(url);
    return w;
  }

  static async signedIn(browser, url, name, options = {}) {
    const w = await Window.open(browser, url, options);
    await w.signIn(name);
    return w;
  }

  // Another tab of the same person.
  async tab(url) { return Window.open(null, url, { context: this.context }); }

  async signIn(name) {
    await this.page.getByLabel('Your name').fill(name);
    await this.page.getByRole('button', { name: 'Start chatting' }).click();
    await this.online();
  }

  online() { return this.page.locator('.app[data-connection="online"]').waitFor({ state: 'attached' }); }
  offline() { return this.page.locator('.banner').waitFor({ state: 'visible' }); }

  // The composer shows what the state says a moment after a key.
  holds(text) { return this.until((want) => document.querySelector('#composer').value === want, text); }
  get input() { return this.page.locator('#composer'); }
  row(channel) { return this.page.locator(`[data-channel="${channel}"]`); }
  messages(text) { return this.page.locator('.message', { hasText: text }); }
  unread(channel) { return this.row(channel).locator('.badge:not(.alarm)'); }

  async say(text) {
    await this.input.fill(text);
    if (this.isPhone) await this.page.getByRole('button', { name: 'Send' }).tap();
    else await this.input.press('Enter');
  }

  async go(channel) {
    await this.row(channel).click();
    await this.page.waitForFunction((name) => document.querySelector('.channel-row.current')?.dataset.channel === name, channel);
    await this.loaded();
  }

  loaded() { return this.page.locator('.log:not([aria-busy="true"])').waitFor({ state: 'attached' }); }

  see(text) { return this.messages(text).first().waitFor(); }
  sent(text) { return this.page.locator('.message:not(.pending)', { hasText: text }).first().waitFor(); }
  texts() { return this.page.locator('.message .text').allInnerTexts(); }
  until(fn, arg) { return this.page.waitForFunction(fn, arg, { timeout: waitMs }); }

  async join(name) {
    await this.page.getByRole('button', { name: 'Join or create a channel' }).click();
    await this.page.getByLabel('Name of the channel').fill(name);
    await this.page.keyboard.press('Enter');
    await this.row(name).waitFor();
  }

  async direct(user) {
    await this.page.getByRole('button', { name: 'New direct message' }).click();
    await this.page.getByLabel('To whom?').fill(user);
    await this.page.keyboard.press('Enter');
  }

  // Sends as somebody who is not at a page, through the SDK of this window: [{user, channel, text}].
  robot(list) {
    return this.page.evaluate(async (sends) => {
      const clients = new Map();
      for (const { user, channel, text, ms } of sends) {
        if (!clients.has(user)) {
          const reply = await fetch('/auth/guest', { method: 'POST', body: JSON.stringify({ name: user }) });
          const { token } = await reply.json();
          const client = new globalThis.Centrifuge(`ws://${location.host}/connection/websocket`, { token });
          client.connect();
          clients.set(user, client);
        }
        const client = clients.get(user);
        let sub = client.getSubscription(channel);
        if (!sub) {
          sub = client.newSubscription(channel);
          sub.subscribe();
        }
        await sub.ready();
        if (text === undefined) await client.rpc('typing', { channel });
        else await client.rpc('send', { channel, data: typeof text === 'string' ? { text } : text, key: `robot-${Math.random()}` });
        if (ms) await new Promise((done) => { setTimeout(done, ms); });
      }
      globalThis.robots = [...(globalThis.robots ?? []), ...clients.values()];
    }, list);
  }

  async dismissRobots() { await this.page.evaluate(() => { for (const c of globalThis.robots ?? []) c.disconnect(); globalThis.robots = []; }); }
  async close() { await (this.context.pages().length > 1 ? this.page.close() : this.context.close()); }
}
