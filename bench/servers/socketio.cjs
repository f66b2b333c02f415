// Node: Socket.IO and its Redis adapter.
const { Server } = require("socket.io");
const { createAdapter } = require("@socket.io/redis-adapter");
const Redis = require("ioredis");

const [port, redis] = process.argv.slice(2);
const publisher = new Redis(Number(redis), "127.0.0.1");
const server = new Server({ adapter: createAdapter(publisher, publisher.duplicate()) });
server.listen(Number(port));
