"""Threads, forks and ends: what many threads may do, and what is left when nobody closes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import os
import sqlite3
import threading
import warnings

import pytest

import dosql_dbapi
from fixtures.programs import run_program

THREADS = 16
OPEN_FILES = "/proc/self/fd"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "app.db")


@contextlib.contextmanager
def opened(path, **options):
    with contextlib.closing(dosql_dbapi.connect(path, **options)) as connection:
        yield connection


def in_threads(work):
    """Call `work(number)` in sixteen threads that begin together; their results, or the error."""
    together = threading.Barrier(THREADS)

    def begin(number):
        together.wait()
        return work(number)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


# -- many threads ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["file", "memory"])
def test_threads_share_one_connection(path, place):
    with opened(path if place == "file" else ":memory:", check_same_thread=False) as con:
        con.execute("create table t(id integer primary key, thread, n)")
        con.commit()

        def work(number):
            cursor = con.cursor()
            mine = []
            for n in range(25):
                cursor.execute("insert into t(thread, n) values (?, ?)", (number, n))
                assert cursor.rowcount == 1
                mine.append(cursor.lastrowid)
                found = con.execute("select thread, n from t where id = ?", (mine[-1],))
                assert found.fetchall() == [(number, n)]
            con.commit()
            return mine

        ids = [one for mine in in_threads(work) for one in mine]
        assert sorted(ids) == list(range(1, 25 * THREADS + 1))
        assert con.execute("select count(*) from t").fetchone() == (25 * THREADS,)


def test_threads_fetch_from_one_cursor_and_each_row_comes_once(path):
    with opened(path, check_same_thread=False) as con:
        cursor = con.execute(
            "with recursive n(i) as (select 1 union all select i + 1 from n limit 4000) "
            "select i from n"
        )

        def work(number):
            if number % 2:
                return [row for (row,) in iter(cursor.fetchone, None)]
            mine = []
            while rows := cursor.fetchmany(7):
                mine += [row for (row,) in rows]
            return mine

        rows = [row for mine in in_threads(work) for row in mine]
        assert sorted(rows) == list(range(1, 4001))


def test_threads_with_connections_of_their_own_lose_no_update(path):
    with opened(path, isolation_level=None) as con:
        con.execute("create table counter(n)")
        con.execute("insert into counter values (0)")
        before = con.lsn

        def work(number):
            with opened(path, isolation_level=None, timeout=60) as mine:
                for _ in range(20):
                    with mine.transaction():
                        ((n,),) = mine.execute("select n from counter").fetchall()
                        mine.execute("update counter set n = ?", (n + 1,))
                    assert mine.execute("select n from counter").fetchone()[0] > n

        in_threads(work)
        assert con.execute("select n from counter").fetchone() == (20 * THREADS,)
        assert con.lsn == before + 20 * THREADS


def test_a_connection_of_another_thread_is_refused_and_stays_usable(path):
    with opened(path) as con:
        cursor = con.execute("select 1 union all select 2")

        def use(_number):
            for call in (
                con.commit,
                con.cursor,
                con.close,
                cursor.fetchall,
                cursor.fetchmany,
                lambda: con.execute("select 1"),
                lambda: cursor.execute("select 1"),
            ):
                with pytest.raises(dosql_dbapi.ProgrammingError) as raised:
                    call()
                assert raised.value.code == "DB_WRONG_THREAD"
            return True

        assert all(in_threads(use))
        assert cursor.fetchall() == [(1,), (2,)]


def test_a_connection_may_be_opened_in_one_thread_and_dropped_in_another(path):
    for _ in range(5):
        dropped = [dosql_dbapi.connect(path, isolation_level=None) for _ in range(THREADS)]
        for number in range(THREADS):  # no name may keep one of them
            dropped[number].execute(f"create table if not exists t{number}(n)")

        def drop(number, dropped=dropped):
            con, dropped[number] = dropped[number], None
            half_read = con.cursor  # a bound method keeps it to the end of this call
            del con, half_read
            gc.collect()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            in_threads(drop)
    with opened(path) as con:
        assert con.execute("select count(*) from sqlite_schema").fetchone() == (THREADS,)


# -- garbage ---------------------------------------------------------------------------------------


def test_garbage_is_collected_in_the_middle_of_a_fetch(path):
    with opened(path) as con:
        con.create_function("collect", 1, lambda value: (gc.collect(), value)[1])
        kept = []

        def make_row(cursor, row):
            cycle = [con.execute("select 1 union all select 2"), row]
            cycle.append(cycle)  # a cursor that only the collector finds
            kept.append(gc.collect())
            return row

        con.row_factory = make_row
        sql = "with n(i) as (values (1), (2), (3)) select collect(i) from n"
        assert con.execute(sql).fetchall() == [(1,), (2,), (3,)]
        assert list(con.execute(sql)) == [(1,), (2,), (3,)]
        assert len(kept) == 6


def test_a_cursor_keeps_its_connection(path):
    def cursor_of_a_dropped_connection():
        con = dosql_dbapi.connect(path)
        return con.execute("with n(i) as (values (1), (2), (3)) select i from n")

    cursor = cursor_of_a_dropped_connection()
    gc.collect()
    assert cursor.fetchone() == (1,)
    assert cursor.fetchall() == [(2,), (3,)]
    cursor.connection.close()


def test_closing_ends_open_cursors_and_the_locks_they_held(path):
    with opened(path, isolation_level=None) as other:
        con = dosql_dbapi.connect(path)
        con.execute("create table t(n)")
        con.executemany("insert into t values (?)", [(n,) for n in range(1000)])
        con.commit()
        cursors = [con.execute("select n from t") for _ in range(20)]
        cursors += [dosql_dbapi.Cursor(con).execute("select n from t") for _ in range(20)]
        con.execute("insert into t values (1)")  # and a transaction is open
        assert all(cursor.fetchone() == (0,) for cursor in cursors)
        con.close()
        for cursor in cursors:
            with pytest.raises(dosql_dbapi.ProgrammingError, match="closed database"):
                cursor.fetchall()
        assert other.execute("select count(*) from t").fetchone() == (1000,)
        other.execute("drop table t")


def descriptors():
    """How many files this process has open, segments of history aside: they grow with commits."""
    count = 0
    for name in os.listdir(OPEN_FILES):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            count += not os.readlink(f"{OPEN_FILES}/{name}").endswith(".seg")
    return count


@pytest.mark.skipif(not os.path.exists(OPEN_FILES), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("end", ["closed", "dropped"])
@pytest.mark.parametrize("use", ["read", "write"])
def test_connections_leave_no_descriptor_behind(path, end, use, request):
    opens = 10_000 if request.config.getoption("--long") else 200
    gc.disable()  # nothing may wait for the collector
    try:
        with opened(path, isolation_level=None) as keeps_the_database_open:
            keeps_the_database_open.execute("create table t(n)")
            began_with = descriptors()
            for _ in range(opens):
                con = dosql_dbapi.connect(path)
                cursor = con.execute("select n from t")
                if use == "write":
                    con.execute("insert into t values (1)")
                    con.commit()
                cursor.fetchone()
                if end == "closed":
                    con.close()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ResourceWarning)
                    del con, cursor
            assert descriptors() <= began_with + 2  # a thread may be at work on something
    finally:
        gc.enable()


# -- the end of the interpreter, and fork ----------------------------------------------------------


def test_the_interpreter_ends_with_connections_cursors_and_threads_at_work(path):
    told = run_program(
        """
        import sys, threading
        import dosql_dbapi

        con = dosql_dbapi.connect(sys.argv[1], check_same_thread=False)
        con.execute("create table t(n)")
        con.execute("insert into t values (1)")
        con.commit()
        con.execute("insert into t values (2)")
        half_read = con.execute("select n from t union all select n from t")
        in_a_cycle = [dosql_dbapi.connect(sys.argv[1])]
        in_a_cycle.append(in_a_cycle)
        began = threading.Event()

        def never_ends():
            mine = dosql_dbapi.connect(sys.argv[1])
            mine.create_function("began", 0, began.set)
            mine.execute(
                "with recursive n(i) as (select began() union all select i + 1 from n) "
                "select max(i) from n"
            )

        threading.Thread(target=never_ends, daemon=True).start()
        began.wait()
        print("the end")
        """,
        path,
    )
    assert told == "the end\n"
    with opened(path) as con:
        assert con.execute("select n from t").fetchall() == [(1,)]


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)"])
def test_a_child_of_fork_is_refused_and_does_its_parent_no_harm(path, end):
    told = run_program(
        f"""
        import gc, os, sys
        import dosql_dbapi

        con = dosql_dbapi.connect(sys.argv[1], check_same_thread=len(sys.argv) > 2)
        con.execute("create table t(n)")
        con.commit()
        cursor = con.execute("select n from t")
        con.execute("insert into t values (1)")
        child = os.fork()
        if child == 0:
            refused = []
            for call in (
                lambda: con.execute("select 1"),
                lambda: cursor.execute("select 1"),
                cursor.fetchall,
                con.commit,
                con.rollback,
            ):
                try:
                    call()
                except dosql_dbapi.Error as error:
                    refused.append(error.code)
            con.close()
            del con, cursor
            gc.collect()
            print(refused, flush=True)
            {end}
        assert os.waitpid(child, 0)[1] == 0
        con.commit()
        other = dosql_dbapi.connect(sys.argv[1])
        print(other.execute("select n from t").fetchall(), flush=True)
        con.execute("pragma wal_checkpoint(truncate)")
        """,
        path,
    )
    refused, rows = told.splitlines()
    assert refused == str(["DB_FORKED"] * 5)
    assert rows == "[(1,)]"


def test_a_child_of_fork_cannot_open_what_was_open_before(path):
    told = run_program(
        """
        import os, sys
        import dosql_dbapi

        con = dosql_dbapi.connect(sys.argv[1])
        for moment in ("open", "closed"):
            if moment == "closed":
                con.close()
            child = os.fork()
            if child == 0:
                try:
                    dosql_dbapi.connect(sys.argv[1]).execute("create table t(n)")
                    print(moment, "opened", flush=True)
                except dosql_dbapi.Error as error:
                    print(moment, error.code, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
        """,
        path,
    )
    assert told.splitlines() == ["open DB_FORKED", "closed opened"]


@pytest.mark.parametrize("module", [sqlite3, dosql_dbapi], ids=["sqlite3", "dosql"])
def test_any_thread_may_ask_where_a_connection_is(module):
    """aiosqlite and what is built on it ask from the thread of the event loop."""
    connection = module.connect(":memory:")
    connection.execute("create table t(a)")
    connection.execute("insert into t values (1)")

    def ask():
        return connection.total_changes, connection.in_transaction, connection.isolation_level

    with concurrent.futures.ThreadPoolExecutor(1) as other:
        assert other.submit(ask).result() == (1, True, "")
        with pytest.raises(module.ProgrammingError, match="same thread"):
            other.submit(connection.commit).result()
        connection.close()
        with pytest.raises(module.ProgrammingError, match="closed"):
            other.submit(ask).result()
