"""The records of visits in a room's state."""

from collections.abc import Mapping
from typing import NamedTuple

from sanic.log import logger

from gospa.member import Member
from gospa.store.codec import CodecError, unpack
from gospa.store.content import HIDDEN

VISITS, WORKERS = f"{HIDDEN}visits", "$workers"
NOWHERE = ""  # the worker of a visit that cannot be read


class Visit(NamedTuple):
    """A visit as it was written: the worker, and the member as of then."""

    worker: str
    member: Member


class End(NamedTuple):
    """A visit that is over, unless the member has come to another worker since."""

    worker: str


def read(id: str, raw: bytes) -> Visit:
    """A stored visit; of one that cannot be read, only the id is known, and no worker."""
    if (found := _decode(id, raw)) is not None:
        return found
    logger.error("the visit of member %s cannot be read", id)
    return Visit(NOWHERE, Member(id))


def unreadable(stored: Mapping[str, bytes]) -> list[str]:
    """The ids of members whose visits cannot be read."""
    return [id for id, raw in _visits(stored).items() if _decode(id, raw) is None]


def listed(stored: Mapping[str, bytes]) -> dict[str, str]:
    """The worker of each visit."""
    return {id: read(id, raw).worker for id, raw in _visits(stored).items()}


def _visits(stored: Mapping[str, bytes]) -> dict[str, bytes]:
    start = f"{VISITS}/"
    return {key.removeprefix(start): raw for key, raw in stored.items() if key.startswith(start)}


def _decode(id: str, raw: bytes) -> Visit | None:
    try:
        match unpack(raw):
            case [str(worker), str() | None as user, dict(info), claims]:
                return Visit(worker, Member(id, user, info=info, claims=claims))
    except CodecError:
        pass
    return None
