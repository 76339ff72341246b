"""SQLAlchemy on DoSQL: the dialect, and time travel and branches in SQLAlchemy's own words."""

from __future__ import annotations

from sqlalchemy_dosql.connection import branch_of, lsn_of
from sqlalchemy_dosql.constructs import (
    CreateBranch,
    CreateSnapshot,
    DropBranch,
    DropSnapshot,
    RestoreTable,
    RestoreTo,
)
from sqlalchemy_dosql.dialect import DoSQLDialect
from sqlalchemy_dosql.moments import as_of
from sqlalchemy_dosql.pools import dispose_branch
from sqlalchemy_dosql.reflection import dosql_log
from sqlalchemy_dosql.session import HistorySession, Session, present_copy

__all__ = [
    "CreateBranch",
    "CreateSnapshot",
    "DoSQLDialect",
    "DropBranch",
    "DropSnapshot",
    "HistorySession",
    "RestoreTable",
    "RestoreTo",
    "Session",
    "as_of",
    "branch_of",
    "dispose_branch",
    "dosql_log",
    "lsn_of",
    "present_copy",
]
