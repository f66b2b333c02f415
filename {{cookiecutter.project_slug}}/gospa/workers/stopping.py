"""Ends the process of a worker: on a signal, or with the main process, within a time limit."""

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
from gospa.trouble import report
from gospa.workers.lifeline import WorkerEnds

BEAT = 1.0  # seconds between heartbeats, and between checks of the main process
MARGIN = 2.0  # seconds after the time at which the main process kills its workers
INTERRUPTED = 128 + signal.SIGINT  # the exit code, as in shells
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Stops this worker, once for any number of signals, and kills it if it does not stop."""

    def __init__(self, app: Sanic, timeout: float) -> None:
        self._stop = partial(app.stop, terminate=False)
        self._timeout = timeout + MARGIN
        self._loop = asyncio.get_running_loop()
        self._begun = False

    def begin(self, *_: int | FrameType | None) -> None:
        """Stop the worker. It can be called in any thread, or as a signal handler."""
        if self._begun:
            return
        self._begun = True
        deadline = threading.Timer(self._timeout, self._end)
        deadline.daemon = True
        deadline.start()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop)

    def handle_signals(self) -> None:
        """Replace Sanic's signal handlers, if it has set them.

        Sanic removes its handlers when it begins to stop. A second signal, for example one sent to
        the whole process group, would then end the worker without a BYE to its clients.
        """
        handled = [self._loop.remove_signal_handler(number) for number in SIGNALS[:2]]
        if not any(handled):
            return  # the process is a test's
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self.begin)

    def follow(self, ends: WorkerEnds) -> None:
        """Stop when the main process stops or dies, even if the event loop hangs."""
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
    """While the process starts, let Ctrl-C end it at once, with one line; in the main thread."""
    before = signal.signal(signal.SIGINT, _end_interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_interrupted(*_: int | FrameType | None) -> None:
    logger.warning("interrupted while starting")
    raise SystemExit(INTERRUPTED)


def _check_descriptors() -> None:
    """Report if no file descriptors are left: the event loop itself drops clients silently."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        text = "no client can connect (%s): raise the limit of open files, which is %d"
        report("descriptors", text, error.strerror, limit)


@asynccontextmanager
async def beating(ends: WorkerEnds) -> AsyncIterator[None]:
    """Send heartbeats to the main process until the block ends."""

    async def beat() -> None:
        while True:
            ends.beat()
            _check_descriptors()
            await asyncio.sleep(BEAT)

    async with tasks.running(beat, "heartbeat"):
        yield
