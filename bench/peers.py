"""The servers that are measured side by side, and how to speak with each."""

import itertools
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgpack

from bench import frames
from bench.load import Speech
from bench.processes import HOST, Child, Stage, free_port

SERVERS = Path(__file__).parent / "servers"
APP = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}"
PREFIX = "bench:"
OURS, LIMIT, NODE = "this template", "C loop", "Node ws"
_SOCKETIO = "/socket.io/?EIO=4&transport=websocket"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are: the cache's Python, C programs and node_modules, and Redis' port."""

    python: Path
    programs: Path
    node: Path
    redis: int

    @property
    def redis_url(self) -> str:
        """The address of the private Redis."""
        return f"redis://{HOST}:{self.redis}/0"


@dataclass(frozen=True, slots=True)
class Fan:
    """One room or channel: what its members say when they come, and what is published to it."""

    speech: Speech
    publish: Callable[[int], bytes]
    """A command for Redis that sends a message with so many bytes of payload."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A server; `command` gets its place and port, `fan` makes a new room."""

    name: str
    command: Callable[[Place, int], Sequence[str | Path]]
    fan: Callable[[], Fan]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    """So slow that it is measured only with 500 clients, 200 B, and few messages under way."""
    program: str = ""
    """What it needs of the cache, without which it is left out."""
    in_node: bool = False

    def start(self, stage: Stage, place: Place, on: set[int]) -> tuple[Child, int]:
        """Run it on some cores; returns the process and its port."""
        port = free_port()
        env = {
            "REDIS_URL": place.redis_url,
            "PYTHONPATH": str(SERVERS),
            "NODE_PATH": str(place.node),
            "NODE_ENV": "production",
            **self.env,
        }
        name = self.name.replace(" ", "-")
        child = stage.start(name, self.command(place, port), on, cwd=self.cwd, env=env)
        child.await_port(port)
        return child, port


# All clients come from one address, and send as fast as they can; some rooms are large. In the
# fan-out messages are published without being stored, so there is nothing to compare rooms with.
SETTINGS = {
    "GOSPA_BYTES_PER_SECOND": "1e12",
    "GOSPA_CONNECTIONS_PER_ADDRESS": "1000000",
    "GOSPA_FRAMES_PER_SECOND": "1e9",
    "GOSPA_FANOUT_PER_SECOND": "1e12",
    "GOSPA_EVENTS_PER_SECOND": "1e9",
    "GOSPA_HANDSHAKES_PER_SECOND": "1e9",
    "GOSPA_HEAD_CHECK_INTERVAL": "1700",
    "GOSPA_REQUESTS_PER_SECOND": "1e9",
    "GOSPA_SESSIONS_PER_HOUR": "1000000",
    "GOSPA_ROOM_SIZE": str(16 * 2**20),
}


def ours(workers: int = 1) -> Peer:
    """The template's application."""
    return Peer(
        OURS,
        lambda place, port: sanic(place, "ours:app", port, workers),
        _our_fan,
        cwd=APP,
        env={"GOSPA_KEY_PREFIX": PREFIX, **SETTINGS},
    )


def sanic(place: Place, app: str, port: int, workers: int = 1) -> list[str]:
    """The command that serves a Sanic application."""
    return [
        *(str(place.python), "-m", "sanic", app, f"--port={port}", f"--workers={workers}"),
        *("--no-motd", "--no-access-logs"),
    ]


def uvicorn(place: Place, app: str, port: int) -> list[str]:
    """The command that serves an ASGI application."""
    return [
        *(str(place.python), "-m", "uvicorn", app, "--port", str(port), "--no-access-log"),
        *("--ws", "websockets", "--log-level", "warning", "--ws-per-message-deflate", "false"),
    ]


def new_room() -> str:
    """The name of a room that nobody was in."""
    return f"bench/{next(_numbers)}-{secrets.token_hex(3)}"


def speech_of(
    room: bytes, call: bytes = b"", answer: bytes = b"", others: Iterable[bytes] = ()
) -> Speech:
    """What a member of our rooms says; their names may hold the connection's number."""
    client = secrets.token_bytes(10) + frames.CONNECTION
    hello = b"\x92\x06" + msgpack.packb(client)
    joins = [b"\x94\x00" + _text(each) + b"\xc0\xc0" for each in (room, *others)]
    return Speech(
        frames.handshake("/ws", "gospa.v1"),
        b"".join(map(frames.frame, (hello, *joins))),
        ready=b"\x97\x08",
        call=frames.frame(call) if call else b"",
        answer=answer,
    )


