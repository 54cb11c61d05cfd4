// A server that speaks MongoDB's protocol: the one at PARLEY_TEST_MONGODB_URI, else mongo-java-server as ./dev mongo fetches it.
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { freePort } from './nodes.mjs';

const java = process.env.MONGO_JAVA_DIR ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../build/mongo-java');
const given = process.env.PARLEY_TEST_MONGODB_URI;

// undefined: there is a server.
export const mongoMissing = given || existsSync(path.join(java, 'ready')) ? undefined
  : 'no MongoDB server: ./dev mongo fetches one for tests, or set PARLEY_TEST_MONGODB_URI';

export class Mongo {
  static async start() {
    const m = new Mongo();
    if (given) return m;
    m.port = await freePort();
    m.process = spawn('java', ['-Xmx1g', '-cp', `${java}:${java}/*`, 'FakeMongo', `${m.port}`], { stdio: ['ignore', 'pipe', 'ignore'] });
    await once(createInterface({ input: m.process.stdout }), 'line');   // it says ready
    return m;
  }

  // A database that nobody has used.
  freshUrl() {
    const name = `parley_test_${randomUUID().replaceAll('-', '').slice(0, 16)}`;
    if (!given) return `mongodb://127.0.0.1:${this.port}/${name}`;
    const [, hosts, options = ''] = given.match(/^(\w[\w+]*:\/\/[^/?]*)[^?]*(\?.*)?$/);
    return `${hosts}/${name}${options}`;
  }

  // Only of one that we started.
  signal(name) { this.process.kill(name); }
  get isOurs() { return this.process !== undefined; }

  async stop() {
    if (this.process === undefined) return;
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
  }
}
