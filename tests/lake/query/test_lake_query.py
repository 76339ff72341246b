"""Queries of the lake give what the source holds, now and as of any LSN, and read nothing else."""

from __future__ import annotations

import datetime
import decimal
import random
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pyarrow = pytest.importorskip("pyarrow")

from dolake.errors import (
    LakeQueryError,
    LakeQueryTimeoutError,
    LsnNotInLakeError,
    SnapshotNotFoundError,
    TableNotFoundError,
)
from dolake.query.lake_query import LakeQuery
from dolake.query.pending_rows import Pending
from dolake.query.query_result import QueryLimits
from fixtures.lake_tables import Lake, SourceModel

Rows = list[tuple[Any, ...]]


def rows_of(query: LakeQuery, sql: str, *parameters: Any, **limits: Any) -> Rows:
    with query.run(sql, parameters, limits=QueryLimits(**limits)) as result:
        return [tuple(row.values()) for row in result.table().to_pylist()]


def pending_of(tables: Any) -> Any:
    """What the writer has staged, as its server would give it to queries."""

    def pending(identifier: tuple[str, ...]) -> Pending | None:
        if identifier[-1] not in tables.tables:
            return None
        rows, keys = tables.pending(identifier[-1])
        return Pending(rows, keys, tables.mirror(identifier[-1]).staged.is_emptied)

    return pending


def expected(source: SourceModel, table: str, lsn: int, *columns: str) -> Rows:
    found = source.states[lsn].get(table, {}).values()
    return sorted((tuple(row[name] for name in columns) for row in found), key=repr)


@pytest.mark.parametrize("version", [2, 3])
def test_queries_give_what_the_source_holds_before_and_after_each_flush(
    lake: Lake, version: int, seeded_random: random.Random
) -> None:
    source = SourceModel()
    tables = lake.open(format_version=version, rows_per_file_max=40)
    query = LakeQuery(lake.registry, pending_of(tables))
    committed_only = LakeQuery(lake.registry)
    source.create("orders", "*id INTEGER", "name TEXT", "amount REAL")
    source.create("parts", "*a TEXT", "*b INTEGER", "n INTEGER")
    flushed = 0
    for round_ in range(8):
        for _ in range(30):
            key = seeded_random.randrange(100)
            if (key,) in source.tables["orders"] and seeded_random.random() < 0.4:
                source.delete("orders", key)
            else:
                row = {"id": key, "name": f"n{seeded_random.random()}", "amount": key / 4}
                source.put("orders", row)
            part = {"a": f"p{key % 5}", "b": key % 7, "n": round_}
            source.put("parts", part)
        tables.stage(source.commit())
        wanted = expected(source, "orders", source.lsn, "id", "name", "amount")
        if flushed:
            sql = "select id, name, amount from shop.orders"
            assert sorted(rows_of(query, sql), key=repr) == wanted
            assert sorted(rows_of(committed_only, sql), key=repr) == expected(
                source, "orders", flushed, "id", "name", "amount"
            )
            joined = rows_of(
                query, "select count(*), sum(p.n) from shop.orders o, shop.parts p where o.id = p.b"
            )
            state = source.states[source.lsn]
            pairs = [
                part["n"] for part in state["parts"].values() if (part["b"],) in state["orders"]
            ]
            assert joined == [(len(pairs), sum(pairs) if pairs else None)]
        if round_ % 2 == 0:
            tables.flush()
            flushed = source.lsn
            assert (
                sorted(
                    rows_of(committed_only, "from shop.orders select id, name, amount"), key=repr
                )
                == wanted
            )
    some_are_deleted = committed_only.explain("select * from shop.orders")[0]["deleted-rows"]
    assert some_are_deleted > 0  # or the test shows nothing of them


