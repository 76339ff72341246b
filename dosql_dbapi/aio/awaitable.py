"""What calls of an asynchronous connection return: awaited for a result, or entered as a block."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Call(Coroutine[Any, Any, _Result]):
    """A coroutine that is also an asynchronous context manager; leaving it closes the result."""

    __slots__ = ("_coroutine", "_entered")

    def __init__(self, coroutine: Coroutine[Any, Any, _Result]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, _Result]:
        return self._coroutine.__await__()

    async def __aenter__(self) -> _Result:
        self._entered = await self._coroutine
        return self._entered

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close = getattr(self._entered, "close", None)
        if close is not None:
            await close()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *arguments: Any) -> Any:
        return self._coroutine.throw(*arguments)

    def close(self) -> None:
        self._coroutine.close()


def awaited_or_entered(
    method: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, Call[_Result]]:
    """The method, returning a `Call`."""

    @wraps(method)
    def call(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> Call[_Result]:
        return Call(method(*arguments, **options))

    return call
