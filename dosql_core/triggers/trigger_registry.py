"""The triggers written in Python that somebody registered: their names, order and state."""

from __future__ import annotations

import enum
import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from dosql_core.errors import (
    InvalidTriggerError,
    TableNotFoundError,
    TriggerExistsError,
    TriggerNotFoundError,
)
from dosql_core.kernel.connection import callbacks_set_aside, run


class Timing(enum.StrEnum):
    """When a handler is called."""

    BEFORE = "before"
    AFTER = "after"
    AFTER_COMMIT = "after_commit"


class RowEvent(enum.StrEnum):
    """What happens to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


Handler = Callable[[Any], Any]


@dataclass(slots=True)
class Trigger:
    """One trigger.

    Shape: of two for the same event the one with the lower `priority` is called first, then the one
           registered first. `options` are those of a handler after the commit.
    Units: `timeout_seconds` is how long one call may take.
    """

    name: str
    table: str
    timing: Timing
    events: frozenset[RowEvent]
    priority: int
    handler: Handler
    timeout_seconds: float | None
    is_enabled: bool
    number: int
    options: dict[str, Any] = field(default_factory=dict)


Triggers = list[Trigger]
Relations = dict[str, str]
"""What there is that has rows: "table", "view", "virtual" or "shadow" by its name."""

TABLE = "table"
_RELATIONS = r"""
    SELECT name, type FROM pragma_table_list
    WHERE schema = 'main' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
