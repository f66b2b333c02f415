"""Reads the settings from the environment, and refuses those that contradict each other."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gospa.settings import LEASE, PREFIX, Settings, SettingsError

SHORTEST_HANG = 30  # seconds
SCHEMES = (
    *("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://"),
    *("redis+cluster://", "rediss+cluster://"),
)
KINDS = {
    "Expected `bool`, got `str`": "it is either true or false",
    "Expected `float`, got `str`": "it is a number",
    "Expected `int`, got `str`": "it is a whole number",
}
_PLAIN = {"redis_url": "REDIS_URL", "require_shared": "REQUIRE_SHARED"}


def load_settings(environ: Mapping[str, str], name: str = "app") -> Settings:
    """Read and check all settings of the application of that name. Raises SettingsError."""
    names = {
        variable_of(each): each for each in Settings.__struct_fields__ if each != "application"
    }
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in names:
            close = difflib.get_close_matches(variable, names, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else "unset it"
            raise SettingsError(f"{variable} is not a setting of this application; {hint}")
    given: dict[str, Any] = {"key_prefix": f"{name}:"}
    # Blanks around a value, such as the newline of a secret's file, are never meant.
    found = {field: environ.get(each, "").strip() for each, field in names.items()}
    given |= {field: value for field, value in found.items() if value}
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        reason = KINDS.get(reason, reason)
        variable = variable_of(place.rstrip("`"))
        raise SettingsError(
            f"{variable}={environ.get(variable, '')!r} cannot be used: {reason}. "
            "Change it, or unset it for the default."
        ) from error
    _check_contradictions(settings)
    _check_address(settings.redis_url)
    return settings


def _check_contradictions(s: Settings) -> None:
    if s.production and s.insecure_cookies:
        raise SettingsError("GOSPA_INSECURE_COOKIES has to be unset in production: use HTTPS")
    refusals = {
        f"GOSPA_HANG_TIMEOUT={s.hang_timeout:g} would kill workers that are only busy: it is at "
        f"least {SHORTEST_HANG}, or 0, which turns it off": 0 < s.hang_timeout < SHORTEST_HANG,
        "GOSPA_ROOM_TTL, GOSPA_VISITED_TTL and GOSPA_SESSION_IDLE have to be above twice "
        "GOSPA_HEAD_CHECK_INTERVAL, which renews the time of open rooms: otherwise they expire "
        "while they have members": (
            min(s.room_ttl, s.visited_ttl, s.session_idle) <= 2 * s.head_check_interval
        ),
        "GOSPA_SESSION_IDLE has to be above twice GOSPA_SESSION_CHECK_INTERVAL, at which the "
        "sessions of sockets are renewed: otherwise they end while they are used": (
            s.session_idle <= 2 * s.session_check_interval
        ),
        f"GOSPA_STORE_TIMEOUT has to be below {LEASE:g}: a worker that waits for the store any "
        "longer counts as dead": s.store_timeout >= LEASE,
        "GOSPA_MUTATION_TTL and GOSPA_ONCE_TTL have to be above GOSPA_STORE_TIMEOUT and twice "
        "GOSPA_PING_INTERVAL, after which clients repeat a change: else it is applied twice": (
            min(s.mutation_ttl, s.once_ttl) <= s.store_timeout + 2 * s.ping_interval
        ),
        "GOSPA_BYTES_PER_SECOND has to be at least a tenth of GOSPA_FRAME_SIZE: else a message of "
        "that size closes its connection": 10 * s.bytes_per_second < s.frame_size,
    }
    for text, contradiction in refusals.items():
        if contradiction:
            raise SettingsError(text)


def _check_address(url: str) -> None:
    """Refuse an address in which a part of the password would be read as host and port.

    Errors must not quote the password, because they are logged.
    """
    if url and not url.startswith(SCHEMES):
        raise SettingsError(f"REDIS_URL has to start with one of {', '.join(SCHEMES)}")
    scheme, _, place = url.partition("://")
    host, *rest = re.split("[/?#]", place, maxsplit=1)
    if "#" in place or ("@" in "".join(rest) and (host or scheme != "unix")):
        raise SettingsError(
            "REDIS_URL has a / ? # or @ in its user, password or options. It has to be "
            "percent-encoded there, as %2F %3F %23 or %40."
        )


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return _PLAIN.get(field) or PREFIX + field.upper()
