"""The engine. Rooms, views, scripts, extras and app.py import its public names from here."""

from gospa import tasks
from gospa.action import Action, Event, Member, action
from gospa.app import Backends, create_app, open_rooms, storage_of
from gospa.errors import (
    Invalid,
    RoomError,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnknownRoom,
)
from gospa.live.requests import CONNECTION_ID
from gospa.room import Room
from gospa.rooms import Rooms, rooms_of
from gospa.sessions.cookie import (
    log_in,
    log_out,
    log_out_everywhere,
    renew_token,
    session_of,
    sessions_of,
)
from gospa.sessions.session import Session
from gospa.settings import Settings, SettingsError
from gospa.stats import BUCKETS, STATS
from gospa.store.draft import Draft
from gospa.web.static import page

__all__ = [
    "BUCKETS",
    "CONNECTION_ID",
    "STATS",
    "Action",
    "Backends",
    "Draft",
    "Event",
    "Invalid",
    "Member",
    "Room",
    "RoomError",
    "Rooms",
    "Session",
    "Settings",
    "SettingsError",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "UnknownRoom",
    "action",
    "create_app",
    "log_in",
    "log_out",
    "log_out_everywhere",
    "open_rooms",
    "page",
    "renew_token",
    "rooms_of",
    "session_of",
    "sessions_of",
    "storage_of",
    "tasks",
]
