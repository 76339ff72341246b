"""Python triggers at work on one connection: TEMP triggers of SQLite that call its handlers.

SQLite has no way to change NEW. What a handler before a change returns is applied by an UPDATE in
an AFTER trigger of the same row, inside the same statement; docs/triggers.md says what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dosql_core.errors import (
    Error,
    InvalidTriggerError,
    OperationRejectedError,
    TriggerDepthError,
    TriggerHandlerError,
)
from dosql_core.identifiers import SqlValue
from dosql_core.kernel.connection import run
from dosql_core.language.tokens import quoted_name
from dosql_core.triggers.time_limit import call_within
from dosql_core.triggers.trigger_registry import RowEvent, Timing, Trigger, TriggerRegistry

DEPTH_MAX = 32
_PREFIX = "_dosql_"
_FRAMES_MAX = 1000
_GO_ON, _SKIP_ROW = 0, 1
_ROWID_NAMES = ("rowid", "_rowid_", "oid")
_HIDDEN_GENERATED = (2, 3)


class _Skip:
    def __repr__(self) -> str:
        return "SKIP"


SKIP = _Skip()
"""What a handler before a change returns to have the row left out, as RAISE(IGNORE) does."""


class RowChanging:
    """What a handler is told: a row that is about to change, or has just changed.

    Shape: `old` is None for a row that is inserted, `new` for one that is deleted; both hold every
           column but generated ones.
    """

    __slots__ = ("_kernel", "event", "new", "old", "table", "timing", "trigger")

    def __init__(
        self,
        kernel: Any,
        table: str,
        event: RowEvent,
        timing: Timing,
        old: dict[str, SqlValue] | None,
        new: dict[str, SqlValue] | None,
    ) -> None:
        self._kernel = kernel
        self.table = table
        self.event = event
        self.timing = timing
        self.old = old
        self.new = new
        self.trigger = ""

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement in the transaction of the change; its rows come back."""
        return run(self._kernel, sql, parameters)

    def reject(self, reason: str) -> None:
        """Refuse the change: the statement fails with this message. Errors: always."""
        raise OperationRejectedError(reason)


@dataclass(slots=True)
class _Watched:
    """One event of one table that has handlers."""

    table: str
    event: RowEvent
    columns: tuple[str, ...]
    rowid_place: int | None


@dataclass(slots=True)
class _Frame:
    """A row between its BEFORE and its AFTER trigger.

    Shape: `is_ours`: the UPDATE that applies what handlers changed, of which handlers hear nothing.
    """

    number: int
    values: tuple[SqlValue, ...]
    changes: dict[str, SqlValue] = field(default_factory=dict)
    is_ours: bool = False


