"""An iterator that can be waited for: `for` and `async for` over the same thing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")
_END = object()


class Steps(Iterator[T], AsyncIterator[T], Generic[T]):
    """What an iterator gives, one after another; `async for` waits for each in another thread.

    Whoever stops waiting, as `asyncio.wait_for` does, loses nothing: the next to ask is given it.
    """

    def __init__(self, steps: Iterator[T]) -> None:
        self._steps = steps
        self._pending: asyncio.Future[object] | None = None

    def __iter__(self) -> Steps[T]:
        return self

    def __next__(self) -> T:
        return next(self._steps)

    def __aiter__(self) -> Steps[T]:
        return self

    async def __anext__(self) -> T:
        import asyncio  # 15 ms, which every program would pay and few need

        if self._pending is None:
            self._pending = asyncio.ensure_future(asyncio.to_thread(next, self._steps, _END))
        pending = self._pending
        found = await asyncio.shield(pending)
        self._pending = None
        if found is _END:
            raise StopAsyncIteration
        return found  # type: ignore[return-value]
