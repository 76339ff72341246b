"""What a cursor runs off its fast path: all but a plain SELECT and a plain write.

Also the slow halves of fetching (rows held in memory, rows made into something else) and what the
columns of a result are called. The functions take the cursor they work for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from threading import get_ident
from typing import TYPE_CHECKING, Any

from dosql_core.errors import BindingCountError, CursorClosedError, ProgrammingError
from dosql_core.kernel.connection import KernelCursor
from dosql_core.kernel.error_translation import KernelError
from dosql_core.language.classify import Statement, StatementKind
from dosql_core.language.splitting import split_statements
from dosql_dbapi import recovery
from dosql_dbapi.adaptation import adapt_base_type
from dosql_dbapi.attaching import attached_as_opened
from dosql_dbapi.commit_description import carrying_description, is_describable
from dosql_dbapi.conversion import RowConverter
from dosql_dbapi.parameters import bindable
from dosql_dbapi.plans import begins_implicitly
from dosql_dbapi.results import ColumnTypes, Described, Held, described_columns
from dosql_dbapi.row import Row, names_holder, new_row

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection
    from dosql_dbapi.cursor import Cursor

MakeRow = Callable[[tuple[Any, ...]], Any]

_run = KernelCursor.execute
_run_many = KernelCursor.executemany
_step = KernelCursor.fetchone

_READS = frozenset((StatementKind.SELECT, StatementKind.EXPLAIN, StatementKind.OTHER))
_TAKES_NO_PARAMETERS = frozenset((StatementKind.EMPTY, StatementKind.BEGIN))
_RUN_ELSEWHERE = frozenset((StatementKind.EMPTY, StatementKind.BEGIN, StatementKind.COMMAND))
_CHANGES_NO_ROWS = frozenset(
    (StatementKind.DDL, StatementKind.VACUUM, StatementKind.ATTACH, StatementKind.DETACH)
)
_ENDS_TRANSACTION = frozenset(
    (StatementKind.COMMIT, StatementKind.ROLLBACK, StatementKind.RELEASE, StatementKind.ROLLBACK_TO)
)
_ATTACHES = frozenset((StatementKind.ATTACH, StatementKind.DETACH))
# Pragmas that change the file when they are given a value, and those that read it for one. Any
# other sets something of this connection alone, so it waits for no writer and opens no snapshot.
_WRITING_PRAGMAS = frozenset(
    (
        "application_id",
        "auto_vacuum",
        "default_cache_size",
        "incremental_vacuum",
        "optimize",
        "schema_version",
        "user_version",
    )
)
_READING_PRAGMAS = frozenset(
    (
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    )
)


# -- one statement ---------------------------------------------------------------------------------


def execute_other(cursor: Cursor, connection: Connection, sql: str, parameters: Any) -> None:
    """Run one statement whose plan is neither READ nor WRITE."""
    connection._check_usable()
    _check_free(cursor)
    statement = connection._plans.statement(sql)
    cursor._row = None
    cursor._rowcount = -1
    cursor._described = None
    if connection._plans.looks_at_parameters:
        cursor._shape = connection._shape_for(cursor.row_factory)
        parameters = _adapted(parameters)
    kind = statement.kind
    if connection._plans.describes_commit and is_describable(kind):
        with carrying_description(connection, statement):
            execute_other(cursor, connection, sql, parameters)
        return
    if kind in _TAKES_NO_PARAMETERS and parameters and not isinstance(parameters, Mapping):
        raise BindingCountError(
            "Incorrect number of bindings supplied. The current statement uses 0, and there are "
            f"{len(parameters)} supplied."
        )
    if kind in _RUN_ELSEWHERE:
        _run(cursor, "")  # ends the statement before, which would pin its snapshot
    if kind is StatementKind.EMPTY:
        return
    if kind is StatementKind.COMMAND:
        _hold_answer(cursor, connection, connection._run_command(statement, parameters))
        return
    text = statement.text
    if statement.as_of is not None:
        text, parameters = connection._session.rewrite_as_of(statement, parameters)
        with connection._session.reading_the_past():
            _execute_kind(cursor, connection, statement, text, parameters)
    else:
        _execute_kind(cursor, connection, statement, text, parameters)


def execute_returning(cursor: Cursor, connection: Connection, sql: str, parameters: Any) -> None:
    """Run a write with a RETURNING clause that is nothing else."""
    _check_free(cursor)
    if connection._begin_sql is not None and connection._in_autocommit():
        connection._begin_write(cursor, sql)
    _run_write(cursor, connection, sql, parameters, True)


def execute_control(cursor: Cursor, connection: Connection, sql: str) -> None:
    """Run what begins or ends a transaction or a part of one."""
    _check_free(cursor)
    statement = connection._plans.statement(sql)
    kind = statement.kind
    cursor._row = None
    cursor._rowcount = -1
    cursor._described = None
    if kind is StatementKind.BEGIN:
        is_writing = statement.begin_mode in ("immediate", "exclusive")
        if is_writing and connection._has_gate:
            connection._enter_write(None)
        _run(cursor, sql)
        if not is_writing:
            connection._mark_deferred()
    elif kind is StatementKind.SAVEPOINT:
        is_first = connection._in_autocommit()
        _run(cursor, sql)
        if is_first:
            connection._mark_deferred()
        connection._session.has_savepoint = True
    else:
        _run(cursor, sql)
        connection._after_statement()
        if kind is StatementKind.ROLLBACK_TO:
            connection._session.after_rollback_to()


def _execute_kind(
    cursor: Cursor, connection: Connection, statement: Statement, text: str, parameters: Any
) -> None:
    kind = statement.kind
    if kind is StatementKind.PRAGMA:
        verdict = connection._check_pragma(statement)
        if verdict is not None and not isinstance(verdict, str):
            _hold_answer(cursor, connection, verdict)
            return
        text = verdict or text
    if kind is StatementKind.DML:
        if connection._in_autocommit() and connection._begin_sql and begins_implicitly(statement):
            connection._begin_write(cursor, text)
        _run_write(cursor, connection, text, parameters, statement.has_returning)
    elif kind in _READS or (kind is StatementKind.PRAGMA and _only_reads(statement)):
        if connection._is_next_read_noted:
            connection._note_read()
        _run_to_first_row(cursor, text, parameters)
    elif kind is StatementKind.BEGIN:
        connection._begin(text, statement.begin_mode)
    elif kind in _ENDS_TRANSACTION:
        _run_to_first_row(cursor, text, parameters)
        connection._after_statement()
        if kind is StatementKind.ROLLBACK_TO:
            connection._session.after_rollback_to()
    elif kind is StatementKind.SAVEPOINT:
        is_first = connection._in_autocommit()
        _run_to_first_row(cursor, text, parameters)
        if is_first:
            connection._mark_deferred()
        connection._session.has_savepoint = True
    elif kind in _ATTACHES or (kind is StatementKind.PRAGMA and not _may_write(statement)):
        connection._forget_columns()  # some pragmas say how columns are called
        if kind is StatementKind.ATTACH:
            text, parameters = attached_as_opened(connection._kernel, text, parameters)
        _run_to_first_row(cursor, text, parameters)
        connection._session.note_setting(text)
    else:
        connection._forget_columns()  # it may change the schema
        if kind is not StatementKind.VACUUM or connection._in_autocommit():  # else it is refused
            connection._begin_statement_that_may_write(text)
        try:
            _run_to_first_row(cursor, text, parameters)
        finally:
            connection._after_statement()
        connection._session.note_definition(text)
        if kind is StatementKind.VACUUM:
            connection._session.after_vacuum(text)


def _check_free(cursor: Cursor) -> None:
    if cursor._is_closed:
        raise CursorClosedError(recovery.CLOSED_CURSOR)
    if cursor._is_shaping:
        raise ProgrammingError(recovery.RECURSIVE_USE)


def _only_reads(statement: Statement) -> bool:
    pragma = statement.pragma
    return pragma is not None and (pragma.value_text is None or pragma.name in _READING_PRAGMAS)


def _may_write(statement: Statement) -> bool:
    pragma = statement.pragma
    return pragma is None or (pragma.value_text is not None and pragma.name in _WRITING_PRAGMAS)


def _run_to_first_row(cursor: Cursor, text: str, parameters: Any) -> None:
    _run(cursor, text, parameters)
    cursor._row = _step(cursor)
    cursor._described = text


def _run_write(
    cursor: Cursor, connection: Connection, text: str, parameters: Any, has_returning: bool
) -> None:
    connection._begin_statement_that_may_write(text)
    try:
        _run(cursor, text, parameters)
        cursor._described = text if has_returning else None
        cursor._row = None
        if has_returning:
            _take_rows(cursor, connection, text)
        connection._is_just_begun = False
        cursor._rowcount = connection._changes()
        cursor._lastrowid = connection._last_insert_rowid()
    finally:
        connection._after_statement()


def _take_rows(cursor: Cursor, connection: Connection, text: str) -> None:
    """Fetch all rows now: the statement, and in autocommit its commit, ends with the last one."""
    first = cursor._row = _step(cursor)
    columns = _columns(cursor, connection, text) or ()
    described = described_columns(columns, connection._detect_types)
    second = None
    if first is not None:
        cursor._row = None  # should the next step fail, there is none
        second = _step(cursor)
    if second is None:
        cursor._row = first
        cursor._described = described
    else:
        rows = [first, second, *iter(partial(_step, cursor), None)]
        cursor._described = Held(described, rows)


def _hold_answer(cursor: Cursor, connection: Connection, answer: Any) -> None:
    # Also when there is none: USE BRANCH closes the kernel below this cursor, which can then fetch
    # nothing any more, not even no rows.
    columns = tuple([(name, None) for name in answer.columns])
    cursor._described = Held(described_columns(columns, connection._detect_types), answer.rows)


def _adapted(parameters: Any) -> Any:
    if isinstance(parameters, tuple):
        return tuple([adapt_base_type(value) for value in parameters])
    if type(parameters) is dict:
        return {name: adapt_base_type(value) for name, value in parameters.items()}
    return parameters


# -- many sets of parameters -----------------------------------------------------------------------


def execute_many(cursor: Cursor, sql: str, sets: Iterable[Any]) -> None:
    """Run a write once for each set of parameters and sum up the rows it changed.

    SQLite's own running total would count the rows that triggers change, too.
    """
    connection = recovery.connection_of(cursor)
    connection._check_usable()
    _check_free(cursor)
    cursor._row = None
    cursor._described = None
    try:
        connection._plans[sql]
        statement = connection._plans.statement(sql)
        if connection._plans.describes_commit and is_describable(statement.kind):
            with carrying_description(connection, statement):
                execute_many(cursor, sql, sets)
            return
        text = statement.text
        is_write = statement.kind is StatementKind.DML
        if not is_write:
            if statement.kind is not StatementKind.COMMAND:
                connection._compile(text)  # its mistakes come first
            if not _may_run_many_times(statement):
                _run(cursor, "")  # ends the statement before
                raise ProgrammingError("executemany() can only execute DML statements.")
        sets = iter(sets)
        if statement.as_of is not None or not is_write:
            total = _run_each(cursor, sql, sets)
            cursor._rowcount = total if is_write else -1
            return
        if connection._in_autocommit() and connection._begin_sql and begins_implicitly(statement):
            connection._begin_write(cursor, text)
        recovery.compile_without_the_past(connection, text)
        counted = _Counted(connection, text)
        try:
            _run_many(cursor, text, counted.count(sets))
            for _row in iter(partial(_step, cursor), None):
                pass
        finally:
            connection._after_statement()
        connection._is_just_begun = False
        cursor._rowcount = counted.rowcount
    except Exception as error:
        recovery.many_failed(cursor, sql, error)


class _Counted:
    """Passes sets of parameters on to the kernel and counts the rows changed by each."""

    __slots__ = ("_connection", "_text", "rowcount")

    def __init__(self, connection: Connection, text: str) -> None:
        self._connection = connection
        self._text = text
        self.rowcount = 0

    def count(self, sets: Iterator[Any]) -> Iterator[Any]:
        connection = self._connection
        changes = connection._changes
        looks_at_parameters = connection._plans.looks_at_parameters
        needs_turns = connection._has_gate and connection._in_autocommit()
        connection._begin_statement_that_may_write(self._text)
        if connection._is_turn_due:
            connection._session.outlast_keeper()  # nothing can be run again here
        total = 0
        for given in sets:
            if type(given) is not tuple:
                given = bindable(given)
            if looks_at_parameters:
                given = _adapted(given)
            if needs_turns:  # each row is a transaction of its own
                connection._enter_write(self._text)
            yield given
            total += changes()
            if needs_turns:
                connection._leave_write()
            elif connection._is_turn_due:
                connection._settle_turn()
        self.rowcount = total


def _may_run_many_times(statement: Statement) -> bool:
    """Whether it changes something although it is no write of rows; sqlite3 refuses the others."""
    if statement.kind is StatementKind.PRAGMA:
        return statement.pragma is None or statement.pragma.value_text is not None
    return statement.kind in _CHANGES_NO_ROWS


def _run_each(cursor: Cursor, sql: str, sets: Iterator[Any]) -> int:
    total = 0
    for given in sets:
        cursor.execute(sql, given)
        total += cursor._rowcount
    return total


# -- scripts ---------------------------------------------------------------------------------------


def execute_script(cursor: Cursor, script: str) -> None:
    """Run every statement of a script; rows are stepped through and dropped.

    As in sqlite3, the result and the rowcount that the cursor had before stay as they were.
    """
    connection = recovery.connection_of(cursor)
    connection._check_usable()
    _check_free(cursor)
    if not isinstance(script, str):
        raise TypeError(f"executescript() argument must be str, not {type(script).__name__}")
    if "\0" in script:
        raise ValueError("embedded null character")
    script.encode()  # a lone surrogate anywhere must stop the script before its first statement
    connection._check_length(script)
    if connection._is_legacy and not connection._in_autocommit():
        connection.commit()
    begin_sql, connection._begin_sql = connection._begin_sql, None
    runner = connection.cursor()
    try:
        for text in split_statements(script):
            runner.execute(text)
            if type(runner._described) is str:
                for _row in iter(partial(_step, runner), None):
                    pass
    except KernelError as error:
        recovery.raise_translated(runner, (), error)
    finally:
        connection._begin_sql = begin_sql
        if not connection._is_closed:
            runner.close()


# -- fetching --------------------------------------------------------------------------------------


def fetch_one_slowly(cursor: Cursor) -> Any:
    """The next row where the fast path has none: shaped, held in memory, or really none."""
    if _has_no_more(cursor):
        return None
    row, held = _next_raw_row(cursor)
    if row is None:
        return None
    waiting = cursor._row
    # The columns must be known before the step that may end the statement.
    convert, make = _shaping(cursor, held)
    try:
        if convert is not None:
            row = _converted(cursor, convert, [row])[0]
        return row if make is None else make(row)
    finally:
        if waiting is not None and cursor._row is waiting:
            cursor._row = _step(cursor)


def _has_no_more(cursor: Cursor) -> bool:
    """Whether nothing is left to fetch. Errors: when the cursor or its connection is closed."""
    if cursor._row is not None or type(cursor._described) is Held or cursor._is_shaping:
        return False
    after_the_last(cursor)
    return True


def after_the_last(cursor: Cursor) -> None:
    """A cursor is asked for a row and has none. Errors: when it or its connection is closed."""
    connection = cursor._connection
    owner = connection._owner
    if owner and owner != get_ident():
        connection._check_usable()
    _step(cursor)  # raises when the cursor or its connection is closed


def _next_raw_row(cursor: Cursor) -> tuple[Any, Held | None]:
    """The waiting row, still waiting when it is a step of the kernel; else one from memory."""
    recovery.connection_of(cursor)._check_usable()
    if cursor._is_shaping:
        raise ProgrammingError(recovery.RECURSIVE_USE)
    row = cursor._row
    if row is not None:
        return row, None
    held = cursor._described
    if type(held) is Held:
        return next(held.rows, None), held
    _step(cursor)  # raises when the cursor or its connection is closed
    return None, None


def fetch_slowly(cursor: Cursor, size: int | None) -> list[Any]:
    """Up to `size` rows, all of them when it is None."""
    if _has_no_more(cursor):
        return []
    row, held = _next_raw_row(cursor)
    if row is None or size == 0:
        if held is not None and row is not None:
            held.rows = iter((row, *held.rows))
        return []
    # The columns must be known before the step that may end the statement.
    convert, make = _shaping(cursor, held)
    rows = _rows_from(cursor, row, held, size)
    if convert is not None:
        rows = _converted(cursor, convert, rows)
    return rows if make is None else list(map(make, rows))


def fetch_raw(cursor: Cursor, size: int) -> list[tuple[Any, ...]]:
    """Up to `size` rows as the kernel gives them, whatever the program wants made of rows."""
    try:
        row, held = _next_raw_row(cursor)
        return [] if row is None else _rows_from(cursor, row, held, size)
    except Exception as error:
        recovery.fetch_failed(cursor, error)


def _rows_from(cursor: Cursor, row: Any, held: Held | None, size: int | None) -> list[Any]:
    rest = None if size is None else size - 1
    rows = [row]
    if held is not None:
        rows.extend(islice(held.rows, rest))
    else:
        cursor._row = None
        rows.extend(islice(iter(partial(_step, cursor), None), rest))
        if len(rows) == size:
            cursor._row = _step(cursor)
    return rows


def _shaping(cursor: Cursor, held: Held | None) -> tuple[RowConverter | None, MakeRow | None]:
    """What is done to the values of a row, and then what is made of it."""
    shape = cursor._shape
    if shape is None:
        return None, None
    columns = described(cursor) if held is None else held.described
    if shape is not converting:
        return None, _maker(cursor, shape, columns)
    assert columns is not None  # there is a row, so there are columns
    convert = columns.converter(cursor._connection._text_factory)
    factory = cursor.row_factory
    return convert, None if factory is None else _maker(cursor, factory, columns)


def converting(cursor: Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The shape of rows on connections with converters or a text_factory; see `_shaping`."""
    raise NotImplementedError