"""
_numbers = itertools.count()


class TriggerRegistry:
    """Triggers by name, and in the order in which they are called.

    Threads: any number.
    """

    def __init__(
        self, on_change: Callable[[], None], find_relations: Callable[[], Relations]
    ) -> None:
        self._on_change = on_change
        self._find_relations = find_relations
        self._triggers: dict[str, Trigger] = {}
        self._ordered: dict[tuple[str, Timing, RowEvent], list[Trigger]] = {}
        self._lock = threading.RLock()

    def register(
        self,
        name: str,
        table: str,
        timing: str,
        events: str | Collection[str],
        handler: Handler | None = None,
        *,
        priority: int = 0,
        timeout: float | None = None,
        enabled: bool = True,
        **options: Any,
    ) -> Any:
        """Have `handler` called for each row of `table` to which one of `events` happens.

        Without a handler it returns a decorator; with one, the handler.

        Shape:  `timing` is "before", "after" or "after_commit"; `events` of "insert", "update",
                "delete".
        Units:  `timeout` in seconds.
        Errors: TriggerExistsError; InvalidTriggerError; TableNotFoundError.
        """
        if handler is None:

            def decorate(handler: Handler) -> Handler:
                self.register(
                    name, table, timing, events, handler,
                    priority=priority, timeout=timeout, enabled=enabled, **options,
                )  # fmt: skip
                return handler

            return decorate
        trigger = Trigger(
            name,
            table,
            _timing(timing),
            _events(events),
            priority,
            handler,
            timeout,
            enabled,
            next(_numbers),
            options,
        )
        self._check(trigger)
        self._check_table(trigger, self._relations_for(trigger))
        with self._lock:
            if name in self._triggers:
                raise TriggerExistsError(f"a trigger {name!r} is registered already")
            self._triggers[name] = trigger
            self._ordered.clear()
        self._started(trigger)
        self._on_change()
        return handler

    def drop(self, name: str) -> None:
        """Call the handler no more, and forget it. Errors: TriggerNotFoundError."""
        with self._lock:
            trigger = self.get(name)
            del self._triggers[name]
            self._ordered.clear()
        self._stopped(trigger)
        self._on_change()

    def enable(self, name: str) -> None:
        """Call the handler again. Errors: TriggerNotFoundError."""
        self._switch(name, True)

    def disable(self, name: str) -> None:
        """Do not call the handler until it is enabled again. Errors: TriggerNotFoundError."""
        self._switch(name, False)

    def get(self, name: str) -> Trigger:
        """One trigger. Errors: TriggerNotFoundError."""
        found = self._triggers.get(name)
        if found is None:
            known = ", ".join(sorted(self._triggers)) or "none yet"
            raise TriggerNotFoundError(
                f"there is no trigger {name!r}", hint=f"triggers there are: {known}"
            )
        return found

    def list(self) -> Triggers:
        """All of them, in the order in which they were registered."""
        return sorted(self._triggers.values(), key=lambda trigger: trigger.number)

    def __iter__(self) -> Iterator[Trigger]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self._triggers)

    def handlers(self, table: str, timing: Timing, event: RowEvent) -> Triggers:
        """Those that are called, in order; `table` case-folded."""
        key = table, timing, event
        found = self._ordered.get(key)
        if found is None:
            with self._lock:
                found = self._ordered[key] = sorted(
                    (
                        trigger
                        for trigger in self._triggers.values()
                        if trigger.is_enabled
                        and trigger.timing is timing
                        and event in trigger.events
                        and trigger.table.casefold() == table
                    ),
                    key=lambda trigger: (trigger.priority, trigger.number),
                )
        return found

    def _switch(self, name: str, is_enabled: bool) -> None:
        with self._lock:
            trigger = self.get(name)
            if trigger.is_enabled is is_enabled:
                return
            trigger.is_enabled = is_enabled
            self._ordered.clear()
        (self._started if is_enabled else self._stopped)(trigger)
        self._on_change()

    def _check(self, trigger: Trigger) -> None:
        if not trigger.name or not trigger.name.isprintable():
            raise InvalidTriggerError(f"{trigger.name!r} is not a name for a trigger")
        if not callable(trigger.handler):
            raise InvalidTriggerError(f"the handler of trigger {trigger.name!r} cannot be called")
        if trigger.timeout_seconds is not None and trigger.timeout_seconds <= 0:
            raise InvalidTriggerError(f"a timeout is above 0 s, not {trigger.timeout_seconds}")
        if trigger.timing is Timing.AFTER_COMMIT:
            raise InvalidTriggerError(
                "handlers after the commit belong to a database, not to a connection",
                hint="register it with database.triggers",
            )
        if trigger.options:
            raise InvalidTriggerError(
                f"only a handler after the commit takes {', '.join(sorted(trigger.options))}"
            )

    def _relations_for(self, trigger: Trigger) -> Relations:
        """What there is where the trigger will listen."""
        return self._find_relations()

    @staticmethod
    def _check_table(trigger: Trigger, relations: Relations) -> None:
        wanted = trigger.table.casefold()
        kinds = [kind for name, kind in relations.items() if name.casefold() == wanted]
        if not kinds:
            tables = sorted(name for name, kind in relations.items() if kind == TABLE)
            raise TableNotFoundError(
                f"trigger {trigger.name!r} is for table {trigger.table!r}, which is not there",
                hint=f"create the table first; tables there are: {', '.join(tables) or 'none yet'}",
            )
        if TABLE not in kinds:
            raise InvalidTriggerError(
                f"{trigger.table!r} is a {kinds[0]}{' table' * (kinds[0] != 'view')}: expected an "
                "ordinary table, for only such have rows that a trigger in Python can watch"
            )

    def _started(self, trigger: Trigger) -> None:
        """The trigger was registered or enabled."""

    def _stopped(self, trigger: Trigger) -> None:
        """The trigger was dropped or disabled."""


def relations_of(kernel: Any) -> Relations:
    """What a connection sees in its main database."""
    with callbacks_set_aside(kernel):
        return dict(run(kernel, _RELATIONS))


def _timing(timing: str) -> Timing:
    try:
        return Timing(timing.lower().replace(" ", "_"))
    except ValueError:
        expected = ", ".join(Timing)
        raise InvalidTriggerError(f"{timing!r} is no timing: expected {expected}") from None


def _events(events: str | Collection[str]) -> frozenset[RowEvent]:
    named = [events] if isinstance(events, str) else list(events)
    try:
        found = frozenset(RowEvent(event.lower()) for event in named)
    except ValueError as error:
        raise InvalidTriggerError(f"{error}: expected {', '.join(RowEvent)}") from None
    if not found:
        raise InvalidTriggerError("a trigger has at least one event")
    return found
