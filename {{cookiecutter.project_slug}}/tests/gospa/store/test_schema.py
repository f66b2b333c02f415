"""The version of a room's shape, which every commit expects."""

from typing import Any

import pytest

from gospa.errors import SchemaMismatch, StoreUnavailable
from gospa.store import schema
from gospa.store.codec import pack_fields
from gospa.store.content import Content
from gospa.store.draft import Draft


def draft(**stored: Any) -> Draft:
    return Draft(
        Content(pack_fields({k.replace("schema", "$schema"): v for k, v in stored.items()}), {})
    )


@pytest.mark.parametrize("version", [1, 2, 300])
def test_a_version_is_stored_with_the_room_unless_it_is_the_first(version: int) -> None:
    assert schema.version_of(schema.encoded(version)) == version
    assert bool(schema.encoded(version)) is (version > 1)


@pytest.mark.parametrize(
    ("version", "stored"), [(1, {"a": 1}), (1, {}), (2, {"a": 1, "schema": 2})]
)
def test_a_commit_expects_the_version_and_writes_nothing_of_it(
    version: int, stored: dict[str, Any]
) -> None:
    """Also a blind one: else an old worker's would land in the new shape."""
    state = draft(**stored)
    schema.require_version(state, version, "sheet/a")
    edits = state.edits()
    assert edits.read == {"$schema": schema.encoded(version).get("$schema")}
    assert not edits


def test_the_first_commit_of_a_room_stores_the_version() -> None:
    state = draft()
    schema.require_version(state, 2, "sheet/a")
    schema.require_version(state, 2, "sheet/a")
    assert state.edits().set == pack_fields({"$schema": 2})
    assert state.edits().read == {"$schema": None}


@pytest.mark.parametrize(
    ("version", "stored"),
    [(1, {"schema": 2}), (2, {"a": 1}), (2, {"schema": 3}), (3, {"schema": 2})],
)
def test_a_room_of_another_version_is_not_changed(version: int, stored: dict[str, Any]) -> None:
    state = draft(**stored)
    with pytest.raises(SchemaMismatch, match=f"this release has {version}"):
        schema.require_version(state, version, "sheet/a")
    assert not state.edits()
    assert issubclass(SchemaMismatch, StoreUnavailable), "clients try it again elsewhere"
