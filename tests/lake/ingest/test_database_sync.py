"""A database of this machine and the Iceberg tables it is synced into, in one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")

import dosql_dbapi
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import DatabaseSync, SyncResult
from dolake.lake import Lake
from dolake.query.lake_query import LakeQuery
from dolake.settings import IngestSettings
from fixtures.sync_reports import QuietReport


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake(tmp_path / "lake") as opened:
        yield opened


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Any]:
    with contextlib.closing(
        dosql_dbapi.connect(tmp_path / "shop.db", isolation_level=None)
    ) as opened:
        yield opened


def sync(lake: Lake, *, copy: bool = False, tables: Sequence[str] | None = None) -> SyncResult:
    database = lake.state.parent.parent / "shop.db"
    with DatabaseSource(database, tables=tables, begin_anew=copy) as source:
        work = DatabaseSync(source, lake.open_tables, IngestSettings(), QuietReport())
        return work.run(follow=False, copy=copy)


def rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(LakeQuery(lake.registry)) as query, query.run(sql) as result:
        return [tuple(row.values()) for row in result.table().to_pylist()]


def test_rows_whose_primary_key_is_null_are_copied_and_followed(
    lake: Lake, connection: Any
) -> None:
    connection.execute("create table t(a text primary key, b text, c integer)")
    connection.execute("create table u(a text, b int, c text, primary key (a, b))")
    connection.execute("insert into t values (null, 'x', 1), (null, 'y', 2), ('k', 'z', 3)")
    connection.execute("insert into u values (null, 1, 'p'), ('k', null, 'q'), ('k', 3, 'r')")
    sync(lake)
    t = "select a, b, c from shop.t order by c"
    u = "select a, b, c from shop.u order by c"
    assert rows(lake, t) == [(None, "x", 1), (None, "y", 2), ("k", "z", 3)]
    assert rows(lake, u) == [(None, 1, "p"), ("k", None, "q"), ("k", 3, "r")]
    connection.execute("update t set c = c * 10")
    connection.execute("delete from t where b = 'y'")
    connection.execute("insert into t values (null, 'new', 40)")
    connection.execute("delete from u where c = 'q'")
    connection.execute("update u set a = 'known' where c = 'p'")
    assert sync(lake).copied_rows == 0
    assert rows(lake, t) == [(None, "x", 10), ("k", "z", 30), (None, "new", 40)]
    assert rows(lake, u) == [("known", 1, "p"), ("k", 3, "r")]


def test_a_new_copy_empties_the_mirrors_of_tables_that_are_gone(
    lake: Lake, connection: Any
) -> None:
    for name in ("kept", "gone"):
        connection.execute(f"create table {name}(id integer primary key)")
        connection.execute(f"insert into {name} values (1), (2)")
    sync(lake)
    connection.execute("insert into gone values (3)")
    sync(lake, copy=True, tables=["kept"])  # who copies one table says nothing of the others
    assert rows(lake, "select count(*) from shop.gone") == [(2,)]
    connection.execute("drop table gone")
    sync(lake, copy=True)
    assert rows(lake, "select count(*) from shop.gone") == [(0,)]
    assert rows(lake, "select count(*) from shop.kept") == [(2,)]
    assert rows(lake, "select count(*) from shop.gone as of lsn 4") == [(2,)]
    sync(lake, copy=True)
    assert len(lake.registry.load_table(("shop", "gone")).metadata["snapshots"]) == 2
