"""WebSocket frames that the server sends: made once for all members, and joined to fewer writes."""

from collections.abc import Iterable, Iterator

FRAGMENT = 32 * 1024  # bytes of a snapshot in one frame
SHARED = FRAGMENT // 2  # frames from this size on are never copied


def framed(message: bytes) -> bytes:
    """A message as an unmasked binary WebSocket frame, the same for every client."""
    return _frame(0x82, message)


def fragmented(message: bytes) -> list[bytes]:
    """A message as frames of bounded size, so that a close frame need not wait for all of it."""
    if len(message) <= FRAGMENT:
        return [framed(message)]
    parts = [message[at : at + FRAGMENT] for at in range(0, len(message), FRAGMENT)]
    middle = [_frame(0x00, part) for part in parts[1:-1]]
    return [_frame(0x02, parts[0]), *middle, _frame(0x80, parts[-1])]


def _frame(first: int, payload: bytes) -> bytes:
    """One frame: see https://datatracker.ietf.org/doc/html/rfc6455#section-5.2 ."""
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 2**16:
        return bytes((first, 126)) + size.to_bytes(2) + payload
    return bytes((first, 127)) + size.to_bytes(8) + payload


def grouped(frames: Iterable[bytes]) -> Iterator[bytes]:
    """The same frames in fewer writes. Large ones stay the objects that other writers have."""
    small: list[bytes] = []
    for frame in frames:
        if len(frame) < SHARED:
            small.append(frame)
            continue
        if small:
            yield b"".join(small)
            small.clear()
        yield frame
    if small:
        yield b"".join(small)
