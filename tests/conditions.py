"""Which way each condition of the rendered files went."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator

Place = tuple[str, int, int]  # template, line, which condition of the template
FROM_STRINGS = "cookiecutter.json"  # the one file whose values are rendered without a file name

_seen: defaultdict[Place, set[bool]] = defaultdict(set)
_templates: set[str] = set()


class _Watching(CodeGenerator):
    """Compiles a template so that it tells `_see` what each of its conditions came to."""

    def visit_Template(self, node: nodes.Template, frame: Any = None) -> None:  # noqa: N802
        name = self.name or FROM_STRINGS
        _templates.add(name)
        for number, condition in enumerate(node.find_all((nodes.If, nodes.CondExpr))):
            place = (name, condition.lineno, number)
            _seen[place] |= set()
            _watch(cast("nodes.If | nodes.CondExpr", condition), place)
        super().visit_Template(node, frame)


def _watch(condition: nodes.If | nodes.CondExpr, place: Place) -> None:
    arguments: list[nodes.Expr] = [nodes.Const(place), cast("nodes.Expr", condition.test)]
    see = nodes.ImportedName(f"{__name__}.{_see.__name__}")
    condition.test = nodes.Call(see, arguments, [], None, None)
    condition.test.set_environment(cast("Environment", condition.environment))


def _see(place: Place, value: object) -> object:
    _seen[place].add(bool(value))
    return value


@contextmanager
def watched() -> Iterator[None]:
    """Watch what is rendered meanwhile."""
    with patch.object(Environment, "code_generator_class", _Watching):
        yield


def templates() -> set[str]:
    """The files that were rendered."""
    return set(_templates)


def one_sided(of: str = "") -> list[str]:
    """The conditions that never came out true, or never false; all, or those of one file."""
    return [
        f"{name}, line {line}: never {missing}"
        for (name, line, _), values in sorted(_seen.items())
        for missing in (True, False)
        if missing not in values and name.startswith(of)
    ]


def forget(of: str) -> None:
    """Forget the conditions of a file."""
    for place in [place for place in _seen if place[0].startswith(of)]:
        del _seen[place]
