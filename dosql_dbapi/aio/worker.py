"""The thread of one asynchronous connection: it opens it, runs its calls in order, and closes it.

The event loop hands over pairs of a future and a function; the thread runs the function and gives
its result back to the loop the future belongs to. docs/decisions tells why this is a thread of ours
and not the kernel's own asynchronous mode.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final

from dosql_core.errors import Error, InterruptedStatementError
from dosql_core.kernel.connection import KernelConnection
from dosql_dbapi.connection import Connection
from dosql_dbapi.connection_state import FORKED

Request = tuple["Future[Any] | None", Callable[[], Any]]

_STOP: Final = object()
_CANCELLATION: Final = "cancellation of a task"
_INSTRUCTIONS_BETWEEN_LOOKS = 2000
_SECONDS_TO_STOP_AT_EXIT = 5.0


class Always(partial[Any]):
    """A function that runs even when nobody waits for its result any more."""


class InterruptibleConnection(Connection):
    """A connection whose statements end when the call that runs them has been cancelled.

    SQLite's own interrupt would also end every other result that is half read; this looks at the
    one call that runs, between instructions of SQLite's machine and while waiting for its turn.
    """

    __slots__ = ("_is_cancelled",)

    _is_cancelled: Callable[[], bool]

    def watch(self, is_cancelled: Callable[[], bool]) -> None:
        """From now on ask this function whether to go on."""
        self._is_cancelled = is_cancelled
        self._watch_kernel()

    def _use_kernel(self, kernel: KernelConnection) -> None:
        super()._use_kernel(kernel)
        if hasattr(self, "_is_cancelled"):
            self._watch_kernel()

    def _watch_kernel(self) -> None:
        is_cancelled = self._is_cancelled
        enter, leave = self._enter_write, self._leave_write

        def enter_unless_cancelled(statement: str | None) -> None:
            enter(statement)
            if is_cancelled():
                leave()
                raise InterruptedStatementError("cancelled while waiting to write")

        self._kernel.set_progress_handler(
            is_cancelled, _INSTRUCTIONS_BETWEEN_LOOKS, id=_CANCELLATION
        )
        self._enter_write = enter_unless_cancelled


class Worker:
    """The thread's side of a connection, and what it tells about it after every call."""

    __slots__ = (
        "__weakref__",
        "_connector",
        "_mutex",
        "_running",
        "connection",
        "in_transaction",
        "requests",
        "thread",
        "total_changes",
        "unfinished_count",
    )

    def __init__(self, connector: Callable[[], Connection]) -> None:
        self._connector = connector
        self._mutex = Lock()
        self._running: Future[Any] | None = None
        self.connection: Connection | None = None
        self.in_transaction = False
        self.total_changes = 0
        self.unfinished_count = 0  # results that have rows left to fetch
        self.requests: SimpleQueue[Request] = SimpleQueue()
        # A daemon: a program that forgets to close ends nevertheless, and closes at exit.
        self.thread = Thread(target=self._serve, name="dosql connection", daemon=True)

    # -- called by the event loop ------------------------------------------------------------------

    def interrupt_call(self, future: Future[Any]) -> None:
        """End the wait of a cancelled call for the lock of another process.

        Whatever else a call does ends by itself, see `InterruptibleConnection`. SQLite's interrupt
        is left alone while other results are half read: it would end those, too.
        """
        with self._mutex:
            if (
                self._running is future
                and self.connection is not None
                and self.unfinished_count == 0
            ):
                with suppress(Error):
                    self.connection.interrupt()

    def stop(self, future: Future[Any] | None) -> None:
        """Close the connection and end the thread after everything asked for before."""
        self.requests.put((future, Always(self._close_and_stop)))

    # -- called by the thread ----------------------------------------------------------------------

    def connect(self) -> Connection:
        """Open the connection."""
        self.connection = connection = self._connector()
        if isinstance(connection, InterruptibleConnection):
            connection.watch(self._is_cancelled)
        _open_workers.add(self)
        return connection

    def _is_cancelled(self) -> bool:
        running = self._running
        return running is not None and running.cancelled()

    def _close_and_stop(self) -> object:
        _open_workers.discard(self)
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        return _STOP

    def _serve(self) -> None:
        get = self.requests.get
        while True:
            future, function = get()
            if future is not None and future.cancelled() and type(function) is not Always:
                continue
            self._running = None if type(function) is Always else future
            result: Any = None
            failure: BaseException | None = None
            try:
                result = function()
            except BaseException as error:
                failure = error
            with self._mutex:
                self._running = None
            self._look()
            if future is None:
                if failure is not None:  # nobody waits for it, but it must not go unseen
                    threading.excepthook(
                        threading.ExceptHookArgs(
                            (type(failure), failure, failure.__traceback__, self.thread)
                        )
                    )
            else:
                # The loop may be closed; then nobody waits.
                with suppress(RuntimeError):
                    future.get_loop().call_soon_threadsafe(_settle, future, result, failure)
            if result is _STOP or (failure is not None and _is_stop(function)):
                return
            future = function = result = failure = None  # type: ignore[assignment]

    def _look(self) -> None:
        connection = self.connection
        if connection is not None and not connection._is_closed:
            self.in_transaction = not connection._in_autocommit()
            self.total_changes = connection._kernel.total_changes()
        else:
            self.in_transaction = False


def _is_stop(function: Callable[[], Any]) -> bool:
    return isinstance(function, Always) and function.func.__name__ == "_close_and_stop"


def _settle(future: Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)


_open_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _stop_workers() -> None:
    """Before the interpreter goes: close what is open, in the threads that it belongs to."""
    workers = [
        worker
        for worker in list(_open_workers)
        if worker.connection is not None and worker.connection._owner != FORKED
    ]
    for worker in workers:
        worker.stop(None)
        with suppress(Exception):
            if worker.connection is not None:
                worker.connection.interrupt()
    for worker in workers:
        worker.thread.join(_SECONDS_TO_STOP_AT_EXIT)
