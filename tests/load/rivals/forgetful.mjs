// For the tests of the tool: broadcast.mjs, but that it takes a message 50 ms after it came, and only if its sender is still there.
import { WebSocket, WebSocketServer } from 'ws';

const rooms = new Map(); // name -> Set of sockets
const delayMs = 50;

function send(text, room, from) {
  if (from.readyState !== WebSocket.OPEN) return;
  for (const member of rooms.get(room) ?? []) if (member.readyState === WebSocket.OPEN) member.send(text);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => console.log(`listening on ${server.address().port}`));
server.on('connection', (socket) => {
  socket.on('message', (bytes) => {
    const text = bytes.toString();
    const { join, room } = JSON.parse(text);
    if (join === undefined) return setTimeout(send, delayMs, text, room, socket);
    if (!rooms.has(join)) rooms.set(join, new Set());
    rooms.get(join).add(socket);
    socket.send(JSON.stringify({ joined: join }));
  });
  socket.on('close', () => rooms.forEach((members) => members.delete(socket)));
});
