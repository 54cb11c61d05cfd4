// Starts a private parleyd for a test file and gives verbs for what clients and servers do with it.
import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

const here = path.dirname(fileURLToPath(import.meta.url));
export const binary = process.env.PARLEYD_BIN ?? path.join(here, '../../../build/parleyd');
export const secret = 'e2e-secret';
export const apiKey = 'e2e-api-key';
export const marker = 'e2e-text-of-a-message';   // must not be found in a log

// A server of its own for each test file, ended with it.
export class Server {
  // store: '' leaves it to parleyd, undefined is SQLite in the folder.
  static async start({ args = [], toml = '', listen = '127.0.0.1:0', folder = undefined, store = undefined } = {}) {
    const s = new Server();
    s.folder = folder ?? mkdtempSync(path.join(tmpdir(), 'parley-e2e-'));
    const history = store ?? `sqlite:${s.folder}/parley.sqlite`;
    const all = ['--listen', listen, ...(history ? ['--store', history] : []), '--token-hmac-secret', secret,
      '--api-key', apiKey, ...(args.includes('--log-level') ? [] : ['--log-level', 'debug']), ...args];
    if (toml) {
      writeFileSync(path.join(s.folder, 'parley.toml'), toml);
      all.push('--config', path.join(s.folder, 'parley.toml'));
    }
    s.lines = [];
    const env = history.startsWith('mongodb') ? { ...process.env, PARLEY_SPOOL_DIR: path.join(s.folder, 'spool') } : process.env;
    s.process = spawn(binary, all, { stdio: ['ignore', 'pipe', 'pipe'], env });
    s.port = await new Promise((resolve, reject) => {
      const look = (line) => {
        s.lines.push(line);
        const found = line.match(/listening on http:\/\/[^ "]*:(\d+)/);
        if (found) resolve(Number(found[1]));
      };
      createInterface({ input: s.process.stdout }).on('line', look);
      createInterface({ input: s.process.stderr }).on('line', look);
      s.process.once('exit', (code) => reject(new Error(`parleyd ended (${code}):\n${s.lines.join('\n')}`)));
      s.process.once('error', reject);
    });
    s.url = `ws://127.0.0.1:${s.port}/connection/websocket`;
    return s;
  }

  // By asking: /ready has no way to tell.
  async ready(ms = 10_000) {
    for (const until = Date.now() + ms; ;) {
      const r = await fetch(`http://127.0.0.1:${this.port}/ready`);
      const why = await r.text();
      if (r.ok) return;
      if (Date.now() > until) throw new Error(`not ready within ${ms} ms: ${why}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async kill(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return this.process.exitCode;
    const gone = once(this.process, 'close');   // its output has been read, too
    this.process.kill(signal);
    const [code] = await gone;
    this.checkLog();
    const report = this.lines.findIndex((line) => /Sanitizer|runtime error:/.test(line));
    if (report >= 0) throw new Error(`a sanitizer's report:\n${this.lines.slice(report, report + 40).join('\n')}`);
    return code;
  }

  // No message text, no token, no key is ever in a line, whatever a test did.
  checkLog() {
    const found = this.lines.find((line) => line.includes(marker) || line.includes(secret) || line.includes(apiKey) ||
      /eyJ[A-Za-z0-9_-]{8}/.test(line));
    if (found) throw new Error(`a secret or a message's text is in the log: ${found}`);
  }

  async stop() {
    await this.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
  }

  async api(method, body, headers = { 'X-API-Key': apiKey }) {
    const r = await fetch(`http://127.0.0.1:${this.port}/api/${method}`, {
      method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body: JSON.stringify(body),
    });
    return { status: r.status, body: r.headers.get('content-type')?.includes('json') ? await r.json() : await r.text() };
  }
}

export function token(claims, key = secret) {
  const part = (v) => Buffer.from(JSON.stringify(v)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${body}.${createHmac('sha256', key).update(body).digest('base64url')}`;
}

export const now = () => Math.floor(Date.now() / 1000);
export const channelName = (prefix = 'c') => `${prefix}${randomUUID().slice(0, 8)}`;

export function client(url, options = {}) {
  return new Centrifuge(url, { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 200, ...options });
}

// The context of the next such event.
export function next(emitter, event, accept = () => true, ms = 8000) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no '${event}' within ${ms} ms`)), ms);
    const on = (ctx) => {
      if (!accept(ctx)) return;
      clearTimeout(timer);
      emitter.removeListener(event, on);
      resolve(ctx);
    };
    emitter.on(event, on);
  });
}

