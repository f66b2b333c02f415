"""Centrifugo, and the centrifuge library's map broker: how they are started and spoken with."""

import json
from collections.abc import Mapping

from bench import frames
from bench.load import Speech
from bench.peers import SERVERS, Fan, Peer, Place

PREFIX = "centrifugo.client."  # of channels in Redis
JOINED = b'"id":2,"subscribe"'
KEPT, STATE = "kept:", "state:"  # with history for recovery, with the last value: centrifugo.json
MAP: Mapping[str, object] = {"type": 1}
FROM_STATE = {"phase": 2}
ONE_CORE = {"GOMAXPROCS": "1"}
SEVEN_BITS, MORE = 0x7F, 0x80  # of a number in protobuf


def join(channel: str, **options: object) -> bytes:
    """What a client says first."""
    subscribe = {"channel": channel, **options}
    return _line({"id": 1, "connect": {}}) + b"\n" + _line({"id": 2, "subscribe": subscribe})


def publishing(channel: str, data: object = 1) -> Speech:
    """A member that publishes; `channel` may hold the connection's number."""
    return _speech(join(channel), {"channel": channel, "data": data})


def adding(channel: str) -> Speech:
    """A member that adds one to a key of a map; `channel` may hold the connection's number."""
    call = {"channel": channel, "key": "count", "data": 1, **MAP}
    return _speech(join(channel, **MAP, **FROM_STATE), call)


def fan() -> Fan:
    """A channel without history; its messages are as Centrifugo itself publishes them."""

    def publish(size: int) -> bytes:
        data = b'"%b"' % frames.payload(size)
        return frames.command("PUBLISH", f"{PREFIX}fan", _field(4, data))

    return Fan(_speech(join("fan")), publish)


def _speech(opening: bytes, publish: Mapping[str, object] | None = None) -> Speech:
    call = b""
    if publish:
        call = b'{"id":%b,"publish":%b}' % (frames.NUMBER, _line(publish))
    return Speech(
        frames.handshake("/connection/websocket"),
        frames.frame(opening, frames.TEXT),
        ready=JOINED,
        call=frames.frame(call, frames.TEXT) if call else b"",
        answer=b'"publish":{}' if call else b"",
        joined=True,
    )


def _line(command: Mapping[str, object]) -> bytes:
    return json.dumps(command, separators=(",", ":")).encode()


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf that holds bytes."""
    size, head = len(content), bytearray([number << 3 | 2])
    while size > SEVEN_BITS:
        head.append(size & SEVEN_BITS | MORE)
        size >>= 7
    return bytes([*head, size]) + content


def _centrifugo(place: Place, port: int) -> list[str]:
    address = f"CENTRIFUGO_ENGINE_REDIS_ADDRESS={place.redis_url}"
    config = SERVERS / "centrifugo.json"
    program = place.programs / "go/centrifugo"
    return ["env", address, str(program), "--config", str(config), "--http_server.port", str(port)]


CENTRIFUGO = Peer("Centrifugo", _centrifugo, fan, env=ONE_CORE, program="go/centrifugo")
MAP_BROKER = Peer(
    "centrifuge, map broker",
    lambda p, port: [p.programs / "go/mapbroker", str(port), str(p.redis)],
    fan,
    env=ONE_CORE,
    program="go/mapbroker",
)
