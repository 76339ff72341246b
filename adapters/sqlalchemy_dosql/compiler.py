"""SQL of the additions: FOR SYSTEM_TIME AS OF behind a table."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.sqlite.base import SQLiteCompiler


class DoSQLCompiler(SQLiteCompiler):
    """SQLite's compiler that also knows `PastAlias`."""

    def visit_past_alias(self, past: Any, asfrom: bool = False, **options: Any) -> str:
        name: str = self.visit_alias(past, asfrom=asfrom, **options)
        if not asfrom:
            return name
        moment = past.words
        for value in past.values:
            moment = moment.replace("?", self.process(value, **options), 1)
        return f"{name} FOR SYSTEM_TIME AS OF {moment}"
