"""The application as a caller of rooms: finds them, and runs its calls like those of clients."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

from gospa.action import Action, Event, bind_action
from gospa.command import Command, find_command
from gospa.errors import UnknownRoom
from gospa.live import wire
from gospa.live.commands import run_command
from gospa.live.hub import Hub
from gospa.live.loading import load
from gospa.live.local_room import LocalRoom
from gospa.live.sequence import MutationSequence
from gospa.member import SERVER
from gospa.room import Room
from gospa.store.content import Content
from gospa.store.contract import channel
from gospa.store.draft import Draft, Run


class Call(NamedTuple):
    """An action of a room with its arguments."""

    key: str
    room: Room[Any]
    run: Run
    name: str


Given = tuple[tuple[Any, ...], Mapping[str, Any]]


def bound(hub: Hub, action: Action[..., Any, ...], name: str, given: Given) -> Call:
    if not isinstance(action, Action):
        raise TypeError(f"name an action by its class, such as Poll.vote, not {action!r:.60}")
    return bound_at(resolve(hub, name, action.owner), action, given)


def bound_at(place: tuple[str, Room[Any]], action: Action[..., Any, ...], given: Given) -> Call:
    key, room = place
    run = bind_action(room, action.name, SERVER, action.signature.named(*given))
    return Call(key, room, run, action.name)


async def run_call(hub: Hub, call: Call, sequence: MutationSequence | None = None) -> Any:
    return await hub.submit(call.key, call.room, call.run, sequence, name=call.name)


async def run_named(  # noqa: PLR0913, PLR0917 - it needs things of many kinds
    hub: Hub, command: Command[..., Any, ...], name: str, given: Given, id: str, ttl: float
) -> Any:
    key, room = resolve(hub, name, command.owner)
    found, args = find_command(room, command.name), command.signature.named(*given)
    return await run_command(hub, key, room, found, SERVER, id, args, ttl)


async def send(hub: Hub, event: Event[Any], key: str, room: Room[Any], payload: object) -> None:
    message = wire.event(room.name, event.name, event.payload(payload), None)
    await hub.pubsub.publish(channel(key), message)


def resolve(hub: Hub, name: str, kind: type) -> tuple[str, Room[Any]]:
    """A room of this kind, and its key. Raises RoomError."""
    return of_kind(hub.router.resolve(unicodedata.normalize("NFC", name), None), name, kind)


def of_kind(place: tuple[str, Room[Any]], name: str, kind: type) -> tuple[str, Room[Any]]:
    if not isinstance(place[1], kind):
        raise UnknownRoom(f"{name} is a {type(place[1]).__name__}, not a {kind.__name__}")
    return place


async def read(hub: Hub, key: str, room: Room[Any]) -> Any:
    snapshot = await load(hub.store, key, room)
    return _state(room, Content(snapshot.fields, {}))


def _state(room: Room[Any], content: Content) -> Any:
    return room.state.of(Draft(content), frozen=True)


async def states(local: LocalRoom, changed: asyncio.Event) -> AsyncIterator[Any]:
    shown = None
    while not local.closed:
        changed.clear()
        replica = local.follower.replica
        if replica.tag != shown:
            shown = replica.tag
            yield _state(local.room, Content(replica.content.fields, {}))
        else:
            await changed.wait()
