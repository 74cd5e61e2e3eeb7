"""The occupancy grid of a request: bits packed over the flattened grid, zlib, base64.

Row 0 is the lowest; within a byte the first cell is the most significant bit; 1 = occupied.
"""

import base64
import binascii
import zlib
from typing import Any

import numpy as np
from jaxtyping import Bool

from maps.errors import InvalidScene, LimitExceeded
from maps.scene import Grid

ENCODING = "packbits+zlib+base64"
MAX_CELLS = 16_000_000


def decode_cells(text: str | bytes, rows: int, columns: int, max_cells: int = MAX_CELLS) -> Bool[np.ndarray, "H W"]:
    """Occupied cells.

    Args:
        text: the encoded cells.
        rows: of the grid.
        columns: of the grid.
        max_cells: most cells; no more than these are ever unpacked.

    Raises:
        InvalidScene: no base64, no zlib, or not exactly as many cells as the shape says.
        LimitExceeded: too many cells.
    """
    if rows < 1 or columns < 1:
        raise InvalidScene("a grid needs at least one row and one column", pointer="/shape", value=min(rows, columns), limit=1)
    if rows * columns > max_cells:
        raise LimitExceeded(f"a grid may have {max_cells} cells", pointer="/shape", value=rows * columns, limit=max_cells)
    size = (rows * columns + 7) // 8
    if len(text) > 2 * size + 10_000:  # zlib adds next to nothing to what it cannot shrink
        raise InvalidScene("there are more data than the shape can hold", pointer="/data", code="INVALID_GRID", value=len(text))
    try:
        unpacker = zlib.decompressobj()
        packed = unpacker.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error):
        raise InvalidScene("the data are no base64 of zlib", pointer="/data", code="INVALID_GRID") from None
    if len(packed) != size or not unpacker.eof or unpacker.unused_data:
        message = "the data do not hold as many cells as the shape says"
        raise InvalidScene(message, pointer="/data", code="INVALID_GRID", value=len(packed), limit=size)
    return np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=rows * columns).reshape(rows, columns).astype(bool)


def encode_cells(occupied: Bool[np.ndarray, "H W"]) -> str:
    """The text that `decode_cells` reads."""
    return base64.b64encode(zlib.compress(np.packbits(occupied).tobytes(), 9)).decode()


def write_grid(grid: Grid) -> dict[str, Any]:
    """The JSON form of a grid."""
    return {
        "resolution": grid.resolution,
        "origin": list(grid.origin),
        "shape": list(grid.occupied.shape),
        "encoding": ENCODING,
        "data": encode_cells(grid.occupied),
    }
