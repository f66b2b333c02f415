"""A session as data: what it holds, how long it lasts, how two versions of it merge. No I/O."""

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from server.state.codec import CodecError, check_keys, pack, pack_fields, unpack

TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 32 random bytes in base64url
RENEWAL = 0.1  # of the idle time has to pass before a session is renewed


class SessionTooLarge(ValueError):
    """More was put in a session than the setting `session_size` allows."""


class Session(MutableMapping[str, Any]):
    """What is remembered of one visitor, as a dict with text keys and state values.

    Values inside values may be changed in place. `identity` is the visitor's random name within
    the application; unlike the token it is no secret that opens anything, and it stays when the
    token changes.
    """

    def __init__(
        self, identity: str, created: float, renewed: float, values: Mapping[str, Any]
    ) -> None:
        self.identity = identity
        self.created = created
        self.renewed = renewed
        self._values = dict(values)
        self._stored = pack_fields(self._values)

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
    def changed(self) -> bool:
        """Whether it differs from what was loaded. Raises CodecError for unstorable values."""
        return pack_fields(self._values) != self._stored

    def merged_into(self, stored: "Session") -> "Session":
        """The session as another request stored it meanwhile, with this one's changes."""
        mine = pack_fields(self._values)
        values = dict(stored)
        for key in mine.keys() | self._stored.keys():
            if mine.get(key) == self._stored.get(key):
                continue
            if key in mine:
                values[key] = self._values[key]
            else:
                values.pop(key, None)
        return Session(stored.identity, stored.created, max(stored.renewed, self.renewed), values)

    def encode(self, limit: int) -> bytes:
        """The bytes to store. Raises CodecError, or SessionTooLarge above `limit` bytes."""
        raw = pack([self.identity, self.created, self.renewed, self._values])
        if len(raw) > limit:
            raise SessionTooLarge(
                f"the session takes {len(raw)} bytes and {limit} are allowed: keep large things "
                "in a room or a database, or raise GOSPA_SESSION_SIZE"
            )
        return raw

    def remaining(self, now: float, idle: float, absolute: float) -> float:
        """Seconds until it ends unless it is renewed; not positive: it has ended."""
        return min(self.renewed + idle, self.created + absolute) - now

    def due(self, now: float, idle: float) -> bool:
        """Whether it is time to renew it."""
        return now - self.renewed > idle * RENEWAL


def new_session(now: float) -> Session:
    return Session(secrets.token_hex(16), now, now, {})


def decode(raw: bytes) -> Session | None:
    """The session in stored bytes, or None if they are not of this form."""
    try:
        match unpack(raw):
            case [str(identity), float(created), float(renewed), dict(values)]:
                return Session(identity, created, renewed, values)
    except CodecError:
        pass
    return None


def new_token() -> str:
    """256 random bits (OWASP ASVS 5, 7.2.3 asks for at least 128)."""
    return secrets.token_urlsafe(32)


def storage_key(token: str) -> str | None:
    """Where the token's session is stored, None for what cannot be a token.

    Only a hash is stored, so that who reads the store cannot take over sessions.
    """
    if not TOKEN.fullmatch(token):
        return None
    return "session:" + hashlib.sha256(token.encode()).hexdigest()
