import asyncio
import json
import os
import subprocess
import sys
import unicodedata
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import app as chosen
from gospa.cli import application
from gospa.cli.main import COMMANDS, OF_APP, main
from gospa.cli.stored import settings as show_settings
from gospa.live.router import Router
from gospa.pubsub import PubSub
from gospa.sessions.store import SessionStore
from gospa.settings import Settings
from gospa.store.contract import StateStore
from gospa.types import declarations
from tests.gospa.backends.state_conformance import change
from tests.gospa.cli.conftest import ROOM
from tests.gospa.rooms import ROOMS
from tests.gospa.sessions.lifecycle import no_room

PROJECT = Path(__file__).parents[3]


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command that succeeds writes for programs."""
    assert main([*arguments]) == 0, capsys.readouterr().err
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_sound_application_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(capsys, "check")[0] == {"what": "settings and stores", "state": "in order"}


@pytest.mark.slow
def test_programs_read_nothing_but_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REDIS_URL")
    monkeypatch.setenv("GOSPA_STORE_DIRECTORY", str(tmp_path / "store"))
    command = [sys.executable, "-m", "gospa", "check"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[0])["state"] == "in order"


def test_a_command_whose_reader_has_ended_shows_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gospa", "check"]
    done = subprocess.run(command, cwd=PROJECT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+cluster://u:s3cret@a,b:2?x=y", "redis+cluster://u:***@a,b:2"),
        ("redis+sentinel://[::1]:1/main?sentinel_password=s3cret", "redis+sentinel://[::1]:1/main"),
        ("rediss://:s3:cret@a:1/2", "rediss://:***@a:1/2"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("", ""),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    kept: Any = SimpleNamespace(settings=Settings(redis_url=url))
    values = {row["setting"]: row["value"] for row in asyncio.run(show_settings(kept, Namespace()))}
    assert values["REDIS_URL"] == shown


def test_a_wrong_setting_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOSPA_FRAME_SIZE", "much")
    assert main(["check"]) == 1
    assert "GOSPA_FRAME_SIZE" in capsys.readouterr().err


def test_settings_are_shown(capsys: pytest.CaptureFixture[str], settings: Settings) -> None:
    shown = {row["setting"]: row["value"] for row in rows(capsys, "settings")}
    assert shown["GOSPA_KEY_PREFIX"] == settings.key_prefix
    assert "GOSPA_APPLICATION" not in shown


def test_rooms_are_listed_with_their_sizes(room: None, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [{"room": ROOM, "version": 1, "keys": 2, "bytes": 4}]
    assert rows(capsys, "rooms") == rows(capsys, "rooms", "sheet/") == expected
    assert rows(capsys, "rooms", "other/") == []


def test_a_room_is_shown_and_deleted(room: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"key": "count", "value": 3} in rows(capsys, "room", ROOM)
    rows(capsys, "delete-room", ROOM)
    assert rows(capsys, "rooms") == []
    for command in ("room", "delete-room"):
        assert main([command, ROOM]) == 1
        assert ROOM in capsys.readouterr().err


@pytest.mark.usefixtures("with_sheets")
def test_an_action_is_called_with_arguments_as_json_or_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rows(capsys, "call", ROOM, "add", "amount=2") == [{"room": ROOM, "result": 2}]
    assert rows(capsys, "call", ROOM, "add") == [{"room": ROOM, "result": 3}]
    (row,) = rows(capsys, "call", ROOM, "add_note", "text=a=b")
    assert {"key": f"notes/{row['result']}", "value": {"text": "a=b"}} in rows(capsys, "room", ROOM)


@pytest.mark.usefixtures("with_sheets")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "amount=much"], "Expected `int`, got `str`"),
        (["edit_note", "id=none", "text=x"], "this note was removed"),
        (["add", "amount=1", "amount=2"], "an argument is given twice"),
        (["multiply"], "its actions: add, add_note, edit_note, remove_note"),
    ],
)
def test_a_call_that_is_refused_says_why(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["call", ROOM, *arguments]) == 1
    assert said in capsys.readouterr().err


def test_types_of_rooms_are_written_and_checked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    router = Router(ROOMS)
    context = SimpleNamespace(ctx=SimpleNamespace(router=router))
    module: Any = SimpleNamespace(BACKENDS=chosen.BACKENDS, app=context)
    monkeypatch.setitem(sys.modules, "app", module)
    monkeypatch.setattr(application, "CLIENT", tmp_path)
    file = tmp_path / "rooms.d.ts"

    assert main(["types", "--check"]) == 1
    assert "run `make types`" in capsys.readouterr().err
    assert rows(capsys, "types") == [{"file": "client/rooms.d.ts", "state": "written"}]
    assert file.read_text() == declarations(ROOMS)
    assert rows(capsys, "types", "--check")[0]["state"] == "up to date"
    context.ctx.router = Router([])
    assert main(["types", "--check"]) == 1
    assert rows(capsys, "types")
    assert not file.exists()
    assert rows(capsys, "types", "--check")


def test_an_argument_without_a_name_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["call", ROOM, "add", "2"])
    assert "write name=value" in capsys.readouterr().err


def test_a_users_sessions_are_listed_and_ended(
    identity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = unicodedata.normalize("NFD", "Zoë")  # as some terminals send it
    assert [row["session"] for row in rows(capsys, "sessions", typed)] == [identity]
    assert rows(capsys, "sessions", "Bob") == []
    assert rows(capsys, "revoke-sessions", typed) == [{"session": identity, "state": "ended"}]
    assert rows(capsys, "sessions", "Zoë") == []


def test_the_sessions_of_everybody_are_listed_and_ended(
    identity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [(r["session"], r["user"]) for r in rows(capsys, "sessions")] == [(identity, "Zoë")]
    assert rows(capsys, "revoke-sessions", "--all") == [{"session": identity, "state": "ended"}]
    assert rows(capsys, "sessions") == []


async def test_a_revoked_session_takes_its_own_rooms_with_it(
    identity: str, store: StateStore, pubsub: PubSub, settings: Settings
) -> None:
    if not chosen.BACKENDS.state.shared:
        pytest.skip("what memory backends keep is not seen by other processes")
    own = f"my@{identity}"
    await store.commit(own, change(exists=False, set={"note": "secret"}))
    async with chosen.BACKENDS.storage.open(settings) as storage:
        await SessionStore(storage, pubsub, settings, no_room).own_room(identity, own)
    assert await asyncio.to_thread(main, ["revoke-sessions", "Zoë"]) == 0
    assert await store.load(own) is None


def test_nobodys_sessions_are_ended_by_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["revoke-sessions"])
    assert "--all" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["rooms"], ["room", ROOM], ["delete-room", ROOM], ["call", ROOM, "add"]],
)
def test_rooms_in_memory_are_said_to_be_out_of_reach(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if chosen.BACKENDS.state.shared:
        pytest.skip("rooms are shared")
    assert main(command) == 1
    assert "memory of the workers" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert {*COMMANDS, *OF_APP} <= set(said.split())
