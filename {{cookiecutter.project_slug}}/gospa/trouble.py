"""Refusals and losses, for whoever operates the application: counted by reason, and logged.

A flood of them is not a flood of lines: after the first, a line a minute says how many there were.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from time import monotonic

from sanic.log import logger

from gospa.stats import REASONS, STATS

LIMIT = (
    "the limit on %s was reached by %s. Behind a proxy, SANIC_PROXIES_COUNT tells visitors apart."
)
INTERVAL = 60.0  # seconds between two lines of one kind


@dataclass(slots=True)
class _Logged:
    at: float
    more: int = 0  # since then


_logged: dict[Hashable, _Logged] = {}


def report(reason: str, text: str, *values: object, each: str = "") -> None:
    """Count a refusal or a loss, and log it seldom; `reason` is one of `stats.REASONS`.

    Lines are limited for each value of `each`, which no client may choose.
    """
    STATS.trouble[REASONS.index(reason)] += 1
    warn_seldom((reason, each), f"{text} [{reason}]", *values)


def report_limit(what: str, where: str) -> None:
    """Report the reason `limit_<what>`. `where`: the client's network."""
    report(f"limit_{what}", LIMIT, what, where or "a client without an address")


def warn_seldom(kind: Hashable, text: str, *values: object) -> None:
    """Log what clients can cause at most once a minute for each kind, which none may choose.

    The next line says how many were left out. For what has a counter of its own in STATS.
    """
    now, last = monotonic(), _logged.get(kind)
    if last and now - last.at < INTERVAL:
        last.more += 1
        return
    more = f" ({last.more} more of these since the last line)" if last and last.more else ""
    _logged[kind] = _Logged(now)
    logger.warning(f"{text}{more}", *values)  # noqa: G004 - the text is ours


def forget() -> None:
    """Log the next of each kind; for tests."""
    _logged.clear()
