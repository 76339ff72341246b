"""The most recently used decoded blocks, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress


class BlockCache:
    """Decoded blocks by key, the least recently used leaving first.

    Threads: any number.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._blocks: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> bytes | None:
        """The block stored under `key`, if it is still here."""
        blocks = self._blocks
        block = blocks.get(key)
        if block is not None:
            with suppress(KeyError):  # another thread pushed it out meanwhile; the bytes are good
                blocks.move_to_end(key)
        return block

    def put(self, key: Hashable, block: bytes) -> None:
        """Store `block`, in place of what `key` had."""
        with self._lock:
            old = self._blocks.pop(key, b"")
            self._blocks[key] = block
            self._bytes += len(block) - len(old)
            while self._bytes > self._bytes_max:
                _, evicted = self._blocks.popitem(last=False)
                self._bytes -= len(evicted)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._blocks.clear()
            self._bytes = 0
