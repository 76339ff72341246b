"""Whether there can be a database at a path, and which one its `-dosql` directory belongs to."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import Any

from dosql_core.errors import (
    CannotOpenError,
    CorruptStoreError,
    DatabaseNotFoundError,
    ForeignDirectoryError,
    MissingSegmentError,
)
from dosql_core.history.deletion import set_aside
from dosql_core.history.refs import Refs
from dosql_core.identifiers import MAIN_BRANCH_ID
from dosql_core.storage.checked_document import read_document, write_document
from dosql_core.storage.lock_files import exclusive_lock

FORMAT_VERSION = 1
_KIND = "dosql database"
_NAME = "dosql.json"
_NAMES_AT_FIRST = {"identity.lock", "refs.json", "refs.json.tmp", "dosql.json.tmp"}


def refuse_impossible_path(path: str, directory: str, *, create: bool) -> None:
    """See to it that a database can be opened, or with `create` made, at `path`.

    A history whose file this process itself closed and deleted is set aside.
    Errors: CannotOpenError, DatabaseNotFoundError.
    """
    if os.path.isdir(path):
        raise CannotOpenError(f"unable to open database file: {path} is a directory")
    if os.path.exists(path):
        return
    history = os.path.join(directory, "branches", MAIN_BRANCH_ID, "history", "manifest.json")
    if os.path.exists(history) and not (create and _set_aside(path, directory)):
        raise CannotOpenError(
            f"{path} is gone, but its history is still in {directory}",
            hint="put the file back, run `dosql restore --rebuild-head` to make it from "
            "history, or remove the directory to begin anew",
        )
    if not create:
        raise DatabaseNotFoundError(
            f"there is no database at {path}",
            hint="check the path; a database is made by connecting to write to it",
        )
    parent = os.path.dirname(path)
    if not os.path.isdir(parent):
        raise CannotOpenError(
            f"unable to open database file: there is no directory {parent}",
            hint="make the directory first",
        )
    for leftover in ("-wal", "-shm"):  # connections may still be open to the file that was deleted
        with contextlib.suppress(FileNotFoundError):
            os.remove(path + leftover)


def _set_aside(path: str, directory: str) -> bool:
    identity = read_document(os.path.join(directory, _NAME), _KIND, FORMAT_VERSION)
    return set_aside(path, directory, identity.get("database_id"))


def read_or_make_identity(directory: str) -> str:
    """The identifier of the database whose directory this is; a new one for a new directory.

    Errors: MissingSegmentError, CorruptStoreError; ForeignDirectoryError when it is not ours.
    """
    path = os.path.join(directory, _NAME)
    try:
        identity = read_document(path, _KIND, FORMAT_VERSION)
    except FileNotFoundError:
        identity = _make_identity(directory, path)
    try:
        return str(identity["database_id"])
    except KeyError:
        raise CorruptStoreError(f"{path} names no database_id") from None


def _make_identity(directory: str, path: str) -> dict[str, Any]:
    """Write what a new directory begins with, unless another process has done so just now."""
    with exclusive_lock(os.path.join(directory, "identity.lock")):
        if not os.path.exists(path):
            # refs alone are what a crash in the middle of this block left
            if os.path.exists(os.path.join(directory, "branches")):
                raise MissingSegmentError(f"{path} is missing, though there is a history")
            strange = set(os.listdir(directory)) - _NAMES_AT_FIRST
            if strange:
                raise ForeignDirectoryError(
                    f"{directory} is there already and holds {min(strange)!r}, "
                    "which is none of ours",
                    hint="move it out of the way, or give the database another name",
                )
            Refs.create(directory)
            write_document(path, _KIND, FORMAT_VERSION, {"database_id": uuid.uuid4().hex})
        return read_document(path, _KIND, FORMAT_VERSION)
