"""What a connection is made of, and what it refuses; the other halves build on it.

What runs for every statement is kept in slots: methods of the kernel already bound, and flags.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, NoReturn

from dosql_core.errors import (
    ConnectionClosedError,
    ForkedConnectionError,
    ProgrammingError,
    WrongThreadError,
)
from dosql_core.kernel.connection import KernelConnection, KernelCursor
from dosql_core.session import Session
from dosql_dbapi.plans import PlanBook
from dosql_dbapi.recovery import CLOSED_CONNECTION
from dosql_dbapi.results import Described
from dosql_dbapi.user_functions import Callbacks

if TYPE_CHECKING:
    from dosql_dbapi.cursor import Cursor

ANY_THREAD = 0
FORKED = -1  # no thread has this identifier, so every use ends in _check_usable


class ConnectionState:
    """The slots of a connection. A slot that was never assigned says that it is not open."""

    __slots__ = (
        "__weakref__",
        "_autocommit",
        "_begin_sql",  # what opens an implicit transaction; None when none is wanted
        "_callbacks",
        "_changes",
        "_columns_of",
        "_control",  # a cursor of the kernel for BEGIN, COMMIT and ROLLBACK
        "_cursors",
        "_data_version",
        "_detect_types",
        "_enter_write",
        "_has_gate",
        "_in_autocommit",
        "_is_closed",
        "_is_closing_cursors",
        "_is_in_block",  # of transaction()
        "_is_in_memory",
        "_is_next_read_noted",  # it matters to the LSN: see _note_read
        "_is_turn_due",  # an explicit deferred transaction has not written anything yet
        "_isolation_level",
        "_kernel",
        "_last_insert_rowid",
        "_leave_write",
        "_lock",
        "_new_cursor",
        "_owner",
        "_plans",
        "_probe",
        "_probed",
        "_registrations",
        "_row_factory",
        "_session",
        "_shape",
        "_text_factory",
        "_thread_wait",
        "_timeout_seconds",
    )

    _autocommit: bool | int
    _begin_sql: str | None
    _callbacks: Callbacks
    _changes: Callable[[], int]
    _columns_of: dict[str, tuple[int, Described | None]]
    _control: KernelCursor
    _cursors: weakref.WeakSet[Cursor]
    _data_version: Callable[[], int]
    _detect_types: int
    _enter_write: Callable[[], None]
    _has_gate: bool
    _in_autocommit: Callable[[], bool]
    _is_closed: bool
    _is_closing_cursors: bool
    _is_in_block: bool
    _is_in_memory: bool
    _is_next_read_noted: bool
    _is_turn_due: bool
    _isolation_level: str | None
    _kernel: KernelConnection
    _last_insert_rowid: Callable[[], int]
    _leave_write: Callable[[], None]
    _lock: RLock
    _new_cursor: Callable[[], Any]
    _owner: int
    _plans: PlanBook
    _probe: KernelCursor
    _probed: Any
    _registrations: dict[Any, Callable[[KernelConnection], None]]
    _row_factory: Any
    _session: Session
    _shape: Any
    _text_factory: Any
    _thread_wait: tuple[float, float, float] | None
    _timeout_seconds: float

    def _check_usable(self) -> None:
        """Errors: for a closed connection, another thread's, or one inherited through fork()."""
        owner = self._owner
        if owner and owner != get_ident():
            if owner == FORKED:
                raise ForkedConnectionError(
                    "this connection was opened before fork(); the child must open its own"
                )
            self._refuse_thread()
        if self._is_closed:
            raise ConnectionClosedError(CLOSED_CONNECTION)

    def _refuse_thread(self) -> NoReturn:
        raise WrongThreadError(
            "SQLite objects created in a thread can only be used in that same thread. The object "
            f"was created in thread id {self._owner} and this is thread id {get_ident()}."
        )

    def __getattr__(self, name: str) -> Any:
        if name in ConnectionState.__slots__:
            raise ProgrammingError("Base Connection.__init__ not called.")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
