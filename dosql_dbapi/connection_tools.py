"""The half of a connection that works on the database as a whole: copies, dumps, limits, blobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from dosql_core.errors import NotSupportedError, OperationalError, ProgrammingError
from dosql_core.kernel.error_translation import (
    KernelBusyErrors,
    KernelError,
    result_code,
    translate,
)
from dosql_core.kernel.sqlite_library import SQLITE_DONE, SQLITE_OK
from dosql_dbapi.blob import Blob
from dosql_dbapi.connection_state import FORKED
from dosql_dbapi.connection_transactions import ConnectionTransactions
from dosql_dbapi.dump import dump_statements

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection

_SQLITE_MAGIC = b"SQLite format 3\0"
_WAL_VERSIONS = slice(18, 20)  # 2 and 2 in WAL mode: https://sqlite.org/fileformat.html


class ConnectionTools(ConnectionTransactions):
    """Methods of Connection; they use its `_kernel`."""

    __slots__ = ()

    def backup(
        self,
        target: Connection,
        *,
        pages: int = -1,
        progress: Callable[[int, int, int], Any] | None = None,
        name: str = "main",
        sleep: float = 0.250,
    ) -> None:
        """Copy this database into another connection's, `pages` at a time.

        Units:  `sleep` seconds between attempts while the source is locked.
        Errors: ValueError for a copy into itself; OperationalError when the target is in use.
        """
        from dosql_dbapi.connection import Connection

        self._check_usable()
        if not isinstance(target, Connection):
            raise TypeError(
                f"backup() argument 1 must be a dosql_dbapi Connection, not {type(target).__name__}"
            )
        if target._is_closed or target._owner == FORKED:
            target._check_usable()  # its thread is not asked about, as in sqlite3
        if target is self:
            raise ValueError("target cannot be the same connection instance")
        if progress is not None and not callable(progress):
            raise TypeError("progress argument must be a callable")
        if not target._in_autocommit():
            raise OperationalError("target is in transaction")
        target._begin_statement_that_may_write()
        try:
            copy = target._kernel.backup("main", self._kernel, name)
            try:
                self._copy_in_steps(copy, pages if pages > 0 else -1, progress, sleep)
            finally:
                copy.finish()
        except KernelError as error:
            raise translate(error) from error
        finally:
            target._after_statement()

    def _copy_in_steps(
        self,
        copy: Any,
        pages: int,
        progress: Callable[[int, int, int], Any] | None,
        sleep_seconds: float,
    ) -> None:
        while not copy.done:
            try:
                copy.step(pages)
                status = SQLITE_DONE if copy.done else SQLITE_OK
            except KernelBusyErrors as error:
                status = result_code(error)
                time.sleep(sleep_seconds)
            if progress is not None:
                progress(status, copy.remaining, copy.page_count)

    def serialize(self, *, name: str = "main") -> bytes:
        """The bytes of the database file as they would be on disk."""
        self._check_usable()
        try:
            return self._kernel.serialize(name)
        except KernelError as error:
            raise OperationalError("unable to serialize " + repr(name)) from error

    def deserialize(self, data: Any, /, *, name: str = "main") -> None:
        """Replace an in-memory database by the one in these bytes.

        Errors: NotSupportedError for the head of a database with history.
        """
        self._check_usable()
        contents = bytes(memoryview(_contiguous(data)))
        if self._has_gate and name.lower() == "main":
            raise NotSupportedError(
                "deserialize() would replace a head that keeps history",
                hint="open ':memory:' and deserialize into that, then copy with backup()",
            )
        if contents.startswith(_SQLITE_MAGIC) and contents[_WAL_VERSIONS] == b"\2\2":
            # What serialize() gives of a file is in WAL mode, which no memory can be.
            contents = contents[: _WAL_VERSIONS.start] + b"\1\1" + contents[_WAL_VERSIONS.stop :]
        try:
            self._kernel.deserialize(name, contents)
        except KernelError as error:
            raise translate(error) from error

    def insert_arrow(self, table: str, data: Any) -> int:
        """Insert Arrow data into the columns of those names; returns how many rows there were.

        `data` is a table, a batch or a stream of batches of pyarrow, or a data frame that offers
        `__arrow_c_stream__`. It is one write, all or nothing: where no transaction is open and
        none begins by itself, it is committed.
        Errors: UnsupportedParameterError for a type SQLite has nothing for; DataError for a value
                that would lose digits.
        """
        from dosql_dbapi.arrow import insert

        self._check_usable()
        return insert(cast("Connection", self), table, data)

    def iterdump(self, *, filter: str | None = None) -> Iterator[str]:
        """The SQL text that makes this database anew; `filter` is a LIKE pattern of names."""
        self._check_usable()
        return dump_statements(cast("Connection", self), filter)

    def blobopen(
        self,
        table: str,
        column: str,
        row: int,
        /,
        *,
        readonly: bool = False,
        name: str = "main",
    ) -> Blob:
        """Open one stored value for incremental reading and writing."""
        self._check_usable()
        if self._is_next_read_noted:
            self._note_read()
        try:
            kernel_blob = self._kernel.blob_open(name, table, column, row, not readonly)
        except KernelError as error:
            raise translate(error) from error
        return Blob._opened(cast("Connection", self), kernel_blob)

    def interrupt(self) -> None:
        """Stop every statement that runs on this connection; any thread may call it."""
        if self._is_closed:
            self._check_usable()
        self._kernel.interrupt()

    def getlimit(self, category: int, /) -> int:
        """A limit of the connection, by its SQLITE_LIMIT_ constant."""
        return self.setlimit(category, -1)

    def setlimit(self, category: int, limit: int, /) -> int:
        """Lower a limit of the connection; returns what it was."""
        self._check_usable()
        former = self._kernel.limit(category, limit)
        if former < 0:
            raise ProgrammingError("'category' is out of bounds")
        return former

    def getconfig(self, op: int, /) -> bool:
        """A boolean setting of the connection, by its SQLITE_DBCONFIG_ constant."""
        self._check_usable()
        return bool(self._configured(op, -1))

    def setconfig(self, op: int, enable: bool = True, /) -> None:
        """Switch a boolean setting of the connection."""
        self._check_usable()
        if bool(self._configured(op, int(enable))) != bool(enable):
            raise OperationalError("Unable to set config")

    def _configured(self, op: int, value: int) -> Any:
        try:
            return self._kernel.config(op, value)
        except ValueError:
            raise ValueError(f"unknown config 'op': {op}") from None
        except KernelError as error:
            raise translate(error) from error

    def enable_load_extension(self, enable: bool, /) -> None:
        """Allow or forbid loading extensions."""
        self._check_usable()
        self._kernel.enable_load_extension(bool(enable))

    def load_extension(self, name: str, /, *, entrypoint: str | None = None) -> None:
        """Load an extension of SQLite from a shared library."""
        self._check_usable()
        try:
            self._kernel.load_extension(name, entrypoint)
        except KernelError as error:
            raise translate(error) from error


def _contiguous(data: Any) -> Any:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view
