"""Frozen settings of a lake, given once when it is opened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When what was gathered becomes a snapshot: whichever limit is met first.

    Units: `rows_max` changes, `bytes_max` bytes in memory, `age_seconds_max` since the oldest of
           them; beyond `memory_bytes_max` nothing more is taken in until a flush has succeeded.
    """

    rows_max: int = 10_000
    bytes_max: int = 32 << 20
    age_seconds_max: float = 60.0
    memory_bytes_max: int = 128 << 20
