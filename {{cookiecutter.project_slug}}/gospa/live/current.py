"""A connection's session as far as known, and as it is stored now."""

from collections.abc import Awaitable, Callable

from sanic.log import logger

from gospa.errors import StoreError
from gospa.sessions.session import Session


class CurrentSession:
    """The session of a connection."""

    def __init__(
        self, session: Session, read: Callable[[], Awaitable[Session | None]] | None = None
    ) -> None:
        """`read` loads the session, None if it ended; without `read`, the session never changes."""
        self.known, self.read = session, read
        self._reads = self._newest = 0

    def begin_read(self) -> int:
        """The number of a read that begins, for `end_read`."""
        self._reads += 1
        return self._reads

    def end_read(self, read: int) -> bool:
        """Whether the result of a read may be used: no later read has ended."""
        newest, self._newest = self._newest, max(read, self._newest)
        return read >= newest

    async def newest(self) -> Session | None:
        """The session as it is stored now, None if it ended; as known, if the store fails."""
        read = self.begin_read()
        try:
            if self.read is not None:
                found = await self.read()
                return found if self.end_read(read) else self.known
        except StoreError as error:  # the next comparison with the store asks again
            logger.warning("a session cannot be read, and its rights may have changed: %s", error)
        return self.known
