"""Whether it is time for a snapshot; a pure decision."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dolake.settings import FlushPolicy


class FlushReason(enum.StrEnum):
    """What made a flush due."""

    REQUEST = "request"
    SHUTDOWN = "shutdown"
    MEMORY = "memory"
    ROWS = "rows"
    BYTES = "bytes"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a source has gathered since its last snapshot.

    Units: `age_seconds` since the oldest of it was accepted.
    """

    rows: int
    bytes: int
    age_seconds: float
    is_requested: bool = False
    is_closing: bool = False
    is_memory_short: bool = False


def reason_to_flush(policy: FlushPolicy, gathered: Gathered) -> FlushReason | None:
    """Why to flush now, or None to gather on."""
    if gathered.is_closing:
        return FlushReason.SHUTDOWN
    if gathered.is_requested:
        return FlushReason.REQUEST
    if gathered.is_memory_short:
        return FlushReason.MEMORY
    if gathered.rows >= policy.rows_max:
        return FlushReason.ROWS
    if gathered.bytes >= policy.bytes_max:
        return FlushReason.BYTES
    if gathered.age_seconds >= policy.age_seconds_max:
        return FlushReason.AGE
    return None