def test_a_table_as_of_an_lsn_is_the_sources_as_of_it(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    query = LakeQuery(lake.registry)
    source.create("orders", "*id INTEGER", "name TEXT")
    source.create("parts", "*id INTEGER")
    for number in range(1, 13):
        if number != 5 and number < 9:
            source.put("orders", {"id": number % 4, "name": str(number)})
        source.put("parts", {"id": number})
        tables.stage(source.commit())
        if number % 2 == 0:
            tables.flush()

    def as_of(lsn: int) -> Rows:
        return sorted(rows_of(query, f"select id, name from shop.orders as of lsn {lsn}"))

    for lsn in (2, 4, 6, 8):
        assert as_of(lsn) == expected(source, "orders", lsn, "id", "name")
    # Nothing of the table was flushed after 8: its state is known for all that came later.
    for lsn in (9, 10, 11, 12):
        assert as_of(lsn) == expected(source, "orders", lsn, "id", "name")
    # The snapshot of LSN 6 says that nothing of it is as old as 5.
    assert as_of(5) == expected(source, "orders", 5, "id", "name")
    for lsn in (1, 3, 7):
        with pytest.raises(LsnNotInLakeError, match=f"no state as of exactly LSN {lsn}; it has"):
            as_of(lsn)
    with pytest.raises(LsnNotInLakeError, match="up to LSN 12, not 13"):
        as_of(13)
    both = rows_of(
        query,
        "select o.name, p.name as past from shop.orders o "
        "join shop.orders as of lsn 2 p using (id) where o.id = 2",
    )
    assert both == [("6", "2")]


def test_moments_are_written_in_many_ways(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    query = LakeQuery(lake.registry)
    source.create("orders", "*id INTEGER", "name TEXT")
    source.put("orders", {"id": 1, "name": "old"})
    tables.stage(source.commit())
    tables.flush()
    metadata = lake.metadata("orders")
    snapshot = metadata["current-snapshot-id"]
    at = datetime.datetime.fromtimestamp(metadata["last-updated-ms"] / 1000, datetime.UTC)
    source.put("orders", {"id": 1, "name": "new"})
    source.alter("orders", "*id INTEGER", "label TEXT", renamed={"name": "label"})
    tables.stage(source.commit())
    tables.flush()
    assert rows_of(query, "select label from shop.orders") == [("new",)]
    for moment in (
        "as of lsn 1",
        "AS OF LSN 1",
        f"as of snapshot {snapshot}",
        f"for system_time as of snapshot {snapshot}",
        f"as of timestamp '{at.isoformat()}'",
        f"at (version => {snapshot})",
    ):
        for sql in (
            f"select name from shop.orders {moment}",
            f"select orders.name from orders {moment} where orders.id = 1",
            f"select shop.orders.name from shop.orders {moment}",
            f"with old as (select * from shop.orders {moment}) select name from old",
            f"select (select max(name) from shop.orders {moment})",
        ):
            assert rows_of(query, sql) == [("old",)], sql
    assert rows_of(query, "select o.name from shop.orders as of lsn 1 o") == [("old",)]
    assert rows_of(query, "select o.name from shop.orders as of lsn 1 as o") == [("old",)]
    assert rows_of(query, "select 'as of lsn 1' /* t as of lsn 1 */ -- t as of lsn 1") == [
        ("as of lsn 1",)
    ]
    assert rows_of(query, 'select "ü as of lsn 1" from (select 1 as "ü as of lsn 1")') == [(1,)]
    for wrong in ("snapshot 1", "tag 'v1'", "branch 'dev'", "timestamp '2001-01-01'"):
        with pytest.raises(SnapshotNotFoundError):
            rows_of(query, f"select * from shop.orders as of {wrong}")
    with pytest.raises(LakeQueryError, match="is no time"):
        rows_of(query, "select * from shop.orders as of timestamp 'noon'")


def test_files_that_cannot_hold_a_row_are_not_read(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open(partition_by={"orders": ("city", "bucket(4, id)")})
    query = LakeQuery(lake.registry)
    source.create("orders", "*id INTEGER", "city TEXT", "amount REAL", "day DATE")
    for step in range(4):
        for number in range(step * 50, step * 50 + 50):
            row = {"id": number, "city": "ab"[number % 2], "amount": number / 8}
            source.put("orders", {**row, "day": f"2024-01-{step + 1:02}"})
        tables.stage(source.commit())
        tables.flush()

    def told(condition: str) -> dict[str, Any]:
        [table] = query.explain(f"select * from shop.orders where {condition}")
        return table

    whole = told("true")
    assert whole["files"] == whole["files-read"] == 4 * 2 * 4
    for condition, most in {
        "city = 'a'": 16,
        "id = 17": 2,
        "id between 60 and 70": 8,
        "amount > 18.5 and city = 'b'": 5,
        "day = date '2024-01-03'": 8,
        "day < date '2024-01-02' or id in (199)": 32,  # an OR of columns is no filter of a scan
        "id in (3, 198)": 32,
        "amount is null": 0,
        "city = 'zebra'": 0,
        "lower(city) = 'a'": 32,
    }.items():
        found = told(condition)
        assert found["files-read"] <= most, condition
        left_out = found["left-out-by-partition"] + found["left-out-by-statistics"]
        assert left_out == found["files"] - found["files-read"]
        assert len(found["read"]) == found["files-read"]
    assert told("city = 'a'")["left-out-by-partition"] == 16
    # Conditions reach a table through a join, and each of two scans gets its own.
    [table] = query.explain(
        "select * from shop.orders a join shop.orders b on a.id = b.id where b.id = 17"
    )
    assert table["files-read"] <= 2
    [table] = query.explain(
        "select count(*) from shop.orders where id = 1 union all "
        "select count(*) from shop.orders where id = 199"
    )
    assert table["files-read"] <= 4


def test_pruning_never_changes_an_answer(lake: Lake, seeded_random: random.Random) -> None:
    source = SourceModel()
    tables = lake.open(partition_by={"t": ("bucket(3, n)", "truncate(1, s)")}, rows_per_file_max=10)
    query = LakeQuery(lake.registry)
    source.create("t", "*id INTEGER", "n INTEGER", "x REAL", "s TEXT", "d DATE", "m DECIMAL(9,2)")
    odd_texts = ["", "a", "b'c", "z" * 40, "ä", "\U0001f600" * 20, None, "a AND n<3", "id=5 OR id"]
    reals = [0.1, -1.5, float("inf"), None, 1e300, 2.0]
    for key in range(120):
        row: dict[str, Any] = {"id": key, "n": seeded_random.choice([None, -3, 0, 7, 2**40])}
        row |= {"x": seeded_random.choice(reals), "s": seeded_random.choice(odd_texts)}
        row |= {"d": f"2024-0{key % 9 + 1}-11", "m": f"{key}.25"}
        source.put("t", row)
        if key % 40 == 39:
            tables.stage(source.commit())
            tables.flush()
    everything = rows_of(query, "select * from shop.t")
    assert len(everything) == 120
    constants = {
        "id": ["5", "100", "-1"],
        "n": ["-3", "0", "3", f"{2**40}", "7.5"],
        "x": ["0.1", "2", "-1.5", "'inf'::double", "'nan'::double", "1e300"],
        "s": ["''", "'a'", "'b''c'", f"'{'z' * 40}'", "'ä'", "'a AND n<3'", "'zz'"],
        "d": ["date '2024-03-11'", "'2024-05-01'", "date '1999-01-01'"],
        "m": ["7.25", "7", "50.255"],
    }
    operators = ["=", "<", ">", "<=", ">=", "<>", "is not distinct from"]
    folder = lake.warehouse.folder
    assert folder is not None
    parquet = ", ".join(
        f"'{folder / lake.warehouse.path_of(url)}'"
        for url in query.explain("select * from shop.t")[0]["read"]
    )
    import duckdb

    pruned = 0
    with duckdb.connect() as whole:
        whole.execute(f"create table t as from read_parquet([{parquet}])")
        for _ in range(40):
            parts = []
            for _ in range(seeded_random.randrange(1, 4)):
                column = seeded_random.choice(list(constants))
                chosen = seeded_random.choice(constants[column])
                parts.append(
                    seeded_random.choice(
                        [
                            f"{column} {seeded_random.choice(operators)} {chosen}",
                            f"{chosen} {seeded_random.choice(operators[:5])} {column}",
                            f"{column} in ({', '.join(constants[column][:2])})",
                            f"{column} is {seeded_random.choice(['', 'not '])}null",
                            f"{column} between {constants[column][0]} and {chosen}",
                            f"not {column} = {chosen}",
                        ]
                    )
                )
            condition = seeded_random.choice([" and ", " or ", " and "]).join(parts)
            answer = rows_of(query, f"select count(*), sum(id) from shop.t where {condition}")
            wanted = whole.execute(f"select count(*), sum(id) from t where {condition}").fetchall()
            assert answer == wanted, condition
            [told] = query.explain(f"select * from shop.t where {condition}")
            pruned += told["files"] - told["files-read"]
    assert pruned > 0


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('{secret}')",
        "select * from read_text('{secret}')",
        "select * from '{secret}'",
        "select * from read_parquet('{secret}')",
        "select * from glob('{folder}/*')",
        "select * from read_json_auto('{secret}')",
        "select * from read_blob('{secret}')",
        "select * from sniff_csv('{secret}')",
        "select (select max(content) from read_text('{secret}'))",
        "with x as (from read_csv('{secret}')) from x",
        "select * from query('from read_csv(''{secret}'')')",
        "select * from read_csv('http://127.0.0.1:1/x')",
        "copy (select 1) to '{folder}/written'",
        "attach '{folder}/other.db'",
        "create table shop.mine(a int)",
        "insert into shop.orders values (1)",
        "delete from shop.orders",
        "set enable_external_access = true",
        "pragma database_list",
        "install httpfs",
        "load httpfs",
        "call pragma_version()",
        "export database '{folder}/written'",
        "select 1; select 2",
        "",
        ";",
        "nonsense",
        "select * from shop.orders where",
        "select getenv('HOME')",
        "select * from rows",
        "select * from sql",
    ],
)
def test_a_query_reads_the_lake_and_nothing_else(lake: Lake, tmp_path: Path, sql: str) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("orders", "*id INTEGER")
    source.put("orders", {"id": 1})
    tables.stage(source.commit())
    tables.flush()
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n", "utf-8")
    rows = pyarrow.table({"a": [1]})  # a variable that DuckDB would find, were it let
    assert rows.num_rows
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises((LakeQueryError, TableNotFoundError)):
        rows_of(LakeQuery(lake.registry), sql.format(secret=secret, folder=tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert rows_of(LakeQuery(lake.registry), "select * from shop.orders") == [(1,)]


def test_a_query_ends_at_its_limits(lake: Lake) -> None:
    query = LakeQuery(lake.registry)
    with pytest.raises(LakeQueryTimeoutError, match=r"more than 0\.5 seconds"):
        rows_of(
            query,
            "select sum(a.range + b.range) from range(10000000) a, range(10000000) b",
            seconds_max=0.5,
        )
    with query.run("select range from range(100000)", limits=QueryLimits(rows_max=7)) as result:
        assert result.table().column(0).to_pylist() == list(range(7))
        assert result.is_cut
    with query.run("select range from range(7)", limits=QueryLimits(rows_max=7)) as result:
        assert result.table().num_rows == 7 and not result.is_cut
    with pytest.raises(LakeQueryError, match=r"[Mm]emory"):
        rows_of(
            query,
            "select list(range) from range(10000000)",
            memory_bytes_max=20 << 20,
        )


def test_queries_of_many_threads_do_not_disturb_one_another(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("orders", "*id INTEGER", "n INTEGER")
    for number in range(20):
        source.put("orders", {"id": number, "n": number * number})
    tables.stage(source.commit())
    tables.flush()
    query = LakeQuery(lake.registry)
    wrong: list[Any] = []

    def ask(first: int) -> None:
        try:
            for number in range(first, 20, 4):
                sql = "select n from shop.orders where id = ?"
                if (found := rows_of(query, sql, number)) != [(number * number,)]:
                    wrong.append((number, found))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_values_and_parameters_come_as_they_are(lake: Lake) -> None:
    query = LakeQuery(lake.registry)
    given = (1, "x", None, 2.5, b"\x00\xff", decimal.Decimal("1.50"))
    assert rows_of(query, "select ?, ?, ?, ?, ?, ?", *given) == [given]
    assert rows_of(query, "select $1 + $1", 4) == [(8,)]


def test_a_foreign_engines_table_is_queried_with_its_deletes_and_schemas(
    lake: Lake, tmp_path: Path
) -> None:
    pyiceberg = pytest.importorskip("pyiceberg.catalog.rest")
    from dolake.catalog.rest_routes import catalog_application
    from fixtures.catalog_server import served

    query = LakeQuery(lake.registry)
    with served(catalog_application(lake.registry)) as url:
        catalog = pyiceberg.RestCatalog("lake", uri=url)
        catalog.create_namespace("own")
        schema = pyarrow.schema([("id", pyarrow.int32()), ("name", pyarrow.string())])
        table = catalog.create_table("own.t", schema)
        batch = {"id": pyarrow.array([1, 2, 3], pyarrow.int32()), "name": ["a", "b", "c"]}
        table.append(pyarrow.table(batch))
        first = table.current_snapshot().snapshot_id
        table.delete("id = 2")
        with table.update_schema() as update:
            from pyiceberg.types import DoubleType, LongType

            update.update_column("id", LongType())
            update.rename_column("name", "label")
            update.add_column("more", DoubleType())
        table.append(pyarrow.table({"id": [2**40], "label": ["d"], "more": [0.5]}))
        table.manage_snapshots().create_tag(first, "v1").commit()
    sql = "select id, label, more from own.t order by id"
    assert rows_of(query, sql) == [(1, "a", None), (3, "c", None), (2**40, "d", 0.5)]
    past = "select id, name from own.t as of tag 'v1' order by id"
    assert rows_of(query, past) == [(1, "a"), (2, "b"), (3, "c")]
    assert rows_of(query, "select id from own.t where id > 5") == [(2**40,)]


def test_files_without_field_ids_are_refused_and_not_read_as_null(
    lake: Lake, tmp_path: Path
) -> None:
    pyiceberg = pytest.importorskip("pyiceberg.catalog.rest")
    import pyarrow.parquet

    from dolake.catalog.rest_routes import catalog_application
    from fixtures.catalog_server import served

    added = lake.warehouse.folder
    assert added is not None
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2]}), added / "added.parquet")
    with served(catalog_application(lake.registry)) as url:
        catalog = pyiceberg.RestCatalog("lake", uri=url)
        catalog.create_namespace("own")
        table = catalog.create_table("own.t", pyarrow.schema([("id", pyarrow.int64())]))
        table.append(pyarrow.table({"id": [3]}))
        table.add_files([f"file://{added}/added.parquet"])
    query = LakeQuery(lake.registry)
    with pytest.raises(LakeQueryError, match="have no field ids"):
        rows_of(query, "select * from own.t")
    assert rows_of(query, "select * from own.t where id = 3") == [(3,)]


