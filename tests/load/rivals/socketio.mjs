// A minimal Socket.IO chat server, as its documentation shows one: rooms, a message goes to everybody in the room, the sender
// included, and is acknowledged. WebSocket only, and otherwise Socket.IO's defaults. Spoken to by loadgen/dialects/socket.io.toml.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false });

const done = { ok: true };

io.on('connection', (socket) => {
  socket.on('join', (room, answer) => {
    socket.join(room);
    answer(done);
  });
  socket.on('leave', (room, answer) => {
    socket.leave(room);
    answer(done);
  });
  socket.on('message', ({ room, data }, answer) => {
    if (!socket.rooms.has(room)) return answer({ error: 'not in the room' });
    io.to(room).emit('message', { room, data });
    answer(done);
  });
});

http.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(`listening on ${http.address().port}`));
