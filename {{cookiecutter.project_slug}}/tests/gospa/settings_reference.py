"""The reference of settings, from their class: python -m tests.gospa.settings_reference

Writes docs/settings.md anew.
"""

import ast
import inspect
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from gospa.environment import variable_of
from gospa.settings import Settings

REFERENCE = Path(__file__).parents[2] / "docs/settings.md"
HEAD = """# Settings

Read from the environment and checked at start. Times are in seconds, sizes in bytes.
This page is made from `gospa/settings.py` by `python -m tests.gospa.settings_reference`.

| variable | default | what it is for |
|---|---|---|
"""


def render() -> str:
    (described,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(described, ast.ClassDef)
    texts = {}
    for node, text in zip(described.body, described.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assert isinstance(text, ast.Expr)
            texts[node.target.id] = ast.literal_eval(text.value)
    hints = get_type_hints(Settings, include_extras=True)
    lines = []
    for field in msgspec.structs.fields(Settings):
        if field.name == "application":  # of `app.py`
            continue
        variable = variable_of(field.name)
        words = " ".join(texts[field.name].removeprefix(f"{variable}: ").split())
        said = words[:1].upper() + words[1:] + _choices(hints[field.name])
        lines.append(f"| `{variable}` | {_shown(field.default)} | {said} |\n")
    return HEAD + "".join(lines)


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{int(default) if default.is_integer() else default}`"
    return f"`{default}`" if default != "" else "none"


def _choices(hint: Any) -> str:
    return f" One of: {', '.join(get_args(hint))}." if get_origin(hint) is Literal else ""


if __name__ == "__main__":
    REFERENCE.write_text(render(), encoding="utf-8")
