"""Forms as browsers send them, and those that would stall a worker."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gospa.web.forms import PART_HEADERS, TooManyFields, UnreadableForm, parse_form

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=----x"


def part(head: bytes, value: bytes = b"1") -> bytes:
    return b"------x\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"------x--\r\n"


NAMED = b'Content-Disposition: form-data; name="a"'


def test_fields_come_with_all_their_values() -> None:
    fields, files = parse_form(b"a=1&b=%C3%A9+x&a=2&c=", URLENCODED, 4)
    assert fields == {"a": ["1", "2"], "b": ["é x"]}
    assert files == {}
    assert parse_form(b"c=", URLENCODED, 1, blanks=True)[0] == {"c": [""]}


def test_fields_and_files_come_in_parts() -> None:
    text = part(NAMED + b"\r\nContent-Type: text/plain; charset=UTF-8", "é".encode())
    file = part(b'Content-Disposition: form-data; name="f"; filename="a.bin"', bytes(5000))
    fields, files = parse_form(multipart(text, file, part(NAMED)), MULTIPART, 3)
    assert fields == {"a": ["é", "1"]}
    assert files["f"][0].name == "a.bin"
    assert files["f"][0].body == bytes(5000)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json", "multipart/mixed", ";"])
def test_another_body_is_no_form(kind: str) -> None:
    assert parse_form(b"a=1", kind, 1) == ({}, {})


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a=1&" * 10, URLENCODED),
        (b"&" * 10, URLENCODED),
        (multipart(*[part(NAMED)] * 11), MULTIPART),
        (b"------x" * 13, MULTIPART),
    ],
    ids=["fields", "empty fields", "parts", "empty parts"],
)
def test_a_form_of_too_many_fields_is_refused_before_it_is_parsed(
    body: bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: Any, **__: Any) -> None:
        pytest.fail("it was parsed")

    for name in ("parse_qs", "parse_multipart_form"):
        monkeypatch.setattr(f"gospa.web.forms.{name}", parse)
    with pytest.raises(TooManyFields):
        parse_form(body, kind, 10)


UNREADABLE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "empty boundary": lambda: (multipart(part(NAMED)), "multipart/form-data; boundary="),
    "no boundary": lambda: (multipart(part(NAMED)), "multipart/form-data"),
    "no UTF-8": lambda: (b"a=\xff", URLENCODED),
    "no UTF-8 in a field": lambda: (multipart(part(NAMED, b"\xff")), MULTIPART),
    "no UTF-8 in a header": lambda: (multipart(part(NAMED + b"\xff")), MULTIPART),
    "no colon in a header": lambda: (multipart(part(b"Content-Disposition")), MULTIPART),
    "no headers": lambda: (b"------x\r\na\r\n------x--\r\n", MULTIPART),
    "a long header": lambda: (multipart(part(NAMED + b"; a=" + b"b" * 3000)), MULTIPART),
    "many headers": lambda: (
        multipart(part(NAMED + b"\r\na: b" * (PART_HEADERS + 1))),
        MULTIPART,
    ),
    "a codec of quadratic cost": lambda: (
        multipart(part(NAMED + b"\r\nContent-Type: text/plain; charset=punycode", b"a" * 9000)),
        MULTIPART,
    ),
    "a codec between quotes": lambda: (
        multipart(part(NAMED + b'\r\nContent-Type: text/plain; charset="idna"')),
        MULTIPART,
    ),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_form_that_cannot_be_read_is_refused(what: str) -> None:
    body, kind = UNREADABLE[what]()
    with pytest.raises(UnreadableForm):
        parse_form(body, kind, 100)


PIECES = st.sampled_from(
    [
        *(b"------x", b"\r\n", b"--", NAMED, b"; filename=", b'"', b"*=utf-8''a", b":", b"&", b"a"),
        *(b"=1", b"\xff", b"Content-Type: ", b"; charset=", b"%", b"utf-16", b"\0"),
    ]
)


@given(st.lists(PIECES, max_size=40).map(b"".join), st.sampled_from([URLENCODED, MULTIPART]))
@example(multipart(part(NAMED + b"; filename*=a")), MULTIPART)
def test_any_bytes_are_a_form_or_none(body: bytes, kind: str) -> None:
    try:
        fields, files = parse_form(body, kind, 20)
    except (UnreadableForm, TooManyFields):
        return
    assert sum(map(len, [*fields.values(), *files.values()])) <= 20
