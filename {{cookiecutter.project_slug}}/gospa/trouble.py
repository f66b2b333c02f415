"""Refusals and losses, for operators: counted by reason, and logged.

After the first one, a line per minute for each reason says how many there were.
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
    """Count a refusal or a loss, and log it at most once a minute; `reason` is in `stats.REASONS`.

    The limit is for each value of `each`, which must not depend on a client's input.
    """
    STATS.trouble[REASONS.index(reason)] += 1
    warn_seldom((reason, each), f"{text} [{reason}]", *values)


def report_limit(what: str, where: str) -> None:
    """Report the reason `limit_<what>`. `where`: the client's network."""
    report(f"limit_{what}", LIMIT, what, where or "a client without an address")


def warn_seldom(
    kind: Hashable, text: str, *values: object, error: BaseException | None = None
) -> None:
    """Log a warning that clients can cause, at most once a minute for each kind.

    A kind must not depend on a client's input. The next line says how many were left out. Use it
    for events that have their own counter in STATS.
    """
    now, last = monotonic(), _logged.get(kind)
    if last and now - last.at < INTERVAL:
        last.more += 1
        return
    more = f" ({last.more} more of these since the last line)" if last and last.more else ""
    _logged[kind] = _Logged(now)
    logger.warning(f"{text}{more}", *values, exc_info=error)  # noqa: G004 - the text is ours


def forget() -> None:
    """Forget what was logged, so that the next of each kind is logged; for tests."""
    _logged.clear()
