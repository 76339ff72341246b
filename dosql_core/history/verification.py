"""Check a database from end to end: bytes, LSNs, refs, maps, heads and moments of the past."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dosql_core.errors import Error, TooManyOpenFilesError
from dosql_core.history.branching import BranchedDatabase
from dosql_core.history.refs import BranchRef, RefsContent
from dosql_core.identifiers import Lsn
from dosql_core.kernel.error_translation import KernelError, translate
from dosql_core.kernel.head import Head
from dosql_core.kernel.head_check import differing_pages, integrity_of_head, integrity_of_pages
from dosql_core.storage.durable_files import telling_disk_errors
from dosql_core.storage.integrity import Severity, verify_history

Progress = Callable[[int, int], None]
_SAMPLED_MOMENTS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong: where, and what."""

    where: str
    what: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.what}"


@telling_disk_errors()
def verify_database(
    database: BranchedDatabase, progress: Progress | None = None, *, deep: bool = True
) -> list[Finding]:
    """Everything that is wrong with a database; an empty list says that nothing is.

    `deep` also decodes every page version and runs SQLite's integrity_check on every head and on
    sampled moments of the past.
    """
    findings: list[Finding] = []
    try:
        refs = database.refs()
    except TooManyOpenFilesError:
        raise
    except Error as error:
        return [Finding("refs.json", str(error))]
    findings += _verify_refs(refs)
    for branch in refs.branches.values():
        try:
            with database.opened_head(branch.id) as head:
                head.capture_now()
                findings += _verify_branch(head, branch, deep, progress)
        except TooManyOpenFilesError:
            raise  # it says nothing of the database
        except Error as error:
            findings.append(Finding(f"branch {branch.name}", str(error)))
        except KernelError as error:  # a head so damaged that SQLite cannot begin to read it
            findings.append(Finding(f"branch {branch.name}, head", str(translate(error))))
    return findings


def _verify_refs(refs: RefsContent) -> Iterator[Finding]:
    for branch in refs.branches.values():
        if branch.parent_id is not None and branch.parent_id not in refs.branches:
            yield Finding("refs.json", f"branch {branch.name} has no parent {branch.parent_id}")
    for snapshot in refs.snapshots.values():
        if snapshot.branch_id not in refs.branches:
            yield Finding("refs.json", f"snapshot {snapshot.name} is of no branch we have")


def _verify_branch(
    head: Head, branch: BranchRef, deep: bool, progress: Progress | None
) -> Iterator[Finding]:
    where = f"branch {branch.name}"
    if deep:
        for found in verify_history(head.own_history, progress):
            if found.severity is Severity.NOTE:
                continue  # what a crash left over and the next writer removes is no damage
            yield Finding(os.path.join(where, os.path.basename(found.file)), found.what)
    if head.overlay is not None:
        head.overlay.check()
    with head.pinned() as (connection, state):
        newest = head.capture.capture(connection, state)
        del newest
        head.own_history.refresh()
        lsn = head.own_history.newest_lsn
        different = differing_pages(head, state, lsn) if deep else []
        if different:
            shown = ", ".join(map(str, different[:8]))
            yield Finding(
                where, f"{len(different)} pages of the head are not those of LSN {lsn}: {shown}"
            )
        for complaint in integrity_of_head(connection):
            yield Finding(f"{where}, head", complaint)
    if deep:
        for moment in _sampled(head, lsn):
            view = head.history.view(moment)
            try:
                for complaint in integrity_of_pages(view):
                    yield Finding(f"{where}, LSN {moment}", complaint)
            finally:
                view.close()


def _sampled(head: Head, newest: Lsn) -> list[Lsn]:
    """A few readable moments, spread over what is kept."""
    oldest = max(head.own_history.oldest_lsn, head.own_history.fork_lsn, Lsn(1))
    if newest < oldest:
        return []
    step = max((newest - oldest) // _SAMPLED_MOMENTS, 1)
    return sorted({Lsn(lsn) for lsn in range(oldest, newest + 1, step)} | {newest})
