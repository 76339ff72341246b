"""The asynchronous connection: aiosqlite's shape, our additions, what a cancelled task leaves."""

from __future__ import annotations

import asyncio
import functools
import threading
import time

import pytest

import dosql_dbapi
from dosql_dbapi import aio
from fixtures.programs import run_program

PATIENCE_SECONDS = 60  # only a broken driver waits this long for one thing,
STORY_SECONDS = 300  # and so long for all
ENDLESS = (
    "with recursive n(i) as (select began() union all select i + 1 from n) select max(i) from n"
)


def story(test):
    """Run a coroutine as a test, with an end to its patience."""

    @functools.wraps(test)
    def run(*arguments, **options):
        asyncio.run(asyncio.wait_for(test(*arguments, **options), STORY_SECONDS))

    return run


async def numbered(path, count, **options):
    """A connection to a new database with a table of the numbers 0 to count - 1."""
    con = await aio.connect(path, timeout=PATIENCE_SECONDS, **options)
    await con.execute("create table t(n integer)")
    await con.executemany("insert into t values (?)", [(n,) for n in range(count)])
    await con.commit()
    return con


class Gate:
    """A SQL function that holds the connection's thread until it is let go."""

    def __init__(self):
        self.is_reached = threading.Event()
        self.is_open = threading.Event()

    def pass_through(self):
        self.is_reached.set()
        self.is_open.wait(PATIENCE_SECONDS)
        return 1

    async def reached(self):
        await asyncio.get_running_loop().run_in_executor(None, self.is_reached.wait)


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 1000])
@story
async def test_every_way_of_fetching_gives_every_row_once_and_in_order(database_path, chunk_size):
    con = await numbered(database_path, 100, iter_chunk_size=chunk_size)
    cursor = await con.execute("select n from t order by n")
    rows = [await cursor.fetchone(), *await cursor.fetchmany(10), *await cursor.fetchmany()]
    async for row in cursor:
        rows.append(row)
        if len(rows) == 50:
            break
    rows += await cursor.fetchall()
    assert rows == [(n,) for n in range(100)]
    assert await cursor.fetchone() is None
    assert await cursor.fetchall() == []
    await con.close()


