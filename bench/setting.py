"""What every measure works with: processes, places, a private Redis, and the load client."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.centrifuge import CENTRIFUGO
from bench.figures import Sample
from bench.load import LoadClient
from bench.peers import (
    C_LOOP,
    CHANNELS,
    NODE_WS,
    PICOWS,
    PYTHON_SOCKETIO,
    SOCKETIFY,
    SOCKETIO,
    TUTORIAL,
    Peer,
    Place,
    ours,
)
from bench.processes import BenchError, Child, Stage, cores, free_port

STORES = ("redis-server", "valkey-server")


@dataclass(frozen=True, slots=True)
class Setting:
    """Given to each measure; `quick` asks for less of everything."""

    stage: Stage
    place: Place
    load: LoadClient
    redis: Child
    here: set[int]
    """Cores for what is measured."""
    there: set[int]
    """Cores for what measures, and for Redis."""
    quick: bool
    say: Callable[[str], None]
    left_out: dict[str, str]
    """What could not be measured, and why."""

    def leave_out(self, what: str, why: object) -> None:
        """Go on without something, and have the report say so."""
        self.say(f"{what} failed: {why}")
        self.left_out[what] = str(why)

    def rounds(self, usual: int) -> range:
        """Repetitions of a measure; peers take turns within each."""
        return range(1 if self.quick else usual)

    def seconds(self, usual: float) -> float:
        """How long one run takes."""
        return usual / 2 if self.quick else usual

    def peers(self) -> list[Peer]:
        """All servers that can be measured here, ours first."""
        compiled = [peer for peer in (PICOWS, SOCKETIFY) if find_spec(peer.name)]
        others = [*compiled, CENTRIFUGO, TUTORIAL, PYTHON_SOCKETIO, CHANNELS]
        return [ours(), C_LOOP, *filter(self.has, (NODE_WS, SOCKETIO, *others))]

    def has(self, peer: Peer) -> bool:
        """Whether there is what a server runs in, and its program."""
        built = not peer.program or (self.place.programs / peer.program).is_file()
        return built and (self.has_node or not peer.in_node)

    @property
    def has_node(self) -> bool:
        """Whether Node and its packages are there."""
        return self.place.node.is_dir() and shutil.which("node") is not None

    @contextlib.contextmanager
    def serve(self, peer: Peer, on: set[int] | None = None) -> Iterator[tuple[Child, int]]:
        """A server while it is needed; yields the process and its port."""
        child, port = peer.start(self.stage, self.place, on or self.here)
        try:
            yield child, port
        finally:
            self.stage.stop(child)

    def ask_redis(self, *command: str, stdin: bytes | None = None) -> str:
        """The answer to a command."""
        return subprocess.run(
            ["redis-cli", "-p", str(self.place.redis), *command],
            input=stdin,
            capture_output=True,
            check=True,
        ).stdout.decode()

    def calls(self, command: str) -> int:
        """How often clients sent Redis a command since it started."""
        for line in self.ask_redis("info", "commandstats").splitlines():
            if line.startswith(f"cmdstat_{command}:calls="):
                return int(line.partition("=")[2].partition(",")[0])
        return 0


Measure = Callable[[Setting], Iterator[Sample]]


@contextlib.contextmanager
def prepared(
    cache: Path, python: Path, *, quick: bool, say: Callable[[str], None]
) -> Iterator[Setting]:
    """A setting with a Redis that keeps nothing; all processes end with it."""
    server = next(filter(None, map(shutil.which, STORES)), None)
    if server is None:
        raise BenchError("there is no redis-server or valkey-server on the PATH: install one")
    here, there = cores()
    with Stage(cache / "logs") as stage:
        port = free_port()
        command: list[str | Path] = [server, "--bind", "127.0.0.1", "--port", str(port)]
        command += ["--save", "", "--appendonly", "no", "--dir", cache]
        redis = stage.start("redis", command, there)
        redis.await_port(port)
        place = Place(python, cache, cache / "node/node_modules", port)
        load = LoadClient(stage, cache / "load", cache / f"run-{os.getpid()}", there)
        try:
            yield Setting(stage, place, load, redis, here, there, quick, say, {})
        finally:
            shutil.rmtree(cache / f"run-{os.getpid()}", ignore_errors=True)
