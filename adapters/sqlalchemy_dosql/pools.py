"""Pools for the other branches and moments of an engine's database.

A connection stays on its branch for as long as it lives, so that what a program did to it when it
was made (its functions, its pragmas) holds there, too: every branch that is used gets a pool of its
own, made as the engine's own is. Views of the past are cheap to open and not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.pool import NullPool, Pool

from sqlalchemy_dosql.driver import HERE, Place

wanted_place: ContextVar[Place] = ContextVar("wanted_place", default=HERE)


def place_of(options: Mapping[str, Any]) -> Place:
    """The place that execution options ask for."""
    if "as_of" not in options and "branch" not in options:
        return HERE
    return Place(options.get("branch"), options.get("as_of"))


class PlacePools:
    """The pools of one engine, by place."""

    def __init__(self) -> None:
        self._pools: dict[Place, Pool] = {}
        self._lock = threading.Lock()

    def at(self, place: Place, base: Pool) -> Pool:
        """The pool whose connections are at `place`; `base` is the engine's own."""
        if place == HERE:
            return base
        with self._lock:
            pool = self._pools.get(place)
            if pool is None:
                pool = _pool_at(place, base)
                if place.as_of is None:
                    self._pools[place] = pool
            return pool

    def replace(self, place: Place, pool: Pool) -> None:
        """Serve `place` from another pool."""
        with self._lock:
            self._pools[place] = pool

    def dispose(self, branch: str | None = None) -> None:
        """Close the idle connections, of one branch or of all.

        The pools stay: a connection that is lent comes back to one that will be disposed of again.
        """
        with self._lock:
            pools = [pool for place, pool in self._pools.items() if branch in (None, place.branch)]
        for pool in pools:
            pool.dispose()

    def forget(self) -> None:
        """Leave every connection to the process this one was forked from."""
        self._pools.clear()
        self._lock = threading.Lock()  # another thread of the parent may hold the former one


def _pool_at(place: Place, base: Pool) -> Pool:
    make_here = base._invoke_creator

    def make_there(record: Any = None) -> Any:
        token = wanted_place.set(place)
        try:
            return make_here(record)
        finally:
            wanted_place.reset(token)

    if place.as_of is None:
        pool = base.recreate()
        pool._creator = make_there
        return pool
    # Views differ by their moment, of which there are many, and open in less than a millisecond.
    return NullPool(
        make_there, _dispatch=base.dispatch, dialect=base._dialect, reset_on_return=None
    )


class PlacedEngine(OptionEngine):
    """What `engine.execution_options()` returns: it connects to its place, from a pool of that."""

    @property
    def _root(self) -> Engine:
        engine: Any = self
        while isinstance(engine, OptionEngine):
            engine = engine._proxied
        found: Engine = engine
        return found

    @property
    def pool(self) -> Pool:
        pools: PlacePools = self.dialect.pools  # type: ignore[attr-defined]
        return pools.at(place_of(self._execution_options), self._root.pool)

    @pool.setter
    def pool(self, pool: Pool) -> None:
        place = place_of(self._execution_options)
        if place == HERE:
            self._root.pool = pool
        elif place.as_of is None:
            self.dialect.pools.replace(place, pool)  # type: ignore[attr-defined]


PlacedEngine._option_cls = PlacedEngine


def dispose_branch(engine: Any, branch: str) -> None:
    """Close the idle connections an engine keeps to a branch, so that it can be dropped."""
    sync_engine = getattr(engine, "sync_engine", engine)
    sync_engine.dialect.pools.dispose(branch)
