"""Settings from the environment, checked at start."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

PREFIX = "GOSPA_"
SCHEMES = (
    *("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://"),
    *("redis+cluster://", "rediss+cluster://"),
)
_PLAIN = {"redis_url": "REDIS_URL", "require_shared": "REQUIRE_SHARED"}

Seconds = Annotated[float, msgspec.Meta(gt=0, le=10 * 365 * 86400)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(gt=0)]

_ORIGIN = r"https?://([\w.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"


class SettingsError(ValueError):
    """A setting is invalid; the text names the variable and the remedy."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is read from the variable `GOSPA_<FIELD>`; the first two have no prefix.

    Times are in seconds, sizes in bytes.
    """

    redis_url: str = ""
    """REDIS_URL: address of Redis or Valkey, such as redis://user:password@host:6379/0."""
    require_shared: bool = False
    """REQUIRE_SHARED: refuse to start several workers on a memory backend instead of warning."""
    production: bool = False
    """Require REDIS_URL, and never start a development store."""
    key_prefix: Annotated[str, msgspec.Meta(pattern=r"^[\w:.-]*$", max_length=64)] = "app:"
    """Prefix of all keys and channels, so that several applications can share a server."""
    store_directory: str = ".devstore"
    """Directory of the development store's data."""
    store_timeout: Seconds = 2.0
    """Timeout of a request to the store, after which it counts as unavailable."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log: text for people, or one JSON object a line for programs."""
    allowed_origins: Annotated[str, msgspec.Meta(pattern=rf"^({_ORIGIN}(\s*,\s*{_ORIGIN})*)?$")] = (
        ""
    )
    """Other origins that are allowed, such as https://example.org, separated by commas.

    See CSRF in docs/architecture.md.
    """
    session_idle: Seconds = 14 * 86400.0
    """Idle timeout: a session that is not used for this long ends."""
    session_absolute: Seconds = 90 * 86400.0
    """Absolute timeout: a session ends this long after it began; a log-in begins it again."""
    session_size: Annotated[int, msgspec.Meta(ge=256)] = 64 * 1024
    """Maximum size of a stored session."""
    session_grace: Seconds = 10.0
    """How long a replaced token remains valid for requests that are in progress."""
    session_check_interval: Seconds = 30.0
    """Interval at which sockets are compared with their sessions, in case a message was lost."""
    sockets_need_login: bool = False
    """Allow sockets to logged-in users only."""
    room_ttl: Seconds = 30 * 86400.0
    """A room that is neither changed nor visited for this long is deleted."""
    mutation_ttl: Seconds = 86400.0
    """How long a client's repeated mutation is recognized (idempotency)."""
    once_ttl: Seconds = 7 * 86400.0
    """How long a key of `rooms.once` is remembered (idempotency key)."""
    room_size: Annotated[int, msgspec.Meta(ge=1024)] = 1024 * 1024
    """Maximum size of a room's state; each key counts 64 bytes more."""
    memory_size: Annotated[int, msgspec.Meta(ge=1024)] = 256 * 1024 * 1024
    """Maximum size of all rooms, and of all sessions, in a memory backend."""
    frame_size: Annotated[int, msgspec.Meta(ge=1024)] = 64 * 1024
    """Maximum size of a client's message."""
    frame_elements: Count = 4096
    """Maximum number of values in a message, nested ones included."""
    frame_depth: Annotated[int, msgspec.Meta(ge=4, le=32)] = 16
    """Maximum nesting depth of the values in a message."""
    frames_per_second: Rate = 200.0
    """Rate limit of a connection, in frames of any kind; allows bursts of ten seconds' worth."""
    bytes_per_second: Rate = 256.0 * 1024
    """Rate limit of a connection, in bytes; allows bursts of ten seconds' worth."""
    hello_timeout: Seconds = 10.0
    """A connection that has not sent HELLO within this time is closed."""
    room_name: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 128
    """Maximum length of a room's name, in characters."""
    rooms_per_connection: Count = 64
    """Maximum number of rooms that a connection may join."""
    connections_per_session: Count = 64
    """Maximum number of sockets of a session in each worker."""
    connections_per_address: Count = 1000
    """Maximum number of sockets of a client address in each worker."""
    handshakes_per_second: Rate = 100.0
    """Rate limit of a client address in each worker; allows bursts of ten seconds' worth."""
    ping_interval: Seconds = 20.0
    """Heartbeat: a connection that is silent this long is pinged, and closed after twice that."""
    drain_timeout: Seconds = 30.0
    """A connection is closed if its client reads none of the buffered data for this long."""
    head_check_interval: Seconds = 10.0
    """Interval at which open rooms are compared with the store."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check all settings. Raises SettingsError."""
    names = {variable_of(field): field for field in Settings.__struct_fields__}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in names:
            close = difflib.get_close_matches(variable, names, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else "unset it"
            raise SettingsError(f"{variable} is not a setting of this application; {hint}")
    given: dict[str, Any] = {
        field: environ[variable] for variable, field in names.items() if environ.get(variable)
    }
    try:
        settings = msgspec.convert(given, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        reason = reason.replace("Expected `bool`, got `str`", "it is either true or false")
        variable = variable_of(place.rstrip("`"))
        raise SettingsError(
            f"{variable}={environ.get(variable, '')!r} cannot be used: {reason}. "
            "Change it, or unset it for the default."
        ) from error
    if settings.redis_url and not settings.redis_url.startswith(SCHEMES):
        raise SettingsError(f"REDIS_URL has to start with one of {', '.join(SCHEMES)}")
    return settings


def variable_of(field: str) -> str:
    """The environment variable of a field."""
    return _PLAIN.get(field) or PREFIX + field.upper()
