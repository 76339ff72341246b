"""The cursor: one statement at a time, its rows fetched one step ahead.

A cursor of the kernel is "running" until a step says there are no more rows, and a running cursor
pins the snapshot it reads. So the next row is always fetched before the current one is handed out:
a one-row SELECT ends with the `fetchone` that returns its row, as in the standard library.

Every line of `execute` and `fetchone` costs: they are what a program spends its time in. What is
rare is kept out of them, in `execution`, behind one comparison or behind an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING, Any

from dosql_core.errors import ProgrammingError
from dosql_core.kernel.connection import KernelCursor, survive_late_deallocation
from dosql_dbapi import execution, recovery
from dosql_dbapi.connection_state import ConnectionState
from dosql_dbapi.parameters import bindable
from dosql_dbapi.plans import CONTROL, LIMITED, READ, RETURNING, WRITE
from dosql_dbapi.results import Described, Description, Held

if TYPE_CHECKING:
    import pyarrow

    from dosql_dbapi.arrow import ArrowTypes
    from dosql_dbapi.connection import Connection

_run = KernelCursor.execute
_step = KernelCursor.fetchone


class Cursor(KernelCursor):
    """A PEP 249 cursor with sqlite3's additions. `Connection.cursor()` makes them.

    Whoever makes one assigns its slots: to find one unassigned costs 0.2 us, ten times as much.
    """

    __slots__ = (
        "_arraysize",
        "_connection",
        "_described",  # what the columns are: a text nobody asked about yet, or the answer
        "_factory",
        "_is_closed",
        "_is_shaping",
        "_lastrowid",
        "_row",  # the row that the next fetch hands out
        "_rowcount",
        "_shape",  # what makes of a raw row what the program wants, or None
    )

    _arraysize: int
    _connection: Connection
    _described: str | Described | Held | None
    _factory: Any
    _is_closed: bool
    _is_shaping: bool
    _lastrowid: int | None
    _row: tuple[Any, ...] | None
    _rowcount: int
    _shape: Any

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        survive_late_deallocation(cls)

    def __init__(self, connection: Connection, /) -> None:
        if not isinstance(connection, ConnectionState):
            raise TypeError(
                "Cursor() argument 1 must be a dosql_dbapi Connection, not "
                f"{type(connection).__name__}"
            )
        connection._check_usable()
        if not hasattr(self, "_connection"):  # a second call resets the cursor, as in sqlite3
            KernelCursor.__init__(self, connection._kernel)
        elif self._is_shaping:
            raise ProgrammingError("Recursive use of cursors not allowed.")
        self._connection = connection
        self._row = self._described = self._lastrowid = None
        self._rowcount = -1
        self._is_closed = self._is_shaping = False
        connection._adopt(self)

    # -- running a statement -----------------------------------------------------------------------

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:  # type: ignore[override]
        """Run one statement; for a SELECT, up to its first row.

        Errors: ProgrammingError for several statements, a closed cursor or connection, parameters
        that do not fit; and what SQLite raises.
        """
        try:
            connection = self._connection
            owner = connection._owner
            if owner and owner != get_ident():
                connection._check_usable()
            if type(parameters) is not tuple:
                parameters = bindable(parameters)
            plan = connection._plans[sql]
            if plan == READ:
                if connection._is_next_read_noted:
                    connection._note_read()
                _run(self, sql, parameters)
                self._row = _step(self)
                self._rowcount = -1
                self._described = sql
            elif plan == WRITE:
                if connection._in_autocommit():
                    if connection._begin_sql is not None:
                        connection._begin_write(self, sql)
                        _run(self, sql, parameters)
                        connection._is_just_begun = False
                        if connection._is_turn_due:
                            connection._settle_turn()
                    elif connection._has_gate:
                        connection._enter_write(sql)
                        try:
                            _run(self, sql, parameters)
                        finally:
                            connection._leave_write()
                            connection._is_next_read_noted = True
                    else:
                        _run(self, sql, parameters)
                elif connection._is_turn_due:
                    connection._enter_write(sql)
                    _run(self, sql, parameters)
                    connection._settle_turn()
                else:
                    _run(self, sql, parameters)
                self._rowcount = connection._changes()
                self._lastrowid = connection._last_insert_rowid()
                self._row = None
                self._described = None
            elif plan == LIMITED:
                if connection._is_next_read_noted:
                    connection._note_read()
                steady = connection._plans.steady[sql]
                _run(self, steady, parameters)
                self._row = _step(self)
                self._rowcount = -1
                self._described = steady
            elif plan == RETURNING:
                execution.execute_returning(self, connection, sql, parameters)
            elif plan == CONTROL and not parameters:
                execution.execute_control(self, connection, sql)
            else:
                execution.execute_other(self, connection, sql, parameters)
        except Exception as error:
            recovery.recover(self, sql, parameters, error)
        return self

    def executemany(  # type: ignore[override]
        self, sql: str, parameters: Iterable[Any], /
    ) -> Cursor:
        """Run one INSERT, UPDATE, DELETE or REPLACE for every set of parameters.

        Shape:  `rowcount` is the sum over all of them; rows of a RETURNING clause are dropped.
        Errors: ProgrammingError when the statement is not one of those four.
        """
        execution.execute_many(self, sql, parameters)
        return self

    def executescript(self, sql_script: str, /) -> Cursor:
        """Run every statement of a script; what was pending is committed first."""
        execution.execute_script(self, sql_script)
        return self

    # -- fetching ----------------------------------------------------------------------------------

    def fetchone(self) -> Any:
        """The next row, or None after the last."""
        try:
            row = self._row
            if self._shape is not None:
                return execution.fetch_one_slowly(self)
            if row is not None:
                self._row = _step(self)
            elif type(self._described) is Held:
                return execution.fetch_one_slowly(self)
            else:
                execution.after_the_last(self)
        except Exception as error:
            recovery.fetch_failed(self, error)
        return row

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows (`arraysize` when not given), fewer at the end."""
        if size is None:
            size = self.arraysize
        if size < 0:  # as many as there are, as in sqlite3
            return self.fetchall()
        try:
            owner = self._connection._owner
            if owner and owner != get_ident():
                self._connection._check_usable()
            first = self._row
            if first is None or self._shape is not None or size == 0:
                return execution.fetch_slowly(self, size)
            rows = [first]
            self._row = None
            rows.extend(islice(iter(partial(_step, self), None), size - 1))
            if len(rows) == size:
                self._row = _step(self)
        except Exception as error:
            recovery.fetch_failed(self, error)
        return rows

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        try:
            owner = self._connection._owner
            if owner and owner != get_ident():
                self._connection._check_usable()
            first = self._row
            if first is None or self._shape is not None:
                return execution.fetch_slowly(self, None)
            rows = [first]
            self._row = None
            second = _step(self)
            if second is not None:  # else there is no need for what follows, which costs
                rows.append(second)
                rows.extend(iter(partial(_step, self), None))
        except Exception as error:
            recovery.fetch_failed(self, error)
        return rows

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator costs a third of what calling __next__ for every row does.
        while True:
            try:
                row = self._row
                if row is None or self._shape is not None:
                    row = execution.fetch_one_slowly(self)
                    if row is None:
                        return
                else:
                    self._row = _step(self)
            except Exception as error:
                recovery.fetch_failed(self, error)
            yield row

    def __next__(self) -> Any:
        row = self.fetchone()
        if row is None:
            raise StopIteration
        return row

    # -- Arrow -------------------------------------------------------------------------------------

    def fetch_arrow_table(self, schema: ArrowTypes = None) -> pyarrow.Table:
        """All rows that are left, as a table of Arrow; needs pyarrow.

        `schema`, or a mapping of column names to Arrow types, decides where it names a column; else
        the declared type does, else the values.
        Errors: DataError for a value that its column's type cannot hold.
        """
        from dosql_dbapi.arrow import fetch_table

        return fetch_table(self, schema)

    def fetch_record_batch(
        self, rows_per_batch: int = 10_000, schema: ArrowTypes = None
    ) -> pyarrow.RecordBatchReader:
        """The rows that are left, as a stream of batches, fetched as they are read."""
        from dosql_dbapi.arrow import fetch_batches

        return fetch_batches(self, rows_per_batch, schema)

    # -- attributes --------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:  # type: ignore[override]
        """The connection that made this cursor."""
        return self._connection

    @property
    def description(self) -> Description | None:  # type: ignore[override]
        """Name and six Nones for each column of the result, or None when there is no result."""
        try:
            described = self._described
        except AttributeError:  # made by a subclass that left `__init__` out
            return None
        if isinstance(described, str):
            described = execution.described(self)
        return None if described is None else described.description or None

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed; -1 for a SELECT and before any."""
        return self._rowcount

    @property
    def lastrowid(self) -> int | None:
        """The rowid of the last row inserted, or None before any statement that writes."""
        return self._lastrowid

    @property
    def arraysize(self) -> int:
        """How many rows `fetchmany` fetches when it is not told."""
        return getattr(self, "_arraysize", 1)

    @arraysize.setter
    def arraysize(self, size: int) -> None:
        self._arraysize = size

    @property
    def row_factory(self) -> Any:
        """What rows are made with: None for tuples, `Row`, or a function of (cursor, tuple)."""
        return self._factory

    @row_factory.setter
    def row_factory(self, factory: Any) -> None:
        self._factory = factory
        self._shape = self._connection._shape_for(factory)

    # -- the rest of PEP 249 -----------------------------------------------------------------------

    def setinputsizes(self, sizes: Any, /) -> None:
        """Does nothing: SQLite needs no sizes (PEP 249 requires the method)."""

    def setoutputsize(self, size: int, column: int | None = None, /) -> None:
        """Does nothing: SQLite needs no sizes (PEP 249 requires the method)."""

    def close(self, force: bool = True) -> None:
        """End the statement; the cursor cannot be used again.

        `force` is there because a closing kernel connection passes it.
        """
        connection = getattr(self, "_connection", None)
        if connection is None:
            raise ProgrammingError("Base Cursor.__init__ not called.")
        if not connection._is_closing_cursors:
            connection._check_usable()
            if self._is_shaping:
                raise ProgrammingError("Recursive use of cursors not allowed.")
            self._is_closed = True
        self._row = None
        KernelCursor.close(self, True)


survive_late_deallocation(Cursor)


class FreshCursor(Cursor):
    """What `Connection.cursor()` makes: a Cursor whose `__init__` is the kernel's own, in C."""

    __slots__ = ()
    __init__ = KernelCursor.__init__

    def close(self, force: bool = True) -> None:
        """End the statement, also of a cursor whose deallocation was put off."""
        try:
            connection = self._connection
        except AttributeError:
            KernelCursor.close(self, True)
            return
        if (
            self._shape is None
            and connection._owner == get_ident()
            and not (connection._is_closed or connection._is_closing_cursors)
        ):
            self._is_closed = True
            self._row = None
            KernelCursor.close(self, True)
        else:
            Cursor.close(self, force)


FreshCursor.__name__ = FreshCursor.__qualname__ = "Cursor"
