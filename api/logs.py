"""Log lines of this process, the web server's included, on standard error: one JSON object a line, or coloured for a terminal.

What a line is about is handed over as `extra`; what all lines of one request share (its ids) is bound to its context by the frame.
Bodies, headers and query strings are never logged.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor


def set_up_logging(level: str, form: str = "auto") -> None:
    """Sends every log line of this process to standard error.

    Args:
        level: of the server's own lines; libraries speak from WARNING on.
        form: "json", "console", or "auto": console where standard error is a terminal.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=_said(), processors=_written(console)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("flowfleet", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())


def _said() -> list[Processor]:
    """What a line holds."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        ExtraAdder(),
        structlog.processors.TimeStamper("iso", key="time"),
        _without_colour,
    ]


def _written(console: bool) -> list[Processor]:
    """How it is written."""
    if console:
        return [ProcessorFormatter.remove_processors_meta, structlog.dev.ConsoleRenderer(timestamp_key="time")]
    return [
        ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(_to_json),
    ]


def _without_colour(_logger: Any, _name: str, line: EventDict) -> EventDict:
    """Leaves out the web server's copy of its message with colours."""
    line.pop("color_message", None)
    return line


def _to_json(line: Any, **_options: Any) -> str:
    return orjson.dumps(line, default=str).decode()
