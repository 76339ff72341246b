"""The log of commits as a table to select from."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DateTime, Integer, String, column, func, table

_COLUMNS = (
    ("lsn", Integer),
    ("committed_at", DateTime),
    ("pages", Integer),
    ("bytes", Integer),
    ("author", String),
    ("message", String),
    ("flags", String),
    ("database_pages", Integer),
    ("parents", String),
)


def dosql_log(branch: str | None = None) -> Any:
    """The commits of the branch a statement runs on, or of another: a row each, times in UTC.

    It belongs to no MetaData, so neither `create_all` nor Alembic's autogenerate takes it for a
    table of the program.
    """
    columns: list[Any] = [column(name, type_) for name, type_ in _COLUMNS]
    if branch is None:
        return table("dosql_log", *columns)
    return func.dosql_log(branch).table_valued(*columns, name="dosql_log")