def _maker(cursor: Cursor, factory: Any, columns: Described | None) -> MakeRow:
    if factory is not Row or columns is None:
        return partial(factory, cursor)
    if columns.row_maker is None:
        names = tuple([column[0] for column in columns.description])
        columns.row_maker = partial(new_row, Row, names_holder(names))
    return columns.row_maker


def _converted(cursor: Cursor, convert: RowConverter, rows: list[Any]) -> list[Any]:
    """Rows with their values converted; a converter must not use the cursor."""
    cursor._is_shaping = True
    try:
        return list(map(convert, rows))
    finally:
        cursor._is_shaping = False


# -- columns ---------------------------------------------------------------------------------------


def described(cursor: Cursor) -> Described | None:
    """What the columns of the cursor's result are, or None when it has none."""
    text = cursor._described
    if not isinstance(text, str):
        return text.described if isinstance(text, Held) else text
    connection = cursor._connection
    version = connection._data_version()
    known = connection._columns_of.get(text)
    if known is not None and known[0] == version:
        cursor._described = known[1]
        return known[1]
    columns = _columns(cursor, connection, text)
    cursor._described = found = (
        described_columns(columns, connection._detect_types) if columns else None
    )
    connection._remember_columns(text, version, found)
    return found


def _columns(cursor: Cursor, connection: Connection, sql: str) -> ColumnTypes | None:
    """The kernel's names and declared types: of the statement that runs, else of a copy of it."""
    if cursor._row is not None:
        return KernelCursor.get_description(cursor)
    columns: ColumnTypes | None = connection._probe_columns(sql)
    return columns