class RowTriggers:
    """The handlers of one connection, called by SQLite.

    Threads: those of the connection.
    """

    def __init__(
        self,
        kernel: Any,
        registries: Sequence[TriggerRegistry],
        tell_cause: Callable[[str | None], None] = lambda cause: None,
    ) -> None:
        self._kernel = kernel
        self._registries = registries
        self._tell_cause = tell_cause
        self._watched: list[_Watched] = []
        self._frames: list[_Frame] = []
        self._applied: _Frame | None = None
        self._is_applying = False
        self._depth = 0
        self._has_functions = False

    # -- making SQLite call us ---------------------------------------------------------------------

    def install(self) -> bool:
        """Have the TEMP triggers that the registered handlers need, and no others; if any.

        Errors: InvalidTriggerError for a table that cannot have any.
        """
        if not self._has_functions and not any(map(len, self._registries)):
            return False
        wanted = dict(self._wanted())
        present = dict(
            run(
                self._kernel,
                "SELECT name, sql FROM temp.sqlite_schema WHERE type = 'trigger' "
                f"AND substr(name, 1, {len(_PREFIX)}) = '{_PREFIX}'",
            )
        )
        if not wanted and not present:
            return False
        if not self._has_functions:
            self._register_functions()
        for name, sql in present.items():
            if _as_written(wanted.get(name)) == _as_written(sql):
                del wanted[name]
            else:
                run(self._kernel, f"DROP TRIGGER temp.{quoted_name(name)}")
        for sql in wanted.values():
            run(self._kernel, sql)
        return bool(self._watched)

    def _register_functions(self) -> None:
        for name, function in (
            ("before", self._before),
            ("pending", self._pending),
            ("value", self._value),
            ("after", self._after),
        ):
            self._kernel.create_scalar_function(f"{_PREFIX}{name}", function)
        self._has_functions = True

    def _wanted(self) -> Iterator[tuple[str, str]]:
        """Name and text of each TEMP trigger."""
        self._watched = []
        tables = {t.table.casefold() for registry in self._registries for t in registry}
        for table in sorted(tables):
            found = run(
                self._kernel,
                "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
                "AND lower(name) = lower(?)",
                (table,),
            )
            if found:  # on another branch there may be no such table
                yield from self._triggers_of(*found[0])

    def _triggers_of(self, table: str, without_rowid: bool) -> Iterator[tuple[str, str]]:
        described = run(
            self._kernel,
            "SELECT name, pk, hidden, type FROM pragma_table_xinfo(?) ORDER BY cid",
            (table,),
        )
        columns = tuple(c[0] for c in described if c[2] not in _HIDDEN_GENERATED)
        key = [c[0] for c in sorted(described, key=lambda c: c[1]) if c[1]]
        rowid_place = None
        if not without_rowid:
            names = {column.casefold() for column in columns}
            free = [name for name in _ROWID_NAMES if name not in names]
            is_alias = len(key) == 1 and any(
                c[0] == key[0] and c[3].upper() == "INTEGER" for c in described
            )
            if is_alias:
                rowid_place = columns.index(key[0])
            elif free:
                key = [free[0]]
            else:
                raise InvalidTriggerError(
                    f"table {table!r} has columns named {', '.join(_ROWID_NAMES)}, so its rows "
                    "cannot be told apart"
                )
        for event in RowEvent:
            has = {timing: self._handlers(table, timing, event) for timing in Timing}
            if not has[Timing.BEFORE] and not has[Timing.AFTER]:
                continue
            number = len(self._watched)
            self._watched.append(_Watched(table, event, columns, rowid_place))
            values = _values_sql(columns, event)
            start = f"{event.upper()} ON main.{quoted_name(table)} BEGIN "
            name = quoted_name(f"{_PREFIX}before_{event}_{table}")
            yield (
                f"{_PREFIX}before_{event}_{table}",
                (
                    f"CREATE TEMP TRIGGER {name} BEFORE {start}"
                    f"SELECT CASE {_PREFIX}before({number}{values}) "
                    f"WHEN {_SKIP_ROW} THEN RAISE(IGNORE) END; END"
                ),
            )
            apply = ""
            if has[Timing.BEFORE] and event is not RowEvent.DELETE:
                set_columns = ", ".join(
                    f"{quoted_name(column)} = {_PREFIX}value({place}, {quoted_name(column)})"
                    for place, column in enumerate(columns)
                )
                where = " AND ".join(f"{quoted_name(c)} IS NEW.{quoted_name(c)}" for c in key)
                apply = (
                    f"UPDATE {quoted_name(table)} SET {set_columns} "
                    f"WHERE {where} AND {_PREFIX}pending({number}{values}); "
                )
            name = quoted_name(f"{_PREFIX}after_{event}_{table}")
            yield (
                f"{_PREFIX}after_{event}_{table}",
                (
                    f"CREATE TEMP TRIGGER {name} AFTER {start}{apply}"
                    f"SELECT {_PREFIX}after({number}{values}); END"
                ),
            )

    # -- what SQLite calls -------------------------------------------------------------------------

    def _before(self, number: int, *values: SqlValue) -> int:
        if self._is_applying:
            self._is_applying = False
            self._frames.append(_Frame(number, values, is_ours=True))
            return _GO_ON
        watched = self._watched[number]
        frame = _Frame(number, values)
        handlers = self._handlers(watched.table, Timing.BEFORE, watched.event)
        if handlers:
            changing = self._changing(watched, Timing.BEFORE, values)
            for trigger in handlers:
                returned = self._call(trigger, changing)
                if returned is SKIP:
                    return _SKIP_ROW
                if returned is not None:
                    changes = self._checked(trigger, watched, returned)
                    frame.changes.update(changes)
                    assert changing.new is not None
                    changing.new.update(changes)
        if len(self._frames) >= _FRAMES_MAX:  # rows that never came to be left theirs
            del self._frames[: _FRAMES_MAX // 2]
        self._frames.append(frame)
        return _GO_ON

    def _pending(self, number: int, *values: SqlValue) -> bool:
        """Whether handlers changed the row that was just written."""
        place = self._frame_at(number, values)
        frame = None if place is None else self._frames[place]
        self._applied = frame
        return frame is not None and bool(frame.changes)

    def _value(self, place: int, present: SqlValue) -> SqlValue:
        """What a column is to hold; called by the UPDATE, just before its own BEFORE trigger."""
        frame = self._applied
        assert frame is not None
        watched = self._watched[frame.number]
        self._is_applying = any(
            w.table == watched.table and w.event is RowEvent.UPDATE for w in self._watched
        )
        return frame.changes.get(watched.columns[place], present)

    def _after(self, number: int, *values: SqlValue) -> None:
        place = self._frame_at(number, values)
        frame = None
        if place is not None:
            frame = self._frames[place]
            del self._frames[place:]
            if frame.is_ours:
                return
        watched = self._watched[number]
        handlers = self._handlers(watched.table, Timing.AFTER, watched.event)
        if handlers:
            changing = self._changing(watched, Timing.AFTER, values)
            if frame is not None and changing.new is not None:
                changing.new.update(frame.changes)
            for trigger in handlers:
                self._call(trigger, changing)

    def _frame_at(self, number: int, values: tuple[SqlValue, ...]) -> int | None:
        """Where the row was noted before it changed: the last such row, of equal ones at best.

        The key of an inserted row may have been found only in between.
        """
        skipped = self._watched[number].rowid_place
        last = None
        for place in range(len(self._frames) - 1, -1, -1):
            frame = self._frames[place]
            if frame.number != number:
                continue
            if last is None:
                last = place
            if all(
                was == now
                for at, (was, now) in enumerate(zip(frame.values, values, strict=True))
                if at != skipped
            ):
                return place
        return last

    def _handlers(self, table: str, timing: Timing, event: RowEvent) -> list[Trigger]:
        name = table.casefold()
        found = [t for registry in self._registries for t in registry.handlers(name, timing, event)]
        if len(self._registries) > 1:
            found.sort(key=lambda trigger: (trigger.priority, trigger.number))
        return found

    def _changing(
        self, watched: _Watched, timing: Timing, values: tuple[SqlValue, ...]
    ) -> RowChanging:
        columns, old, new = watched.columns, None, None
        if watched.event is not RowEvent.INSERT:
            old = dict(zip(columns, values, strict=False))
            values = values[len(columns) :]
        if watched.event is not RowEvent.DELETE:
            new = dict(zip(columns, values, strict=True))
            if timing is Timing.BEFORE and watched.event is RowEvent.INSERT:
                place = watched.rowid_place
                if place is not None and values[place] == -1:
                    new[columns[place]] = None  # SQLite chooses it later
        return RowChanging(self._kernel, watched.table, watched.event, timing, old, new)

    def _call(self, trigger: Trigger, changing: RowChanging) -> Any:
        if self._depth >= DEPTH_MAX:
            raise TriggerDepthError(
                f"handlers set one another off {DEPTH_MAX} deep, the last of them {trigger.name!r}"
            )
        self._depth += 1
        changing.trigger = trigger.name
        self._tell_cause(f"trigger {trigger.name}")
        try:
            if trigger.timeout_seconds is None:
                return trigger.handler(changing)
            return call_within(trigger.timeout_seconds, trigger, changing)
        except Error:
            raise  # ours, and those of statements that the handler ran
        except Exception as error:
            raise TriggerHandlerError(
                f"the handler of trigger {trigger.name!r} raised {type(error).__name__}: {error}"
            ) from error
        finally:
            self._depth -= 1
            self._tell_cause(None)

    @staticmethod
    def _checked(trigger: Trigger, watched: _Watched, returned: Any) -> dict[str, SqlValue]:
        if watched.event is RowEvent.DELETE or not isinstance(returned, dict):
            expected = (
                "None or SKIP" if watched.event is RowEvent.DELETE else "None, SKIP or a dict"
            )
            raise InvalidTriggerError(
                f"the handler of trigger {trigger.name!r} returned {returned!r} before "
                f"{watched.event}: expected {expected}"
            )
        unknown = [name for name in returned if name not in watched.columns]
        if unknown:
            raise InvalidTriggerError(
                f"the handler of trigger {trigger.name!r} changed {unknown[0]!r}, which is no "
                f"column of {watched.table!r} that can be written"
            )
        return returned


def _as_written(sql: str | None) -> str:
    """SQLite keeps the text of a TEMP trigger without that word."""
    return (sql or "").replace("CREATE TEMP TRIGGER", "CREATE TRIGGER", 1)


def _values_sql(columns: Sequence[str], event: RowEvent) -> str:
    rows = {RowEvent.INSERT: ("NEW",), RowEvent.UPDATE: ("OLD", "NEW"), RowEvent.DELETE: ("OLD",)}
    return "".join(f", {row}.{quoted_name(column)}" for row in rows[event] for column in columns)