def _our_fan() -> Fan:
    """A chain of commits whose tags are their versions, as the room's clients would get it."""
    room = new_room()

    def publish(size: int) -> bytes:
        patch = (
            (b"\x97\x01" + _text(room.encode()) + b"\xcf" + frames.SEQUENCE)
            + (b"\xc4\x08" + frames.PREVIOUS + b"\xc4\x08" + frames.SEQUENCE)
            + (msgpack.packb({"value": frames.payload(size).decode()}) + msgpack.packb([]))
        )
        return frames.command("PUBLISH", f"{PREFIX}{{{room}}}", patch)

    return Fan(speech_of(room.encode()), publish)


def _text(raw: bytes) -> bytes:
    packed: bytes = msgpack.packb(raw.decode())
    return packed


def _plain_fan() -> Fan:
    return Fan(
        Speech(frames.handshake("/ws")),
        lambda size: frames.command("PUBLISH", "fan", frames.payload(size)),
    )


def _socketio_fan(channel: str, wrap: Callable[[str], bytes]) -> Fan:
    return Fan(
        Speech(frames.handshake(_SOCKETIO), frames.frame(b"40", frames.TEXT), ready=b'40{"sid"'),
        lambda size: frames.command("PUBLISH", channel, wrap(frames.payload(size).decode())),
    )


def _for_node(text: str) -> bytes:
    packet = {"type": 2, "data": ["fan", text], "nsp": "/"}
    packed: bytes = msgpack.packb(["bench", packet, {"rooms": [], "except": [], "flags": {}}])
    return packed


def _for_python(text: str) -> bytes:
    message = {"method": "emit", "event": "fan", "data": text, "namespace": "/", "room": None}
    return json.dumps(message | {"host_id": "bench"}).encode()


def _channels_fan() -> Fan:
    def publish(size: int) -> bytes:
        message = {"type": "pass.on", "data": frames.payload(size)}
        return frames.command("PUBLISH", "asgi__group__fan", msgpack.packb(message))

    return Fan(Speech(frames.handshake("/ws")), publish)


def _by_itself(program: Path, place: Place, port: int) -> list[str | Path]:
    return [place.python, program, str(port), str(place.redis)]


def change_by_script(room: bytes) -> Speech:
    """What a client of `script.cjs` says; `room` may hold the connection's number."""
    opening, call = frames.frame(room), frames.frame(b"change")
    return Speech(frames.handshake("/"), opening, ready=b"ready", call=call, answer=b"ack")


TUTORIAL = Peer("tutorial Sanic", lambda p, port: sanic(p, "tutorial:app", port), _plain_fan)
NODE_WS = Peer(
    NODE,
    lambda p, port: ["node", SERVERS / "ws.cjs", str(port), str(p.redis)],
    _plain_fan,
    in_node=True,
)
SOCKETIO = Peer(
    "Socket.IO",
    lambda p, port: ["node", SERVERS / "socketio.cjs", str(port), str(p.redis)],
    lambda: _socketio_fan("socket.io#/#", _for_node),
    in_node=True,
)
PYTHON_SOCKETIO = Peer(
    "python-socketio",
    lambda p, port: uvicorn(p, "socketio_asgi:app", port),
    lambda: _socketio_fan("socketio", _for_python),
    slow=True,
)
CHANNELS = Peer(
    "Channels", lambda p, port: uvicorn(p, "channels_asgi:app", port), _channels_fan, slow=True
)
C_LOOP = Peer(
    LIMIT, lambda p, port: [p.programs / "cloop", str(port), str(p.redis), "fan"], _plain_fan
)

PICOWS, SOCKETIFY = (
    Peer(name, partial(_by_itself, SERVERS / f"{name}_server.py"), _plain_fan)
    for name in ("picows", "socketify")
)
SCRIPT = Peer(
    "Node, one script",
    lambda p, port: ["node", SERVERS / "script.cjs", str(port), str(p.redis)],
    _plain_fan,
    in_node=True,
)
