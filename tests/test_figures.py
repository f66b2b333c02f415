"""Figures in the documentation are those that were measured, or counted."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.baking import DEFAULT, ROOT, Matrix, contents, name_of

PAGE = ROOT / "docs/architecture.md"
REDIS = {**DEFAULT, "state_backend": "redis", "session_backend": "redis"}
TABLE = re.compile(r"(?<=\n\| lines of \| memory \| Redis \|\n\|---\|---:\|---:\|\n)(?:\|.*\n)+")
CODE = {".css", ".html", ".js", ".lua", ".py", ".ts"}
# What belongs to what: the first pattern that matches a file's name.
KINDS = {
    "your tests": r"tests/(?!gospa/)|conftest\.py",
    "the engine's tests": r"tests/gospa/",
    "your rooms, views and `app.py`: the example": r"(?:rooms|views)/|app\.py",
    "your pages, scripts and styles: the example": r"client/",
    "the browser client": r"gospa/client/",
    "extras": r"gospa/extras/",
    "developer tools": r"gospa/dev/|gospa/(?:testing|contracts)\.py|bare\.py",
    "the engine": r"gospa/",
}


def lines(files: dict[str, bytes]) -> dict[str, int]:
    """How many lines of code of each kind a project has, with comments and empty lines."""
    found = dict.fromkeys(KINDS, 0)
    for name, content in files.items():
        if Path(name).suffix in CODE:
            kind = next(kind for kind, pattern in KINDS.items() if re.match(pattern, name))
            found[kind] += content.count(b"\n")
    return found


def rows(matrix: Matrix) -> Iterator[str]:
    memory, redis = (lines(contents(matrix[name_of(a)].path)) for a in (DEFAULT, REDIS))
    for kind in memory:
        yield f"| {kind} | {round(memory[kind], -1):,} | {round(redis[kind], -1):,} |\n"


def test_the_table_of_lines_is_true(matrix: Matrix, request: pytest.FixtureRequest) -> None:
    page = PAGE.read_text(encoding="utf-8")
    counted, numbers = "".join(rows(matrix)), re.compile(r"\d[\d,]*")
    if request.config.getoption("--write-snapshots"):
        PAGE.write_text(TABLE.sub(counted, page), encoding="utf-8")
    else:
        (table,) = TABLE.findall(page)
        assert numbers.sub("", table) == numbers.sub("", counted)
        written, true = (
            [int(number.replace(",", "")) for number in numbers.findall(text)]
            for text in (table, counted)
        )
        assert written == pytest.approx(true, rel=0.03), "python3 tasks.py snapshots"


def rounded(number: str) -> str:
    """A measured number as README has it: in three digits."""
    value = float(number.replace(",", ""))
    return f"{float(f'{value:.3g}'):,g}"


def measured(results: str, table: str, row: str) -> list[str]:
    """What the servers reached in a row of a table of the results, without the ratios."""
    (cells,) = re.findall(
        rf"^\| {row} \| (.*) \|$",
        results.partition(f"### {table}\n")[2].partition("###")[0],
        re.MULTILINE,
    )
    return [rounded(re.sub(r" \(.*", "", cell)) for cell in cells.split(" | ")]


def test_numbers_in_the_readme_are_in_the_results_of_the_bench() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "bench/results/results.md").read_text(encoding="utf-8")
    section = readme.partition("\nFan-out, with one publisher")[2].partition("Do **not**")[0]
    found = {rounded(number) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", results)}
    numbers = re.findall(r"\d+(?:,\d{3})+|\d+\.\d+", section)
    assert len(numbers) > 20
    assert set(numbers) <= found
    for name, row in {"deliveries/s": "8 under way", "p50 ms": "10/s"}.items():
        (shown,) = re.findall(rf"^\| {name} \| (.*) \|$", section, re.MULTILINE)
        ours, _, ws, socketio, _, socketify, centrifugo, *python = measured(
            results, name, f"500 clients, 200 B, {row}"
        )
        assert shown.split(" | ") == [ours, centrifugo, socketify, ws, socketio, *python]
