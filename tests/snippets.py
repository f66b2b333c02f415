"""Commands and code in Markdown pages."""

import re
from typing import NamedTuple

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
_FILE = re.compile(r"`([\w/.]+\.(?:py|html|js))`[^`]*\Z")
_COMMENT = re.compile(r" +# .*")
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
# What begins like this and goes on is a command; alone it is the name of a program.
_COMMAND = re.compile(
    r"(?:make|python3?|pip|pipx|uvx?|cookiecutter|cruft|git|sanic|docker|redis-cli"
    r"|\.venv/bin/\S+) \S"
)


class Snippet(NamedTuple):
    """A fenced block; `file` is the one that the text before it names last."""

    language: str
    text: str
    file: str
    before: str


def snippets(page: str) -> list[Snippet]:
    """The fenced blocks of a page."""
    found = []
    for match in _FENCE.finditer(page):
        before = page[: match.start()].rstrip().rpartition("\n\n")[2]
        named = _FILE.search(before)
        found.append(Snippet(match[1], match[2], named[1] if named else "", before))
    return found


def commands(page: str) -> list[str]:
    """The commands of a page, in blocks and in its sentences, without the comments beside them."""
    blocks = [line for s in snippets(page) if s.language == "sh" for line in s.text.splitlines()]
    text = _FENCE.sub("", page)
    spans = [*_INLINE.findall(text), *_INDENTED.findall(text)]
    inline = [span for span in spans if _COMMAND.match(span) or span == "make"]
    lines = (_COMMENT.sub("", line) for line in (*blocks, *inline))
    return [line for line in lines if line and not line.startswith("#")]
