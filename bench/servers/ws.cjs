// Node: ws and ioredis.
const { WebSocketServer } = require("ws");
const Redis = require("ioredis");

const [port, redis] = process.argv.slice(2);
const server = new WebSocketServer({ port: Number(port), host: "127.0.0.1", perMessageDeflate: false });
server.on("connection", (socket) => socket.on("message", (data) => socket.send(data)));
const subscriber = new Redis(Number(redis), "127.0.0.1");
subscriber.subscribe("fan");
subscriber.on("messageBuffer", (_, message) => {
  for (const socket of server.clients) if (socket.readyState === 1) socket.send(message, { binary: true });
});
