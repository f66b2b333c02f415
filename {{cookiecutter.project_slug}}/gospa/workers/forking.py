"""How Sanic starts workers: as forks of the main process, or as new interpreters.

A fork starts with a tenth of the CPU time of a new interpreter, which imports everything again,
and shares the memory of what the main process has imported.
"""

import gc
import os
import signal
import sys

from sanic import Sanic
from sanic.helpers import Default
from sanic.logging.formatter import AutoFormatter

from gospa import trouble
from gospa.stats import STATS


def choose_start_method(app: Sanic) -> None:
    """Let Sanic fork workers, unless `app.py` chose another way, or new workers load new code.

    Auto-reload and Sanic's inspector replace workers to load new code. On macOS, a process that has
    threads may crash when it forks.
    """
    os.register_at_fork(after_in_child=_reset)  # also if the application itself chose fork
    renewed = app.state.auto_reload or app.config.INSPECTOR
    if isinstance(Sanic.start_method, Default) and sys.platform == "linux" and not renewed:
        Sanic.start_method = "fork"


def share_memory() -> None:
    """Exclude existing objects from collections, which would write to their memory and copy it."""
    gc.collect()
    gc.freeze()


def _reset() -> None:
    """Reset what a fork copies: counters, times of log lines, the log's name, signal handlers."""
    STATS.reset()
    trouble.forget()
    # The first word of each log line. Sanic reads it when it is imported: before the fork.
    AutoFormatter.IDENT = os.environ.get("SANIC_WORKER_IDENTIFIER", AutoFormatter.IDENT)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if callable(signal.getsignal(number)):  # it is not ignored, as with nohup
            signal.signal(number, signal.SIG_DFL)
