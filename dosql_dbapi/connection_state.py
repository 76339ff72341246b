"""What a connection is made of, and what it refuses; the other halves build on it.

What runs for every statement is kept in slots: methods of the kernel already bound, and flags.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, NoReturn, Self

from dosql_core.errors import (
    ConnectionClosedError,
    ForkedConnectionError,
    ProgrammingError,
    WrongThreadError,
)
from dosql_core.kernel.connection import KernelConnection, KernelCursor
from dosql_core.sessions.session import Session
from dosql_dbapi.plans import PlanBook
from dosql_dbapi.recovery import CLOSED_CONNECTION
from dosql_dbapi.remembered_texts import RememberedTexts
from dosql_dbapi.results import Described
from dosql_dbapi.user_functions import Callbacks

if TYPE_CHECKING:
    from dosql_dbapi.cursor import Cursor

ANY_THREAD = 0
# No thread has these identifiers, so every use ends in _check_usable.
FORKED = -1
NOT_OPENED = -2


class ConnectionState:
    """The slots of a connection.

    No class of these may have a `__getattr__`: it would make each look at a slot ten times slower.
    """

    __slots__ = (
        "__weakref__",
        "_autocommit",
        "_begin_sql",  # what opens an implicit transaction; None when none is wanted
        "_callbacks",
        "_changes",
        "_columns_of",
        "_control",  # a cursor of the kernel for BEGIN, COMMIT and ROLLBACK
        "_cursors",  # that the kernel did not make; some are gone
        "_cursors_max",  # look for those that are gone when there are that many
        "_data_version",
        "_detect_types",
        "_enter_write",
        "_has_gate",
        "_in_autocommit",
        "_is_closed",
        "_is_closing_cursors",
        "_is_in_block",  # of transaction()
        "_is_in_memory",
        "_is_just_begun",  # the open transaction, by the write that runs now
        "_is_next_read_noted",  # it matters to the LSN: see _note_read
        "_is_outlasting_keeper",  # by running a statement again
        "_is_turn_due",  # the open transaction has not taken main's write lock yet
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
        "_transaction_state",
    )

    _autocommit: bool | int
    _begin_sql: str | None
    _callbacks: Callbacks
    _changes: Callable[[], int]
    _columns_of: RememberedTexts[tuple[int, Described | None]]
    _control: KernelCursor
    _cursors: list[weakref.ref[Cursor]]
    _cursors_max: int
    _data_version: Callable[[], int]
    _detect_types: int
    _enter_write: Callable[..., None]  # takes the statement it is for
    _has_gate: bool
    _in_autocommit: Callable[[], bool]
    _is_closed: bool
    _is_closing_cursors: bool
    _is_in_block: bool
    _is_in_memory: bool
    _is_just_begun: bool
    _is_next_read_noted: bool
    _is_outlasting_keeper: bool
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
    _transaction_state: Callable[[str], int]

    if TYPE_CHECKING:

        def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
            """Make a cursor and run one statement with it; `Connection` does."""
            raise NotImplementedError

        def _compile(self, sql: str) -> None:
            raise NotImplementedError

    def __new__(cls, *_arguments: Any, **_options: Any) -> Self:
        """A connection that refuses everything until `__init__` has opened it."""
        self = super().__new__(cls)
        self._be_not_opened()
        return self

    def _be_not_opened(self) -> None:
        self._owner = NOT_OPENED
        self._is_closed = True
        self._new_cursor = _refuse_not_opened

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

    def _check_open(self) -> None:
        """What sqlite3 lets any thread ask for. Errors: for a closed or inherited connection."""
        if self._owner in (FORKED, NOT_OPENED):
            self._check_usable()
        if self._is_closed:
            raise ConnectionClosedError(CLOSED_CONNECTION)

    def _refuse_thread(self) -> NoReturn:
        if self._owner == NOT_OPENED:
            _refuse_not_opened()
        raise WrongThreadError(
            "SQLite objects created in a thread can only be used in that same thread. The object "
            f"was created in thread id {self._owner} and this is thread id {get_ident()}."
        )


def _refuse_not_opened() -> NoReturn:
    raise ProgrammingError("Base Connection.__init__ not called.")
