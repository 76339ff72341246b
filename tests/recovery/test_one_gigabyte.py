"""A database of more than a gigabyte: the page at one gigabyte, where SQLite keeps its locks, is
never written, and everything that walks over pages has to step over it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.options import DatabaseOptions, Retention

pytestmark = pytest.mark.long

ROWS, ROW_BYTES = 11_300, 100_000
ONE_GIGABYTE = 1 << 30
TOTALS = "select count(*), sum(length(b)), sum(a) from t"
MARKED = "select count(*) from t where mark = 1"
BRANCH_BYTES_MAX = 1_000_000  # copying nothing: its map, and what every head has


@pytest.fixture
def big_path(database_path: Path) -> Path:
    """A plain SQLite file that ends beyond the page of the locks."""
    with contextlib.closing(sqlite3.connect(database_path, isolation_level=None)) as plain:
        plain.execute("pragma synchronous = off")
        plain.execute("create table t(a integer primary key, mark integer, b blob)")
        plain.execute("begin")
        plain.execute(
            "with recursive n(a) as (select 1 union all select a + 1 from n where a < ?) "
            "insert into t select a, 0, randomblob(?) from n",
            (ROWS, ROW_BYTES),
        )
        plain.execute("commit")
    assert database_path.stat().st_size > ONE_GIGABYTE + 40_000_000
    return database_path


def one(connection: dosql_dbapi.Connection, sql: str) -> tuple[object, ...]:
    row: tuple[object, ...] = connection.execute(sql).fetchone()
    return row


def test_adoption_the_past_branches_compaction_and_verification(big_path: Path) -> None:
    pages_told: list[tuple[int, int]] = []
    before = (ROWS, ROWS * ROW_BYTES, ROWS * (ROWS + 1) // 2)
    options = DatabaseOptions(retention=Retention(commits_max=1))
    with open_database(big_path, options, on_progress=lambda *p: pages_told.append(p)) as database:
        assert pages_told[-1][0] == pages_told[-1][1] > ONE_GIGABYTE // 4096
        with contextlib.closing(dosql_dbapi.connect(big_path, isolation_level=None)) as main:
            adopted = main.lsn
            # rows at both ends and on both sides of the page of the locks
            main.execute(
                "update t set mark = 1, b = randomblob(100000) "
                "where a in (1, 10000, 10450, 10700, 10737, 10738, 10800, ?)",
                (ROWS,),
            )
            main.execute("create table grown as select a, b from t limit 300")
            assert one(main, MARKED) == (8,)
            assert database.branches.create("dev").own_bytes < BRANCH_BYTES_MAX
            main.execute("drop table grown")
            for connect in ({"as_of": adopted}, {"as_of": adopted + 1}, {"branch": "dev"}):
                with contextlib.closing(dosql_dbapi.connect(big_path, **connect)) as other:
                    assert one(other, TOTALS) == before
                    assert one(other, MARKED) == (0 if connect == {"as_of": adopted} else 8,)
            with contextlib.closing(
                dosql_dbapi.connect(big_path, branch="dev", isolation_level=None)
            ) as dev:
                dev.execute("delete from t where a > 11000")
                dev.execute("insert into t(a, b) select a + 20000, b from grown")
                dev.execute("pragma wal_checkpoint").fetchone()
                assert one(dev, "select count(*) from t") == (ROWS,)
                assert one(dev, "pragma integrity_check") == ("ok",)
            main.execute("insert into t(b) values (randomblob(100000))")
            newest = main.lsn
        database.compact()
        assert database.verify() == []
        database.restore(newest - 1)
        with contextlib.closing(dosql_dbapi.connect(big_path)) as main:
            assert one(main, TOTALS) == before
        copy = big_path.with_name("copy.db")
        database.export(copy, newest)
        with contextlib.closing(sqlite3.connect(copy)) as plain:
            assert plain.execute("pragma integrity_check").fetchone() == ("ok",)
            assert plain.execute("select count(*) from t").fetchone() == (ROWS + 1,)
        copy.unlink()


def test_a_database_that_grows_over_the_page_of_the_locks(database_path: Path) -> None:
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as main:
        main.execute("create table t(a integer primary key, b blob)")
        sizes = {}
        for _ in range(6):
            main.execute(
                "with recursive n(a) as (select 1 union all select a + 1 from n where a < 19) "
                "insert into t(b) select randomblob(10000000) from n"
            )
            sizes[main.lsn] = one(main, "select count(*), sum(length(b)) from t")
        for lsn, expected in sizes.items():
            asked = f"select count(*), sum(length(b)) from t as of lsn {lsn}"
            assert one(main, asked) == expected
