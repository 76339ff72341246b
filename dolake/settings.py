"""Frozen settings of a lake; changing one at run time puts a new object in the old one's place."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Tier(enum.StrEnum):
    """How hard the lake holds on to what a source sends.

    P0: durable before the ack; a batch that cannot be applied halts the source.
    P1: durable before the ack; such a batch becomes a dead letter, and the source goes on.
    P2: as P1, but acknowledged while it is only in this process's files (a power cut may lose it).
    P3: in memory alone; dropped, and counted, where memory does not suffice.
    """

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def is_logged(self) -> bool:
        """Whether what is accepted goes into the event log."""
        return self is not Tier.P3

    @property
    def is_durable_before_ack(self) -> bool:
        """Whether an ack waits for the disk."""
        return self in (Tier.P0, Tier.P1)


@dataclass(frozen=True, slots=True)
class FlushPolicy:
    """When what was gathered becomes a snapshot: whichever limit is met first.

    Units: `rows_max` changes, `bytes_max` bytes in memory, `age_seconds_max` since the oldest of
           them. Beyond `memory_bytes_max`, over all sources, changes wait in the event log.
    """

    rows_max: int = 10_000
    bytes_max: int = 32 << 20
    age_seconds_max: float = 0.5
    memory_bytes_max: int = 128 << 20


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """What the lake takes from sources.

    Units: bytes, seconds, and counts a second; a burst of twice the rate passes. `log_bytes_max`
           is what the event log may hold while the object store is away.
    """

    event_bytes_max: int = 1 << 20
    message_bytes_max: int = 4 << 20
    connections_max: int = 100
    connections_per_second: float = 20.0
    messages_per_second: float = 100.0
    clock_skew_seconds_max: float = 300.0
    log_bytes_max: int = 10 << 30
    heartbeat_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before the next try of a flush that failed; tries do not end."""

    first_seconds: float = 0.1
    longest_seconds: float = 10.0
    factor: float = 2.0

    def pause_seconds(self, failures: int) -> float:
        """The wait after so many failures in a row."""
        return min(self.first_seconds * self.factor ** min(failures - 1, 60), self.longest_seconds)


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """How changes are taken in.

    Shape: `tokens` maps a token to the sources it may send, `*` for all of them; without tokens
           nobody is asked for one. `tiers` are those of single sources.
    """

    flush: FlushPolicy = field(default_factory=FlushPolicy)
    limits: IngestLimits = field(default_factory=IngestLimits)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    tier: Tier = Tier.P1
    tiers: dict[str, Tier] = field(default_factory=dict)
    tokens: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def tier_of(self, source: str) -> Tier:
        """The tier of a source."""
        return self.tiers.get(source, self.tier)
