"""A room is written whole or not at all, and a name that it cannot have is refused."""

import ast
import shutil
from pathlib import Path

import pytest

from gospa.dev import new_room

ROOT = Path(__file__).parents[3]
LIST = '"""Your rooms."""\n\nfrom rooms.club import Club\n\nROOMS = [Club]\n'
EMPTY = '"""Your rooms."""\n\nfrom gospa import Room\n\nROOMS: list[type[Room]] = []\n'
CLUB = "class ClubState: ...\n\n\nclass Club:\n    pattern = 'hall/<name>'\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one room."""
    (tmp_path / new_room.SAMPLE_TEST).parent.mkdir(parents=True)
    shutil.copy(ROOT / new_room.SAMPLE_TEST, tmp_path / new_room.SAMPLE_TEST)
    (tmp_path / "rooms").mkdir()
    (tmp_path / new_room.LIST).write_text(LIST)
    (tmp_path / "rooms/club.py").write_text(CLUB)
    return tmp_path


def files(project: Path) -> dict[str, str]:
    found = [path for path in project.rglob("*") if path.is_file()]
    return {str(path.relative_to(project)): path.read_text() for path in found}


def test_a_room_is_written_with_its_test_and_listed(project: Path) -> None:
    written = new_room.write(project, "chat_room")
    assert written == ["rooms/chat_room.py", "tests/test_chat_room.py", "rooms/__init__.py"]
    room, test, rooms = (files(project)[name] for name in written)
    assert 'class ChatRoom(Room[ChatRoomState]):\n    pattern = "chat_room/<name>"\n' in room
    assert "from rooms.chat_room import ChatRoom, ChatRoomState\n" in test
    assert "import ChatRoom\nfrom rooms.club import Club\n\nROOMS = [Club, ChatRoom]\n" in rooms
    for text in (room, test):
        assert "sample" not in text.lower()
        ast.parse(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (EMPTY, "import Room\nfrom rooms.poll import Poll\n\nROOMS: list[type[Room]] = [Poll]\n"),
        (LIST, "import Club\nfrom rooms.poll import Poll\n\nROOMS = [Club, Poll]\n"),
        ("ROOMS = []\n", "from rooms.poll import Poll\n\nROOMS = [Poll]\n"),
        ("ROOMS = [\n    A,\n    B,\n]\n", "ROOMS = [\n    A,\n    B,\n    Poll,\n]\n"),
        ("ROOMS = [A, B,]\n", "ROOMS = [A, B, Poll]\n"),
    ],
)
def test_lists_of_all_forms_get_the_room(before: str, after: str) -> None:
    listed = new_room.listed(before, new_room.Name("poll", "Poll"))
    assert listed.endswith(after)


@pytest.mark.parametrize("text", ["ROOMS = list()\n", "", "ROOMS = [A]\nROOMS = [B]\n"])
def test_a_list_that_is_not_known_is_left_alone(project: Path, text: str) -> None:
    (project / new_room.LIST).write_text(text)
    before = files(project)
    with pytest.raises(new_room.NotWritten, match="list the room yourself"):
        new_room.write(project, "poll")
    assert files(project) == before


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "Poll",
            "my-poll",
            "3d",
            "_poll",
            "poll_",
            "a__b",
            "caf\u00e9",
            "a b",
            "../poll",
            "p" * 25,
        ),
        *("class", "none", "date", "exception", "room", "items", "test_poll", "conftest"),
        *("club", "club_state", "hall", "sample"),
    ],
)
def test_a_name_that_a_room_cannot_have_is_refused(
    project: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(project)
    monkeypatch.chdir(project)
    assert new_room.main([name]) == 1
    said = capsys.readouterr().err
    assert said.startswith("new-room: ")
    assert name in said
    assert files(project) == before


def test_a_file_that_exists_is_kept(project: Path) -> None:
    (project / "tests/test_poll.py").write_text("mine\n")
    before = files(project)
    with pytest.raises(new_room.NotWritten, match=r"tests/test_poll\.py exists"):
        new_room.write(project, "poll")
    assert files(project) == before
