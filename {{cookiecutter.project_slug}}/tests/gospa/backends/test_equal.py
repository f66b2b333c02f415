"""Both state stores give the same answers to the same changes, whatever these are."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as some

from gospa.backends.memory import pubsub as memory_pubsub
from gospa.backends.memory import state as memory
from gospa.backends.redis import pubsub as redis_pubsub
from gospa.backends.redis import state as redis
from gospa.settings import Settings
from gospa.store.codec import pack
from gospa.store.content import NO_EPOCH
from gospa.store.contract import Change, Numbered, StateStore
from tests.gospa.backends.state_conformance import change

ROOMS = (f"equal/{number}" for number in itertools.count())
NUMBERS = some.integers(1, 8)
KEYS = some.sampled_from(["a", "b", "v", "t", "", "notes/a", "notes/b", "notes/b/c", "log/a"])
COLLECTIONS = some.sampled_from(["notes", "log"])


@some.composite
def mutations(draw: some.DrawFn) -> Numbered:
    source, first = draw(some.sampled_from(["ann", "bob", "eve"])), draw(NUMBERS)
    last = draw(some.integers(first, 9))
    refused = draw(some.lists(NUMBERS.filter(lambda n: n <= last), max_size=2, unique=True))
    return Numbered(source, first, last, draw(some.sampled_from([60, 60, 0])), refused)


@some.composite
def steps(draw: some.DrawFn) -> dict[str, Any]:
    """What to do next; what it expects is right unless `wrong` says otherwise."""
    changed = draw(some.dictionaries(KEYS, some.integers(0, 2), max_size=3))
    return {
        "set": changed,
        "delete": draw(some.lists(KEYS.filter(lambda k: k not in changed), max_size=2)),
        "mutations": draw(some.lists(mutations(), max_size=3, unique_by=lambda m: m.source)),
        "reads": draw(some.sets(KEYS, max_size=2)),
        "counts": draw(some.sets(COLLECTIONS)),
        "wrong": draw(
            some.sampled_from([None] * 6 + ["exists", "expect", "epoch", "expect_tag", "tag"])
        ),
        "again": draw(some.sampled_from([False] * 5 + [True])),
    }


async def change_of(step: dict[str, Any], store: StateStore, room: str) -> Change:
    stored = await store.load(room)
    fields, wrong = stored.fields if stored else {}, step["wrong"]
    expect: dict[str, bytes | None] = {key: fields.get(key) for key in step["reads"]}
    epochs = {
        name: stored.epochs.get(name, NO_EPOCH) if stored else NO_EPOCH for name in step["counts"]
    }
    return change(
        **{name: step[name] for name in ("set", "delete", "mutations")},
        exists=(stored is not None) is not (wrong == "exists"),
        expect={**expect, "a": pack("else")} if wrong == "expect" else expect,
        expect_epochs={**epochs, "notes": b"elsewise"} if wrong == "epoch" else epochs,
        expect_tag={"expect_tag": b"elsewise", "tag": stored and stored.tag}.get(wrong),
    )


async def compare(settings: Settings, room: str, plan: Sequence[dict[str, Any]]) -> None:
    async with (
        memory_pubsub.open_pubsub(settings) as here,
        redis_pubsub.open_pubsub(settings) as there,
        memory.open_state(settings, here) as one,
        redis.open_state(settings, there) as other,
    ):
        last = None
        for step in plan:
            last = last if last and step["again"] else await change_of(step, one, room)
            assert await other.commit(room, last) == await one.commit(room, last)
            assert await other.load(room) == await one.load(room)
            assert await other.latest_tags([room]) == await one.latest_tags([room])


@pytest.mark.slow
@how(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(plan=some.lists(steps(), min_size=2, max_size=12))
def test_both_stores_answer_the_same(settings: Settings, plan: Sequence[dict[str, Any]]) -> None:
    asyncio.run(compare(settings, next(ROOMS), plan))
