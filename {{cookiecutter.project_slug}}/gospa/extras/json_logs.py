"""Writes the log as JSON where GOSPA_LOG_FORMAT=json.

Each line has the ids of its request and of its connection.
"""

from logging import LogRecord
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import ServerError
from sanic.log import access_logger, error_logger, logger, server_logger
from sanic.logging.formatter import JSONAccessFormatter, JSONFormatter

from gospa import CONNECTION_ID


class _Formatter(JSONFormatter):
    def to_dict(self, record: LogRecord) -> dict[str, Any]:
        return {**super().to_dict(record), **_ids()}


class _AccessFormatter(JSONAccessFormatter):
    def to_dict(self, record: LogRecord) -> dict[str, Any]:
        return {**super().to_dict(record), **_ids()}


def install(app: Sanic) -> None:
    """Write JSON in the main process and in workers, if the settings say so."""
    app.ctx.log_formats["json"] = write_json


def write_json() -> None:
    """Write JSON from now on, in this process."""
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
    ids = {"request_id": request_id, "connection_id": CONNECTION_ID.get()}
    return {name: value for name, value in ids.items() if value}
