"""All sources of a lake in this process: their pipelines, the event log, recovery, shutdown."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from dolake.errors import DeadLetterPassedError, LakeConfigurationError
from dolake.ingest.dead_letters import DeadLetters
from dolake.ingest.durable_file import write_durably
from dolake.ingest.event_log import EventLog
from dolake.ingest.ingest_locks import lake_lock, source_lock
from dolake.ingest.lake_tables import OpenTables, SourceKey
from dolake.ingest.memory_budget import MemoryBudget
from dolake.ingest.metrics import IngestMetrics
from dolake.ingest.shared_ingest import SharedIngest
from dolake.ingest.source_pipeline import SourcePipeline
from dolake.settings import IngestSettings, Tier

_CLOSE_SECONDS = 30.0
_TIERS_NAME = "tiers.json"


class IngestService:
    """What takes changes in. Safe for any number of threads.

    Shape:  `directory` is the lake's own: its event log, spooled copies, dead letters.
    Errors: SourceBusyError when another process has the lake open for ingest.
    """

    def __init__(
        self, open_tables: OpenTables, directory: Path, settings: IngestSettings | None = None
    ) -> None:
        self.settings = settings or IngestSettings()
        self.metrics = IngestMetrics()
        self.budget = MemoryBudget(self.settings.flush.memory_bytes_max)
        self.started_at = time.time()
        self.directory = directory
        self._lock = threading.Lock()
        self._opening: dict[SourceKey, threading.Lock] = {}
        self._pipelines: dict[SourceKey, SourcePipeline] = {}
        self._is_closing = False
        directory.mkdir(parents=True, exist_ok=True)
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(lake_lock(directory))
            # What a source asked for holds for what the log has of it, too, before it asks again.
            self.settings = replace(
                self.settings, tiers={**self._asked_tiers(), **self.settings.tiers}
            )
            self.letters = DeadLetters(directory)
            self._log = EventLog(directory / "log", bytes_max=self.settings.limits.log_bytes_max)
            self._held.callback(self._log.close)
            self._shared = SharedIngest(
                open_tables,
                self._log,
                self.letters,
                self.budget,
                self.metrics,
                lambda: self.settings,
                directory / "copies",
            )
            self._recover()
        except BaseException:
            self._held.close()
            raise

    def _recover(self) -> None:
        """Take in again what was accepted and is in no snapshot."""
        spooled = set()
        found: dict[SourceKey, SourcePipeline] = {}
        for position, record in self._log.records():
            key = SourceKey.parse(record.key)
            if key not in found:
                found[key] = self._new_pipeline(key)
            found[key].recover(position, record)
        for pipeline in found.values():
            spooled |= pipeline.writer.waiting_copies()
            self._pipelines[pipeline.key] = pipeline
            self._log.release(str(pipeline.key), pipeline.committed_lsn)
            pipeline.writer.start()
        for leftover in self._shared.spool_directory.glob("*.copy"):
            if leftover not in spooled:
                leftover.unlink()

    def _new_pipeline(self, key: SourceKey) -> SourcePipeline:
        self._held.enter_context(source_lock(self.directory, key))
        return SourcePipeline(key, self._shared)

    def pipeline(self, key: SourceKey) -> SourcePipeline:
        """The pipeline of a source, begun when it is new. It may take seconds to open large tables.

        Errors: those of opening the tables.
        """
        with self._lock:
            found = self._pipelines.get(key)
            if found is not None:
                return found
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            with self._lock:
                if (found := self._pipelines.get(key)) is not None:
                    return found
            pipeline = self._new_pipeline(key)
            pipeline.writer.start()
            with self._lock:
                self._pipelines[key] = pipeline
            return pipeline

    @property
    def pipelines(self) -> list[SourcePipeline]:
        """Those there are, by name."""
        with self._lock:
            return [pipeline for _, pipeline in sorted(self._pipelines.items())]

    def flush(self, sources: str | None = None) -> dict[str, Future[int]]:
        """Futures of the LSN committed, by source: of one source's branches, or of all."""
        return {
            str(pipeline.key): pipeline.writer.request_flush()
            for pipeline in self.pipelines
            if sources is None or pipeline.key.source == sources
        }

    def configure(self, changes: dict[str, Any]) -> IngestSettings:
        """Change settings of the flush policy, the limits, or tiers, from now on.

        Shape:  {"flush": {"age_seconds_max": 1}, "limits": {...}, "tiers": {"shop": "P0"}}
        Errors: LakeConfigurationError for a setting there is none of; nothing is changed then.
        """
        settings = self.settings
        unknown = set(changes) - {"flush", "limits", "tiers"}
        if unknown:
            raise LakeConfigurationError(f"there is no setting {min(unknown)!r} to change here")
        flush = _replaced(settings.flush, changes.get("flush", {}))
        limits = _replaced(settings.limits, changes.get("limits", {}))
        try:
            tiers = {str(name): Tier(tier) for name, tier in changes.get("tiers", {}).items()}
        except (ValueError, AttributeError) as error:
            raise LakeConfigurationError(
                f"the tiers: {error}", hint="a tier is P0, P1, P2 or P3"
            ) from error
        self.settings = replace(
            settings, flush=flush, limits=limits, tiers={**settings.tiers, **tiers}
        )
        if tiers:
            self._write_tiers()
        self.budget.bytes_max = flush.memory_bytes_max
        for pipeline in self.pipelines:
            pipeline.writer.wake()
        return self.settings

    def retry_letter(self, name: str) -> None:
        """Have a halted source try its batch again.

        Errors: DeadLetterNotFoundError; DeadLetterPassedError when the source is past it.
        """
        letter = self.letters.find(name)
        pipeline = self._pipelines.get(letter.key)
        if letter.state != "halting" or pipeline is None or pipeline.writer.halted != letter:
            raise DeadLetterPassedError(
                f"{letter.key} does not wait for {name}: applied now, it would undo what came after"
            )
        pipeline.writer.resume(drop=False)

    def discard_letter(self, name: str) -> None:
        """Have a halted source go on without its batch, or forget one that its source is past.

        Errors: DeadLetterNotFoundError; DeadLetterPassedError while no snapshot is past it.
        """
        letter = self.letters.find(name)
        pipeline = self.pipeline(letter.key)
        if pipeline.writer.halted == letter:
            pipeline.writer.resume(drop=True)
        else:
            self.letters.discard(letter, pipeline.committed_lsn)

    def _asked_tiers(self) -> dict[str, Tier]:
        try:
            told = json.loads((self.directory / _TIERS_NAME).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return {source: Tier(tier) for source, tier in told.items()}

    def _write_tiers(self) -> None:
        told = {source: tier.value for source, tier in self.settings.tiers.items()}
        write_durably(self.directory / _TIERS_NAME, json.dumps(told).encode())

    def status(self) -> dict[str, Any]:
        """What goes on, for people and programs."""
        return {
            "uptime_seconds": round(time.time() - self.started_at, 1),
            "memory_bytes": self.budget.held_bytes,
            "memory_bytes_max": self.budget.bytes_max,
            "log_bytes": self._log.size_bytes,
            "log_bytes_max": self.settings.limits.log_bytes_max,
            "sources": {str(each.key): each.status() for each in self.pipelines},
            "dead_letters": len(self.letters.list()),
        }

    def close(self, *, flush: bool = True) -> None:
        """Take nothing more in, flush what there is, and let go; the log keeps what is left."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
        deadline = time.monotonic() + _CLOSE_SECONDS
        if flush:
            for pipeline in self.pipelines:
                pipeline.stop_accepting()
        for pipeline in self.pipelines:
            pipeline.close(timeout_seconds=max(deadline - time.monotonic(), 0.1), flush=flush)
        self._held.close()


def _replaced(settings: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        raise LakeConfigurationError(f"{changes!r} is not settings by name")
    for name, value in changes.items():
        present = getattr(settings, name, None)
        if present is None:
            raise LakeConfigurationError(
                f"there is no setting {name!r}",
                hint=f"there are {', '.join(sorted(settings.__slots__))}",
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise LakeConfigurationError(f"{name} is a number above 0, not {value!r}")
    return replace(
        settings, **{name: type(getattr(settings, name))(v) for name, v in changes.items()}
    )
