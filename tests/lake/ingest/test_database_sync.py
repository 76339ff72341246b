"""A database of this machine and the Iceberg tables it is synced into, in one process."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")

import dosql_dbapi
from dolake.errors import LakeSchemaMismatchError
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import DatabaseSync, SyncResult
from dolake.lake import Lake
from dolake.query.lake_query import LakeQuery
from dolake.settings import IngestSettings
from dolake.tables.table_options import TableOptions
from dosql_core.errors import ChangesNotKeptError
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


def sync(
    lake: Lake,
    *,
    copy: bool = False,
    tables: Sequence[str] | None = None,
    change_log: bool = False,
) -> SyncResult:
    lake.table_options = TableOptions(has_change_log=change_log)
    database = lake.state.parent.parent / "shop.db"
    with DatabaseSource(database, tables=tables, begin_anew=copy) as source:
        work = DatabaseSync(source, lake.open_tables, IngestSettings(), QuietReport())
        return work.run(follow=False, copy=copy)


def run(database: Path, *statements: str) -> None:
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for statement in statements:
            con.execute(statement)


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


def test_a_database_restored_from_a_backup_is_noticed_wherever_it_has_got_to(
    lake: Lake, tmp_path: Path
) -> None:
    database = tmp_path / "shop.db"
    run(database, "create table t(id integer primary key, v text)", "insert into t values (1, 'a')")
    sync(lake, change_log=True)
    kept = tmp_path / "backup"
    kept.mkdir()
    for found in database.parent.glob("shop.db*"):
        (shutil.copytree if found.is_dir() else shutil.copy2)(found, kept / found.name)
    run(database, *(f"insert into t values ({n}, 'lost')" for n in range(2, 6)))
    sync(lake, change_log=True)

    shutil.rmtree(tmp_path / "shop.db-dosql")
    for found in tmp_path.glob("shop.db*"):
        found.unlink()
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    with pytest.raises(ChangesNotKeptError, match="restored from an older state"):
        sync(lake)
    run(database, *(f"insert into t values ({n}, 'new')" for n in range(2, 10)))
    with pytest.raises(ChangesNotKeptError, match="restored from an older state"):
        sync(lake)
    sync(lake, copy=True, change_log=True)
    run(database, "delete from t where id = 1")
    sync(lake, change_log=True)
    assert rows(lake, "select v, count(*) from shop.t group by v") == [("new", 8)]


def test_a_copy_of_an_older_state_goes_back_to_it(lake: Lake, tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    run(
        database, "create table t(id integer primary key)", "create table u(id integer primary key)"
    )
    run(database, *(f"insert into t values ({n})" for n in range(9)), "insert into u values (1)")
    sync(lake)
    shutil.rmtree(tmp_path / "shop.db-dosql")
    database.unlink()
    run(database, "create table t(id integer primary key)", "insert into t values (7)")
    sync(lake, copy=True)
    run(database, "insert into t values (8)")
    assert sync(lake).copied_rows == 0
    assert rows(lake, "select id from shop.t order by id") == [(7,), (8,)]
    assert rows(lake, "select id from shop.u") == []


def test_a_change_log_does_not_go_back(lake: Lake, tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    run(database, "create table t(id integer primary key)", "insert into t values (1)")
    sync(lake, change_log=True)
    shutil.rmtree(tmp_path / "shop.db-dosql")
    database.unlink()
    run(database, "create table t(id integer primary key)")
    with pytest.raises(LakeSchemaMismatchError, match="would go back"):
        sync(lake, copy=True, change_log=True)
    assert rows(lake, "select id from shop.t") == [(1,)]
