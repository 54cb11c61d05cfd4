// Several parleyd over one Redis, behind a balancer without stickiness. To a test they look like one Server.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Server } from './parleyd.mjs';

// The names that a server of this kind has; Debian's redis-tools carries it without a service.
const programs = ['redis-server', 'valkey-server', 'redis-check-rdb', 'valkey-check-rdb'];

// undefined: there is none, and `redisMissing` says how to get one.
export const redisProgram = [process.env.REDIS_SERVER_BIN, ...programs]
  .find((name) => name && spawnSync(name, ['--version'], { argv0: 'redis-server' }).status === 0);
export const redisMissing = 'no redis-server and no valkey-server: apt install redis-tools, or set REDIS_SERVER_BIN';

export const freePort = async () => {
  const s = net.createServer();
  s.listen(0, '127.0.0.1');
  await once(s, 'listening');
  const { port } = s.address();
  s.close();
  await once(s, 'close');
  return port;
};

// A Redis of its own, durable unless `settings` say otherwise. The same object can be killed and started again.
export class Redis {
  static async start(settings = ['appendonly yes', 'appendfsync always']) {
    const r = new Redis();
    r.folder = mkdtempSync(path.join(tmpdir(), 'parley-redis-'));
    r.port = await freePort();
    r.url = `redis://127.0.0.1:${r.port}`;
    writeFileSync(path.join(r.folder, 'redis.conf'),
      [`port ${r.port}`, 'bind 127.0.0.1', `dir ${r.folder}`, 'save ""', 'maxmemory-policy noeviction', ...settings].join('\n'));
    await r.again();
    return r;
  }

  async again() {
    this.process = spawn(redisProgram, [path.join(this.folder, 'redis.conf')], { argv0: 'redis-server', stdio: 'ignore' });
    for (let i = 0; ; i++) {
      const pong = await this.call('PING').catch(() => '');
      if (pong.startsWith('+PONG')) return;
      if (i === 500 || this.process.exitCode !== null) throw new Error(`redis-server does not start in ${this.folder}`);
      await new Promise((resolve) => setTimeout(resolve, 10));   // a port that opens tells nobody
    }
  }

  // The raw answer to one command.
  async call(...words) {
    const s = net.connect(this.port, '127.0.0.1');
    await once(s, 'connect');
    s.write(`*${words.length}\r\n${words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join('')}`);
    const [answer] = await once(s, 'data');
    s.destroy();
    return answer.toString();
  }

  async kill(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.kill(signal);
    if (signal !== 'SIGSTOP') await gone;
  }

  async stop() {
    this.process.kill('SIGCONT');
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// Each connection goes to the next node that takes it; the others are told nothing.
class Balancer {
  static async over(nodes) {
    const b = new Balancer();
    b.next = 0;
    b.server = net.createServer((client) => {
      client.on('error', () => {});
      const attempt = (left) => {
        if (left === 0) return client.destroy();
        const node = net.connect(nodes[b.next++ % nodes.length].port, '127.0.0.1');
        node.once('error', () => attempt(left - 1));
        node.once('connect', () => {
          node.removeAllListeners('error');
          for (const [x, y] of [[client, node], [node, client]]) {
            x.on('error', () => {});
            x.on('close', () => y.destroy());
            x.pipe(y);
          }
        });
      };
      attempt(nodes.length);
    });
    b.server.listen(0, '127.0.0.1');
    await once(b.server, 'listening');
    b.port = b.server.address().port;
    return b;
  }

  close() { this.server.close(); }
}

export class Nodes {
  // `args` and `toml` go to every node.
  static async start({ count = 3, redis = undefined, args = [], toml = '' } = {}) {
    const n = new Nodes();
    n.ownRedis = redis === undefined;
    n.redis = redis ?? await Redis.start();
    n.args = ['--broker', n.redis.url, ...args];
    n.toml = toml;
    n.nodes = [];
    for (let i = 0; i < count; i++) n.nodes.push(await n.node());
    n.balancer = await Balancer.over(n.nodes);
    n.port = n.balancer.port;
    n.url = `ws://127.0.0.1:${n.port}/connection/websocket`;
    n.calls = 0;
    return n;
  }

  async node(listen = '127.0.0.1:0') {
    const s = await Server.start({ args: this.args, toml: this.toml, listen, store: '' });
    await s.ready();
    return s;
  }

  // Ends one and starts it again on its port, as a rolling restart does.
  async restart(i, signal = 'SIGTERM') {
    const { port } = this.nodes[i];
    await this.nodes[i].kill(signal);
    rmSync(this.nodes[i].folder, { recursive: true, force: true });
    this.nodes[i] = await this.node(`127.0.0.1:${port}`);
  }

  api(...call) { return this.nodes[this.calls++ % this.nodes.length].api(...call); }

  async stop() {
    this.balancer.close();
    for (const s of this.nodes) await s.stop();
    if (this.ownRedis) await this.redis.stop();
  }
}
