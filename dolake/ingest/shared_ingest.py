"""What all sources of a lake share: where their tables, their log and their metrics are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dolake.ingest.dead_letters import DeadLetters
from dolake.ingest.event_log import EventLog
from dolake.ingest.lake_tables import OpenTables
from dolake.ingest.memory_budget import MemoryBudget
from dolake.ingest.metrics import IngestMetrics
from dolake.settings import IngestSettings


@dataclass(frozen=True, slots=True)
class SharedIngest:
    """One for each lake that takes changes in. Safe for any number of threads.

    Shape: `settings` gives those of now; copies are spooled in `spool_directory`.
    """

    open_tables: OpenTables
    log: EventLog
    letters: DeadLetters
    budget: MemoryBudget
    metrics: IngestMetrics
    settings: Callable[[], IngestSettings]
    spool_directory: Path
