"""What commands write: one JSON object a line."""

import json
from typing import Any

Row = dict[str, Any]
Rows = list[Row]


class Problem(Exception):
    """Why the command cannot be done."""


def show(row: Row) -> None:
    """Write a row."""
    print(json.dumps(row, default=str, ensure_ascii=False))
