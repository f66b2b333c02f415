"""One bad record is named, with what to do about it, and stops neither the check nor others."""

import asyncio
import json
from typing import Any

import pytest

import app as chosen
from gospa.cli import checking
from gospa.cli.main import main
from gospa.pubsub import PubSub
from gospa.settings import Settings
from gospa.store.contract import StateStore
from tests.gospa.backends.state_conformance import change


async def checked(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[Any], str]:
    """The exit code, what is found, and what is said."""
    code = await asyncio.to_thread(main, ["check"])
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    return code, [row for row in rows if "key" in row], said.err


@pytest.mark.usefixtures("with_sheets")
async def test_before_a_deploy_rooms_are_checked(
    store: StateStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "PROGRESS", 1)
    await store.commit("sheet/a", change(exists=False, set={"count": 3}))
    assert (await checked(capsys))[:2] == (0, [])
    await store.commit("sheet/b", change(exists=False, set={"count": "3"}))
    code, (row,), said = await checked(capsys)
    assert code == 1
    assert row["key"] == "sheet/b"
    assert "count does not fit SheetState.count" in row["reason"]
    assert "delete-room sheet/b" in row["remedy"]
    assert "2 records checked" in said
    assert "1 of 2 records do not fit this release" in said


async def test_records_of_sessions_are_checked(
    identity: str, settings: Settings, pubsub: PubSub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (await checked(capsys))[:2] == (0, [])
    async with chosen.BACKENDS.storage.open(settings) as storage:
        await storage.set("session:0", b"torn")
        await storage.set("rooms:0", b"\x05")
        await storage.set(f"file:{'0' * 24}", b"torn")
        await storage.set("user:0", b"")
    code, found, said = await checked(capsys)
    assert code == 1
    assert {row["key"] for row in found} == {
        *("session:0", "rooms:0", f"file:{'0' * 24}", "user:0"),
    }
    assert all(row["reason"] and row["remedy"] for row in found)
    assert identity not in said
