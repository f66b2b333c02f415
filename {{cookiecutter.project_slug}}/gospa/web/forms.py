"""Forms, parsed by Sanic after checks of everything that would make its parsers slow.

The parsers accept any number of fields, of headers for each part, and any of Python's codecs.
"""

import re
from urllib.parse import parse_qs

from sanic.exceptions import BadRequest, PayloadTooLarge
from sanic.headers import parse_content_header
from sanic.request.form import parse_multipart_form
from sanic.request.parameters import RequestParameters

PART_HEAD = 2048  # bytes of a part's headers
PART_HEADERS = 8
CHARSET = re.compile(rb"charset\*?[\s=\"']+([\w.:-]*)", re.IGNORECASE)
CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii"})


class UnreadableForm(BadRequest):
    """A body does not have the form of its Content-Type."""


class TooManyFields(PayloadTooLarge):
    """A form with more fields and files than `form_fields`."""


def parse_form(
    body: bytes, content_type: str, most: int, *, blanks: bool = False
) -> tuple[RequestParameters, RequestParameters]:
    """The fields and files of a form; empty if the body is not a form.

    Raises UnreadableForm or TooManyFields.
    """
    kind, options = parse_content_header(content_type)
    try:
        if kind == "application/x-www-form-urlencoded":
            _check_count(body.count(b"&") + 1, most)
            fields = parse_qs(body.decode(), keep_blank_values=blanks)
            return RequestParameters(fields), RequestParameters()
        if kind == "multipart/form-data":
            boundary = str(options["boundary"]).encode()
            _check_parts(body.split(boundary, most + 2)[1:-1], most)
            return parse_multipart_form(body, boundary)  # type: ignore[no-untyped-call]
    except (ValueError, LookupError) as error:
        raise UnreadableForm("the form cannot be read") from error
    return RequestParameters(), RequestParameters()


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise TooManyFields(f"a form has up to {most} fields and files")


def _check_parts(parts: list[bytes], most: int) -> None:
    _check_count(len(parts), most)
    for part in parts:
        head, end, _ = part[:PART_HEAD].partition(b"\r\n\r\n")
        if not end or head.count(b"\r\n") > PART_HEADERS:
            raise ValueError("the headers of a part are too long")
        if not CHARSETS.issuperset(each.lower() for each in CHARSET.findall(head)):
            raise ValueError("text in forms is UTF-8")
