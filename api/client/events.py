"""Server-sent events (the WHATWG's "event stream"): bytes in, events out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Event:
    """One thing that happened to a job."""

    name: str  # "message" where the server names none
    text: str  # as it came
    id: str = ""  # what to go on after

    @property
    def document(self) -> Any:
        """The text as JSON; None where it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None


class EventReader:
    """Takes an event stream apart; one for each connection."""

    def __init__(self, last_id: str = "") -> None:
        """Goes on after the event `last_id`."""
        self.last_id = last_id
        self.retry: float | None = None  # s, how long the server wants a dropped caller to wait
        self._rest = b""
        self._after_return = False
        self._name = ""
        self._id = last_id  # of the event that is being read; `last_id` only once it is complete
        self._lines: list[str] = []

    def feed(self, part: bytes) -> Iterator[Event]:
        """The events that are complete with these bytes; what is cut off by the end of a connection never comes out."""
        if self._after_return and part.startswith(b"\n"):  # the second half of a line end
            part = part[1:]
        self._after_return = part.endswith(b"\r") if part else self._after_return
        text = (self._rest + part).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = text.split(b"\n")
        for line in lines:
            event = self._line(line.decode("utf-8", "replace").removeprefix("\ufeff"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._dispatched()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._lines.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdecimal():
            self.retry = 1e-3 * int(value)
        return None

    def _dispatched(self) -> Event | None:
        """The event that an empty line ends; without data there is none."""
        name, lines = self._name or "message", self._lines
        self._name, self._lines, self.last_id = "", [], self._id
        return Event(name, "\n".join(lines), self.last_id) if lines else None
