"""Events as Arrow record batches: the same rows, by column."""

from __future__ import annotations

import asyncio

import pytest

from dosql_core.errors import ChangeDecodeError

pa = pytest.importorskip("pyarrow")


@pytest.fixture
def stream_schema():
    return "create table t(id integer primary key, name text, size real, other)"


def test_a_batch_holds_the_rows_of_one_table(con, database):
    con.execute("begin")
    con.execute("insert into t values (1, 'ann', 5, x'00'), (2, 'bob', null, null)")
    con.execute("create table u(k text primary key)")
    con.execute("insert into u values ('x')")
    con.execute("commit")
    con.execute("update t set size = 6.5 where id = 1")
    con.execute("delete from t where id = 2")
    batches = list(database.changes.subscribe(1).record_batches(before=True))
    assert [(table, batch.num_rows) for table, batch in batches] == [("t", 4), ("u", 1)]
    batch = batches[0].batch
    assert batch.schema.field("name").type == pa.string()
    assert batch.to_pydict()["_dosql_operation"] == ["insert", "insert", "update", "delete"]
    assert batch.to_pydict()["size"] == [5.0, None, 6.5, None]
    assert batch.to_pydict()["_dosql_before"] == [
        None,
        None,
        {"id": 1, "name": "ann", "size": 5.0, "other": b"\x00"},
        {"id": 2, "name": "bob", "size": None, "other": None},
    ]
    events = [event for event in database.changes.subscribe(1, tables=["t"]) if event.key]
    for name, values in (
        ("_dosql_lsn", [event.lsn for event in events]),
        ("_dosql_index", [event.index for event in events]),
        ("_dosql_committed_at", [event.committed_at for event in events]),
    ):
        assert batch.to_pydict()[name] == values


def test_a_change_of_the_schema_begins_another_batch(con, database):
    con.execute("insert into t(id) values (1)")
    con.execute("alter table t add column more integer default 7")
    con.execute("insert into t(id) values (2)")
    batches = [batch for _, batch in database.changes.subscribe(1).record_batches()]
    assert [batch.num_rows for batch in batches] == [1, 1]
    assert "more" not in batches[0].schema.names
    assert batches[1].to_pydict()["more"] == [7]


def test_batches_are_about_as_large_as_asked(con, database):
    for number in range(25):
        con.execute("insert into t(id) values (?)", (number,))
    sizes = [batch.num_rows for _, batch in database.changes.subscribe(1).record_batches(10)]
    assert sizes == [10, 10, 5]


def test_values_of_several_types_need_a_type_that_holds_them(con, database):
    con.execute("insert into t(id, other) values (1, 'text'), (2, 5), (3, x'ff')")
    with pytest.raises(ChangeDecodeError, match="column 'other' of table 't'") as refused:
        list(database.changes.subscribe(1).record_batches())
    assert refused.value.code == "CDC_DECODE_ERROR"
    types = {"t.other": pa.string()}
    ((_, batch),) = database.changes.subscribe(1).record_batches(types=types)
    assert batch.to_pydict()["other"] == ["text", "5", "ff"]


def test_coroutines_read_batches_and_lose_nothing_when_they_stop_waiting(con, database):
    async def read():
        subscription = database.changes.subscribe(1, follow=True)
        batches = subscription.batches()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(batches), 0.05)
        con.execute("insert into t(id) values (1)")
        (event,) = await anext(batches)
        con.execute("insert into t(id) values (2)")
        table, batch = await anext(subscription.record_batches())
        subscription.close()
        return event.key, table, batch.to_pydict()["id"]

    assert asyncio.run(read()) == ({"id": 1}, "t", [2])
