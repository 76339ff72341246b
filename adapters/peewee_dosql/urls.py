"""`dosql:///app.db?branch=dev`: URLs for playhouse.db_url."""

from __future__ import annotations

from playhouse import db_url

from peewee_dosql.database import DoSQLDatabase
from peewee_dosql.pool import PooledDoSQLDatabase


def register_url_schemes() -> None:
    """Make `playhouse.db_url.connect` understand `dosql:` and `dosql+pool:`."""
    db_url.register_database(DoSQLDatabase, "dosql")
    db_url.register_database(PooledDoSQLDatabase, "dosql+pool")