export async function connected(c) {
  const done = next(c, 'connected');
  c.connect();
  return done;
}

export async function subscribed(sub) {
  const done = next(sub, 'subscribed');
  sub.subscribe();
  return done;
}

// Keeps every publication of a subscription; wait(n) resolves when there are n.
export function collect(sub) {
  const got = [];
  const waiting = [];
  sub.on('publication', (ctx) => {
    got.push(ctx);
    for (const w of [...waiting]) if (got.length >= w.count) { waiting.splice(waiting.indexOf(w), 1); w.resolve(got); }
  });
  return {
    got,
    wait: (count, ms = 8000) => new Promise((resolve, reject) => {
      if (got.length >= count) return resolve(got);
      const timer = setTimeout(() => reject(new Error(`${got.length} publications of ${count} within ${ms} ms`)), ms);
      waiting.push({ count, resolve: (v) => { clearTimeout(timer); resolve(v); } });
    }),
  };
}

// A WebSocket without an SDK: lines in, lines out.
export class Raw {
  static async open(url, protocols = []) {
    const r = new Raw();
    r.lines = [];
    r.waiting = [];
    r.ws = new WebSocket(url, protocols);
    r.closed = new Promise((resolve) => r.ws.on('close', (code, reason) => resolve({ code, reason: reason.toString() })));
    r.ws.on('message', (data) => {
      for (const line of data.toString().split('\n')) {
        const value = JSON.parse(line);
        const w = r.waiting.findIndex((x) => x.accept(value));
        if (w >= 0) r.waiting.splice(w, 1)[0].resolve(value);
        else r.lines.push(value);
      }
    });
    await once(r.ws, 'open');
    return r;
  }

  send(...commands) { this.ws.send(commands.map((c) => (typeof c === 'string' ? c : JSON.stringify(c))).join('\n')); }

  take(accept = () => true, ms = 8000) {
    const i = this.lines.findIndex(accept);
    if (i >= 0) return Promise.resolve(this.lines.splice(i, 1)[0]);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no such line within ${ms} ms; have ${JSON.stringify(this.lines)}`)), ms);
      this.waiting.push({ accept, resolve: (v) => { clearTimeout(timer); resolve(v); } });
    });
  }

  async call(command) {
    this.send(command);
    return this.take((v) => v.id === command.id);
  }

  close() { this.ws.close(); }
}

// A TCP relay that can be cut: what a lost network looks like.
export class Relay {
  static async to(port) {
    const r = new Relay();
    r.sockets = new Set();
    r.isOpen = true;
    r.server = net.createServer((a) => {
      if (!r.isOpen) return a.destroy();
      const b = net.connect(port, '127.0.0.1');
      for (const [x, y] of [[a, b], [b, a]]) {
        r.sockets.add(x);
        x.on('error', () => {});
        x.on('close', () => { r.sockets.delete(x); y.destroy(); });
        x.pipe(y);
      }
    });
    r.server.listen(0, '127.0.0.1');
    await once(r.server, 'listening');
    r.url = `ws://127.0.0.1:${r.server.address().port}/connection/websocket`;
    return r;
  }

  cut() { this.isOpen = false; for (const s of this.sockets) s.destroy(); }
  heal() { this.isOpen = true; }
  close() { this.cut(); this.server.close(); }
}
