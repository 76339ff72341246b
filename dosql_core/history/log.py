"""The log of a branch: its commits, newest first."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dosql_core.identifiers import Lsn, Microseconds
from dosql_core.storage.page_history import PageHistory
from dosql_core.storage.segment_format import CommitFlag, CommitRecord

Parents = Callable[[Lsn], tuple[str, ...]]
"""The parents of a commit, as the log shows them."""


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """One commit as the log shows it.

    Units: `committed_at` is UTC; `pages` counts the pages it changed; `bytes` is what history keeps
           for it, about; `database_pages` is the size of the database after it. `parents` are the
           moment it was made on and, for a merge, the one it brought: `main@41`, `dev@44`.
    """

    lsn: Lsn
    committed_at: datetime.datetime
    pages: int
    bytes: int
    author: str | None
    message: str | None
    database_pages: int
    flags: tuple[str, ...]
    parents: tuple[str, ...] = ()


def log_of(
    history: PageHistory,
    *,
    limit: int | None = None,
    first: int | None = None,
    last: int | None = None,
    parents: Parents = lambda _: (),
) -> list[LoggedCommit]:
    """Commits from `last` (the newest) down to `first` (the oldest kept), `limit` at the most."""
    logged: list[LoggedCommit] = []
    for record in walk_log(history, first=first, last=last):
        if limit is not None and len(logged) >= limit:
            break
        logged.append(logged_commit(record, parents(record.lsn)))
    return logged


def walk_log(
    history: PageHistory, *, first: int | None = None, last: int | None = None
) -> Iterator[CommitRecord]:
    """Commit records, newest first, those of ancestors included."""
    newest = history.newest_lsn
    start = newest if last is None else min(Lsn(last), newest)
    for record in history.commits_backwards(Lsn(start)):
        if first is not None and record.lsn < first:
            return
        yield record


def logged_commit(record: CommitRecord, parents: tuple[str, ...] = ()) -> LoggedCommit:
    """A record as the log shows it."""
    return LoggedCommit(
        record.lsn,
        utc(record.committed_at),
        record.version_count,
        record.stored_bytes,
        record.author,
        record.message,
        record.page_count,
        tuple(
            flag.name.lower() for flag in CommitFlag if flag and flag in record.flags and flag.name
        ),
        parents,
    )


def utc(at: Microseconds) -> datetime.datetime:
    """A moment as an aware datetime."""
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=at)
