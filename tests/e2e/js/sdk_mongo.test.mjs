// The same tests with history in MongoDB.
import { after, test } from 'node:test';
import { Mongo, mongoMissing } from './mongo.mjs';
import { Server } from './parleyd.mjs';
import { serve } from './serve.mjs';

if (mongoMissing) {
  test('history in MongoDB', { skip: mongoMissing }, () => {});
} else {
  const mongo = await Mongo.start();
  after(() => mongo.stop());
  const start = (options) => {
    const url = options.url ?? mongo.freshUrl();
    return Server.start({ ...options, store: url }).then((s) => Object.assign(s, { mongoUrl: url }));
  };
  serve.start = start;
  // What a killed one leaves is its spool, in its folder, and the database.
  serve.one = ({ again = undefined, ...options } = {}) =>
    start({ ...(again && { folder: again.folder, url: again.mongoUrl }), ...options });
  await import('./sdk.test.mjs');
}
