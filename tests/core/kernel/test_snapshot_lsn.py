"""The LSN of an open read transaction is that of what it reads, for as long as it is open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import dosql_dbapi


@pytest.fixture
def writer(database_path) -> Iterator[dosql_dbapi.Connection]:
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    con.execute("create table t(a)")
    yield con
    con.close()


@pytest.fixture
def reader(database_path, writer) -> Iterator[dosql_dbapi.Connection]:
    con = dosql_dbapi.connect(database_path, isolation_level=None)
    yield con
    con.close()


def begin_reading(con: dosql_dbapi.Connection) -> int:
    con.execute("begin")
    return con.execute("select count(*) from t").fetchone()[0]


def checkpoint(con: dosql_dbapi.Connection) -> None:
    con.execute("pragma wal_checkpoint").fetchall()


def test_it_stays_when_the_wal_begins_anew(writer, reader):
    checkpoint(writer)
    assert begin_reading(reader) == 0  # all is in the file: this pins nothing in the WAL
    for number in range(3):
        writer.execute("insert into t values (?)", (number,))
        checkpoint(writer)
    assert reader.lsn == 1
    assert reader.execute("select count(*) from t").fetchone() == (0,)


def test_it_stays_when_nobody_asked_before_others_committed(writer, reader):
    assert begin_reading(reader) == 0
    for number in range(3):
        writer.execute("insert into t values (?)", (number,))
        checkpoint(writer)
    assert reader.lsn == 1


def test_it_stays_in_a_database_that_was_just_opened(database_path):
    writer = dosql_dbapi.connect(database_path, isolation_level=None)
    writer.execute("create table t(a)")
    writer.close()
    writer = dosql_dbapi.connect(database_path, isolation_level=None)
    reader = dosql_dbapi.connect(database_path, isolation_level=None)
    assert begin_reading(reader) == 0
    writer.execute("insert into t values (1)")
    checkpoint(writer)
    assert (reader.lsn, writer.lsn) == (1, 2)
    reader.close()
    writer.close()


def test_each_of_two_snapshots_in_different_wals_has_its_own(database_path, writer, reader):
    checkpoint(writer)
    begin_reading(reader)
    writer.execute("insert into t values (1)")
    later = dosql_dbapi.connect(database_path, isolation_level=None)
    assert begin_reading(later) == 1
    writer.execute("insert into t values (2)")
    assert [later.lsn, reader.lsn, later.lsn] == [2, 1, 2]
    later.close()


def test_the_next_transaction_reads_the_present(writer, reader):
    begin_reading(reader)
    writer.execute("insert into t values (1)")
    assert reader.lsn == 1
    reader.execute("commit")
    assert begin_reading(reader) == 1
    assert reader.lsn == 2


def test_a_commit_keeps_its_lsn_when_the_wal_begins_anew_before_anybody_asks(writer, reader):
    writer.execute("insert into t values (1)")
    checkpoint(reader)
    for number in range(3):
        reader.execute("insert into t values (?)", (number,))
    assert (writer.lsn, reader.lsn) == (2, 5)
