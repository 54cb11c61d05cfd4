// What sdk.test.mjs runs against; sdk_nodes.test.mjs puts several nodes here.
import { Server } from './parleyd.mjs';

export const serve = {
  start: (options) => Server.start(options),
  // One that a test kills; `again`: the server whose data and port it takes over.
  one: ({ again = undefined, ...options } = {}) =>
    Server.start({ ...(again && { folder: again.folder }), ...options }),
};
