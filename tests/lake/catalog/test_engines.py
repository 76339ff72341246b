"""Engines of others work with tables through the catalog, and see what the others wrote."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyiceberg")

from fixtures.catalog_server import CatalogServer, catalog_served
from fixtures.http_calls import HttpClient
from fixtures.lake_engines import attach, duckdb_with_iceberg, rest_catalog, run_in_sail
from fixtures.servers import SECRET_ACCESS_KEY, S3Server

# Libraries of theirs warn of their own deprecations.
pytestmark = pytest.mark.filterwarnings("default")
SCHEMA = pyarrow.schema([("id", pyarrow.int64()), ("name", pyarrow.string())])


def rows(**columns: list[Any]) -> Any:
    return pyarrow.table(columns)


def read(table: Any, **scan: Any) -> list[tuple[Any, ...]]:
    """What pyiceberg reads, in order."""
    found = table.scan(**scan).to_arrow().to_pylist()
    return sorted((tuple(row.values()) for row in found), key=repr)


def test_pyiceberg_appends_overwrites_deletes_and_changes_the_schema(
    catalog_server: CatalogServer,
) -> None:
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", SCHEMA)
    table.append(rows(id=[1, 2, 3], name=["a", "b", "c"]))
    first = table.current_snapshot().snapshot_id
    table.overwrite(rows(id=[2], name=["B"]), overwrite_filter="id = 2")
    table.delete("id = 3")
    from pyiceberg.types import IntegerType

    with table.update_schema() as update:
        update.add_column("amount", IntegerType())
        update.rename_column("name", "label")
    with table.update_spec() as spec:
        spec.add_identity("label")
    table.append(
        pyarrow.table(
            {
                "id": [4],
                "label": ["d"],
                "amount": pyarrow.array([5], pyarrow.int32()),
            }
        )
    )
    loaded = catalog.load_table("shop.orders")
    assert read(loaded) == [(1, "a", None), (2, "B", None), (4, "d", 5)]
    assert read(loaded, snapshot_id=first) == [(1, "a"), (2, "b"), (3, "c")]


def test_pyiceberg_makes_and_drops_branches_and_tags(catalog_server: CatalogServer) -> None:
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", SCHEMA)
    table.append(rows(id=[1], name=["a"]))
    snapshot = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_branch(snapshot, "dev").create_tag(snapshot, "v1").commit()
    table.append(rows(id=[2], name=["b"]), branch="dev")
    table.append(rows(id=[3], name=["c"]))
    refs = catalog_server.registry.load_table(("shop", "orders")).metadata["refs"]
    assert {name: ref["type"] for name, ref in refs.items()} == {
        "main": "branch",
        "dev": "branch",
        "v1": "tag",
    }
    assert [row[0] for row in read(table, snapshot_id=refs["dev"]["snapshot-id"])] == [1, 2]
    assert [row[0] for row in read(table)] == [1, 3]
    table.manage_snapshots().remove_branch("dev").remove_tag("v1").commit()
    refs = catalog_server.registry.load_table(("shop", "orders")).metadata["refs"]
    assert list(refs) == ["main"]


def test_a_table_staged_with_rows_appears_with_them(catalog_server: CatalogServer) -> None:
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    with catalog.create_table_transaction("shop.orders", SCHEMA) as transaction:
        transaction.append(rows(id=[1], name=["a"]))
        assert not catalog.table_exists("shop.orders")
    assert read(catalog.load_table("shop.orders")) == [(1, "a")]


def test_duckdb_creates_inserts_updates_and_deletes(
    catalog_server: CatalogServer, pytestconfig: pytest.Config
) -> None:
    with duckdb_with_iceberg(pytestconfig) as duck:
        attach(duck, catalog_server.url)
        duck.execute("create schema lake.shop")
        duck.execute("create table lake.shop.orders(id bigint, name varchar)")
        duck.execute("insert into lake.shop.orders values (1, 'a'), (2, 'b'), (3, 'c')")
        duck.execute("create table lake.shop.numbers as select range as n from range(1000)")
        duck.execute("update lake.shop.orders set name = 'B' where id = 2")
        duck.execute("delete from lake.shop.orders where id = 1")
        duck.execute("alter table lake.shop.orders add column amount integer")
        found = duck.execute("select * from lake.shop.orders order by id").fetchall()
        assert found == [(2, "B", None), (3, "c", None)]
        duck.execute("begin")
        duck.execute("insert into lake.shop.orders(id) values (4)")
        duck.execute("insert into lake.shop.numbers values (-1)")
        lsn = catalog_server.registry.lsn
        duck.execute("commit")
        assert catalog_server.registry.lsn == lsn + 1  # both tables in one commit
        duck.execute("drop table lake.shop.numbers")
    catalog = rest_catalog(catalog_server.url)
    assert read(catalog.load_table("shop.orders")) == [
        (2, "B", None),
        (3, "c", None),
        (4, None, None),
    ]
    assert catalog.list_tables("shop") == [("shop", "orders")]


def test_duckdb_attaches_the_lake_as_it_was(
    catalog_server: CatalogServer, pytestconfig: pytest.Config
) -> None:
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", SCHEMA)
    table.append(rows(id=[1], name=["a"]))
    lsn = catalog_server.registry.lsn
    table.append(rows(id=[2], name=["b"]))
    catalog.create_table("shop.later", SCHEMA)
    with duckdb_with_iceberg(pytestconfig) as duck:
        attach(duck, catalog_server.url)
        attach(duck, catalog_server.url, "past", f"lsn:{lsn}")
        joined = duck.execute(
            "select now.id, past.id from lake.shop.orders now "
            "left join past.shop.orders past using (id) order by now.id"
        ).fetchall()
        assert joined == [(1, 1), (2, None)]
        shown = duck.execute("select database_name, table_name from duckdb_tables()").fetchall()
        assert ("past", "orders") in shown and ("past", "later") not in shown
        with pytest.raises(Exception, match="takes no changes"):
            duck.execute("insert into past.shop.orders values (3, 'c')")


def test_polars_and_sail_read_what_pyiceberg_and_duckdb_wrote(
    catalog_server: CatalogServer, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    polars = pytest.importorskip("polars")
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", SCHEMA)
    table.append(rows(id=[1, 2], name=["a", "b"]))
    with duckdb_with_iceberg(pytestconfig) as duck:
        attach(duck, catalog_server.url)
        duck.execute("delete from lake.shop.orders where id = 1")
        duck.execute("insert into lake.shop.orders values (3, 'c')")
    frame = polars.scan_iceberg(catalog.load_table("shop.orders")).sort("id").collect()
    assert frame.rows() == [(2, "b"), (3, "c")]
    found = run_in_sail(
        pytestconfig,
        catalog_server.url,
        [
            "select id, name from lake.shop.orders order by id",
            "insert into lake.shop.orders values (4, 'd')",
            "select count(*) from lake.shop.orders",
        ],
        tmp_path,
    )
    assert [found[0], found[2]] == [[(2, "b"), (3, "c")], [(3,)]]
    assert read(catalog.load_table("shop.orders")) == [(2, "b"), (3, "c"), (4, "d")]


def test_a_token_lets_every_engine_in(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    with catalog_served(tmp_path, tokens=frozenset({"secret"})) as server:
        catalog = rest_catalog(server.url, token="secret")
        catalog.create_namespace("shop")
        catalog.create_table("shop.orders", SCHEMA).append(rows(id=[1], name=["a"]))
        with duckdb_with_iceberg(pytestconfig) as duck:
            duck.execute("create secret lake_token (type iceberg, token 'secret')")
            duck.execute(
                f"attach '' as lake (type iceberg, endpoint '{server.url}', secret lake_token)"
            )
            assert duck.execute("select * from lake.shop.orders").fetchall() == [(1, "a")]
        statement = "select * from lake.shop.orders"
        found = run_in_sail(
            pytestconfig, server.url, [statement], tmp_path, bearer_access_token="secret"
        )
        assert found == [[(1, "a")]]


def test_clients_get_the_keys_of_a_bucket_where_they_may(
    tmp_path: Path,
    s3_server: S3Server,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dolake.warehouse import Warehouse

    for name in s3_server.environment:
        monkeypatch.delenv(name, raising=False)
    warehouse = Warehouse(s3_server.new_uri(), **s3_server.options)
    with catalog_served(tmp_path, warehouse, vends_credentials=True) as server:
        catalog = rest_catalog(server.url)  # knows nothing of the bucket
        catalog.create_namespace("shop")
        table = catalog.create_table("shop.orders", SCHEMA)
        table.append(rows(id=[1, 2], name=["a", "b"]))
        with duckdb_with_iceberg(pytestconfig) as duck:
            attach(duck, server.url)
            duck.execute("insert into lake.shop.orders values (3, 'c')")
            duck.execute("delete from lake.shop.orders where id = 1")
            duck.execute("create table lake.shop.more as select 1 as n")
            assert duck.execute("select n from lake.shop.more").fetchall() == [(1,)]
        assert read(catalog.load_table("shop.orders")) == [(2, "b"), (3, "c")]
        catalog.purge_table("shop.orders")
        assert not any("orders" in found.path for found in warehouse.list())
    with catalog_served(tmp_path, warehouse) as server:
        http = HttpClient(server.url)
        asked = {"X_Iceberg_Access_Delegation": "vended-credentials"}
        told = http("GET", "/v1/namespaces/shop/tables/more", **asked).raw
        assert b"127.0.0.1" in told  # where the bucket is, and nothing that opens it
        assert SECRET_ACCESS_KEY.encode() not in told and b"access-key" not in told
        http.close()


def test_writers_that_try_again_lose_nothing(catalog_server: CatalogServer) -> None:
    catalog = rest_catalog(catalog_server.url)
    catalog.create_namespace("shop")
    catalog.create_table("shop.orders", SCHEMA, properties={"commit.retry.num-retries": "50"})
    failures: list[BaseException] = []

    def append(writer: int) -> None:
        try:
            own = rest_catalog(catalog_server.url)
            for number in range(4):
                own.load_table("shop.orders").append(rows(id=[writer * 10 + number], name=["x"]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    found = read(catalog.load_table("shop.orders"))
    assert sorted(row[0] for row in found) == [
        writer * 10 + number for writer in range(3) for number in range(4)
    ]
