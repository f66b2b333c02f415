"""The engine. Rooms, views, scripts and app.py import its public names from here."""

from gospa.app import Backends, create_app
from gospa.errors import StoreError, StoreFull, StoreUnavailable
from gospa.room import Draft, Room, RoomError, Session, action
from gospa.sessions.cookie import (
    log_in,
    log_out,
    log_out_everywhere,
    renew_token,
    session_of,
    sessions_of,
)
from gospa.settings import Settings, SettingsError
from gospa.web.static import page

__all__ = [
    "Backends",
    "Draft",
    "Room",
    "RoomError",
    "Session",
    "Settings",
    "SettingsError",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "action",
    "create_app",
    "log_in",
    "log_out",
    "log_out_everywhere",
    "page",
    "renew_token",
    "session_of",
    "sessions_of",
]
