"""How much memory unwritten changes take over all sources, so that a limit can hold."""

from __future__ import annotations

import threading


class MemoryBudget:
    """Bytes held by each of several holders, against one limit. Safe for any number of threads."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._lock = threading.Lock()
        self._held: dict[object, int] = {}

    def hold(self, holder: object, held_bytes: int) -> None:
        """Note that a holder now holds so much, all in all."""
        with self._lock:
            self._held[holder] = held_bytes

    def forget(self, holder: object) -> None:
        """A holder is gone."""
        with self._lock:
            self._held.pop(holder, None)

    @property
    def held_bytes(self) -> int:
        """What all holders hold together."""
        with self._lock:
            return sum(self._held.values())

    def has_room_for(self, wanted_bytes: int) -> bool:
        """Whether so much more stays within the limit."""
        return self.held_bytes + wanted_bytes <= self.bytes_max

    def is_short(self, holder: object) -> bool:
        """Whether memory is nearly used up and this holder holds the most of it."""
        with self._lock:
            if sum(self._held.values()) < self.bytes_max * 3 // 4:
                return False
            return self._held.get(holder, 0) == max(self._held.values(), default=0)
