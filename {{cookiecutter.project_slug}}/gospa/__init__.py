"""The engine. Rooms, views, scripts, extras and app.py import its public names from here."""

from gospa import tasks
from gospa.app import Backends, create_app
from gospa.errors import StoreError, StoreFull, StoreUnavailable
from gospa.live.requests import CONNECTION_ID
from gospa.room import Invalid, Room, RoomError, UnknownRoom, action
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
    "Backends",
    "Draft",
    "Invalid",
    "Room",
    "RoomError",
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
    "page",
    "renew_token",
    "session_of",
    "sessions_of",
    "tasks",
]
