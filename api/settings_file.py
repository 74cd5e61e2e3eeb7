"""Settings on paper: read from a TOML file, and written as one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel, SecretStr

from maps.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "**********"
_PASSWORD = re.compile(r"(?<=://)([^/@:]*):([^/@]*)@")  # in an address, such as that of a database


def read_settings_file(path: Path) -> dict[str, Any]:
    """The names and values in a file.

    Raises:
        InvalidInput: it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", code="INVALID_SETTING") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: is no TOML ({error})", code="INVALID_SETTING") from None


def settings_text(settings: BaseModel) -> str:
    """All settings as TOML, secrets masked; those that have no value are comments."""
    return "".join(_line(name, getattr(settings, name)) for name in type(settings).model_fields)


def _line(name: str, value: Any) -> str:
    return f"# {name} = (none)\n" if value is None else f"{name} = {_value(value)}\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple | list | set | frozenset):
        return f"[{', '.join(_values(value))}]"
    if isinstance(value, SecretStr):
        return f'"{MASK}"'
    # A JSON text is a TOML text too, but for DEL, which JSON leaves as it is.
    return orjson.dumps(_PASSWORD.sub(rf"\1:{MASK}@", str(value))).decode().replace("\x7f", "\\u007f")


def _values(values: Iterable[Any]) -> list[str]:
    return [_value(value) for value in values]
