"""DoSQL for Peewee: a SqliteDatabase that remembers, forks and reads any moment."""

from __future__ import annotations

from peewee_dosql.database import DoSQLDatabase
from peewee_dosql.pool import PooledDoSQLDatabase
from peewee_dosql.time_travel import DoSQLModel, PastModel, as_of
from peewee_dosql.urls import register_url_schemes

__all__ = [
    "DoSQLDatabase",
    "DoSQLModel",
    "PastModel",
    "PooledDoSQLDatabase",
    "as_of",
    "register_url_schemes",
]
