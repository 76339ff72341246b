"""A handler that may take only so long.

Python cannot stop a function from outside. What it can do is raise an exception inside the thread
at its next step, which ends a loop of Python, but not a call that waits in C.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from dosql_core.errors import TriggerTimeoutError
from dosql_core.triggers.trigger_registry import Trigger


class _TooLong(BaseException):
    """Raised inside of a handler; it must not be caught as an ordinary exception."""


def call_within(seconds: float, trigger: Trigger, argument: Any) -> Any:
    """What the trigger's handler returns. Errors: TriggerTimeoutError."""
    thread = ctypes.c_ulong(threading.get_ident())
    lock = threading.Lock()
    is_over = False

    def expire() -> None:
        with lock:
            if not is_over:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(_TooLong))

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    timer.start()
    try:
        try:
            return trigger.handler(argument)
        finally:
            with lock:
                is_over = True
            timer.cancel()
    except _TooLong:
        raise TriggerTimeoutError(
            f"the handler of trigger {trigger.name!r} took longer than {seconds:g} s"
        ) from None
