"""Short runs under injected failures, and proof that the suite notices a missing safeguard."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.gospa.chaos.faults import faults_of
from tests.gospa.chaos.ranges import add_number, held, holds, lacking
from tests.gospa.chaos.report import Options
from tests.gospa.chaos.rooms import PLACES, contradiction, flat
from tests.gospa.chaos.run import run
from tests.gospa.chaos.safeguards import SAFEGUARDS
from tests.gospa.chaos.truth import Kind

pytestmark = pytest.mark.timeout(400)

SEED = 0  # with it, the first round has both of two faults


@pytest.mark.slow
async def test_faults_of_all_kinds_leave_nothing_wrong(tmp_path: Path) -> None:
    report = await run(Options(seconds=15, bound=120), tmp_path)
    assert not report.truth.violations, report
    assert report.truth.counts["changes"] > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "faults"),
    [
        ("sentinel", ["connections_cut", "store_failed_over"]),
        ("cluster", ["slots_migrated", "store_killed"]),
    ],
)
async def test_a_store_of_several_servers_may_change_under_load(
    store: str, faults: list[str], tmp_path: Path
) -> None:
    report = await run(
        Options(seconds=4, seed=SEED, store=store, faults=faults, bound=120), tmp_path
    )
    assert not report.truth.violations, report
    assert sorted(report.injected) == faults
    assert report.truth.counts["changes"] > 20


# What notices that a safeguard is missing, and as what.
MISSING = {
    "parents": (Options(faults=["messages_dropped"], pace=0.02), {Kind.WRONG}),
    "numbers": (Options(faults=["clients_vanished"], pace=0.02), {Kind.DOUBLED}),
    "epochs": (Options(faults=["messages_delayed"], pace=0.02), {Kind.WRONG}),
    # With few changes, as the next one would show that the room was lost.
    "heads": (Options(faults=["room_evicted"], pace=1.0), {Kind.APART}),
    "questions": (Options(faults=["subscribers_late"]), {Kind.UNTRUE, Kind.KEPT}),
    "joins": (Options(faults=["subscribers_late"]), {Kind.BACK, Kind.HIDDEN}),
}


@pytest.mark.slow
@pytest.mark.parametrize("safeguard", MISSING)
async def test_it_is_noticed_when_a_safeguard_is_missing(safeguard: str, tmp_path: Path) -> None:
    options, kinds = MISSING[safeguard]
    # It ends when something is noticed, which on a machine that is busy takes more rounds.
    report = await run(replace(options, seconds=300, bound=8, disable=safeguard), tmp_path)
    assert kinds & {violation.kind for violation in report.truth.violations}, report


@pytest.mark.slow
@pytest.mark.parametrize("safeguard", MISSING)
async def test_it_is_the_missing_safeguard_that_is_noticed(safeguard: str, tmp_path: Path) -> None:
    options, _ = MISSING[safeguard]
    report = await run(replace(options, seconds=10, bound=120), tmp_path)
    assert not report.truth.violations, report


def test_every_safeguard_has_a_run_that_misses_it() -> None:
    assert set(MISSING) == set(SAFEGUARDS)


@pytest.mark.slow
async def test_clients_move_between_two_hosts_of_which_one_is_late(tmp_path: Path) -> None:
    faults = ["clients_vanished", "subscribers_late"]
    report = await run(Options(seconds=10, hosts=2, faults=faults, bound=120), tmp_path)
    assert not report.truth.violations, report
    assert report.truth.counts["moves to another host"] > 5


def test_the_same_seed_injects_the_same_faults() -> None:
    plans = [
        [options.choose(options.rng(f"round {number}")) for number in range(50)]
        for options in (Options(seed=1), Options(seed=1), Options(seed=2))
    ]
    assert plans[0] == plans[1] != plans[2]
    assert {name for names in plans[0] for name in names} == set(faults_of("single"))


def test_ranges_hold_what_was_added() -> None:
    numbers = random.Random(1).sample(range(1, 100), 60)
    ranges: list[list[int]] = []
    for number in numbers:
        assert not holds(ranges, number)
        add_number(ranges, number)
    assert {n for n in range(100) if holds(ranges, n)} == set(numbers)
    assert held(ranges) == len(numbers)
    assert lacking(ranges, ranges) == []
    assert lacking(ranges, []) == ranges
    assert lacking([[1, 9]], [[8, 12], [2, 3], [5, 5]]) == [[1, 1], [4, 4], [6, 7]]


def test_a_total_that_does_not_fit_is_a_contradiction() -> None:
    state = {"lines/a": [[1, 2]], "lines/b": [[5, 5]], "filler": ""}
    assert contradiction({**state, "total": 3}) is None
    assert contradiction({**state, "total": 4})


def test_what_was_added_twice_is_a_contradiction() -> None:
    assert contradiction({"lines/a": [[1, 1]], "doubled": [{"client": "a", "number": 1}]})


def test_an_item_that_does_not_fit_is_a_contradiction() -> None:
    assert contradiction({"lines/a": [[1, 3]], "items/a": 3}) is None
    assert contradiction({"lines/a": [[1, 4]], "items/a": 3})
    assert contradiction({"items/a": 3})


@pytest.mark.parametrize(
    ("taken", "size", "fits"),
    [(2, 2, True), (2, 3, False), (PLACES, PLACES, True), (PLACES + 1, PLACES + 1, False)],
)
def test_more_places_than_there_are_or_another_size_are_a_contradiction(
    taken: int, size: int, *, fits: bool
) -> None:
    state = {f"places/{n}": {"client": "a", "number": n} for n in range(taken)}
    assert (contradiction({**state, "size": size}) is None) is fits


def test_a_state_is_the_same_with_its_collections_as_maps_and_with_its_defaults() -> None:
    state = {"lines/a": [[1, 1]], "lines/b/c": [[2, 2]], "filler": "x"}
    assert flat(state) == state
    nested = {"lines": {"a": [[1, 1]], "b/c": [[2, 2]]}, "log": {}, "filler": "x", "total": 0}
    assert flat(nested) == state