@story
async def test_a_row_that_fails_is_raised_by_the_fetch_and_not_by_execute(database_path):
    con = await numbered(database_path, 5)
    await con.create_function("even", 1, lambda n: n if n % 2 == 0 else 1 // 0)
    cursor = await con.execute("select even(n) from t")
    with pytest.raises(aio.OperationalError, match="user-defined function raised exception"):
        await cursor.fetchall()
    await con.close()


@story
async def test_rows_of_returning_come_out_and_the_write_is_done(database_path):
    con = await numbered(database_path, 3, isolation_level=None, iter_chunk_size=1)
    async with con.execute("update t set n = n + 10 returning n") as cursor:
        assert cursor.rowcount == 3
        assert await cursor.fetchone() == (10,)
    assert await con.execute_fetchall("select sum(n) from t") == [(33,)]
    await con.close()


@story
async def test_a_row_factory_set_later_makes_the_rows_that_are_left(database_path):
    con = await numbered(database_path, 4, iter_chunk_size=2)
    cursor = await con.execute("select n from t order by n")
    cursor.row_factory = aio.Row
    assert [row["n"] async for row in cursor] == [0, 1, 2, 3]
    await con.close()


@story
async def test_an_unfinished_result_that_is_dropped_does_not_hold_its_snapshot(database_path):
    con = await numbered(database_path, 100, iter_chunk_size=5, isolation_level=None)
    cursor = await con.execute("select n from t")
    assert con._worker.unfinished_count == 1
    del cursor
    await con.execute("drop table t")  # refused while a statement reads it
    assert con._worker.unfinished_count == 0
    await con.close()


@story
async def test_tasks_may_share_a_connection(database_path):
    con = await numbered(database_path, 0)
    await asyncio.gather(*[con.execute("insert into t values (?)", (n,)) for n in range(50)])
    await con.commit()
    assert con.total_changes == 50
    assert await con.execute_fetchall("select count(*) from t") == [(50,)]
    assert (await con.execute_insert("insert into t values (7)"))[0] == 51
    assert con.in_transaction
    await con.close()


@story
async def test_settings_and_callbacks_reach_the_connection():
    class Sum:
        total = 0

        def step(self, value):
            self.total += value

        def inverse(self, value):
            self.total -= value

        def value(self):
            return self.total

        finalize = value

    seen: list[str] = []
    async with aio.connect(":memory:") as con:
        await con.executescript("create table t(n); insert into t values (1), (2), (3)")
        await con.create_aggregate("added", 1, Sum)
        await con.create_window_function("running", 1, Sum)
        await con.create_collation("backwards", lambda a, b: (a < b) - (a > b))
        await con.set_trace_callback(seen.append)
        assert await con.execute_fetchall("select added(n) from t") == [(6,)]
        assert seen == ["select added(n) from t"]
        await con.set_trace_callback(None)
        sql = "select running(n) over (order by n rows 1 preceding) from t"
        assert await con.execute_fetchall(sql) == [(1,), (3,), (5,)]
        sql = "select column1 from (values ('a'), ('b')) order by 1 collate backwards"
        assert await con.execute_fetchall(sql) == [("b",), ("a",)]
        await con.set_progress_handler(lambda: 1, 1)
        with pytest.raises(aio.OperationalError, match="interrupted"):
            await con.execute("select n from t")
        await con.set_progress_handler(None, 1)
        await con.set_authorizer(lambda *_asked: dosql_dbapi.SQLITE_DENY)
        with pytest.raises(aio.DatabaseError, match="not authorized"):
            await con.execute("select n from t")
        await con.set_authorizer(None)
        con.text_factory = bytes
        assert await con.execute_fetchall("select 'x'") == [(b"x",)]
        con.row_factory = aio.Row
        cursor = await con.cursor()
        assert (await (await cursor.execute("select 7 as n")).fetchone())["n"] == 7
        assert (con.text_factory, con.row_factory, cursor.row_factory) == (bytes, aio.Row, aio.Row)


@story
async def test_setting_no_isolation_level_commits(database_path):
    con = await numbered(database_path, 0)
    await con.execute("insert into t values (1)")
    con.isolation_level = None
    assert con.isolation_level is None
    await con.execute("insert into t values (2)")
    assert not con.in_transaction
    with pytest.raises(ValueError, match="isolation_level"):
        con.isolation_level = "SOMETIMES"
    await con.close()
    async with aio.connect(database_path) as con:
        assert await con.execute_fetchall("select n from t") == [(1,), (2,)]


@story
async def test_what_fails_while_nobody_waits_is_reported(monkeypatch):
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    async with aio.connect(":memory:") as con:
        await con.execute("pragma foreign_keys = on")
        await con.execute("create table owner(id integer primary key)")
        await con.execute("create table pet(o references owner deferrable initially deferred)")
        await con.execute("insert into pet values (7)")
        con.isolation_level = None  # commits, in the thread
        await con.rollback()
    assert [type(told.exc_value) for told in reported] == [aio.IntegrityError]


@story
async def test_a_cursor_is_used_again_and_keeps_its_lastrowid(database_path):
    con = await numbered(database_path, 3, iter_chunk_size=1)
    async with con.cursor() as cursor:
        assert (cursor.lastrowid, cursor.rowcount, cursor.description) == (None, -1, None)
        await cursor.executemany("insert into t values (?)", [(7,), (8,)])
        assert cursor.rowcount == 2
        await cursor.execute("insert into t values (9)")
        await cursor.execute("select n from t")
        assert (cursor.lastrowid, cursor.connection) == (6, con)
        cursor.arraysize = 2
        assert len(await cursor.fetchmany()) == 2
        assert len(await cursor.fetchmany(-1)) == 4
        await cursor.executescript("insert into t values (1); insert into t values (2)")
        assert await cursor.fetchone() is None
    await con.rollback()
    await con.close()


# -- cancelling ------------------------------------------------------------------------------------


@story
async def test_cancelling_a_task_interrupts_its_statement(database_path):
    con = await numbered(database_path, 3)
    gate = Gate()
    gate.is_open.set()
    await con.create_function("began", 0, gate.pass_through)
    endless = asyncio.create_task(con.execute(ENDLESS))
    await gate.reached()
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    assert await con.execute_fetchall("select count(*) from t") == [(3,)]
    await con.close()


@story
async def test_cancelling_leaves_results_that_are_half_read_alone(database_path):
    con = await numbered(database_path, 100, iter_chunk_size=5)
    gate = Gate()
    gate.is_open.set()
    await con.create_function("began", 0, gate.pass_through)
    half_read = await con.execute("select n from t order by n")
    endless = asyncio.create_task(con.execute(ENDLESS))
    await gate.reached()
    endless.cancel()
    assert await half_read.fetchall() == [(n,) for n in range(100)]
    await con.close()


@story
async def test_a_cancelled_call_that_waits_in_the_queue_never_runs(database_path):
    con = await numbered(database_path, 0, isolation_level=None)
    gate = Gate()
    await con.create_function("began", 0, gate.pass_through)
    first = asyncio.create_task(con.execute("select began()"))
    await gate.reached()
    second = asyncio.create_task(con.execute("insert into t values (1)"))
    await asyncio.sleep(0)
    second.cancel()
    gate.is_open.set()
    await first
    assert await con.execute_fetchall("select count(*) from t") == [(0,)]
    await con.close()


@story
async def test_a_write_cancelled_while_it_waits_for_its_turn_does_not_happen(database_path):
    con = await numbered(database_path, 0, isolation_level=None)
    other = await aio.connect(database_path, isolation_level=None)
    await other.execute("begin immediate")
    waiting = asyncio.create_task(con.execute("insert into t values (1)"))
    while con._worker._running is None:
        await asyncio.sleep(0.001)
    waiting.cancel()
    await asyncio.sleep(0)
    await other.execute("commit")
    assert await con.execute_fetchall("select count(*) from t") == [(0,)]
    await con.execute("insert into t values (2)")  # the turn was given back
    await other.close()
    await con.close()


@story
async def test_whatever_is_cancelled_transactions_stay_whole(database_path, seeded_random):
    connections = [await numbered(database_path, 0)]
    connections += [await aio.connect(database_path, timeout=60) for _ in range(2)]
    turns = [asyncio.Lock() for _ in connections]

    async def transfer(number):
        place = number % len(connections)
        async with turns[place], connections[place].transaction() as con:
            await con.execute("insert into t values (?)", (number,))
            await asyncio.sleep(0)
            await con.execute("insert into t values (?)", (-number,))

    tasks = [asyncio.create_task(transfer(number)) for number in range(1, 121)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(seeded_random.random() / 500)
        seeded_random.choice(tasks).cancel()
    done = [not task.cancelled() for task in tasks]
    for con in connections:  # the end of a transaction that was cancelled twice may come later
        await con.execute_fetchall("select 1")
    assert not any(con.in_transaction for con in connections)
    rows = await connections[0].execute_fetchall(
        "select abs(n), count(*), sum(n) from t group by 1"
    )
    # What was cancelled while its COMMIT ran may be there; what was not cancelled must be.
    assert all((count, total) == (2, 0) for _number, count, total in rows)
    assert {number for number, is_done in enumerate(done, 1) if is_done} <= {row[0] for row in rows}
    for con in connections:
        await con.execute("insert into t values (0)")
        await con.commit()
        await con.close()


# -- transactions and history ----------------------------------------------------------------------


@story
async def test_a_transaction_commits_at_its_end_with_author_and_message(database_path):
    con = await numbered(database_path, 0)
    async with con.transaction(author="ada", message="first") as inside:
        assert inside is con
        await con.execute("insert into t values (1)")
        assert con.in_transaction
    assert not con.in_transaction
    log = "select author, message from dosql_log order by lsn desc limit 1"
    assert await con.execute_fetchall(log) == [("ada", "first")]
    await con.close()


@story
async def test_a_transaction_that_raises_is_rolled_back_and_an_inner_one_alone(database_path):
    con = await numbered(database_path, 0)
    async with con.transaction():
        await con.execute("insert into t values (1)")
        with pytest.raises(LookupError):
            async with con.transaction():
                await con.execute("insert into t values (2)")
                raise LookupError
    with pytest.raises(LookupError):
        async with con.transaction():
            await con.execute("insert into t values (3)")
            raise LookupError
    assert await con.execute_fetchall("select n from t") == [(1,)]
    await con.close()


@story
async def test_a_cancelled_transaction_is_rolled_back(database_path):
    con = await numbered(database_path, 0)
    is_inside = asyncio.Event()

    async def stay_inside():
        async with con.transaction():
            await con.execute("insert into t values (1)")
            is_inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay_inside())
    await is_inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not con.in_transaction
    assert await con.execute_fetchall("select count(*) from t") == [(0,)]
    await con.close()


@story
async def test_a_transaction_cancelled_while_it_begins_is_not_left_open(database_path):
    con = await numbered(database_path, 0)
    transaction = con.transaction()
    entering = asyncio.create_task(transaction.__aenter__())
    await asyncio.sleep(0)
    while not con._worker.in_transaction:
        time.sleep(0.001)  # the loop stands still, so that the task does not learn of it
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    await con.execute_fetchall("select 1")
    assert not con.in_transaction
    await con.close()


@story
async def test_the_end_of_a_transaction_comes_even_when_nobody_waits_for_it(database_path):
    con = await numbered(database_path, 0)
    gate = Gate()
    await con.create_function("began", 0, gate.pass_through)

    async def insert():
        async with con.transaction():
            await con.execute("insert into t values (1)")
            others.append(asyncio.create_task(con.execute("select began()")))
            await gate.reached()

    others: list[asyncio.Task] = []
    task = asyncio.create_task(insert())
    await gate.reached()
    while con._tx.empty():  # until the end of the transaction waits behind the other statement
        await asyncio.sleep(0.001)
    task.cancel()
    gate.is_open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await others[0]
    assert await con.execute_fetchall("select count(*) from t") == [(1,)]
    assert not con.in_transaction
    await con.close()


@story
async def test_branches_and_moments_are_there_for_coroutines(database_path):
    con = await numbered(database_path, 2)
    lsn = await con.lsn()
    await con.execute("create branch dev")
    async with aio.connect(database_path, branch="dev") as dev:
        assert await dev.branch() == "dev"
        await dev.execute("delete from t")
        await dev.commit()
    async with aio.connect(database_path, as_of=lsn) as past:
        assert await past.as_of() == lsn
        assert await past.execute_fetchall("select count(*) from t") == [(2,)]
    assert "SCAN t" in await con.explain("select * from t")
    assert await con.run(dosql_dbapi.Connection.getlimit, dosql_dbapi.SQLITE_LIMIT_ATTACHED) > 0
    await con.close()


@story
async def test_waiting_for_an_lsn_leaves_the_connection_usable(database_path):
    con = await numbered(database_path, 0)
    lsn = await con.lsn()
    waiting = asyncio.create_task(con.wait_for(lsn + 1, PATIENCE_SECONDS))
    await con.execute("insert into t values (1)")
    await con.commit()
    assert await waiting == lsn + 1
    with pytest.raises(aio.OperationalError, match="did not come"):
        await con.wait_for(lsn + 9, 0.01)
    await con.close()


@story
async def test_a_dump_and_a_backup_make_the_same_database(database_path):
    con = await numbered(database_path, 200)
    async with aio.connect(":memory:") as copy, aio.connect(":memory:") as written:
        await con.backup(copy)
        await written.executescript("\n".join([line async for line in con.iterdump()]))
        for other in (copy, written):
            assert await other.execute_fetchall("select sum(n) from t") == [(19900,)]
    await con.close()


# -- ends ------------------------------------------------------------------------------------------


@story
async def test_a_closed_connection_refuses_with_both_libraries_errors(database_path):
    con = await numbered(database_path, 1)
    cursor = await con.execute("select n from t")
    await con.close()
    await con.close()
    with pytest.raises(ValueError, match="Connection closed"):
        await cursor.fetchone()
    with pytest.raises(aio.ProgrammingError) as raised:
        await con.execute("select 1")
    assert raised.value.code == "DB_CLOSED"


@story
async def test_an_error_of_opening_is_raised_and_ends_the_thread(tmp_path):
    con = aio.connect(tmp_path / "nowhere" / "app.db")
    with pytest.raises(aio.OperationalError, match="unable to open database"):
        await con
    con._thread.join(PATIENCE_SECONDS)
    assert not con._thread.is_alive()


def test_the_interpreter_ends_with_connections_open_and_keeps_what_was_committed(database_path):
    run_program(
        """
        import asyncio, sys
        from dosql_dbapi import aio

        async def main():
            global left_open
            left_open = await aio.connect(sys.argv[1])
            await left_open.execute("create table t(n)")
            await left_open.execute("insert into t values (1)")
            await left_open.commit()
            await left_open.execute("insert into t values (2)")

        asyncio.run(main())
        """,
        database_path,
    )
    con = dosql_dbapi.connect(database_path)
    assert con.execute("select n from t").fetchall() == [(1,)]
    con.close()


def test_use_after_fork_is_refused_instead_of_waiting_for_a_thread_that_is_gone(database_path):
    told = run_program(
        """
        import asyncio, os, sys
        from dosql_dbapi import aio

        async def main():
            con = await aio.connect(sys.argv[1])
            child = os.fork()
            if child == 0:
                try:
                    await con.execute("select 1")
                except aio.ProgrammingError as error:
                    os.write(1, error.code.encode())
                os._exit(0)
            os.waitpid(child, 0)
            await con.close()

        asyncio.run(main())
        """,
        database_path,
    )
    assert told == "DB_FORKED"
