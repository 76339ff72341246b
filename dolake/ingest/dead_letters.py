"""Batches that the tables could not take, kept as files for people to look at."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from dolake.errors import DeadLetterNotFoundError, DeadLetterPassedError
from dolake.ingest.durable_file import write_durably
from dolake.ingest.lake_tables import SourceKey

State = Literal["halting", "passed", "dropped"]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A batch that was not applied, and why.

    Shape: `state` is halting (its source waits for somebody to decide), passed (its source went on
           without it) or dropped (somebody decided that it does). The batch itself is beside it, in
           the file `<name>.batch`: a message of the protocol, in JSON.
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

    @property
    def key(self) -> SourceKey:
        """The source it is from."""
        return SourceKey(self.source, self.branch)

    @property
    def name(self) -> str:
        """What it is called by."""
        return _name(self.key, self.after_lsn, self.last_lsn)

    def told(self) -> dict[str, Any]:
        """It as JSON."""
        return {"name": self.name, **asdict(self)}


class DeadLetters:
    """The dead letters of a lake, in a directory of its state."""

    def __init__(self, state: Path) -> None:
        self._directory = state / "dead_letters"

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
        write_durably(self._directory / f"{letter.name}.batch", raw)
        self._write_letter(letter)
        return letter

    def find(self, name: str) -> DeadLetter:
        """The letter of that name. Errors: DeadLetterNotFoundError."""
        for letter in self.list():
            if letter.name == name:
                return letter
        raise DeadLetterNotFoundError(f"there is no dead letter {name!r}")

    def batch(self, letter: DeadLetter) -> bytes:
        """The batch, in JSON; nothing where it could not be read."""
        return (self._directory / f"{letter.name}.batch").read_bytes()

    def discard(self, letter: DeadLetter, committed_lsn: int) -> None:
        """Leave a halting batch out, or forget one that is past.

        Errors: DeadLetterPassedError while no snapshot is past it: the log may still have it.
        """
        if letter.state == "halting":
            self.drop(letter)
        elif committed_lsn >= letter.last_lsn:
            for suffix in (".batch", ".json"):
                (self._directory / f"{letter.name}{suffix}").unlink(missing_ok=True)
        else:
            raise DeadLetterPassedError(
                f"the last snapshot of {letter.key} has LSN {committed_lsn}, and {letter.name} "
                "must be kept until one is past it",
                hint="try again after the next snapshot",
            )

    def drop(self, letter: DeadLetter) -> None:
        """Decide that the source goes on without the batch; its bytes stay."""
        self._write_letter(replace(letter, state="dropped"))

    def is_dropped(self, key: SourceKey, after_lsn: int, last_lsn: int) -> bool:
        """Whether somebody decided that this batch is left out."""
        path = self._directory / f"{_name(key, after_lsn, last_lsn)}.json"
        return path.exists() and _read(path).state != "halting"

    def list(self) -> list[DeadLetter]:
        """All of them, the oldest first."""
        letters = [_read(path) for path in self._directory.glob("*.json")]
        return sorted(letters, key=lambda letter: letter.at)

    def _write_letter(self, letter: DeadLetter) -> None:
        told = json.dumps(asdict(letter), indent=1).encode()
        write_durably(self._directory / f"{letter.name}.json", told)


def _name(key: SourceKey, after_lsn: int, last_lsn: int) -> str:
    source, branch = quote(key.source, safe="")[:100], quote(key.branch, safe="")[:60]
    return f"{source}@{branch}-{after_lsn}-{last_lsn}"


def _read(path: Path) -> DeadLetter:
    return DeadLetter(**json.loads(path.read_text("utf-8")))
