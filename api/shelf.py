"""Things that took work to make, kept as long as all of them together stay within some bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

Kept = TypeVar("Kept")


class Shelf(Generic[Kept]):
    """Things by key; those longest unused go first. Any thread may call."""

    def __init__(self, size: int) -> None:
        """Empty; `size` in bytes."""
        self._size = size
        self._used = 0
        self._kept: OrderedDict[Hashable, tuple[Kept, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> Kept | None:
        """What is kept under a key; None where nothing is."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: Hashable, thing: Kept, size: int) -> None:
        """Keeps something in place of what was there, unless it alone is too large.

        Args:
            key: to find it by.
            thing: not None.
            size: of it, bytes.
        """
        with self._lock:
            if key in self._kept:
                self._used -= self._kept.pop(key)[1]
            if size > self._size:
                return
            self._kept[key] = thing, size
            self._used += size
            while self._used > self._size:
                self._used -= self._kept.popitem(last=False)[1][1]
