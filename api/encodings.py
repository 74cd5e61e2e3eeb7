"""Plans and requests in other forms than JSON: MessagePack both ways, and plans as Arrow tables.

A MessagePack request is turned into the JSON that it stands for, so that one validation and one set of caps serve both.
"""

from __future__ import annotations

import math
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgpack
import orjson

from api.body import media_type, read_body, refuse_encoded, require_json
from api.plan_wire import to_json
from api.problems import Fault, Problem, pointer

if TYPE_CHECKING:
    from starlette.requests import Request

MSGPACK_NAMES = frozenset({"application/msgpack", "application/vnd.msgpack", "application/x-msgpack"})
MOST_CONTAINERS = 250_000  # lists and maps of one MessagePack body: one takes a byte to send and sixty to hold
LONGEST_CONTAINER = 100_000
DEEPEST = 64  # maps and lists inside each other
ARROW_KEY = b"flowfleet.plan"  # of a table's metadata: the plan without its robots, as JSON


class Encoding(StrEnum):
    """A form that a plan is sent in; its media type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"
    ARROW = "application/vnd.apache.arrow.stream"


def wanted_encoding(accept: str) -> Encoding:
    """The form that a caller likes best; JSON where it names none that there is.

    Args:
        accept: the header.

    Raises:
        Problem: 406, Arrow is asked for and not installed.
    """
    best, weight = Encoding.JSON, 0.0
    for part in accept.split(",")[:20]:
        kind, _, parameters = part.strip().lower().partition(";")
        kind = Encoding.MSGPACK if kind.strip() in MSGPACK_NAMES else kind.strip()
        if kind in tuple(Encoding) and _weight(parameters) > weight:
            best, weight = Encoding(kind), _weight(parameters)
    if best is Encoding.ARROW and find_spec("pyarrow") is None:
        raise Problem(406, "NOT_ACCEPTABLE", "this server has no Arrow; install its extra 'arrow', or accept application/json")
    return best


def _weight(parameters: str) -> float:
    said = next((p.strip()[2:] for p in parameters.split(";") if p.strip().startswith("q=")), "1")
    return float(said) if said.replace(".", "", 1).isdecimal() and len(said) < 8 else 0.0


def encode_plan(body: bytes, encoding: Encoding) -> bytes:
    """A plan in another form.

    Args:
        body: the plan as JSON.
        encoding: the form.
    """
    if encoding is Encoding.JSON:
        return body
    document = orjson.loads(body)
    return msgpack.Packer().pack(document) if encoding is Encoding.MSGPACK else _arrow(document)


def _arrow(document: dict[str, Any]) -> bytes:
    """A table with a row for each robot; everything else of the plan is JSON in the schema's metadata."""
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    samples = pa.struct([(name, numbers) for name in ("t", "x", "y", "vx", "vy")])
    fields = [("id", pa.string()), ("status", pa.string()), ("source", pa.string()), ("reason", pa.string()), ("degree", pa.int8())]
    fields += [("knots_s", numbers), ("control_points", pa.list_(pa.list_(pa.float64(), 2))), ("samples", samples)]
    rest = {key: value for key, value in document.items() if key != "robots"}
    schema = pa.schema(fields, metadata={ARROW_KEY: to_json(rest)})
    table = pa.Table.from_pylist([_row(robot) for robot in document["robots"]], schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _row(robot: dict[str, Any]) -> dict[str, Any]:
    curve = robot["curve"] or {"degree": None, "knots_s": None, "control_points": None}
    row = {key: robot[key] for key in ("id", "status", "source", "samples")} | curve
    row["reason"] = None if robot["reason"] is None else orjson.dumps(robot["reason"]).decode()
    return row


async def read_document(request: Request, limit: int) -> bytes:
    """The body of a request as JSON, whichever of the two forms it came in.

    Args:
        request: the request.
        limit: bytes of the body as it comes.

    Raises:
        Problem: 400, 408, 413, 415 or 422.
    """
    if media_type(request) not in MSGPACK_NAMES:
        require_json(request)
        return await read_body(request, limit)
    refuse_encoded(request)
    return orjson.dumps(unpack(await read_body(request, limit)))


def unpack(body: bytes) -> Any:
    """The value of a MessagePack text that JSON could hold too.

    Raises:
        Problem: 400 for what is none, 422 for values or sizes that are not allowed.
    """
    count = 0

    def counted(container: Any) -> Any:
        nonlocal count
        count += 1
        if count > MOST_CONTAINERS:
            raise _too_many(count)
        return container

    try:
        document = msgpack.unpackb(
            body,
            max_array_len=LONGEST_CONTAINER,
            max_map_len=LONGEST_CONTAINER,
            max_ext_len=0,
            strict_map_key=True,
            list_hook=counted,
            object_hook=counted,
        )
    except Problem:
        raise
    except (ValueError, UnicodeDecodeError, msgpack.UnpackException, TypeError, OverflowError) as error:
        what = "has too many values" if "exceeds max" in str(error) else "is no MessagePack"
        raise Problem(400, "MALFORMED_MSGPACK", f"the body {what}", [Fault("", "MALFORMED_MSGPACK", f"the body {what}")]) from None
    _refuse_foreign(document, ())
    return document


def _too_many(count: int) -> Problem:
    fault = Fault("", "LIMIT_EXCEEDED", f"a body may have {MOST_CONTAINERS} lists and maps", count, MOST_CONTAINERS)
    return Problem(422, "LIMIT_EXCEEDED", fault.message, [fault])


def _refuse_foreign(value: Any, path: tuple[str | int, ...]) -> None:
    """Refuses what JSON cannot hold: numbers that are not finite, bytes, times, and keys that are no texts.

    Raises:
        Problem: 422 with the place.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise _foreign(path, "NON_FINITE", "must be a finite number")
    if not isinstance(value, str | int | float | list | dict | None):
        raise _foreign(path, "WRONG_TYPE", "must be a text, a number, true, false, a list, a map or nil")
    if len(path) > DEEPEST:
        raise _foreign((), "LIMIT_EXCEEDED", f"a body may be {DEEPEST} deep")
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        raise _foreign(path, "WRONG_TYPE", "must have texts as keys")
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        _refuse_foreign(inner, (*path, key))


def _foreign(path: tuple[str | int, ...], code: str, message: str) -> Problem:
    where = pointer(path)
    return Problem(422, code, f"{where or 'the body'} {message}", [Fault(where, code, message)])
