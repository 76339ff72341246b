"""Runs a project's own tests in this process, where every SQLite of a framework may be DoSQL.

`python stand_in.py stock|dosql RESULTS WORD...`, in the project's folder: WORDs go to pytest,
RESULTS is a JSON file to write. What the project asks its framework for stays as it is: an `ENGINE`
of Django's SQLite backend, an URL that begins with `sqlite:`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from suites.sqlalchemy_testing import Endings

STOCK_ENGINE = "django.db.backends.sqlite3"


def stand_in() -> None:
    """From now on Django and SQLAlchemy take DoSQL for SQLite."""
    if importlib.util.find_spec("sqlalchemy"):
        from sqlalchemy.dialects import registry

        registry.register("sqlite", "sqlalchemy_dosql.dialect", "DoSQLDialect")
        registry.register("sqlite.pysqlite", "sqlalchemy_dosql.dialect", "DoSQLDialect")
        registry.register("sqlite.aiosqlite", "sqlalchemy_dosql.aio", "DoSQLAsyncDialect")
    if importlib.util.find_spec("django"):
        from django.db import connections
        from django.db.utils import ConnectionHandler

        class Handler(ConnectionHandler):
            def configure_settings(self, databases: Any) -> Any:
                configured = super().configure_settings(databases)
                for settings in configured.values():
                    if settings["ENGINE"] == STOCK_ENGINE:
                        settings["ENGINE"] = "django_dosql"
                return configured

        connections.__class__ = Handler


def main(backend: str, results: str, *words: str) -> int:
    endings = Endings()
    if backend == "dosql":
        stand_in()
    status = pytest.main([*words, "-q", "-p", "no:cacheprovider"], plugins=[endings])
    rows = [[name, *ending] for name, ending in sorted(endings.of.items())]
    Path(results).write_text(json.dumps(rows), "utf-8")
    return int(status)


if __name__ == "__main__":
    sys.path[0] = ""  # as `python -m pytest` does: the tests import from their own folder
    sys.exit(main(*sys.argv[1:]))
