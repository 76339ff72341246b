"""Why rows changed: noted while a transaction runs, kept beside the WAL until it is captured.

Pages tell what changed, not why. A connection to a schema in which triggers or foreign keys can
change rows looks at each row it changes (SQLite's preupdate hook); other connections do not.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import apsw

from dosql_core.identifiers import Microseconds
from dosql_core.storage.durable_files import telling_disk_errors

FOREIGN_KEY = "foreign key"
_SOME_TRIGGER = "trigger"
_ROWS_OF_A_TABLE_MAX = 1000
_HOOK = "dosql causes"
_CODES = {
    "INSERT": apsw.SQLITE_INSERT,
    "UPDATE": apsw.SQLITE_UPDATE,
    "DELETE": apsw.SQLITE_DELETE,
}
_UPDATE = _CODES["UPDATE"]
_TAIL_BYTES = 1 << 16
_to_json = json.JSONEncoder(ensure_ascii=False).encode

Target = tuple[str, str]
"""An operation (INSERT, UPDATE or DELETE) and the table on which it is done."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One reason for which SQLite changes rows that no statement names.

    Shape: `cause` is how it is told; `fires_on` what sets it off; `is_after`: only once that has
           happened.
    """

    cause: str
    fires_on: Target
    is_after: bool
    writes: frozenset[Target]


@dataclass(frozen=True, slots=True)
class Effects:
    """All of them in one schema, and which tables have no rowids.

    Shape: `has_handlers`: some triggers are written in Python, and may run statements of their own.
    """

    effects: tuple[Effect, ...] = ()
    without_rowids: frozenset[str] = frozenset()
    has_handlers: bool = False


class CauseRecorder:
    """Notes why rows change in the transactions of one connection.

    Threads: those of the connection.
    """

    def __init__(self, kernel: apsw.Connection, known: Effects) -> None:
        self._kernel = kernel
        self.known = known
        self._without_rowids = known.without_rowids
        self._by_target: dict[Target, list[Effect]] = {}
        for effect in known.effects:
            for target in effect.writes:
                self._by_target.setdefault(target, []).append(effect)
        self._tables: dict[str, dict[int | None, str | None]] = {}
        self._spilled: dict[str, set[str | None]] = {}
        # What need not be entered again: such a table's rows are no longer told apart.
        self._settled: set[tuple[str, str | None]] = set()
        self._is_worth_telling = False
        self.given: str | None = None
        kernel.preupdate_hook(self._noting(), id=_HOOK)

    def stop(self) -> None:
        """Look at rows no longer."""
        self._kernel.preupdate_hook(None, id=_HOOK)

    def forget(self) -> None:
        """The transaction is over."""
        if self._tables:
            self._tables.clear()
            self._spilled.clear()
            self._settled.clear()
            self._is_worth_telling = False

    def take(self) -> str | None:
        """What is to be told of the transaction, which is about to be committed; it is over then.

        Shape: docs/formats/segment.md, "Commit chunks".
        """
        if not self._is_worth_telling:
            self.forget()
            return None
        told: dict[str, str | dict[str, list[int]]] = {}
        for table, rows in self._tables.items():
            causes = self._spilled.get(table, set()).union(rows.values())
            if len(causes) == 1:
                (cause,) = causes
                if cause is not None:
                    told[table] = cause
            elif table not in self._spilled and table not in self._without_rowids:
                by_cause: dict[str, list[int]] = {}
                for rowid, row_cause in rows.items():
                    if row_cause is not None and rowid is not None:
                        by_cause.setdefault(row_cause, []).append(rowid)
                told[table] = by_cause
        self.forget()
        return _to_json(told) if told else None

    def _noting(self) -> Callable[[apsw.PreUpdate], None]:
        causes: dict[str, set[str]] = {}
        for (_, table), effects in self._by_target.items():
            causes.setdefault(table, set()).update(effect.cause for effect in effects)
        if any(len(several) > 1 for several in causes.values()):
            return self._noting_what_set_it_off()
        return self._noting_the_only_cause({table: cause for table, (cause,) in causes.items()})

    def _noting_the_only_cause(self, causes: dict[str, str]) -> Callable[[apsw.PreUpdate], None]:
        """Where only one thing changes the rows of a table, what set it off need not be known."""
        settled = self._settled

        def note(change: apsw.PreUpdate) -> None:
            # Most rows need no more than these lines, which are what causes cost.
            depth, table = change.depth, change.table_name
            cause = self.given
            if cause is None:
                if depth:
                    cause = causes.get(table, _SOME_TRIGGER)
                elif table not in causes:
                    return
                if (table, cause) in settled:
                    return
            self._enter(change, table, cause)

        return note

    def _noting_what_set_it_off(self) -> Callable[[apsw.PreUpdate], None]:
        settled = self._settled
        by_target = {(_CODES[did], table): e for (did, table), e in self._by_target.items()}
        written = {table for _, table in by_target}
        set_off = {(_CODES[e.fires_on[0]], e.fires_on[1]) for e in self.known.effects}
        telling = set_off | {(code, table) for code in _CODES.values() for table in written}
        happened: dict[int, tuple[int, str]] = {}
        known: dict[object, str] = {}

        def note(change: apsw.PreUpdate) -> None:
            depth, table = change.depth, change.table_name
            target = change.opcode, table
            cause = self.given
            if depth == 0 and cause is None and target not in telling:
                return
            happened[depth] = target
            if cause is None:
                if depth:
                    by = happened.get(depth - 1)
                    cause = known.get((target, by))
                    if cause is None:
                        cause = known[target, by] = _cause(by_target.get(target, ()), by)
                elif table not in written:
                    return
            if (table, cause) not in settled:
                self._enter(change, table, cause)

        return note

    def _enter(self, change: apsw.PreUpdate, table: str, cause: str | None) -> None:
        if cause is not None:
            self._is_worth_telling = True
        several = self._spilled.get(table)
        if several is not None:
            several.add(cause)
            self._settled.add((table, cause))
            return
        if change.database_name != "main":
            return
        rows = self._tables.get(table)
        if rows is None:
            rows = self._tables[table] = {}
            if table in self._without_rowids:
                self._spilled[table] = {cause}
                return
        rows.setdefault(change.rowid, cause)
        if change.opcode == _UPDATE:
            rows.setdefault(change.rowid_new, cause)
        if len(rows) > _ROWS_OF_A_TABLE_MAX:
            self._spilled[table] = set(rows.values())
            rows.clear()


def _cause(candidates: Iterable[Effect], set_off_by: tuple[int, str] | None) -> str:
    """The effect at work; where several could be, all of them."""
    after = [
        e.cause
        for e in candidates
        if e.is_after and (_CODES[e.fires_on[0]], e.fires_on[1]) == set_off_by
    ]
    before = [e.cause for e in candidates if not e.is_after]
    causes = dict.fromkeys(after + before) or dict.fromkeys(e.cause for e in candidates)
    return " or ".join(causes) or _SOME_TRIGGER


class CauseLog:
    """Causes of commits that are in the WAL only, by the time of the commit; shared by processes.

    It is written in the commit hook, under SQLite's write lock. A commit that then fails leaves an
    entry with a time that no commit has. A power cut may take entries: then causes are not known.
    """

    @telling_disk_errors()
    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def note(self, at: Microseconds, causes: str) -> None:
        """Say why rows changed in the commit of that time."""
        try:
            os.write(self._descriptor, _pack(at, causes))
        except OSError:
            return  # a full disk stops no commit for this

    def noted_after(self, time: Microseconds) -> dict[Microseconds, str]:
        """The causes of commits after that time."""
        size = os.fstat(self._descriptor).st_size
        begin = max(size - _TAIL_BYTES, 0)
        while True:
            lines = os.pread(self._descriptor, size - begin, begin).split(b"\n")
            entries = [_entry(line) for line in (lines[1:] if begin else lines)]
            found = {entry[0]: entry[1] for entry in entries if entry is not None}
            if begin == 0 or min(found, default=time) < time:
                return {at: causes for at, causes in found.items() if at > time}
            begin = 0

    def clear(self) -> None:
        """Forget all entries; call under the write lock, when all commits are captured."""
        if os.fstat(self._descriptor).st_size:
            os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _pack(at: Microseconds, causes: str) -> bytes:
    """An entry. Source: docs/formats/commit-causes.md."""
    told = b"%d\t%s" % (at, causes.encode("utf-8", "surrogateescape"))
    return b"%08x\t%s\n" % (zlib.crc32(told), told)


def _entry(line: bytes) -> tuple[Microseconds, str] | None:
    """What an entry says; None for one that was cut short by a crash, or damaged."""
    checksum, _, told = line.partition(b"\t")
    if checksum != b"%08x" % zlib.crc32(told):
        return None
    at, _, causes = told.partition(b"\t")
    return Microseconds(int(at)), causes.decode("utf-8", "surrogateescape")
