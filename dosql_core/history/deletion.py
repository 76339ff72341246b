"""What becomes of a history that is not wanted, or whose database file the program itself deleted.

A program that deletes its database and makes it anew means to begin anew, as every program written
for SQLite may. When the file is gone for another reason, its history must stay where it is, for the
file can be rebuilt from it. What tells the two apart: this process had the very database open and
closed it well before the file went away.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from dosql_core.errors import BranchInUseError
from dosql_core.history.refs import Refs
from dosql_core.storage.durable_files import sync_directory
from dosql_core.storage.lock_files import LockFile, exclusive_lock

DELETED_SUFFIX = ".deleted"
_REMOVED_SUFFIX = ".removed"

_closed_here: dict[str, str] = {}


def remember_closed(path: str, database_id: str) -> None:
    """This process closed the database at `path`; nobody of it has it open."""
    _closed_here[path] = database_id


def set_aside(path: str, directory: str, database_id: object) -> bool:
    """Move the history of a deleted file out of the way; whether that was done.

    It is kept as `directory` with DELETED_SUFFIX until the next one is set aside, so that a file
    deleted by mistake can still be rebuilt. Nothing is done when another database is meant than the
    one this process closed, or when another process has it open.
    """
    if path not in _closed_here or _closed_here[path] != database_id:
        return False
    with contextlib.ExitStack() as held:
        branches = os.path.join(directory, "branches")
        for branch in os.listdir(branches):
            lock_file = LockFile(os.path.join(branches, branch, "in_use.lock"))
            if not held.enter_context(lock_file).try_lock():
                return False
        if os.path.exists(path):
            return False
        deleted = directory + DELETED_SUFFIX
        shutil.rmtree(deleted, ignore_errors=True)
        os.rename(directory, deleted)
        sync_directory(os.path.dirname(directory))
    del _closed_here[path]
    return True


def remove_history(directory: str) -> None:
    """Remove a `-dosql` directory and all that is in it, sound or damaged.

    Errors: BranchInUseError when somebody has the database open.
    """
    with contextlib.ExitStack() as held:
        branches = os.path.join(directory, "branches")
        for branch in os.listdir(branches):
            lock = os.path.join(branches, branch, "in_use.lock")
            held.enter_context(exclusive_lock(lock, refusal=f"branch {branch!r} is open"))
        # renamed first: a crash must not leave half a history that looks like a whole one
        os.rename(directory, directory + _REMOVED_SUFFIX)
        sync_directory(os.path.dirname(directory))
        remove_leftovers(directory)


def undo_beginning(directory: str) -> None:
    """Remove a `-dosql` directory that was made a moment ago, or leave all of it, never a part."""
    with contextlib.suppress(OSError):
        os.rename(directory, directory + _REMOVED_SUFFIX)
        remove_leftovers(directory)


def remove_leftovers(directory: str) -> None:
    """Finish a removal that a crash cut short."""
    shutil.rmtree(directory + _REMOVED_SUFFIX, ignore_errors=True)


def remove_orphans(directory: str, refs: Refs) -> None:
    """Remove the directories of branches whose making or dropping a crash cut short.

    A branch that is being made is safe: its directory and its name appear under the lock of the
    refs. One that is being dropped loses its name first; whoever drops it has it locked.
    """
    branches = os.path.join(directory, "branches")
    if not refs.content.orphans(os.listdir(branches)):
        return
    with refs.held() as content:
        for orphan in content.orphans(os.listdir(branches)):
            path = os.path.join(branches, orphan)
            with (
                contextlib.suppress(BranchInUseError, OSError),
                exclusive_lock(os.path.join(path, "in_use.lock"), refusal="it is being dropped"),
            ):
                shutil.rmtree(path, ignore_errors=True)
