// The same tests with three nodes over Redis, round robin, where every connection may meet another node than the last one.
import { test } from 'node:test';
import { Nodes, Redis, redisMissing, redisProgram } from './nodes.mjs';
import { Server } from './parleyd.mjs';
import { serve } from './serve.mjs';

if (redisProgram === undefined) {
  test('three nodes', { skip: redisMissing }, () => {});
} else {
  serve.start = (options) => Nodes.start(options);
  // One node that is killed: its Redis stays.
  serve.one = async ({ again = undefined, ...options } = {}) => {
    const redis = again?.redis ?? await Redis.start();
    const s = await Server.start({ ...options, args: ['--broker', redis.url], store: '' });
    s.redis = redis;
    const stop = s.stop.bind(s);
    s.stop = async () => { await stop(); await redis.stop(); };
    return s;
  };
  await import('./sdk.test.mjs');
}
