"""The contract of pub/sub: messages from any worker to every worker."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gospa.errors import StoreError

OnMessage = Callable[[bytes], None]
OnGap = Callable[[], None]


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One handler on one channel."""

    on_message: OnMessage
    on_gap: OnGap
    on_close: Callable[["Subscription"], Awaitable[None]]

    async def close(self) -> None:
        """Stop calling the handler. Closing again has no effect."""
        await self.on_close(self)


class PubSub(Protocol):
    """Delivers each message at most once, in the order published, to all subscribers."""

    @property
    def connected(self) -> bool:
        """Whether this worker currently receives messages of other workers."""

    @property
    def fault(self) -> StoreError | None:
        """Why it is not connected; None if it is connected, or the reason is unknown."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Send a message to all subscribers. Raises StoreError."""

    async def subscribe(self, channel: str, on_message: OnMessage, on_gap: OnGap) -> Subscription:
        """Call `on_message` with each message published after this returns.

        `on_gap` is called whenever messages may have been missed. Raises StoreError.
        """
