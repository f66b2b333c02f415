"""The version of a room's state, stored with the room: `$schema`, 1 if absent."""

from collections.abc import Mapping

from gospa.errors import SchemaMismatch, StoreCorrupt
from gospa.store.codec import CodecError, encode, unpack
from gospa.store.draft import Draft

KEY = "$schema"


def version_of(fields: Mapping[str, bytes]) -> int:
    """The version of stored fields. Raises StoreCorrupt."""
    return _read(fields.get(KEY))


def encoded(version: int) -> Mapping[str, bytes]:
    """The stored value for this version."""
    return {} if version == 1 else {KEY: encode(version)}


def require_version(draft: Draft, version: int, room: str) -> None:
    """Let a commit expect this version; an empty room gets it. Raises SchemaMismatch."""
    raw, wanted = draft.get(KEY), encoded(version).get(KEY)
    if raw is None and wanted is not None and not draft.size:
        draft.set(KEY, wanted)
    elif raw != wanted:
        text = f"{room} is stored in version {_read(raw)}, and this release has {version}"
        raise SchemaMismatch(text)


def _read(raw: bytes | None) -> int:
    try:
        version = 1 if raw is None else unpack(raw)
    except CodecError:
        version = None
    if type(version) is not int:
        raise StoreCorrupt("a room's version cannot be read: restore the room, or delete it")
    return version
