"""What TypeScript makes of `client/rooms.d.ts`: right uses of rooms pass, each wrong use is found.

The rooms of the test are written as an application has them, and their types made by its command.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.baking import APP, assert_succeeds, run

ROOMS = '''
"""Rooms with all that types can say."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gospa import (
    Access, Caller, Event, Items, Member, Room, Session, State, Writable, action, command,
)

Count = Annotated[int, Meta(ge=0, le=1000)]


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Note(Struct):
    text: str
    color: Color = Color.RED
    tags: list[str] = []
    parent: "Note | None" = None


class BoardState(State):
    count: Count = 0
    total: int = 0
    title: Writable[str] = "Board"
    mode: Writable[Literal["open", "closed"]] = "open"
    until: datetime | None = None
    picture: bytes = b""
    extra: dict[str, Any] = {}
    notes: Items[Note] = Items()


class Board(Room[BoardState]):
    pattern, presence = "board/<name>", True
    toast = Event(Note, server=True)
    typing = Event(str)

    async def authorize(self, session: Session) -> Access:
        return Access.FULL

    @action
    def add(self, state: BoardState, amount: Count = 1) -> Count:
        return amount

    @action
    def add_note(
        self, state: BoardState, member: Member, text: str, id: str | None = None
    ) -> str:
        return state.notes.append(Note(text), id=id)

    @action
    def clear(self, state: BoardState) -> None:
        state.notes.clear()

    @action(server=True)
    def mark_paid(self, state: BoardState, item: str) -> None: ...

    @command
    async def buy(self, caller: Caller, item: str) -> Note:
        return Note(item)


class MainState(State):
    news: str = ""


class Main(Room[MainState]):
    pattern = "board/main"

    async def authorize(self, session: Session) -> Access:
        return Access.FULL


class Part(Main):
    pattern = "board/<name>/<part>"


class Me(Main):
    pattern, scope = "me", "session"


