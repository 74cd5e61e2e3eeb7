"""Grey pictures of maps: PGM (plain and raw) and PNG, with their size checked before any pixel is read."""

import io
import re
import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Integer
from PIL import Image, UnidentifiedImageError

from maps.errors import InvalidMapFile, LimitExceeded

_GAP = rb"(?:\s|#[^\n]*\n)+"
_PGM = re.compile(rb"P([25])" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})" + _GAP + rb"(\d{1,9})(?:\s|#[^\n]*\n)")
_PNG = b"\x89PNG\r\n\x1a\n"
HEADER = 65_536  # bytes in which a header must end
PIECE = 1 << 20  # bytes unpacked at once
LONGEST_NUMBER = 12  # bytes a pixel of a plain PGM, with what separates them


@dataclass(frozen=True)
class GreyImage:
    """A picture as levels; row 0 is the top."""

    level: Integer[np.ndarray, "H W"]  # 0 black to top white
    top: int
    opaque: Bool[np.ndarray, "H W"] | None = None  # None: all of it


def read_image(content: bytes, max_cells: int) -> GreyImage:
    """A PGM or PNG picture.

    Args:
        content: the file.
        max_cells: most pixels.

    Raises:
        InvalidMapFile: another format, a truncated file, a size that does not agree with the data.
        LimitExceeded: too many pixels.
    """
    if content.startswith(_PNG):
        return _read_png(content, max_cells)
    if content[:2] in (b"P2", b"P5"):
        return _read_pgm(content, max_cells)
    raise InvalidMapFile("the image is neither PGM (P2, P5) nor PNG", pointer="/image", value=repr(content[:8]))


def _check_size(width: int, height: int, max_cells: int) -> None:
    if width < 1 or height < 1:
        raise InvalidMapFile("the image is empty", pointer="/image", value=min(width, height), limit=1)
    if width * height > max_cells:
        raise LimitExceeded(f"an image may have {max_cells} pixels", pointer="/image", value=width * height, limit=max_cells)


def _read_pgm(content: bytes, max_cells: int) -> GreyImage:
    header = _PGM.match(content[:HEADER])
    if header is None:
        raise InvalidMapFile("the header of the PGM is broken", pointer="/image")
    width, height, top = int(header[2]), int(header[3]), int(header[4])
    _check_size(width, height, max_cells)
    if not 1 <= top <= 65_535:
        raise InvalidMapFile("the brightest level of a PGM lies from 1 to 65535", pointer="/image", value=top, limit=65_535)
    body = content[header.end() :]
    level = _raw_levels(body, width * height, top) if header[1] == b"5" else _plain_levels(body, width * height)
    if level.max() > top:
        raise InvalidMapFile("a pixel is brighter than the header allows", pointer="/image", value=int(level.max()), limit=top)
    return GreyImage(level.reshape(height, width), top)


def _raw_levels(body: bytes, count: int, top: int) -> np.ndarray:
    kind = np.dtype(np.uint8) if top < 256 else np.dtype(">u2")
    size = count * kind.itemsize
    if len(body) < size or body[size:].strip():
        raise InvalidMapFile(
            f"the header promises {size} bytes of pixels and there are {len(body)}", pointer="/image", value=len(body), limit=size
        )
    return np.frombuffer(body, dtype=kind, count=count).astype(kind.newbyteorder("="))


def _plain_levels(body: bytes, count: int) -> np.ndarray:
    if len(body) > count * LONGEST_NUMBER + HEADER:
        raise InvalidMapFile("there are more pixels than the header promises", pointer="/image", value=len(body))
    text = re.sub(rb"#[^\n]*", b"", body)
    if text.translate(None, b"0123456789 \t\r\n\v\f"):
        raise InvalidMapFile("the pixels of a plain PGM are whole numbers", pointer="/image")
    level = np.fromstring(text, dtype=np.float64, sep=" ")
    if len(level) != count:
        raise InvalidMapFile(
            f"the header promises {count} pixels and there are {len(level)}", pointer="/image", value=len(level), limit=count
        )
    return np.minimum(level, 65_536.0).astype(np.int32)


def _read_png(content: bytes, max_cells: int) -> GreyImage:
    if content[12:16] != b"IHDR" or len(content) < 33:
        raise InvalidMapFile("the header of the PNG is broken", pointer="/image")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    _check_size(width, height, max_cells)
    promised = _promised_size(content, width, height)
    if _unpacked_size(content, promised) != promised:
        raise InvalidMapFile(f"the PNG does not hold {height} rows of {width} pixels", pointer="/image")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            picture.load()
            return _grey(picture)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InvalidMapFile(f"the PNG cannot be read: {error}"[:120], pointer="/image") from None


def _promised_size(content: bytes, width: int, height: int) -> int:
    """Bytes that the pixels of a PNG unpack to: every row of every pass has one more than its pixels (ISO 15948, 7.2)."""
    depth, channels = content[24], {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(content[25], 1)
    whole, interlaced = [(0, 0, 1, 1)], [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size = 0
    for x, y, right, down in interlaced if content[28] else whole:
        columns, rows = -(-(width - x) // right), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * depth * channels + 7) // 8)
    return size


def _unpacked_size(content: bytes, most: int) -> int:
    """Bytes that the pixels of a PNG do unpack to, counted in pieces up to a little over `most`; -1 if they do not."""
    at, size, unpacker = len(_PNG), 0, zlib.decompressobj()
    try:
        while content[at + 4 : at + 8] not in (b"IEND", b""):
            length = int.from_bytes(content[at : at + 4])
            rest = content[at + 8 : at + 8 + length] if content[at + 4 : at + 8] == b"IDAT" else b""
            while rest and size <= most:
                size += len(unpacker.decompress(rest, PIECE))
                rest = unpacker.unconsumed_tail
            at += 12 + length
    except zlib.error:
        return -1
    return size if unpacker.eof else -1


def _grey(picture: Image.Image) -> GreyImage:
    if picture.mode.startswith("I"):
        return GreyImage(np.clip(np.asarray(picture, dtype=np.int32), 0, 65_535), 65_535)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        both = np.asarray(picture.convert("RGBA").convert("LA"))
        return GreyImage(both[..., 0].copy(), 255, both[..., 1] == 255)
    return GreyImage(np.asarray(picture.convert("L")), 255)
