"""The output of commands: one JSON object per line."""

import json
from typing import Any

Row = dict[str, Any]
Rows = list[Row]


class Problem(Exception):
    """The reason why a command cannot be executed."""


def show(row: Row) -> None:
    """Write a row."""
    print(json.dumps(row, default=str, ensure_ascii=False))