ROOMS = [Main, Board, Part, Me]
'''

BEGIN = """\
import { bind, connect, RoomError } from '/gospa/gospa.js';

const client = connect('/ws', { persist: true });
const room = client.room('board/lobby');
const { state } = room;
if (state.notes === undefined) throw new TypeError('not joined yet');
"""
RIGHT = """\
/** @typedef {import('./rooms.js').Note} Note */
bind(client);
room.subscribe((state, keys) => { console.log(state.count + 1, keys.includes('count')); });
room.subscribe(({ notes }) => { for (const [id, { text }] of notes) console.log(id, text); });
/** @type {number} */ const count = state.count;
/** @type {number | bigint} */ const total = state.total;
/** @type {string[]} */ const texts = [...state.notes.values()].map((note) => note.text);
/** @type {Note | undefined} */ const note = state.notes.get('a');
/** @type {'red' | 'blue' | undefined} */ const color = note?.color;
/** @type {number | undefined} */ const time = state.until?.getTime();
/** @type {number} */ const size = state.picture.byteLength;
/** @type {string | undefined} */ const early = room.state.title;
console.log(note?.tags?.length, note?.parent?.parent?.text, `${state.extra.any}`);
room.call('add').then((sum) => console.log(sum === null ? 'lost' : sum + 1));
room.call('add', { amount: 2 });
room.call('add_note', { text: 'x', id: room.newId('notes') });
room.call('clear');
room.run('buy', { item: 'x' }).then((bought) => console.log(bought.text));
room.set('title', 'x');
room.set('mode', 'closed');
room.delete('title');
room.send('typing', 'x');
room.on('typing', (text, sender) => console.log(text.length, sender?.user));
room.on('toast', (toast) => console.log(toast.text));
room.on('$status', (status, error) => console.log(status, error?.code, room.access === 'full'));
room.optimistic('add', (state, { amount = 1 }) => { state.count += amount; });
room.optimistic('add_note', (state, { id, text }) => { if (id) state.notes.set(id, { text }); });
room.members({ name: 'x' }).subscribe(({ count, people }) => console.log(count, people.size));
client.room('board/lobby#members').subscribe(({ people }) => people.get('a')?.user);
client.room(`board/${location.hash}`).call('add_note', { text: 'x' }).catch(() => {});
client.room('board/main').subscribe(({ news }) => news.length);
client.room('board/lobby/top').subscribe(({ news }) => news.length);
client.room(`board/${location.hash}/top`).subscribe(({ news }) => news.length);
client.room('me').subscribe(({ news }) => news.length);
const { name } = /** @type {{ name: string }} */ (JSON.parse('{}'));
client.room(name).call('anything', { at: 'all' });
client.room(name).subscribe((state) => console.log(state.anything.at.all));
/** @param {import('/gospa/gospa.js').Room} any */ const leave = (any) => any.leave();
leave(room);
/** @type {import('/gospa/gospa.js').Room<import('./rooms.js').Board>} */ const typed = room;
client.on('error', (error) => console.log(error instanceof RoomError && error.action));
room.select(({ notes }) => notes?.get('a'), (one) => console.log(one?.text.length));
room.call('add', { amount: 2 }, { signal: AbortSignal.timeout(5000) });
room.set('title', 'x', { signal: AbortSignal.abort() });
connect().retry();
client.on('status', (status) => console.log(status === 'online', typed.pending.length));
console.log(count, total, texts, color, time, size, early);
"""
WRONG = """\
client.room('bord/lobby');
client.room('board');
client.room('board/a/b/c');
client.room('me#members');
room.call('ad');
room.call('add', { amount: '2' });
room.call('add', { size: 2 });
room.call('add_note');
room.call('add_note', { id: 'x' });
room.call('clear', { all: true });
room.call('mark_paid', { item: 'x' });
room.call('buy', { item: 'x' });
room.run('add');
room.call('add').then((sum) => sum.toFixed());
room.set('count', 1);
room.set('title', 5);
room.set('mode', 'ajar');
room.delete('count');
room.send('toast', { text: 'x' });
room.send('typing', 5);
room.send('typng', 'x');
room.on('toasted', () => {});
room.on('typing', (text) => text.toFixed());
room.on('typing', (text, sender) => sender.id);
room.newId('note');
room.select(({ notes }) => notes?.get('a'), (one) => one?.txt);
room.call('add', { amount: 2 }, { timeout: 5 });
room.optimistic('add', (state) => { state.count = 'x'; });
room.optimistic('add', (state) => { state.notes.set('a', { txt: 'x' }); });
state.count = 5;
state.notes.set('a', { text: 'x' });
state.notes.get('a').text = 'x';
state.notes.map((note) => note.text);
console.log(state.cuont);
console.log(state.total + 1);
console.log(room.state.count + 1);
console.log(state.extra.any.thing);
room.subscribe((state) => state.notes.get('a').text);
client.room('me').call('add');
client.room('me').members().subscribe(() => {});
client.on('statuss', () => {});
"""

# What is declared of the client is what its own code has. Where that is less exact, only the name.
SAME = """\
import * as declared from '/gospa/gospa.js';
import { bind } from '/gospa/bind.js';
import { Client, connect } from '/gospa/client.js';
import { RoomError } from '/gospa/protocol.js';
const own = new Client('/ws', { persist: true });
/** @type {Omit<declared.Client, 'room' | 'on'>} */ const client = own;
/** @type {Record<keyof declared.Client, unknown>} */ const members = own;
/** @type {Omit<declared.Room, 'members' | 'on'>} */ const room = own.room('x', { a: 1 });
/** @type {Record<keyof declared.Room, unknown>} */ const others = own.room('x').members(null);
/** @type {declared.RoomError} */ const error = new RoomError('code', 'text', null);
/** @type {(url?: string | URL, options?: declared.Options) => object} */ const connects = connect;
console.log(client, members, room, others, error, connects, bind(own, document));
/** @type {Record<keyof typeof import('/gospa/index.js'), unknown>} */ const exported = declared;
/** @type {Record<keyof typeof declared, unknown>} */ const there = await import('/gospa/index.js');
console.log(exported, there);
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the engine's client, rooms.d.ts of ROOMS, and the settings of TypeScript."""
    folder = tmp_path_factory.mktemp("types")
    shutil.copytree(APP / "gospa/client", folder / "gospa/client")
    shutil.copy(APP / "jsconfig.json", folder)
    (folder / "rooms.py").write_text(ROOMS)
    (folder / "client").mkdir()
    made = "import sys; from rooms import ROOMS; from gospa.types import declarations\n"
    made += "sys.stdout.write(declarations(ROOMS))"
    command = (sys.executable, "-c", f"import sys; sys.path.append({str(APP)!r}); {made}")
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    (folder / "client/rooms.d.ts").write_text(done.stdout)
    return folder


def complaints(folder: Path, node_modules: Path) -> dict[int, str]:
    """What TypeScript says of the lines of client/page.js, and of nothing else."""
    node = shutil.which("node")
    assert node, "npm is there, but no node"
    command = (node, str(node_modules / "typescript/bin/tsc"), "-p", "jsconfig.json")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    found = {}
    for line in lines:
        match = re.match(r"client/page\.js\((\d+),\d+\): error (.*)", line)
        assert match, done.stdout
        found[int(match[1])] = match[2]
    return found


def test_right_uses_pass_and_wrong_ones_are_found(pages: Path, node_modules: Path) -> None:
    right = [*BEGIN.splitlines(), *RIGHT.splitlines()]
    wrong = WRONG.splitlines()
    (pages / "client/page.js").write_text("\n".join([*right, *wrong]))
    # Beside its declarations, TypeScript does not look at gospa.js.
    shutil.copy(pages / "gospa/client/gospa.js", pages / "gospa/client/index.js")
    (pages / "client/same.js").write_text(SAME)
    found = complaints(pages, node_modules)
    assert {right[n - 1]: found[n] for n in found if n <= len(right)} == {}
    assert [line for n, line in enumerate(wrong, len(right) + 1) if n not in found] == []
    # The names that there are, instead of one that is not:
    assert '"board/<name>"' in found[len(right) + 1]


def test_without_types_of_rooms_all_are_untyped(pages: Path, node_modules: Path) -> None:
    bare = shutil.copytree(pages, pages.parent / "bare", dirs_exist_ok=True)
    for file in (bare / "client").iterdir():
        file.unlink()
    uses = [
        "import { connect } from '/gospa/gospa.js';",
        "const room = connect().room('any/name');",
        "room.call('anything', { at: 'all' }).then((result) => result.whatever);",
        "room.subscribe((state) => console.log(state.anything.at.all));",
        "console.log(room.state.anything);",
    ]
    (bare / "client/page.js").write_text("\n".join(uses))
    assert complaints(bare, node_modules) == {}


def test_the_declarations_need_no_javascript_in_a_project_of_typescript(
    pages: Path, node_modules: Path
) -> None:
    project = shutil.copytree(pages, pages.parent / "typescript", dirs_exist_ok=True)
    for file in (project / "client").glob("*.js"):
        file.unlink()
    settings = json.loads((project / "jsconfig.json").read_text())
    del settings["compilerOptions"]["allowJs"], settings["compilerOptions"]["checkJs"]
    (project / "tsconfig.json").write_text(json.dumps(settings))
    (project / "client/page.ts").write_text(
        "import { connect, type Room } from '/gospa/gospa.js';\n"
        "import type { Board } from './rooms.js';\n"
        "const room: Room<Board> = connect().room('board/lobby');\n"
        "export const ids = (): string[] => [...(room.state.notes?.keys() ?? [])];\n"
    )
    node = shutil.which("node")
    assert node
    command = (node, str(node_modules / "typescript/bin/tsc"), "-p", "tsconfig.json")
    assert_succeeds(command, project)
