"""Frozen settings, given once when a database is opened; no switch changes on a live database."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Durability(enum.Enum):
    """What a returned commit has survived.

    FULL: power loss; concurrent committers share one sync (visible a moment before durable).
    STRICT: power loss, and nobody sees the commit before it is durable (SQLite's own FULL).
    NORMAL: a crash of the process; a power cut may lose the last commits, never the database.
    OFF: nothing beyond NORMAL is promised or done; it is there for programs that ask for it.
    """

    FULL = "full"
    STRICT = "strict"
    NORMAL = "normal"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of the past is kept; None means without limit. Pinned moments are always kept.

    Units: `age_seconds` seconds; `commits_max` commits; `history_bytes_max` stored bytes.
    """

    age_seconds: float | None = None
    commits_max: int | None = None
    history_bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """Settings of one database in this process; the same for every connection to it.

    Shape: `changes` False refuses streams and slots, and notes no causes of changes; nothing else
    is recorded for them when a transaction commits.
    Units: `wal_capture_bytes` is the size of the live WAL at which history is captured and the WAL
    recycled; eight times that while commits come very fast, and at 24 times writers wait. A WAL
    that has stopped growing is synced twice as fast as one that grows. `companion_after_seconds` is
    how much of about a second of one processor the capture of commits may take in this process,
    until it starts a companion process to do that; None says never.
    """

    history: bool = True
    changes: bool = True
    create: bool = True
    wal_capture_bytes: int = 4 * 1024 * 1024
    retention: Retention | None = None
    companion_after_seconds: float | None = 0.2


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Settings of one connection.

    Units: `timeout_seconds` is how long a writer waits for the write lock.
    """

    durability: Durability = Durability.FULL
    timeout_seconds: float = 5.0
    read_only: bool = False
    cached_statements: int = 128
    database: DatabaseOptions = field(default_factory=DatabaseOptions)
