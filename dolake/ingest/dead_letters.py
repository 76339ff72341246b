"""Batches that the tables could not take, kept as files for people to look at."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from dolake.ingest.durable_file import write_durably
from dolake.ingest.lake_tables import SourceKey

State = Literal["halting", "passed", "dropped"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that was not applied, and why.

    Shape: `state` is halting (its source waits for somebody to decide), passed (its source went on
           without it) or dropped (somebody decided that it does). The batch itself is beside it, in
           the file `<name>.batch`, as it was sent.
    Units: `at` is seconds since 1970.
    """

    source: str
    branch: str
    after_lsn: int
    last_lsn: int
    state: State
    error: str
    code: str
    at: float


class DeadLetters:
    """The dead letters of a lake, in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(
        self,
        key: SourceKey,
        after_lsn: int,
        last_lsn: int,
        state: State,
        error: Exception,
        raw: bytes,
    ) -> DeadLetter:
        """Write a batch down; it survives a power cut."""
        letter = DeadLetter(
            key.source,
            key.branch,
            after_lsn,
            last_lsn,
            state,
            str(error),
            getattr(error, "code", type(error).__name__),
            time.time(),
        )
        self._directory.mkdir(parents=True, exist_ok=True)
        stem = self._stem(key, after_lsn, last_lsn)
        write_durably(stem.with_suffix(".batch"), raw)
        self._write_letter(stem, letter)
        return letter

    def drop(self, letter: DeadLetter) -> None:
        """Decide that the source goes on without the batch; its bytes stay."""
        changed = DeadLetter(**{**asdict(letter), "state": "dropped"})
        key = SourceKey(letter.source, letter.branch)
        self._write_letter(self._stem(key, letter.after_lsn, letter.last_lsn), changed)

    def is_dropped(self, key: SourceKey, after_lsn: int, last_lsn: int) -> bool:
        """Whether somebody decided that this batch is left out."""
        path = self._stem(key, after_lsn, last_lsn).with_suffix(".json")
        return path.exists() and _read(path).state != "halting"

    def list(self) -> list[DeadLetter]:
        """All of them, the oldest first."""
        letters = [_read(path) for path in self._directory.glob("*.json")]
        return sorted(letters, key=lambda letter: letter.at)

    def _write_letter(self, stem: Path, letter: DeadLetter) -> None:
        write_durably(stem.with_suffix(".json"), json.dumps(asdict(letter), indent=1).encode())

    def _stem(self, key: SourceKey, after_lsn: int, last_lsn: int) -> Path:
        name = f"{quote(key.source, safe='')[:100]}@{quote(key.branch, safe='')[:60]}"
        return self._directory / f"{name}-{after_lsn}-{last_lsn}.x"


def _read(path: Path) -> DeadLetter:
    return DeadLetter(**json.loads(path.read_text("utf-8")))
