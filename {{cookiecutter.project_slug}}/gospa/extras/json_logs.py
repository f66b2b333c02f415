"""Logs as lines of JSON, with the ids of the request and the connection they belong to."""

from contextvars import ContextVar
from logging import LogRecord
from typing import Any

from sanic import Request
from sanic.exceptions import ServerError
from sanic.log import access_logger, error_logger, logger, server_logger
from sanic.logging.formatter import JSONAccessFormatter, JSONFormatter

CONNECTION: ContextVar[str | None] = ContextVar("connection", default=None)


class _Formatter(JSONFormatter):
    def to_dict(self, record: LogRecord) -> dict[str, Any]:
        return {**super().to_dict(record), **_ids()}


class _AccessFormatter(JSONAccessFormatter):
    def to_dict(self, record: LogRecord) -> dict[str, Any]:
        return {**super().to_dict(record), **_ids()}


def write_json() -> None:
    """From now on, in this process."""
    for source in (logger, error_logger, server_logger):
        for handler in source.handlers:
            handler.setFormatter(_Formatter())
    for handler in access_logger.handlers:
        handler.setFormatter(_AccessFormatter())


def _ids() -> dict[str, str]:
    try:
        request_id = str(Request.get_current().id)[:64]
    except ServerError:
        request_id = None
    ids = {"request_id": request_id, "connection_id": CONNECTION.get()}
    return {name: value for name, value in ids.items() if value}
