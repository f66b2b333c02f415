"""A connection's session as far as known, and as it is stored now."""

from collections.abc import Awaitable, Callable

from sanic.log import logger

from gospa.errors import StoreError
from gospa.sessions.session import Session


class CurrentSession:
    """The session that a connection goes on as."""

    def __init__(
        self, session: Session, read: Callable[[], Awaitable[Session | None]] | None = None
    ) -> None:
        """`read` gives it as it is stored, None if it ended; without, it stays as it is."""
        self.known, self.read = session, read
        self._reads = self._newest = 0

    async def newest(self) -> Session | None:
        """The session as it is stored now, None if it ended; as known, if the store fails."""
        self._reads += 1
        read = self._reads
        try:
            if self.read is not None:
                found = await self.read()
                if read < self._newest:  # what was read later is here already
                    return self.known
                self._newest = read
                return found
        except StoreError as error:  # the next comparison with the store asks again
            logger.warning("a session cannot be read, and its rights may have changed: %s", error)
        return self.known
