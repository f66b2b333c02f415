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
    """A setting that cannot be used; the text names the variable and the remedy."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each field is read from `GOSPA_` and its name in capitals, except the first two.

    Times are in seconds, sizes in bytes.
    """

    redis_url: str = ""
    """REDIS_URL: address of Redis or Valkey, such as redis://user:password@host:6379/0."""
    require_shared: bool = False
    """REQUIRE_SHARED: refuse several workers on a memory backend instead of warning."""
    production: bool = False
    """Never start a development store: REDIS_URL has to be set."""
    key_prefix: Annotated[str, msgspec.Meta(pattern=r"^[\w:.-]*$", max_length=64)] = "app:"
    """Starts every key and channel, so that several applications can share a server."""
    store_directory: str = ".devstore"
    """Where the development store keeps its data."""
    store_timeout: Seconds = 2.0
    """After this the store counts as unavailable."""
    log_format: Literal["text", "json"] = "text"
    """How the log is written: for people, or as lines of JSON for programs."""
    allowed_origins: Annotated[str, msgspec.Meta(pattern=rf"^({_ORIGIN}(\s*,\s*{_ORIGIN})*)?$")] = (
        ""
    )
    """Origins, such as https://example.org, whose pages count as the application's own.

    Separated by commas.
    """
    session_idle: Seconds = 14 * 86400.0
    """A session ends when it was not used for this long."""
    session_absolute: Seconds = 90 * 86400.0
    """A session ends this long after it began."""
    session_size: Annotated[int, msgspec.Meta(ge=256)] = 64 * 1024
    """The most that one session may hold."""
    session_grace: Seconds = 10.0
    """For so long a token that was replaced still serves requests that are under way."""
    session_check_interval: Seconds = 30.0
    """How often open sockets are compared with their sessions, should a message be lost."""
    sockets_need_login: bool = False
    """Only visitors who are logged in may open a socket."""
    room_ttl: Seconds = 30 * 86400.0
    """A room is forgotten when it was neither changed nor visited for this long."""
    mutation_ttl: Seconds = 86400.0
    """A client's repeated mutation is recognised within this time."""
    room_size: Annotated[int, msgspec.Meta(ge=1024)] = 1024 * 1024
    """The most that a room's state may take; 64 bytes are counted for each key besides."""
    memory_size: Annotated[int, msgspec.Meta(ge=1024)] = 256 * 1024 * 1024
    """The most that a memory backend may hold of rooms, and of sessions."""
    frame_size: Annotated[int, msgspec.Meta(ge=1024)] = 64 * 1024
    """The largest message a client may send."""
    frame_elements: Count = 4096
    """How many values a message may have, counted at every depth."""
    frame_depth: Annotated[int, msgspec.Meta(ge=4, le=32)] = 16
    """How deep the values of a message may be nested."""
    frames_per_second: Rate = 200.0
    """Frames of any kind that a connection may send; ten seconds' worth may come at once."""
    bytes_per_second: Rate = 256.0 * 1024
    """Bytes that a connection may send; ten seconds' worth may come at once."""
    hello_timeout: Seconds = 10.0
    """A connection that has not said HELLO after this is closed."""
    room_name: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 128
    """The longest name of a room, in characters."""
    rooms_per_connection: Count = 64
    """How many rooms one connection may be in."""
    connections_per_session: Count = 64
    """How many sockets of one session a worker takes."""
    connections_per_address: Count = 1000
    """How many sockets of one client address a worker takes."""
    handshakes_per_second: Rate = 100.0
    """Handshakes from one address that a worker takes; ten seconds' worth may come at once."""
    ping_interval: Seconds = 20.0
    """A connection that was silent this long is pinged, and closed after twice that."""
    drain_timeout: Seconds = 30.0
    """A connection that takes nothing of what waits for it for this long is closed."""
    head_check_interval: Seconds = 10.0
    """How often open rooms are compared with the store."""


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
