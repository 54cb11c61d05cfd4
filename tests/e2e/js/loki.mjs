// Loki for a test: the real one (LOKI_BIN), or a stand-in that keeps what its push API is given and answers by selector.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';

async function freePort() {
  const s = net.createServer().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const { port } = s.address();
  s.close();
  await once(s, 'close');
  return port;
}

// Both: start(), kill(), stop(), and lines(labels, text): the lines of streams with these labels that contain the text.
export class FakeLoki {
  static async new() { return Object.assign(new FakeLoki(), { port: await freePort(), kept: new Map(), pushes: 0 }); }

  get url() { return `http://127.0.0.1:${this.port}`; }

  async start() {
    this.sockets = new Set();
    this.server = http.createServer(async (q, a) => {
      const parts = [];
      for await (const p of q) parts.push(p);
      this.pushes += 1;
      const body = gunzipSync(Buffer.concat(parts));
      if (q.url !== '/loki/api/v1/push' || body.length > 4 << 20) return a.writeHead(500).end();
      for (const { stream, values } of JSON.parse(body).streams) {
        for (const [ns, line] of values) {
          if (typeof ns !== 'string' || !/^\d{19}$/.test(ns)) return a.writeHead(400).end();
          this.kept.set(`${JSON.stringify(stream)}${ns}${line}`, { stream, line });   // twice the same is once
        }
      }
      return a.writeHead(204).end();
    });
    this.server.on('connection', (s) => { this.sockets.add(s); s.on('close', () => this.sockets.delete(s)); });
    this.server.listen(this.port, '127.0.0.1');
    await once(this.server, 'listening');
  }

  async kill() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const s of this.sockets) s.destroy();
    await closed;
  }

  async stop() { if (this.server.listening) await this.kill(); }

  async lines(labels, text) {
    return [...this.kept.values()].filter(({ stream, line }) =>
      Object.entries(labels).every(([k, v]) => stream[k] === v) && line.includes(text)).map(({ line }) => line);
  }
}

export class RealLoki {
  static async new() {
    const folder = mkdtempSync(path.join(tmpdir(), 'parley-loki-'));
    const l = Object.assign(new RealLoki(), { port: await freePort(), grpc: await freePort(), folder });
    writeFileSync(path.join(folder, 'loki.yaml'), `
auth_enabled: false
analytics: {reporting_enabled: false}
server: {http_listen_address: 127.0.0.1, http_listen_port: ${l.port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: ${l.grpc}, log_level: warn}
common:
  instance_addr: 127.0.0.1
  path_prefix: ${folder}
  replication_factor: 1
  storage: {filesystem: {chunks_directory: ${folder}/chunks, rules_directory: ${folder}/rules}}
  ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}
ingester: {lifecycler: {min_ready_duration: 0s}}
query_scheduler: {use_scheduler_ring: false}
frontend_worker: {frontend_address: "127.0.0.1:${l.grpc}", dns_lookup_duration: 1s}
memberlist: {bind_addr: [127.0.0.1]}
schema_config: {configs: [{from: 2024-01-01, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}]}
`);
    return l;
  }

  get url() { return `http://127.0.0.1:${this.port}`; }

  async start() {
    this.process = spawn(process.env.LOKI_BIN, [`-config.file=${this.folder}/loki.yaml`, '-target=all'], { stdio: 'ignore' });
    for (const until = Date.now() + 60_000; ;) {
      if (await fetch(`${this.url}/ready`).then((r) => r.ok, () => false)) return;
      if (this.process.exitCode !== null || Date.now() > until) throw new Error('Loki does not become ready');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async kill() {
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async lines(labels, text) {
    const selector = `{${Object.entries(labels).map(([k, v]) => `${k}="${v}"`).join(',')}} |= ${JSON.stringify(text)}`;
    const start = `${(Date.now() - 3600_000) * 1e6}`;
    const r = await fetch(`${this.url}/loki/api/v1/query_range?${new URLSearchParams({ query: selector, start, limit: '5000' })}`);
    if (!r.ok) throw new Error(`${r.status} ${await r.text()}`);
    return (await r.json()).data.result.flatMap((s) => s.values.map(([, line]) => line));
  }
}
