"""How the process of a worker comes to its end: on a signal, with the main process, in time."""

import asyncio
import os
import resource
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from types import FrameType

from sanic import Sanic
from sanic.log import logger

from gospa import tasks
from gospa.lifeline import WorkerEnds
from gospa.trouble import report

BEAT = 1.0  # seconds between beats, and between looks whether the main process is there
MARGIN = 2.0  # seconds after the time at which the main process kills its workers
INTERRUPTED = 128 + signal.SIGINT  # the exit code, as shells have it
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Stops this worker, once however many signals come, and ends it if it does not stop."""

    def __init__(self, app: Sanic, timeout: float) -> None:
        self._stop = partial(app.stop, terminate=False)
        self._timeout = timeout + MARGIN
        self._loop = asyncio.get_running_loop()
        self._begun = False

    def begin(self, *_: int | FrameType | None) -> None:
        """Call it in any thread, or as the handler of a signal."""
        if self._begun:
            return
        self._begun = True
        deadline = threading.Timer(self._timeout, self._end)
        deadline.daemon = True
        deadline.start()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop)

    def handle_signals(self) -> None:
        """Take signals over from Sanic, if it handles them.

        Sanic stops to handle them when it begins to stop. A second signal, as of whoever sends it
        to the whole group of processes, would then end the worker without a word to its clients.
        """
        handled = [self._loop.remove_signal_handler(number) for number in SIGNALS[:2]]
        if not any(handled):
            return  # it is a test's process
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.begin)

    def follow(self, ends: WorkerEnds) -> None:
        """Begin when the main process stops or is gone, also if the event loop hangs."""
        follower = threading.Thread(target=self._follow, args=(ends,), daemon=True)
        follower.start()

    def _follow(self, ends: WorkerEnds) -> None:
        parent = os.getppid()
        while not ends.stop.poll(BEAT) and os.getppid() == parent:
            pass
        if ends.cut or os.getppid() != parent:
            logger.error("the main process is gone; this worker stops")
        self.begin()

    def _end(self) -> None:
        logger.error("this worker has not stopped in %.0f s; it is ended", self._timeout)
        os._exit(1)


@contextmanager
def ended_by_interrupt() -> Iterator[None]:
    """Have Ctrl-C end the process at once and in one line, while it starts; in the main thread."""
    before = signal.signal(signal.SIGINT, _end_interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_interrupted(*_: int | FrameType | None) -> None:
    logger.warning("interrupted while starting")
    raise SystemExit(INTERRUPTED)


def _check_descriptors() -> None:
    """Report that there are no file descriptors left: the event loop refuses clients in silence."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        text = "no client can connect (%s): raise the limit of open files, which is %d"
        report("descriptors", text, error.strerror, limit)


@asynccontextmanager
async def beating(ends: WorkerEnds) -> AsyncIterator[None]:
    """Tell the main process that this worker answers, as long as the block lasts."""

    async def beat() -> None:
        while True:
            ends.beat()
            _check_descriptors()
            await asyncio.sleep(BEAT)

    ends.write_stacks()
    async with tasks.running(beat, "heartbeat"):
        yield
