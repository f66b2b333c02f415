"""Exceptions of a client's methods."""


class Refused(Exception):
    """A request was refused; `code` is one of docs/protocol.md, or one of the client's own codes.

    The client's codes are `invalid` and `too_large` (the server would not accept the message),
    `overflow` (too many requests are pending), `left`, and `other_session`: the client reconnected
    under another session, so the request is not repeated, although it may have been applied.
    """

    def __init__(self, code: str, text: str, room: str | None) -> None:
        super().__init__(code, text, room)
        self.code, self.text, self.room = code, text, room

    def __str__(self) -> str:
        return f"{self.code}: {self.text}" + (f" (room {self.room})" if self.room else "")


class Closed(Exception):
    """The client ended, and its requests without an answer may have been applied or not.

    `code` is a close code, 1000 after the client's own end and 1011 after an unexpected error,
    which is the cause; or the HTTP status of a refused handshake.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.reason or 'no reason given'} ({self.code})"
