// Node: ws and ioredis, and one script in Redis for each change: it counts, and publishes the count.
// A client first names its room. Each message is a change, answered once it is stored; all members see it.
const { WebSocketServer } = require("ws");
const Redis = require("ioredis");

const SCRIPT = `
local count = redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('PUBLISH', KEYS[1], count)
return count`;

const [port, place] = process.argv.slice(2);
const redis = new Redis(Number(place), "127.0.0.1", { enableAutoPipelining: true });
redis.defineCommand("change", { numberOfKeys: 1, lua: SCRIPT });
const rooms = new Map();
const subscriber = new Redis(Number(place), "127.0.0.1");
subscriber.on("message", (room, count) => {
  for (const socket of rooms.get(room) ?? []) if (socket.readyState === 1) socket.send(`patch ${count}`);
});

const server = new WebSocketServer({ port: Number(port), host: "127.0.0.1", perMessageDeflate: false, backlog: 4096 });
server.on("connection", (socket) => {
  let room;
  socket.on("message", async (data) => {
    if (room) {
      await redis.change(room);
      socket.send("ack");
      return;
    }
    room = String(data);
    if (!rooms.has(room)) {
      rooms.set(room, new Set());
      await subscriber.subscribe(room);
    }
    rooms.get(room).add(socket);
    socket.send("ready");
  });
  socket.on("close", () => rooms.get(room)?.delete(socket));
});
