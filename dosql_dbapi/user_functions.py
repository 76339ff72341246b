"""Functions, aggregates, window functions and collations written in Python.

SQLite calls them through the kernel, which raises the program's own exception out of the
statement. sqlite3 raises OperationalError instead, with a fixed text; so do we, with the program's
exception as the cause.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any

from dosql_core.errors import DataError, Error, OperationalError

# The kernel puts a frame with such a name between a statement's frame and the function's own.
_SCALAR_FRAME = "user-defined-scalar-"
_TOO_BIG = "string or blob too big"
_RAISED_IN_FUNCTION = "user-defined function raised exception"


class CallbackTracebacks:
    """Whether exceptions of callbacks are also reported through `sys.unraisablehook`."""

    are_enabled = False


def enable_callback_tracebacks(enable: bool, /) -> None:
    """Report (or no longer report) every exception a callback raises, for finding mistakes."""
    CallbackTracebacks.are_enabled = bool(enable)


def report(error: BaseException, callback: Any) -> None:
    """Tell of an exception that SQLite has no way to pass on, if the program wants to know."""
    if CallbackTracebacks.are_enabled:
        unraisable: Any = SimpleNamespace(
            exc_type=type(error),
            exc_value=error,
            exc_traceback=error.__traceback__,
            err_msg=None,
            object=callback,
        )
        sys.unraisablehook(unraisable)


class Callbacks:
    """What a connection remembers of its callbacks: scalar functions, and the failure of another.

    Aggregates and window functions note their failure here before it travels through SQLite.
    """

    __slots__ = ("failure", "functions")

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        self.failure: Error | BaseException | None = None


def callback_failure(callbacks: Callbacks, error: BaseException) -> Error | BaseException | None:
    """What sqlite3 raises for an exception that came out of a callback; None if it did not."""
    noted, callbacks.failure = callbacks.failure, None
    if noted is not None:
        return noted
    name = _scalar_function_in(error.__traceback__)
    if name is None:
        return None
    report(error, callbacks.functions.get(name.lower()))
    return _function_failure(error)


def _scalar_function_in(traceback: TracebackType | None) -> str | None:
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_name
        if name.startswith(_SCALAR_FRAME):
            return name[len(_SCALAR_FRAME) :]
        traceback = traceback.tb_next
    return None


def _function_failure(error: BaseException) -> Error | BaseException:
    if isinstance(error, MemoryError):
        return MemoryError(*error.args)
    if isinstance(error, OverflowError):
        return DataError(_TOO_BIG)
    return OperationalError(_RAISED_IN_FUNCTION, code="STMT_FUNCTION_FAILED")


class AggregateContext:
    """One group of an aggregate, or one window: the program's object and what went wrong in it.

    The kernel asks for `step`, `final`, `value` and `inverse`. sqlite3 calls nothing of an
    aggregate that saw no row and returns NULL for it.
    """

    __slots__ = ("_callbacks", "_factory", "_has_failed", "_instance")

    def __init__(self, factory: Callable[[], Any], callbacks: Callbacks) -> None:
        self._factory = factory
        self._callbacks = callbacks
        self._instance: Any = None
        self._has_failed = False

    def step(self, *values: Any) -> None:
        """One row comes in."""
        if self._instance is None and not self._has_failed:
            self._instance = self._call(self._factory, "__init__")
        if not self._has_failed:
            self._call_method("step", *values)

    def inverse(self, *values: Any) -> None:
        """One row leaves the window."""
        if not self._has_failed:
            self._call_method("inverse", *values)

    def value(self) -> Any:
        """The result for the window as it is."""
        return None if self._has_failed else self._call_method("value")

    def final(self) -> Any:
        """The result of the group."""
        if self._instance is None or self._has_failed:
            return None
        return self._call_method("finalize")

    def _call_method(self, name: str, *values: Any) -> Any:
        method: Any = getattr(self._instance, name, None)
        if method is None:
            self._fail(
                AttributeError(f"'{type(self._instance).__name__}' has no attribute '{name}'"),
                f"user-defined aggregate's '{name}' method not defined",
            )
        result = self._call(method, name, *values)
        if type(result) is int and not -(1 << 63) <= result < 1 << 63:
            self._fail(OverflowError(_TOO_BIG), None)
        return result

    def _call(self, function: Callable[..., Any], name: str, *values: Any) -> Any:
        try:
            return function(*values)
        except Exception as error:
            self._fail(error, f"user-defined aggregate's '{name}' method raised error")

    def _fail(self, error: Exception, message: str | None) -> Any:
        self._has_failed = True
        report(error, self._factory)
        failure: Error | BaseException
        if isinstance(error, MemoryError):
            failure = MemoryError(*error.args)
        elif message is None or isinstance(error, OverflowError):
            failure = DataError(_TOO_BIG)
        else:
            failure = OperationalError(message, code="STMT_FUNCTION_FAILED")
        self._callbacks.failure = failure
        raise error


class WindowContext(AggregateContext):
    """A window: SQLite gives it its object at once and ignores what fails at the very end."""

    __slots__ = ()

    def final(self) -> Any:
        """The window is over; what `finalize` raises or returns reaches nobody."""
        if self._instance is None or self._has_failed:
            return None
        failure = self._callbacks.failure
        try:
            return self._call_method("finalize")
        except Exception:
            self._callbacks.failure = failure
            return None


def aggregate_factory(
    factory: Callable[[], Any], callbacks: Callbacks, context: type[AggregateContext]
) -> Callable[[], AggregateContext]:
    """What the kernel calls to begin a group or a window."""

    def begin_group() -> AggregateContext:
        return context(factory, callbacks)

    return begin_group


def comparison(callback: Callable[[str, str], int]) -> Callable[[str, str], int]:
    """A collation for the kernel: any integer is fine, an exception means "equal"."""

    def compare(left: str, right: str) -> int:
        try:
            result = callback(left, right)
            return (result > 0) - (result < 0)
        except Exception as error:
            report(error, callback)
            return 0

    return compare
