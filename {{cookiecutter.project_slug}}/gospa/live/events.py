"""Sends a member's event to the room."""

from gospa.errors import Invalid, RoomError, Unauthorized
from gospa.live import wire
from gospa.live.hub import Hub
from gospa.live.limits import Allowance
from gospa.live.seat import Seat
from gospa.store.contract import channel


async def send_event(hub: Hub, seat: Seat, request: wire.Send, allowance: Allowance) -> None:
    """Publish the event that a request sends. Raises RoomError or StoreError."""
    local, limit = seat.local, hub.settings.event_size
    try:
        event = seat.event(request)
    except Unauthorized as error:  # this code without a number would end the membership
        raise RoomError(str(error)) from error
    if len(event) > limit:
        raise Invalid(f"an event has at most {limit} bytes, with its sender")
    allowance.admit_event(len(event), local.audience)
    await hub.pubsub.publish(channel(local.key), event)
