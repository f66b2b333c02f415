"""State values to msgpack bytes and back.

A value is None, a bool, an int of at most 64 bits, a float, a str, bytes, an aware datetime, or a
list or a text-keyed dict of values. Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgpack

MAX_DEPTH = 32
# Unsigned 64-bit is the largest integer msgpack knows, signed 64-bit the smallest.
MAX_INT, MIN_INT = 2**64 - 1, -(2**63)

SURROGATE = "a lone surrogate, which UTF-8 cannot carry"
_SCALARS = (type(None), bool, float, bytes)
# The first bytes of bytes, lists and maps, and all others.
_BYTES, _NESTED = frozenset(range(0xC4, 0xC7)), (*range(0x80, 0xA0), *range(0xDC, 0xE0))
_OTHERS = bytes({*range(256)} - _BYTES - {*_NESTED})


class CodecError(ValueError):
    """A value that msgpack cannot represent, or bytes that are not one msgpack value."""


def pack(value: Any) -> bytes:
    """Encode one value. Raises CodecError naming the part that cannot be represented."""
    check(value)
    return encode(value)


_packer = msgpack.Packer(datetime=True)  # kept, because creating one takes ten times as long


def encode(value: Any) -> bytes:
    """Encode a value that `check` has accepted."""
    raw: bytes = _packer.pack(value)
    return raw


def unpack(raw: bytes, longest: int = -1) -> Any:
    """Decode exactly one value, times as datetime in UTC. Raises CodecError.

    No list or map may have more than `longest` entries; -1 means as many as the bytes can hold.
    """
    try:
        return msgpack.unpackb(
            raw,
            timestamp=3,
            ext_hook=_refuse_extension,
            max_array_len=longest,
            max_map_len=longest,
        )
    except (ValueError, OverflowError, RecursionError) as error:
        raise CodecError(f"not a msgpack value: {str(error) or type(error).__name__}") from error


def pack_map(fields: Mapping[str, bytes]) -> bytes:
    """Encode a map whose values are encoded already."""
    parts: list[bytes] = [_packer.pack_map_header(len(fields))]
    for key, raw in fields.items():
        parts += (encode(key), raw)
    return b"".join(parts)


def pack_fields(fields: Mapping[str, Any]) -> dict[str, bytes]:
    """Encode each value of a mapping separately."""
    return {key: pack(value) for key, value in fields.items()}


def unpack_fields(fields: Mapping[str, bytes]) -> dict[str, Any]:
    """Decode each value of a mapping separately."""
    return {key: unpack(raw) for key, raw in fields.items()}


def unreadable(fields: Mapping[str, bytes]) -> dict[str, str]:
    """The keys whose values cannot be decoded, or not by browsers, with the reason."""
    found = dict[str, str]()
    for key, raw in fields.items():
        try:
            value, marks = unpack(raw), raw.translate(None, _OTHERS)
            # Other values are neither nested too deep nor have bytes as keys. Large rooms are read
            # often.
            if len(marks) > MAX_DEPTH or not _BYTES.isdisjoint(marks):
                check(value)
        except CodecError as error:
            found[key] = str(error)
    return found


def check(value: Any, name: str = "value", *, tuples: bool = False) -> None:
    """Raise CodecError unless `value` and all it contains survive a round trip.

    With `tuples`, it may contain tuples, which are decoded as lists.
    """
    try:
        _check(value, 0, (list, tuple) if tuples else (list,))
    except CodecError as error:
        raise CodecError(f"{name}{error}") from None


def check_keys(keys: Iterable[Any], name: str = "") -> None:
    """Raise CodecError unless all keys are text that UTF-8 can carry."""
    for key in keys:
        if type(key) is not str:
            raise CodecError(f"{name} has the key {key!r:.60}: keys are text")
        if not _is_sound(key):
            raise CodecError(f"{name} has a key with {SURROGATE}")


def check_bounds(value: Any, *, elements: int, depth: int) -> None:
    """Raise CodecError if a value from `unpack` is too large or too deep, or has keys of bytes.

    `unpack` guarantees everything else that `check` verifies.
    """
    level, count = [value], 0
    for _ in range(depth + 1):
        below: list[Any] = []
        for item in level:
            if type(item) is list:
                below += item
            elif type(item) is dict:
                for key in item:
                    if type(key) is not str:
                        raise CodecError(f"the key {key!r:.60}: keys are text")
                below += item.values()
        count += len(below)
        if count > elements:
            raise CodecError(f"the message has more than {elements} values")
        if not below:
            return
        level = below
    raise CodecError(f"it is nested deeper than {depth} levels")


def _check(value: Any, depth: int, sequences: tuple[type, ...]) -> None:
    """Check a value. The path to a wrong one is added while the error propagates, for speed."""
    kind = type(value)
    if kind in _SCALARS:
        return
    if depth > MAX_DEPTH:
        raise CodecError(f" is nested deeper than {MAX_DEPTH} levels")
    if kind is str:
        if not _is_sound(value):
            raise CodecError(f" has {SURROGATE}")
    elif kind in sequences:
        _check_items(enumerate(value), depth, sequences)
    elif kind is dict:
        check_keys(value)
        _check_items(value.items(), depth, sequences)
    elif kind is int and not MIN_INT <= value <= MAX_INT:
        raise CodecError(" does not fit in 64 bits")
    elif kind is datetime:
        _check_time(value)
    elif kind is not int:
        raise CodecError(
            f" is a {kind.__name__}, which state cannot hold: use None, bool, int, float, "
            "str, bytes, datetime, list or dict"
        )


def _check_items(items: Iterable[tuple[Any, Any]], depth: int, sequences: tuple[type, ...]) -> None:
    for key, item in items:
        try:
            _check(item, depth + 1, sequences)
        except CodecError as error:
            raise CodecError(f"[{key!r:.40}]{error}") from None


def _check_time(time: datetime) -> None:
    if time.utcoffset() is None:
        raise CodecError(" is a datetime without a time zone")
    try:
        time.astimezone(UTC)
    except OverflowError:  # msgpack would encode it, but readers could not decode it
        raise CodecError(" is a datetime which in UTC is not in the years 1 to 9999") from None


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_extension(code: int, _: bytes) -> NoReturn:
    raise CodecError(f"extension type {code} is not used here")
