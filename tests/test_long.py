"""What takes minutes: failures for as long as they need to meet, many clients, many inputs.

`python3 tasks.py test --all` runs it, or naming this file.
"""

import sys
from pathlib import Path

import pytest

from tests.baking import ROOT, assert_succeeds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CHAOS = (sys.executable, "-m", "tests.gospa.chaos.run", "--seed", "7", "--workers", "2")


@pytest.mark.parametrize("store", ["single", "sentinel", "cluster"])
def test_minutes_of_failures_leave_nothing_wrong(tree: Path, store: str) -> None:
    assert_succeeds((*CHAOS, "--clients", "16", "--store", store, "--seconds", "120"), tree)


def test_a_million_inputs_are_refused_or_answered(tree: Path) -> None:
    assert_succeeds((sys.executable, "-m", "tests.gospa.fuzz", "--inputs", "1000000"), tree)


def test_the_capacity_can_be_measured(tree: Path) -> None:
    assert_succeeds((sys.executable, "-m", "tests.gospa.fleet.capacity"), tree)


def test_more_examples_find_nothing_more(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPOTHESIS_PROFILE", "thorough")
    tests = tree.glob("tests/gospa/**/test_*.py")
    files = [path for path in tests if "hypothesis import" in path.read_text()]
    assert len(files) > 3
    assert_succeeds(
        (sys.executable, "-m", "pytest", "-q", "--timeout=3000", *map(str, files)), tree
    )


def test_small_changes_of_the_pure_core_are_noticed() -> None:
    assert_succeeds((sys.executable, "-m", "tests.mutation"), ROOT)
