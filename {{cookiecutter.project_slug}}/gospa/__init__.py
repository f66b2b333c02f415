"""The engine. Rooms, views, scripts, extras and app.py import its public names from here."""

from gospa import shared, tasks
from gospa.action import Action, Event, action
from gospa.alarm import Alarm, alarm
from gospa.app import Backends, create_app, open_rooms, storage_of
from gospa.command import Caller, Command, command
from gospa.errors import (
    Invalid,
    RoomError,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnknownRoom,
)
from gospa.items import Items
from gospa.live.requests import CONNECTION_ID
from gospa.live.stream import event_streams
from gospa.member import Access, Member
from gospa.room import Room
from gospa.rooms import Once, Rooms, UserRooms, rooms_of
from gospa.sessions.cookie import (
    issue_token,
    log_in,
    log_out,
    log_out_everywhere,
    needs_https,
    renew_token,
    session_of,
    sessions_of,
)
from gospa.sessions.session import Session
from gospa.settings import Settings, SettingsError
from gospa.state import State, Writable
from gospa.stats import BUCKETS, REASONS, STATS
from gospa.web.admission import stream_body
from gospa.web.csrf import csrf_exempt
from gospa.web.static import html_page, page

__all__ = [
    "BUCKETS",
    "CONNECTION_ID",
    "REASONS",
    "STATS",
    "Access",
    "Action",
    "Alarm",
    "Backends",
    "Caller",
    "Command",
    "Event",
    "Invalid",
    "Items",
    "Member",
    "Once",
    "Room",
    "RoomError",
    "Rooms",
    "Session",
    "Settings",
    "SettingsError",
    "State",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "UnknownRoom",
    "UserRooms",
    "Writable",
    "action",
    "alarm",
    "command",
    "create_app",
    "csrf_exempt",
    "event_streams",
    "html_page",
    "issue_token",
    "log_in",
    "log_out",
    "log_out_everywhere",
    "needs_https",
    "open_rooms",
    "page",
    "renew_token",
    "rooms_of",
    "session_of",
    "sessions_of",
    "shared",
    "storage_of",
    "stream_body",
    "tasks",
]
