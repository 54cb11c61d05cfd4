// A minimal WebSocket broadcast server with `ws`: rooms in a map, a message goes as it came to everybody in the room, the sender
// included, and is not acknowledged. As little as a chat server in Node can do. Spoken to by loadgen/dialects/broadcast.toml.
import { WebSocket, WebSocketServer } from 'ws';

const rooms = new Map(); // name -> Set of sockets

function leave(socket, name) {
  const members = rooms.get(name);
  members?.delete(socket);
  if (members?.size === 0) rooms.delete(name);
  socket.rooms.delete(name);
}

function take(socket, text) {
  const message = JSON.parse(text);
  if (message.join !== undefined) {
    if (!rooms.has(message.join)) rooms.set(message.join, new Set());
    rooms.get(message.join).add(socket);
    socket.rooms.add(message.join);
    socket.send(JSON.stringify({ joined: message.join }));
  } else if (message.leave !== undefined) {
    leave(socket, message.leave);
  } else if (socket.rooms.has(message.room)) {
    for (const member of rooms.get(message.room)) if (member.readyState === WebSocket.OPEN) member.send(text);
  }
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.argv[2] ?? 0) }, () =>
  console.log(`listening on ${server.address().port}`));
server.on('connection', (socket) => {
  socket.rooms = new Set();
  socket.on('message', (bytes) => {
    try {
      take(socket, bytes.toString());
    } catch {
      socket.close(1003, 'not understood');
    }
  });
  socket.on('close', () => [...socket.rooms].forEach((name) => leave(socket, name)));
});
