"""A session as data: its values, its lifetime, and merging of two versions of it. No I/O."""

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, MutableMapping
from hmac import compare_digest
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from gospa.store.codec import CodecError, check, check_keys, pack, pack_fields, unpack, unreadable

# The session's identity, and a secret of 256 random bits in base64url; OWASP ASVS 5 (7.2.3) asks
# for at least 128. Only a hash of the secret is stored, so a copy of the store gives no access.
TOKEN = re.compile(r"([0-9a-f]{32})([A-Za-z0-9_-]{43})")
LONGEST_USER = 256  # characters of a user's name
RENEWAL = 0.1  # fraction of the idle timeout that has to pass before a session is renewed
FLASH = "flash:"  # begins the keys of messages; each has its own, so that none is lost in a merge


class SessionTooLarge(ValueError):
    """A session is larger than the setting `session_size` allows."""


class Credentials(NamedTuple):
    """The user, if logged in; hashes of the current and, until `until`, of the previous token.

    If a log-in replaced the previous token, `until` is negative: until its absolute value, the
    token is recognized as barred, and gives no access.
    """

    user: str | None = None
    token: bytes = b""
    replaced: bytes = b""
    until: float = 0.0


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A stored session; `values` are encoded separately, so that they can be compared."""

    identity: str
    created: float
    renewed: float
    credentials: Credentials
    values: msgspec.Raw


ANONYMOUS = Credentials()
EMPTY = pack({})
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Record)
_FIELDS = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])


class Session(MutableMapping[str, Any]):
    """One visitor's data, as a dict with text keys and state values.

    Values inside values may be changed in place. `identity` is the visitor's random id in the
    application. Unlike the token it grants no access, and it stays when the token changes.
    """

    def __init__(
        self,
        identity: str,
        created: float,
        renewed: float,
        stored: bytes = EMPTY,
        credentials: Credentials = ANONYMOUS,
    ) -> None:
        self.identity = identity
        self.created = created
        self.renewed = renewed
        self.credentials = credentials
        self._values, self.unreadable = _readable(stored)
        self._stored = pack(self._values) if self.unreadable else stored
        self._stored_credentials = credentials
        self._digest: int | None = None  # of the bytes that it was read from
        self.needed = False  # see `need`

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        check_keys((key,), "the session")
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def user(self) -> str | None:
        """The user, or None before a log-in."""
        return self.credentials.user

    def log_in(self, user: str, now: float) -> None:
        """Set the user, and begin the absolute timeout again. Raises ValueError for a bad name."""
        user = normalized(user)
        self.credentials, self.created = self.credentials._replace(user=user), now
        self.renewed = max(self.renewed, now)

    @property
    def kept(self) -> bool:
        """Whether it lasts for the idle timeout: it has a log-in, values or a change to a room.

        For other sessions, which end sooner, the time of renewal is set back.
        """
        return self.renewed >= self.created

    def need(self) -> None:
        """Have it stored also without values, and kept: it has a room of its own by now."""
        self.needed = True

    @property
    def changed(self) -> bool:
        """Whether it has to be stored. Raises CodecError for unstorable values."""
        return pack(self._values) != self._stored or (self.needed and self._digest is None)

    def flash(self, text: str) -> None:
        """Keep a message until `take_flashes`, on this page or the next."""
        self[FLASH + secrets.token_hex(4)] = text

    def take_flashes(self) -> list[str]:
        """Remove and return the messages, oldest first."""
        return [self.pop(key) for key in list(self) if key.startswith(FLASH)]

    def merged_into(self, stored: "Session") -> "Session | None":
        """`stored`, which another request stored meanwhile, with this session's changes.

        None if both issued a new token, because the browser gets only one of them.
        """
        newest = stored
        if self.credentials != self._stored_credentials:
            if stored.credentials != self._stored_credentials:
                return None
            newest = self
        mine, loaded = pack_fields(self._values), pack_fields(unpack(self._stored))
        values = dict(stored)
        for key in mine.keys() | loaded.keys():
            if mine.get(key) == loaded.get(key):
                continue
            if key in mine:
                values[key] = self._values[key]
            else:
                values.pop(key, None)
        renewed = max(stored.renewed, self.renewed)
        return Session(stored.identity, newest.created, renewed, pack(values), newest.credentials)

    def rotate(self, now: float, grace: float, *, bar: bool = False) -> str:
        """Issue and return a new token.

        The previous one stays valid for `grace` seconds, or, with `bar`, is recognized as barred.
        """
        secret = secrets.token_urlsafe(32)
        replaced = self.credentials.token
        until = now + grace if replaced else 0.0
        until = -until if bar else until
        self.credentials = Credentials(self.user, _hash(secret), replaced, until)
        return self.identity + secret

    def keep_credentials(self) -> None:
        """Discard an unsaved token or log-in."""
        self.credentials = self._stored_credentials

    def opened_by(self, secret: str) -> bool:
        """Whether this is the secret of the current token."""
        return compare_digest(_hash(secret), self.credentials.token)

    def was_opened_by(self, secret: str, now: float, grace: float) -> bool:
        """Whether this is the secret of the previous token, and it is still valid."""
        return self._replaced(secret, self.credentials.until - now, grace)

    def is_barred(self, secret: str, now: float, grace: float) -> bool:
        """Whether this is the secret of the token that the log-in just replaced."""
        return self._replaced(secret, -self.credentials.until - now, grace)

    def _replaced(self, secret: str, left: float, grace: float) -> bool:
        # More than `grace` is left if the clock was set back.
        return 0 < left <= grace and compare_digest(_hash(secret), self.credentials.replaced)

    def encode(self, limit: int) -> bytes:
        """The bytes to store. Raises CodecError, or SessionTooLarge above `limit` bytes."""
        values = msgspec.Raw(pack(self._values))
        record = _Record(self.identity, self.created, self.renewed, self.credentials, values)
        raw = _ENCODER.encode(record)
        if len(raw) > limit:
            raise SessionTooLarge(
                f"the session takes {len(raw)} bytes and {limit} are allowed: keep large things "
                "in a room or a database, or raise GOSPA_SESSION_SIZE"
            )
        return raw

    def remaining(self, now: float, idle: float, absolute: float) -> float:
        """Seconds until it ends unless renewed; 0 or less: it has ended.

        Timestamps in the future (the clock was set back) never extend a session.
        """
        return min(min(self.renewed, now) + idle, min(self.created, now) + absolute) - now

    def was_read_from(self, raw: bytes | None) -> bool:
        """Whether these are the bytes that it was read from."""
        return raw is not None and self._digest == hash(raw)

    def due(self, now: float, idle: float) -> bool:
        """Whether it should be renewed."""
        return not 0 <= now - self.renewed <= idle * RENEWAL


def new_session(now: float) -> Session:
    return Session(secrets.token_hex(16), now, now)


def decode(raw: bytes) -> Session | None:
    """The session in stored bytes, or None if they are not of this form."""
    try:
        record = _DECODER.decode(raw)
        stored = bytes(record.values)
        session = Session(
            record.identity, record.created, record.renewed, stored, record.credentials
        )
        session._digest = hash(raw)  # noqa: SLF001 - the bytes themselves take more memory
        return session if isfinite(record.created + record.renewed) else None
    except (msgspec.MsgspecError, ValueError, RecursionError):  # the last for deep nesting
        return None


def _readable(stored: bytes) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The values that can be read and stored again, and why others cannot. Raises CodecError."""
    try:
        values = unpack(stored)
        if isinstance(values, dict):
            check(values)
            return values, {}
    except CodecError:
        pass
    try:
        fields = {key: bytes(raw) for key, raw in _FIELDS.decode(stored).items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise CodecError(f"a session's values are not a map: {error}") from error
    bad = unreadable(fields)
    return {key: unpack(raw) for key, raw in fields.items() if key not in bad}, bad


def read_token(token: str) -> tuple[str, str] | None:
    """The identity and the secret in a token, or None if it is malformed."""
    match = TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def normalized(user: str) -> str:
    """A user's name in NFC, so that names which look alike are the same. Raises ValueError."""
    name = unicodedata.normalize("NFC", user)
    if not name.isprintable() or not 0 < len(name) <= LONGEST_USER:
        raise ValueError(f"a user's name has 1 to {LONGEST_USER} printable characters")
    return name


def session_for(user: str) -> Session:
    """A session of a user that is not stored, to find the rooms of the user."""
    return Session("", 0.0, 0.0, credentials=Credentials(normalized(user)))
