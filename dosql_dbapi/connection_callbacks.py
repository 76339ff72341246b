"""The half of a connection that takes callbacks: functions, collations, authorizer, trace.

Each is remembered, so that the connection can register all of them again on another branch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dosql_core.errors import OperationalError, ProgrammingError
from dosql_core.kernel.connection import KernelConnection
from dosql_core.kernel.error_translation import KernelError, translate
from dosql_dbapi.connection_state import ConnectionState
from dosql_dbapi.deprecations import takes_keywords
from dosql_dbapi.hooks import Authorizer, guarded_authorizer, guarded_progress, tracer
from dosql_dbapi.user_functions import (
    AggregateContext,
    WindowContext,
    aggregate_factory,
    comparison,
)

_ARGUMENTS_MAX = 127


class ConnectionCallbacks(ConnectionState):
    """Methods of Connection; they use its `_registrations` and `_callbacks`."""

    __slots__ = ()

    @takes_keywords("name", "narg", "func")
    def create_function(
        self,
        name: str,
        narg: int,
        func: Callable[..., Any] | None,
        /,
        *,
        deterministic: bool = False,
    ) -> None:
        """Make a Python function callable from SQL; None takes it away.

        `narg` is -1 for any number of arguments. A deterministic function may be used in indexes.
        """
        self._check_usable()
        if not -1 <= narg <= _ARGUMENTS_MAX:
            raise OperationalError("Error creating function", code="STMT_UNSUPPORTED")

        def register(kernel: KernelConnection) -> None:
            kernel.create_scalar_function(name, func, narg, deterministic=deterministic)

        self._register(("function", name.lower(), narg), register)
        if func is not None:
            self._callbacks.functions[name.lower()] = func

    @takes_keywords("name", "n_arg", "aggregate_class")
    def create_aggregate(
        self, name: str, n_arg: int, aggregate_class: Callable[[], Any] | None, /
    ) -> None:
        """Make a class with `step` and `finalize` an aggregate function; None takes it away."""
        self._check_usable()
        if not -1 <= n_arg <= _ARGUMENTS_MAX:
            raise OperationalError("Error creating aggregate", code="STMT_UNSUPPORTED")
        factory = (
            None
            if aggregate_class is None
            else aggregate_factory(aggregate_class, self._callbacks, AggregateContext)
        )

        def register(kernel: KernelConnection) -> None:
            kernel.create_aggregate_function(name, factory, n_arg)

        self._register(("function", name.lower(), n_arg), register)

    def create_window_function(
        self, name: str, num_params: int, aggregate_class: Callable[[], Any] | None, /
    ) -> None:
        """Make a class with `step`, `inverse`, `value` and `finalize` a window function."""
        self._check_usable()
        if not -1 <= num_params <= _ARGUMENTS_MAX:
            raise ProgrammingError("Error creating window function", code="STMT_UNSUPPORTED")
        factory = (
            None
            if aggregate_class is None
            else aggregate_factory(aggregate_class, self._callbacks, WindowContext)
        )

        def register(kernel: KernelConnection) -> None:
            kernel.create_window_function(name, factory, num_params)

        self._register(("function", name.lower(), num_params), register)

    def create_collation(self, name: str, callback: Callable[[str, str], int] | None, /) -> None:
        """Make a function of two strings a collation; None takes it away."""
        self._check_usable()
        if callback is not None and not callable(callback):
            raise TypeError("parameter must be callable")
        if not isinstance(name, str):
            raise TypeError(f"create_collation() argument 1 must be str, not {type(name).__name__}")
        collation = None if callback is None else comparison(callback)
        plain_name = str.__str__(name)

        def register(kernel: KernelConnection) -> None:
            kernel.create_collation(plain_name, collation)

        self._register(("collation", plain_name.lower()), register)

    @takes_keywords("authorizer_callback")
    def set_authorizer(self, authorizer_callback: Authorizer | None, /) -> None:
        """Ask this callback whether each action of a statement is allowed; None stops asking."""
        self._check_usable()
        guarded = None if authorizer_callback is None else guarded_authorizer(authorizer_callback)

        def register(_kernel: KernelConnection) -> None:
            self._session.set_authorizer(guarded)

        self._register("authorizer", register)

    @takes_keywords("progress_handler")
    def set_progress_handler(self, progress_handler: Callable[[], Any] | None, /, n: int) -> None:
        """Call this every `n` instructions of SQLite's machine; a true result interrupts."""
        self._check_usable()
        guarded = None if progress_handler is None else guarded_progress(progress_handler)

        def register(kernel: KernelConnection) -> None:
            kernel.set_progress_handler(guarded, n)

        self._register("progress", register)

    @takes_keywords("trace_callback")
    def set_trace_callback(self, trace_callback: Callable[[str], Any] | None, /) -> None:
        """Call this with the text of every statement before it runs; None stops it."""
        self._check_usable()
        trace = None if trace_callback is None else tracer(trace_callback)

        def register(kernel: KernelConnection) -> None:
            kernel.exec_trace = trace

        self._register("trace", register)

    def _register(self, key: Any, register: Callable[[KernelConnection], None]) -> None:
        try:
            register(self._kernel)
        except KernelError as error:
            raise translate(error) from error
        self._registrations[key] = register
