"""Views of the catalog in queries: what they say is run where they are named."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("duckdb")

from dolake.errors import LakeQueryError, LsnNotInLakeError
from dolake.query.lake_query import LakeQuery
from dolake.query.pending_rows import Pending
from fixtures.lake_tables import Lake, SourceModel, table_schema


def make_view(
    lake: Lake, name: str, *texts: tuple[str, str], columns: str = "id n", more: Any = None
) -> None:
    fields = [
        {"id": n, "name": column, "required": False, "type": "long"}
        for n, column in enumerate(columns.split(), 1)
    ]
    version = {
        "version-id": 1,
        "timestamp-ms": 1,
        "schema-id": 0,
        "summary": {},
        "default-namespace": ["shop"],
        "representations": [
            {"type": "sql", "dialect": dialect, "sql": sql} for dialect, sql in texts
        ],
        **(more or {}),
    }
    schema = {"type": "struct", "fields": fields}
    lake.registry.views.create_view(("shop", name), schema, version)


def rows_of(query: LakeQuery, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with query.run(sql, parameters) as result:
        return sorted(tuple(row.values()) for row in result.table().to_pylist())


@pytest.fixture
def filled(lake: Lake) -> Lake:
    source, tables = SourceModel(), lake.open()
    source.create("orders", "*id INTEGER", "n INTEGER")
    for lsn in range(1, 4):
        for number in range(lsn * 3):
            source.put("orders", {"id": number, "n": number * lsn})
        tables.stage(source.commit())
        if lsn != 2:
            tables.flush()
    return lake


def test_a_view_is_run_where_it_is_named(filled: Lake) -> None:
    query = LakeQuery(filled.registry)
    make_view(filled, "large", ("duckdb", "select id, n from orders where n > 12"))
    make_view(
        filled,
        "sums",
        ("spark", "select `id` from `orders`"),  # DuckDB cannot read this one
        ("duckdb", "with orders as (from large) select id % 2, sum(n) from orders group by 1"),
        columns="parity total",
    )
    assert rows_of(query, "select * from shop.large") == [(5, 15), (6, 18), (7, 21), (8, 24)]
    assert rows_of(query, "select parity, total from shop.sums") == [(0, 42), (1, 36)]
    assert rows_of(query, "select shop.large.n from shop.large where id = ?", 7) == [(21,)]
    joined = "select v.total from shop.orders o join shop.sums v on o.id = v.parity where o.id = 1"
    assert rows_of(query, joined) == [(36,)]
    assert rows_of(query, "with orders as (select 1 as id) select l.id from shop.large l, orders")
    [told] = query.explain("select * from shop.sums")
    assert told["table"] == ["shop", "orders"]
    assert rows_of(query, "select a from shop.large as v(a, b) where b = 15") == [(5,)]


def test_a_view_has_what_is_pending_and_can_be_read_as_of_a_moment(filled: Lake) -> None:
    make_view(filled, "large", ("duckdb", "select * from shop.orders where n > 12"))
    source, tables = SourceModel(), filled.open()
    source.lsn = 3
    source.schemas["orders"] = table_schema("orders", "*id INTEGER", "n INTEGER")
    source.tables["orders"] = {}
    source.put("orders", {"id": 100, "n": 1000})
    tables.stage(source.commit())
    query = LakeQuery(filled.registry, lambda name: Pending(*tables.pending(name[-1])))
    assert (100, 1000) in rows_of(query, "select * from shop.large")
    assert rows_of(query, "select * from shop.large as of lsn 1") == []
    assert len(rows_of(query, "select * from shop.large as of lsn 3")) == 4
    with pytest.raises(LsnNotInLakeError):
        rows_of(query, "select * from shop.large as of lsn 2")
    with pytest.raises(LakeQueryError, match=r"shop\.large has no snapshots"):
        rows_of(query, "select * from shop.large as of snapshot 5")


def test_names_in_a_view_are_those_of_its_catalog_and_namespace(filled: Lake) -> None:
    filled.registry.namespaces.create(("other",))
    make_view(
        filled,
        "few",
        ("duckdb", "select id, n from lake.shop.orders where id < 2"),
        more={"default-catalog": "lake", "default-namespace": ["other"]},
    )
    assert rows_of(LakeQuery(filled.registry), "from shop.few") == [(0, 0), (1, 3)]


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ([("spark", "select `id`, `n` from `orders`")], "cannot be read here .spark"),
        ([("duckdb", "select id, n from orders where n = ?")], "without parameters"),
        ([("duckdb", "select 1; select 2")], "one SELECT"),
        ([("duckdb", "insert into orders values (1, 2)")], "one SELECT"),
        ([("duckdb", "select id, n from bad")], "made of itself"),
        ([("duckdb", "select id, n from worse")], "made of itself"),
        ([("duckdb", "select * from read_text('/etc/hostname')")], "."),
        ([("duckdb", "select id, n from nowhere")], "no table 'shop.nowhere'"),
    ],
)
def test_a_view_that_cannot_be_run_says_why(
    filled: Lake, texts: list[tuple[str, str]], match: str
) -> None:
    make_view(filled, "bad", *texts)
    make_view(filled, "worse", ("duckdb", "from bad"))
    with pytest.raises(Exception, match=match) as raised:
        rows_of(LakeQuery(filled.registry), "select * from shop.bad")
    assert raised.type.__module__ == "dolake.errors"
