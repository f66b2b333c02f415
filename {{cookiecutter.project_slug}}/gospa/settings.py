"""All settings, with their defaults and their bounds."""

from typing import Annotated, Literal

import msgspec

PREFIX = "GOSPA_"
LEASE = 9.0  # seconds for which a crashed worker still counts as running: see `live/visits.py`

Seconds = Annotated[float, msgspec.Meta(gt=0, le=10 * 365 * 86400)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(gt=0)]

# Names of hosts are ASCII; others are written in Punycode, as browsers send them.
_HOST = r"(\.?[\w-]+(\.[\w-]+)*|\[[0-9a-fA-F:.]+\])"
_LISTEN = r"([\w.-]+|\[[0-9a-fA-F:.]+\])"
# Schemes of browsers whose origins do not identify an owner are excluded.
_ORIGIN = r"(https?|(?!http|ftp|file|wss?:|data|blob|javascript)[a-z][a-z0-9+.-]*)://([\w.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"


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
    application: str = ""
    """NAME in app.py, while it is served; not a variable."""
    production: bool = False
    """Require REDIS_URL, and never start a development store."""
    demo: bool = False
    """Enable features for demonstrations only: anybody may log in under any name, and browsers get
    the process ids of workers.
    """
    key_prefix: Annotated[str, msgspec.Meta(pattern=r"^[\w:.-]*$", max_length=64)] = "app:"
    """Prefix of all keys and channels, so that several applications can share a server.

    The default is NAME in app.py, and a colon.
    """
    store_directory: str = ".devstore"
    """Directory of the development store's data."""
    store_timeout: Seconds = 2.0
    """Timeout of a request to the store, after which it counts as unavailable."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log: text for people, or one JSON object a line for programs."""
    release: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The name of this release, such as a commit; the default is a hash of files and code.

    Browsers get it, and notice when it changes: see docs/deployment.md.
    """
    outdated: str = ""
    """Releases whose pages have to be reloaded before they connect, separated by commas.

    Use it if the new release does not support requests of these pages.
    """
    allowed_origins: Annotated[
        str, msgspec.Meta(pattern=rf"(?a)^({_ORIGIN}(\s*,\s*{_ORIGIN})*)?$")
    ] = ""
    """Other origins that are allowed, such as https://example.org or, for an app's own scheme,
    capacitor://localhost, separated by commas.

    See CSRF in docs/architecture.md.
    """
    allowed_hosts: Annotated[str, msgspec.Meta(pattern=rf"(?a)^({_HOST}(\s*,\s*{_HOST})*)?$")] = ""
    """Host names under which the application is served, separated by commas; the default is all.

    `.example.org` means all names below it. Requests for other names are refused, except for
    `/health/`. Use it if no proxy does this.
    """
    path_prefix: Annotated[str, msgspec.Meta(pattern=r"^(/[A-Za-z0-9_.~-]+)*$", max_length=64)] = ""
    """Path below which the application is served, such as /live: see docs/deployment.md."""
    insecure_cookies: bool = False
    """For development over plain HTTP, such as from other devices in a LAN: set the cookie without
    `Secure`, because browsers would refuse it. Anybody on the network can then hijack sessions.
    """
    session_idle: Seconds = 14 * 86400.0
    """Idle timeout: a session that is not used for this long ends."""
    session_absolute: Seconds = 90 * 86400.0
    """Absolute timeout: a session ends this long after it began; a log-in begins it again."""
    session_size: Annotated[int, msgspec.Meta(ge=256)] = 64 * 1024
    """Maximum size of a stored session."""
    session_grace: Seconds = 10.0
    """How long the previous token remains valid for requests in progress after `renew_token`.

    After a log-in, the previous token is invalid at once.
    """
    session_check_interval: Seconds = 30.0
    """Interval at which sockets are compared with their sessions, in case a message was lost."""
    sockets_need_login: bool = False
    """Allow sockets, and rooms over HTTP, for logged-in users only."""
    room_ttl: Seconds = 30 * 86400.0
    """A room that is neither changed nor visited for this long is deleted.

    A room of a session is deleted after GOSPA_SESSION_IDLE, if that is less, and with its session.
    """
    visited_ttl: Seconds = 3600.0
    """The same for a room that has only been visited: only hooks and `load` have changed it."""
    mutation_ttl: Seconds = 86400.0
    """How long a repeated mutation of a client is recognized (idempotency)."""
    once_ttl: Seconds = 7 * 86400.0
    """How long a key of `rooms.once` is stored (idempotency key)."""
    room_size: Annotated[int, msgspec.Meta(ge=1024)] = 1024 * 1024
    """Maximum size of a room's state; each key counts 64 bytes more."""
    memory_size: Annotated[int, msgspec.Meta(ge=1024)] = 256 * 1024 * 1024
    """Maximum size of all rooms, and of all sessions, in a memory backend.

    A visitor may use at most a ninth of each, an address at most a fifth.
    """
    frame_size: Annotated[int, msgspec.Meta(ge=1024)] = 64 * 1024
    """Maximum size of a client's message."""
    frame_elements: Count = 4096
    """Maximum number of values in a message, nested ones included."""
    frame_depth: Annotated[int, msgspec.Meta(ge=4, le=32)] = 16
    """Maximum nesting depth of the values in a message."""
    frames_per_second: Rate = 200.0
    """Rate limit of a connection, in frames of any kind; allows bursts of ten seconds' worth.

    A connection above it is closed. From all connections of a visitor together, a worker reads no
    faster than this.
    """
    bytes_per_second: Rate = 256.0 * 1024
    """Rate limit of a connection, in bytes; allows bursts of ten seconds' worth."""
    event_size: Annotated[int, msgspec.Meta(ge=128)] = 16 * 1024
    """Maximum size of an event that a member sends."""
    events_per_second: Rate = 60.0
    """Rate limit of a visitor's events in each worker, over all connections of the session; allows
    bursts of ten seconds' worth. Above it, events are refused.
    """
    fanout_per_second: Rate = 2.0 * 1024 * 1024
    """Rate limit of a visitor's fan-out in each worker, in bytes: the size of an event or change,
    times the members who get it. Allows bursts of ten seconds' worth. Above it, events are refused,
    and other requests are delayed by up to five seconds.
    """
    rooms_per_hour: Count = 500
    """Quota of rooms that a visitor may create in each worker per hour; allows all of them at once.

    Rooms that are only visited count if the visit stores something.
    """
    stored_per_day: Annotated[int, msgspec.Meta(ge=1024)] = 8 * 1024 * 1024
    """Quota of bytes that a visitor may add to rooms, and to sessions, in each worker per day;
    allows all of them at once. Bytes that the visitor removes are credited.
    """
    sessions_per_hour: Count = 1000
    """Three quotas of a client address in each worker per hour: sessions begun, sessions that last
    for the idle timeout, and log-ins; each allows all of them at once. Above it, log-ins are
    refused, and other sessions end soon unless a socket stays open.
    """
    visitors_per_network: Count = 20
    """A client address has this many times the limits of a visitor: frames, bytes, events, fan-out,
    commands, rooms, storage.

    An address is an IPv4 address or the /64 network of an IPv6 address.
    """
    hello_timeout: Seconds = 10.0
    """A connection that has not sent HELLO within this time is closed."""
    rooms_per_connection: Count = 64
    """Maximum number of rooms that a connection may join."""
    presence_size: Count = 200
    """Maximum number of people in the list of a room's members; its count includes all."""
    action_warning: Seconds = 0.1
    """An action that takes longer is logged, because it blocks its worker."""
    save_delay: Seconds = 1.0
    """Delay of `save` after a change, so that further changes are saved together."""
    connections_per_session: Count = 64
    """Maximum number of sockets of a session in each worker."""
    connections_per_address: Count = 1000
    """Maximum number of sockets of a client address in each worker; for IPv6, of a /64 network.

    Without a proxy, an address may also have six times as many other connections, but at most half
    of the files that a worker may have open.
    """
    handshakes_per_second: Rate = 100.0
    """Rate limit of a client address in each worker; allows bursts of ten seconds' worth."""
    body_size: Annotated[int, msgspec.Meta(ge=1024)] = 256 * 1024
    """Maximum size of an HTTP request's body; a route with `stream=True` has to limit it itself.

    An address may send 64 bodies of this size at the same time, to each worker.
    """
    form_fields: Count = 1000
    """Maximum number of fields and files in a form."""
    request_timeout: Seconds = 30.0
    """Timeout for receiving the headers of an HTTP request, and again for its body."""
    requests_per_second: Rate = 300.0
    """Rate limit of a client address, in HTTP requests, in each worker; 8 KiB of a body count as
    another request. Allows bursts of thirty seconds' worth, so that 300 visitors behind one address
    may load a page of 30 files at once.
    """
    health_address: Annotated[str, msgspec.Meta(pattern=rf"^({_LISTEN}:[1-9][0-9]{{,4}})?$")] = ""
    """Address and port, such as 127.0.0.1:9000, at which `/health/` is served instead of at the
    public port. All workers listen there, and any of them may answer.
    """
    ping_interval: Seconds = 20.0
    """Heartbeat: a connection that is silent for this long is pinged; after twice that, closed."""
    drain_timeout: Seconds = 30.0
    """A connection is closed if its client, within this time, reads neither all of its unsent data
    nor 256 KiB of it.
    """
    unsent_size: Annotated[int, msgspec.Meta(ge=1024 * 1024)] = 64 * 1024 * 1024
    """Maximum size, in each worker, of unsent data for clients that read slowly. Above it, the
    connections of the slowest are closed. Data that several clients share counts once.
    """
    stop_timeout: Seconds = 15.0
    """Workers that still run this long after SIGTERM are killed. The application ends within three
    seconds more, so a service manager should wait that long: `TimeoutStopSec`, `stop_grace_period`.
    """
    hang_timeout: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """A worker whose event loop has not run for this long, or whose start takes longer, is killed
    and replaced; its stack is logged. At least 30; 0 or debug mode turns this off. Time during
    which the machine was suspended does not count.
    """
    ready_needs_store: bool = False
    """Answer /health/ready with 503 also if the store itself fails, which affects all hosts alike.
    The default is 200, because rooms stay readable, and another host would not serve better.
    """
    head_check_interval: Seconds = 10.0
    """Interval at which open rooms are compared with the store."""
