"""Bytes that clients and publishers send; see load.c for the words that are replaced in them."""

import struct

SEQUENCE_HEX = b"@@sequence-hex@@"
SEQUENCE = b"@seq-8b@"  # 8 bytes, big endian
PREVIOUS = b"@prev-8b"  # one less
CONNECTION = b"@conn6"
NUMBER = b"@number-10"  # decimal digits, of which the first is not 0

SEVEN_BITS, SIXTEEN_BITS = 125, 2**16 - 1
BINARY, TEXT = 2, 1


def handshake(path: str, protocol: str = "") -> bytes:
    """The request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """A client's frame; its mask is zero, so that words in it can be replaced."""
    size = len(payload)
    if size <= SEVEN_BITS:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | size)
    elif size <= SIXTEEN_BITS:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + bytes(4) + payload


def command(*parts: bytes | str | int) -> bytes:
    """A command for Redis."""
    raw = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in raw)


def payload(size: int) -> bytes:
    """A text of `size` bytes that carries its sequence number."""
    mark = b"#seq:" + SEQUENCE_HEX
    return mark + b"." * (size - len(mark))
