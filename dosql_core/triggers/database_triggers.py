"""`database.triggers`: Python triggers for every connection of this process to a database.

Handlers after the commit are consumers of its change stream, each in a thread of its own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Collection
from typing import Any, Protocol

from dosql_core.changes.change_streams import ChangeStreams
from dosql_core.changes.delivery import DeadLetters, RetryPolicy, deliver
from dosql_core.changes.slots import SlotConsumer
from dosql_core.changes.subscription import Subscription
from dosql_core.errors import Error, InvalidTriggerError
from dosql_core.history.time_travel import SealedHistory
from dosql_core.identifiers import MAIN_BRANCH, BranchId
from dosql_core.kernel.past_connection import past_connection
from dosql_core.triggers.trigger_registry import (
    TABLE,
    Relations,
    Timing,
    Trigger,
    TriggerRegistry,
    relations_of,
)

_log = logging.getLogger(__name__)


class TriggeringDatabase(SealedHistory, Protocol):
    """What triggers need of a database."""

    @property
    def changes(self) -> ChangeStreams:
        """The row changes of every commit."""

    def look_at_schemas_again(self) -> None:
        """Have every connection find out what triggers there are before it writes next."""


class DatabaseTriggers(TriggerRegistry):
    """Triggers of every connection, on every branch that has their table.

    `register` also takes timing "after_commit", and then `branch` (main), `slot` (the name of one
    that remembers how far the handler has come; it is made if need be), `retry`, `dead_letters`.
    """

    def __init__(self, database: TriggeringDatabase) -> None:
        # The database has us: it and we would keep each other until the collector comes.
        this = weakref.ref(self)
        self._database: TriggeringDatabase = weakref.proxy(database)

        def look_again() -> None:
            triggers = this()
            if triggers is not None:
                triggers._database.look_at_schemas_again()

        def find_relations() -> Relations:
            triggers = this()
            return {} if triggers is None else triggers._relations_anywhere()

        super().__init__(look_again, find_relations)
        self._running: dict[str, _AfterCommit] = {}

    def close(self) -> None:
        """Stop every handler after the commit, each behind the event it is at."""
        for running in list(self._running.values()):
            running.stop()
        self._running.clear()

    def _check(self, trigger: Trigger) -> None:
        if trigger.timing is not Timing.AFTER_COMMIT:
            super()._check(trigger)
            return
        unknown = set(trigger.options) - _AFTER_COMMIT_OPTIONS
        if unknown or trigger.timeout_seconds is not None:
            raise InvalidTriggerError(
                f"a handler after the commit takes {', '.join(sorted(_AFTER_COMMIT_OPTIONS))}, "
                f"not {', '.join(sorted(unknown)) or 'timeout'}"
            )

    def _relations_for(self, trigger: Trigger) -> Relations:
        if trigger.timing is Timing.AFTER_COMMIT:
            branch = self._database.refs().branch(trigger.options.get("branch", MAIN_BRANCH))
            return self._relations_on(branch.id)
        return super()._relations_for(trigger)

    def _relations_anywhere(self) -> Relations:
        """What any branch has; what is a table on one of them is a table."""
        found: Relations = {}
        for branch_id in self._database.refs().branches:
            for name, kind in self._relations_on(branch_id).items():
                if found.get(name) != TABLE:
                    found[name] = kind
        return found

    def _relations_on(self, branch_id: BranchId) -> Relations:
        history = self._database.sealed(branch_id)
        with contextlib.closing(history.view(history.newest_lsn)) as view:
            if view.page_count == 0:
                return {}
            with past_connection(view) as connection:
                return relations_of(connection)

    def _started(self, trigger: Trigger) -> None:
        if trigger.timing is Timing.AFTER_COMMIT and trigger.is_enabled:
            try:
                self._running[trigger.name] = _AfterCommit(self._database.changes, trigger)
            except BaseException:
                self._triggers.pop(trigger.name, None)
                raise

    def _stopped(self, trigger: Trigger) -> None:
        running = self._running.pop(trigger.name, None)
        if running is not None:
            running.stop()


# A handler that does not end would keep the database from closing.
_STOPPING_SECONDS = 10.0
_AFTER_COMMIT_OPTIONS = frozenset(("branch", "slot", "retry", "dead_letters"))


class _AfterCommit:
    """A thread that reads a stream and calls a handler."""

    def __init__(self, changes: ChangeStreams, trigger: Trigger) -> None:
        self._trigger = trigger
        self._stopping = threading.Event()
        options = trigger.options
        self._retry: RetryPolicy = options.get("retry") or RetryPolicy()
        self._dead_letters: DeadLetters | None = options.get("dead_letters")
        branch = options.get("branch", MAIN_BRANCH)
        operations = [event.value for event in trigger.events]
        tables: Collection[str] = [trigger.table]
        slot = options.get("slot")
        self._consumer: SlotConsumer | None = None
        self._leave: Callable[..., Any] | None = None
        self._changes: Subscription | None = None
        if slot is None:
            self._changes = changes.subscribe(
                branch=branch, tables=tables, operations=operations, follow=True
            )
        else:
            changes.slots.create(slot, branch, tables=tables, if_not_exists=True)
            consuming = changes.slots.consume(slot, operations=operations)
            self._consumer = consuming.__enter__()
            self._leave = consuming.__exit__
        self._thread = threading.Thread(
            target=self._run, name=f"dosql trigger {trigger.name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        try:
            if self._consumer is not None:
                self._consumer.run(
                    self._trigger.handler, retry=self._retry, dead_letters=self._dead_letters
                )
            elif self._changes is not None:
                for event in self._changes:
                    if not deliver(
                        self._trigger.handler, event, self._retry, self._dead_letters,
                        self._stopping,
                    ):  # fmt: skip
                        return
        except Error as error:
            if not self._stopping.is_set():
                _log.error("trigger %r has stopped: %s", self._trigger.name, error)
        finally:
            if self._leave is not None:
                self._leave(None, None, None)
            elif self._changes is not None:
                self._changes.close()

    def stop(self) -> None:
        self._stopping.set()
        if self._consumer is not None:
            self._consumer.stop()
        if self._changes is not None:
            self._changes.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOPPING_SECONDS)