@pytest.mark.parametrize("others", [(), ("k", "é")])
def test_a_pending_row_replaces_that_whose_key_is_text_but_no_unicode(
    lake: Lake, others: tuple[str, ...]
) -> None:
    odd, gone = "\udcff", "a\udcfe"
    source, tables = SourceModel(), lake.open()
    query = LakeQuery(lake.registry, pending_of(tables))
    source.create("t", "*a/~k TEXT", "n INTEGER")
    for key in ("kept", odd, gone, *others):
        source.put("t", {"a/~k": key, "n": 1})
    tables.stage(source.commit())
    counted = "select n, count(*) from shop.t group by n order by n"
    assert rows_of(query, counted) == [(1, 3 + len(others))]
    tables.flush()
    for key in (odd, *others):
        source.put("t", {"a/~k": key, "n": 2})
    source.delete("t", gone)
    tables.stage(source.commit())
    assert rows_of(query, counted) == [(1, 1), (2, 1 + len(others))]
    tables.flush()
    assert rows_of(query, counted) == [(1, 1), (2, 1 + len(others))]


def test_a_query_beside_a_writer_sees_whole_commits(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    lock = threading.Lock()
    pending = pending_of(tables)

    def locked(identifier: tuple[str, ...]) -> Pending | None:
        with lock:
            found: Pending | None = pending(identifier)
            return found

    source.create("a", "*id INTEGER", "n INTEGER")
    source.put("a", {"id": 1, "n": 0})
    source.put("a", {"id": 2, "n": 0})
    tables.stage(source.commit())
    tables.flush()
    query = LakeQuery(lake.registry, locked)
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        last = 0
        while not done.is_set():
            ((first, second),) = rows_of(query, "select min(n), max(n) from shop.a")
            if first != second or first < last:
                failures.append(f"{first} and {second} after {last}")
            last = first

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(1, 25):
        with lock:
            source.put("a", {"id": 1, "n": number})
            source.put("a", {"id": 2, "n": number})
            tables.stage(source.commit())
        if number % 3 == 0:
            with lock:
                tables.flush()
    done.set()
    thread.join()
    assert failures == []
