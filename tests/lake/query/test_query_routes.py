"""Queries over HTTP, of lakes in a folder and on S3."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("starlette")
pyarrow = pytest.importorskip("pyarrow")

from fixtures.catalog_server import served
from fixtures.http_calls import HttpClient
from fixtures.lake_tables import Lake, SourceModel
from fixtures.servers import S3Server


def application(lake: Lake, **options: Any) -> Any:
    from starlette.applications import Starlette

    from dolake.catalog.rest_calls import RestOptions
    from dolake.query.lake_query import LakeQuery
    from dolake.query.query_result import QueryLimits
    from dolake.query.query_routes import query_routes

    most = QueryLimits(rows_max=options.pop("rows_max", 0), seconds_max=20)
    return Starlette(routes=query_routes(LakeQuery(lake.registry), RestOptions(**options), most))


def fill(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("orders", "*id INTEGER", "name TEXT", "price DECIMAL(9,2)", "data BLOB")
    for number in range(5):
        row = {"id": number, "name": f"n{number}", "price": f"{number}.50"}
        source.put("orders", {**row, "data": bytes([number])})
    tables.stage(source.commit())
    tables.flush()
    source.delete("orders", 3)
    tables.stage(source.commit())
    tables.flush()


@pytest.fixture
def http(lake: Lake) -> Iterator[HttpClient]:
    fill(lake)
    with served(application(lake)) as url:
        client = HttpClient(url)
        yield client
        client.close()


def test_rows_come_as_json(http: HttpClient) -> None:
    sql = "select id, price, data, id as id from shop.orders where id > ? order by id"
    told = http("POST", "/v1/query", {"sql": sql, "parameters": [2]}).json
    assert [column["name"] for column in told["columns"]] == ["id", "price", "data", "id"]
    assert told["rows"] == [[4, "4.50", "BA==", 4]]
    assert (told["row-count"], told["is-cut"]) == (1, False)
    [table] = told["tables"]
    assert (table["table"], table["lsn"], table["deleted-rows"]) == (["shop", "orders"], 2, 1)


def test_values_beyond_json_come_as_text(http: HttpClient) -> None:
    sql = (
        "select 170141183460469231731687303715884105727, date '2024-02-01', [1, null], {'a': 1.5}, "
        "time '10:00:00', uuid '00000000-0000-0000-0000-000000000001', 'inf'::double, "
        "interval '1 day', map {1: 'x'}, true, null, timestamptz '2024-01-01 00:00:00+00'"
    )
    answer = http("POST", "/v1/query", {"sql": sql})
    assert answer.status == 200, answer.raw
    [row] = answer.json["rows"]
    assert row[0] == str(2**127 - 1)
    assert row[1:4] == ["2024-02-01", [1, None], {"a": "1.5"}]


def test_rows_come_as_an_arrow_stream(http: HttpClient) -> None:
    sql = "select id, price from shop.orders order by id"
    stream = "application/vnd.apache.arrow.stream"
    answer = http("POST", "/v1/query", {"sql": sql}, Accept=stream)
    assert answer.headers["content-type"] == stream
    table = pyarrow.ipc.open_stream(answer.raw).read_all()
    assert table.column("id").to_pylist() == [0, 1, 2, 4]
    assert table.column("price").to_pylist()[1] == decimal.Decimal("1.50")


def test_what_is_asked_for_is_kept_within_limits(http: HttpClient) -> None:
    few = http("POST", "/v1/query", {"sql": "from range(10)", "rows-max": 3}).json
    assert (few["row-count"], few["is-cut"]) == (3, True)
    many = http("POST", "/v1/query", {"sql": "from range(20000)"}).json
    assert (many["row-count"], many["is-cut"]) == (10_000, True)
    slow = "select sum(a.range) from range(10000000) a, range(10000000) b"
    ended = http("POST", "/v1/query", {"sql": slow, "seconds-max": 0.3})
    assert (ended.status, ended.error_type) == (408, "QueryTimeoutException")


def test_explain_tells_the_files(http: HttpClient) -> None:
    body = {"sql": "select * from shop.orders where id = 99", "explain": True}
    [table] = http("POST", "/v1/query", body).json["tables"]
    assert (table["files"], table["files-read"], table["left-out-by-statistics"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        ({}, 400),
        ({"sql": 1}, 400),
        ({"sql": "select 1", "parameters": {}}, 400),
        ({"sql": "select ?", "parameters": []}, 400),
        ({"sql": "select ?", "parameters": [{"a": []}, 3]}, 400),
        ({"sql": "select 1", "rows-max": -1}, 400),
        ({"sql": "select 1", "seconds-max": "long"}, 400),
        ({"sql": "select 1", "explain": "yes"}, 400),
        ({"sql": "select * from read_csv('/etc/passwd')"}, 400),
        ({"sql": "drop table shop.orders"}, 400),
        ({"sql": "select * from shop.nothing"}, 404),
        ({"sql": "select * from shop.orders as of lsn 99"}, 404),
        ({"sql": "select 'a\x00b' \ud800"}, 400),
        (b" " * (2 << 20), 413),
    ],
)
def test_a_wrong_request_is_told_why(http: HttpClient, body: Any, status: int) -> None:
    answer = http("POST", "/v1/query", body)
    assert answer.status == status, answer.raw
    assert answer.json["error"]["message"]


def test_a_token_opens_queries(lake: Lake) -> None:
    with served(application(lake, tokens=frozenset({"secret"}))) as url:
        http = HttpClient(url)
        body = {"sql": "select 1"}
        assert http("POST", "/v1/query", body).status == 401
        assert http("POST", "/v1/query", body, Authorization="Bearer secret").status == 200
        http.close()


def test_a_lake_on_s3_is_queried(
    tmp_path: Path, s3_server: S3Server, pytestconfig: pytest.Config
) -> None:
    from dolake.catalog.table_registry import TableRegistry
    from dolake.query.lake_query import LakeQuery
    from dolake.tables.source_tables import SourceTables
    from dolake.warehouse import Warehouse

    pytest.importorskip("duckdb_extension_httpfs")
    warehouse = Warehouse(s3_server.new_uri(), **s3_server.options)
    with TableRegistry(tmp_path / "catalog.db", warehouse) as registry:
        source, tables = SourceModel(), SourceTables(registry, warehouse, "shop")
        source.create("orders", "*id INTEGER", "name TEXT")
        for number in range(5):
            source.put("orders", {"id": number, "name": f"n{number}"})
        tables.stage(source.commit())
        tables.flush()
        source.delete("orders", 3)
        tables.stage(source.commit())
        tables.flush()
        query = LakeQuery(registry)
        with query.run("select id from shop.orders where name > 'n1' order by id") as result:
            assert result.table().column("id").to_pylist() == [2, 4]
        other = Warehouse(s3_server.new_uri(), **s3_server.options)
        other.write("secret.csv", b"a,b\n1,2\n")
        from dolake.errors import LakeQueryError

        with pytest.raises(LakeQueryError, match="disabled by configuration"):
            query.run(f"select * from read_csv('{other.url_of('secret.csv')}')")
