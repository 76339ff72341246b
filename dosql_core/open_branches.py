"""The branches of a database that this process has open: their heads and their histories."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from dosql_core.errors import BranchInUseError
from dosql_core.history.refs import BranchRef, Refs, RefsContent
from dosql_core.history.row_history import RowHistories
from dosql_core.history.settling import wait_until_settled
from dosql_core.identifiers import MAIN_BRANCH_ID, BranchId
from dosql_core.kernel.companion import StartCompanion, companion_starter
from dosql_core.kernel.empty_file import remake_empty_file
from dosql_core.kernel.head import Head, HeadPlace
from dosql_core.options import DatabaseOptions
from dosql_core.storage.branch_history import BranchHistory
from dosql_core.storage.lock_files import exclusive_lock
from dosql_core.storage.page_history import PageHistory

Progress = Callable[[int, int], None]
_COMPANION_MODULE = "dosql_core.companion_process"


class OpenBranches:
    """What `Database` knows of its branches; a head is shared by all who use it.

    Threads: any number.
    """

    path: str
    directory: str
    options: DatabaseOptions
    _refs: Refs

    def __init__(self) -> None:
        self._heads: dict[BranchId, Head] = {}
        self._head_users: dict[BranchId, int] = {}
        self._histories: dict[BranchId, PageHistory] = {}
        self.row_histories = RowHistories()
        self._lock = threading.RLock()

    def _keep_history_small(self, head: Head) -> None:
        """What is due after a cycle of a keeper; it takes no lock of ours."""
        raise NotImplementedError

    def branch_directory(self, branch_id: BranchId) -> str:
        """Where a branch lives."""
        return os.path.join(self.directory, "branches", branch_id)

    def head_path(self, branch: BranchRef) -> str:
        """The file that SQLite opens as the head of a branch."""
        if branch.parent_id is None:
            return self.path
        name = "head.cow" if branch.is_overlay else "head.db"
        return os.path.join(self.branch_directory(branch.id), name)

    def is_open(self, branch_id: BranchId) -> bool:
        """Whether this process has the head of a branch open."""
        return branch_id in self._heads

    def _place(self, branch: BranchRef) -> HeadPlace:
        directory = self.branch_directory(branch.id)
        if branch.parent_id is None:
            return HeadPlace(branch.id, self.path, directory)
        return HeadPlace(
            branch.id,
            self.head_path(branch),
            directory,
            self.known(branch.parent_id),
            branch.fork_lsn,
            branch.is_overlay,
        )

    def use_head(self, branch_id: BranchId, on_progress: Progress | None = None) -> Head:
        """The head of a branch, opened if need be; give it back with `release_head`."""
        with self._lock:
            head = self._heads.get(branch_id)
            if head is None:
                place = self._place(self.refs().branches[branch_id])
                head = Head(
                    place,
                    create=branch_id == MAIN_BRANCH_ID,
                    capture_bytes=self.options.wal_capture_bytes,
                    on_progress=on_progress,
                    on_cycle=self._keep_history_small,
                    start_companion=self._companion_starter(branch_id),
                )
                self._heads[branch_id] = head
                self._histories[branch_id] = head.history
            self._head_users[branch_id] = self._head_users.get(branch_id, 0) + 1
            return head

    def _companion_starter(self, branch_id: BranchId) -> StartCompanion | None:
        after_seconds = self.options.companion_after_seconds
        if after_seconds is None:
            return None
        arguments = self.path, branch_id, str(self.options.wal_capture_bytes), str(os.getpid())
        return companion_starter(_COMPANION_MODULE, arguments, after_seconds=after_seconds)

    def release_head(self, branch_id: BranchId) -> None:
        """Give a head back; forks nobody uses are closed, main stays until the database closes."""
        with self._lock:
            self._head_users[branch_id] -= 1
            if self._head_users[branch_id] == 0 and branch_id != MAIN_BRANCH_ID:
                self._close_head(branch_id)

    def look_at_schemas_again(self) -> None:
        """Have every connection find out what triggers there are before it writes next."""
        with self._lock:
            for head in self._heads.values():
                head.schema_mark[0] += 1

    def users_of(self, branch_id: BranchId) -> int:
        """How many sessions and operations of this process use the head of a branch."""
        return self._head_users.get(branch_id, 0)

    def remake_empty(self, chosen: dict[str, object]) -> None:
        """Make main's file again with these settings; it must be empty, and its only user gone.

        Errors: BranchInUseError when another process has it open.
        """
        with self._lock:
            if self._head_users.get(MAIN_BRANCH_ID, 0):
                raise BranchInUseError(f"{self.path} is open in other places of this process")
            self._close_head(MAIN_BRANCH_ID)
            directory = self.branch_directory(MAIN_BRANCH_ID)
            in_use = os.path.join(directory, "in_use.lock")
            with exclusive_lock(in_use, refusal="the database is open in another process"):
                remake_empty_file(self.path, directory, chosen)

    def _close_head(self, branch_id: BranchId) -> None:
        head = self._heads.pop(branch_id)
        self._histories.pop(branch_id, None)
        try:
            head.close()
        finally:
            head.own_history.close()

    @contextlib.contextmanager
    def opened_head(
        self, branch_id: BranchId, on_progress: Progress | None = None
    ) -> Iterator[Head]:
        """The head of a branch, open within the block."""
        head = self.use_head(branch_id, on_progress)
        try:
            yield head
        finally:
            self.release_head(branch_id)

    @contextlib.contextmanager
    def unused_head(self, branch_id: BranchId, name: str) -> Iterator[None]:
        """Hold a branch that nobody has open, here or in another process.

        Errors: BranchInUseError.
        """
        with self._lock:
            if self._head_users.get(branch_id, 0):
                raise BranchInUseError(
                    f"branch {name!r} is open in this process",
                    hint="close its connections first, or move them with USE BRANCH",
                )
            with exclusive_lock(
                os.path.join(self.branch_directory(branch_id), "in_use.lock"),
                refusal=f"branch {name!r} is open in another process",
            ):
                yield

    def refs(self) -> RefsContent:
        """The present refs."""
        return self._refs.content

    def updated_refs(self) -> contextlib.AbstractContextManager[RefsContent]:
        """Change the refs within a `with` block, which must not use heads or histories."""
        return self._refs.update()

    def held_refs(self) -> contextlib.AbstractContextManager[RefsContent]:
        """The refs, which nobody changes within a `with` block."""
        return self._refs.held()

    def known(self, branch_id: BranchId) -> PageHistory:
        """History of a branch as it was sealed last."""
        with self._lock:
            history = self._histories.get(branch_id)
            if history is None:
                branch = self.refs().branches[branch_id]
                parent = None if branch.parent_id is None else self.known(branch.parent_id)
                own = BranchHistory.open(os.path.join(self.branch_directory(branch_id), "history"))
                history = self._histories[branch_id] = PageHistory(own, parent)
        history.refresh()
        return history

    def sealed(self, branch_id: BranchId, *, settled: bool = False) -> PageHistory:
        """History of a branch with every commit made so far sealed in it."""
        with self.opened_head(branch_id) as head:
            if settled:
                wait_until_settled(head)
            head.capture_now()
            return head.history

    def forget_history(self, branch_id: BranchId) -> None:
        """Do not serve that branch's history from memory any more."""
        with self._lock:
            self._histories.pop(branch_id, None)
        self.row_histories.forget(branch_id)

    def compaction_stopped(self) -> contextlib.AbstractContextManager[None]:
        """No other process compacts a history within the block."""
        return exclusive_lock(os.path.join(self.directory, "compaction.lock"))

    def _let_go_of_heads(self) -> None:
        with self._lock:
            for head in self._heads.values():
                head.let_go()

    def _close_heads(self) -> None:
        with self._lock:
            heads = list(self._heads.values())
            histories = list(self._histories.values())
            self._heads.clear()
            self._histories.clear()
        with contextlib.ExitStack() as closing:  # last in, first out, whatever fails
            for history in histories:
                closing.callback(history.own.close)
            for head in heads:
                closing.callback(head.close)
            for head in heads:
                closing.callback(head.keeping.recall)  # a fork's has main open as well
