"""Handing events to a function that may fail: tries, pauses, and where the rest goes."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from dosql_core.changes.change_event import ChangeEvent
from dosql_core.errors import DeliveryFailedError
from dosql_core.storage.durable_files import telling_disk_errors


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a handler is tried with one event, and how long it is left alone in between.

    Units: the first pause, and the longest, in seconds; each is `factor` times the one before.
    """

    tries_max: int = 3
    first_pause_seconds: float = 0.1
    longest_pause_seconds: float = 10.0
    factor: float = 2.0

    def pauses(self) -> Iterator[float]:
        """The pauses between the tries."""
        pause = self.first_pause_seconds
        for _ in range(self.tries_max - 1):
            yield min(pause, self.longest_pause_seconds)
            pause *= self.factor


class DeadLetters(Protocol):
    """Where events go that a handler could not deal with."""

    def put(self, event: ChangeEvent, error: BaseException, tries: int) -> None:
        """Keep the event, durably, with why it is here."""


class DeadLetterFile:
    """A file of them, a line of JSON each: the event as `to_json` has it, the error, the time.

    Threads: any number; several processes may add to one file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)

    def put(self, event: ChangeEvent, error: BaseException, tries: int) -> None:
        """Add a line; it is on the disk when this returns."""
        line = json.dumps(
            {
                "event": json.loads(event.to_json()),
                "error": f"{type(error).__name__}: {error}",
                "tries": tries,
                "failed_at": datetime.datetime.now(datetime.UTC).isoformat(),
            },
            ensure_ascii=False,
        )
        with telling_disk_errors():
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, (line + "\n").encode("utf-8", "surrogateescape"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """What is in the file, the oldest first."""
        try:
            with open(self._path, "rb") as file:
                return [json.loads(line) for line in file if line.endswith(b"\n")]
        except FileNotFoundError:
            return []


def deliver(
    handler: Callable[[ChangeEvent], Any],
    event: ChangeEvent,
    retry: RetryPolicy,
    dead_letters: DeadLetters | None,
    stopping: threading.Event,
) -> bool:
    """Have the handler deal with an event; True when it, or the dead letters, did.

    Shape:  False when `stopping` was set during a pause.
    Errors: DeliveryFailedError when all tries failed and there is no place for dead letters.
    """
    pauses = retry.pauses()
    tries = 0
    while True:
        tries += 1
        try:
            handler(event)
            return True
        except Exception as error:
            pause = next(pauses, None)
            if pause is None:
                if dead_letters is None:
                    raise DeliveryFailedError(
                        f"event {event.token} could not be handled in {tries} tries: "
                        f"{type(error).__name__}: {error}"
                    ) from error
                dead_letters.put(event, error, tries)
                return True
        if stopping.wait(pause):
            return False


class PositionTable:
    """How far a consumer has come, in its own database, in the transactions that use the changes.

    Works with any DB-API connection whose parameters are `?`: dosql_dbapi's and sqlite3's.
    """

    def __init__(self, connection: Any, table: str = "dosql_positions") -> None:
        self._connection = connection
        self._table = '"' + table.replace('"', '""') + '"'
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} "
            "(reader TEXT PRIMARY KEY, branch TEXT NOT NULL, lsn INTEGER NOT NULL)"
        )
        connection.commit()

    def position(self, reader: str) -> int:
        """The last LSN whose changes are in this database; 0 before the first."""
        rows = self._connection.execute(
            f"SELECT lsn FROM {self._table} WHERE reader = ?", (reader,)
        ).fetchall()
        return rows[0][0] if rows else 0

    @contextlib.contextmanager
    def transaction(self, reader: str, branch: str, lsn: int) -> Iterator[bool]:
        """A transaction that ends with the reader at `lsn`; False when it has come there before.

        Two that do the same at once: one waits, and then is told False.
        """
        connection = self._connection
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        try:
            is_new = self.position(reader) < lsn
            yield is_new
            if is_new:
                connection.execute(
                    f"INSERT INTO {self._table} VALUES (?, ?, ?) ON CONFLICT (reader) "
                    "DO UPDATE SET branch = excluded.branch, lsn = excluded.lsn",
                    (reader, branch, lsn),
                )
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
