"""Text that is no Unicode reaches the mirror as one misfit, whichever way it comes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb")
pytest.importorskip("obstore")
pytest.importorskip("typer")

import dosql_dbapi
from dolake.changes import RowChange
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import DatabaseSync
from dolake.ingest.messages import Form
from dolake.ingest.push_client import PushClient, PushOptions
from dolake.lake import Lake
from dolake.query.lake_query import LakeQuery
from dolake.settings import IngestSettings, RetryPolicy
from dolake.tables.lake_table import CHANGE_LOG_SUFFIX
from dolake.tables.table_options import TableOptions
from fixtures.lake_servers import LakeProcess, ServedLakes
from fixtures.sync_reports import QuietReport

BEFORE = 6_000  # rows before the first odd one: more than are read at once
SCHEMA = (
    "create table t(id integer primary key, a text, b, c date, d int)",
    "create table k(k text primary key, v int)",
    "create table u(a text, b int, v int, primary key (a, b))",
    "create table n(body text)",
    "create index n_body on n(body)",  # in it the odd one is first, in the table it is last
)
ROWS = (
    f"with recursive i(x) as (select 1 union all select x + 1 from i where x < {BEFORE}) "
    "insert into n select printf('é%d', x) from i",
    "insert into n values (cast(x'21ff' as text)), ('after')",
    "insert into t values (1, 'plain', 1, '2026-01-02', 3), "
    "(2, cast(x'c3a90062' as text), x'ff41', null, 'x')",
    "insert into t values (3, cast(x'ff41' as text), cast(x'ff41' as text), "
    "cast(x'ff41' as text), cast(x'ff41' as text)), (4, 'after', x'ff41', null, 9e999)",
    "insert into t values (5, x'ff41', 1.5, cast(x'eda080' as text), -9e999), (6, '', '', x'', 0)",
    "insert into k values ('k', 1), (cast(x'ff41' as text), 2), (cast(x'ff42' as text), 3)",
    "insert into u values (null, 1, 1), (cast(x'ff41' as text), null, 2), "
    "(cast(x'ff41' as text), 1, 3)",
)
ODD = {"text": "ff41"}
MISFITS = {
    1: {"b": 1},
    2: {"d": "x", "b": {"blob": "ff41"}},
    3: {"a": ODD, "b": ODD, "c": ODD, "d": ODD},
    4: {"b": {"blob": "ff41"}, "d": {"real": "inf"}},
    5: {"a": {"blob": "ff41"}, "b": 1.5, "c": {"text": "eda080"}, "d": {"real": "-inf"}},
    6: {"c": {"blob": ""}},
}
CHANGES = (
    "update k set v = v * 10 where k = cast(x'ff41' as text)",
    "delete from k where k = cast(x'ff42' as text)",
    "update k set k = cast(x'ff43' as text) where k = 'k'",
    "update t set a = 'mended', b = null, c = null, d = 0 where id = 3",
    "update u set v = v * 10",
    "delete from n where body = cast(x'21ff' as text)",
)
TABLES = ("t", "k", "u", "n")
Rows = dict[str, list[str]]


def run(database: Path, *statements: str) -> None:
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for statement in statements:
            con.execute(statement)


def sync(lake: Lake, database: Path) -> None:
    lake.table_options = TableOptions(has_change_log=True)
    with DatabaseSource(database) as source:
        DatabaseSync(source, lake.open_tables, IngestSettings(), QuietReport()).run(follow=False)


def push(lake: LakeProcess, database: Path, form: Form) -> None:
    options = PushOptions(lake.websocket_url, form=form, retry=RetryPolicy(0.02, 0.2))
    with DatabaseSource(database) as source:
        PushClient(source, options, QuietReport()).run(follow=False)


def synced_rows(lake: Lake, source: str, table: str) -> list[dict[str, Any]]:
    with (
        contextlib.closing(LakeQuery(lake.registry)) as query,
        query.run(f"from {source}.{table}") as result,
    ):
        rows: list[dict[str, Any]] = result.table().to_pylist()
    return rows


def synced(lake: Lake, source: str) -> Rows:
    return {table: _in_order(synced_rows(lake, source, table)) for table in TABLES}


def pushed(lake: LakeProcess, source: str) -> Rows:
    found = {}
    for table in TABLES:
        # The types that JSON lacks as the texts that Python gives them too.
        sql = f"from {source}.{table}"
        status, told = lake.ask("/v1/query", {"sql": sql})
        assert status == 200, told
        names = [column["name"] for column in told["columns"]]
        found[table] = _in_order(dict(zip(names, row, strict=True)) for row in told["rows"])
    return found


def _in_order(rows: Any) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with Lake(tmp_path / "synced") as opened:
        yield opened


def test_it_is_the_same_misfit_copied_or_followed_synced_or_pushed(
    lake: Lake, tmp_path: Path, served_lakes: ServedLakes
) -> None:
    served = served_lakes.start(tmp_path / "pushed", "--flush-age", "0.05")
    found: dict[str, list[Rows]] = {}
    for way in ("sync", "msgpack", "json"):
        for is_copied in (True, False):
            source = f"{way}_{'copied' if is_copied else 'followed'}"
            database = tmp_path / f"{source}.db"

            def bring(database: Path = database, way: str = way, source: str = source) -> Rows:
                if way == "sync":
                    sync(lake, database)
                    return synced(lake, source)
                push(served, database, Form[way.upper()])
                return pushed(served, source)

            run(database, *SCHEMA, *(ROWS if is_copied else ()))
            first = bring()
            if not is_copied:
                run(database, *ROWS)
                first = bring()
            run(database, *CHANGES)
            found[source] = [first, bring()]
    expected = found["sync_followed"]
    for source, rows in found.items():
        assert rows == expected, source
    before, after = [
        {table: [json.loads(row) for row in rows[table]] for table in TABLES} for rows in expected
    ]
    misfits = {row["id"]: json.loads(row["_dosql_misfit"] or "{}") for row in before["t"]}
    assert misfits == MISFITS
    assert len(before["n"]) == BEFORE + 2 and len(after["n"]) == BEFORE + 1
    assert {_key(row): row["v"] for row in before["k"]} == {"k": 1, "ff41": 2, "ff42": 3}
    assert {_key(row): row["v"] for row in after["k"]} == {"ff41": 20, "ff43": 1}
    assert sorted(row["v"] for row in after["u"]) == [10, 20, 30]


def test_a_change_log_tells_its_key_by_its_bytes(lake: Lake, tmp_path: Path) -> None:
    database = tmp_path / "shop.db"
    run(database, *SCHEMA)
    sync(lake, database)
    run(database, *ROWS[-2:])
    sync(lake, database)
    keys = [
        row["_cdc_row_id"]
        for table in ("k", "u")
        for row in synced_rows(lake, "shop", f"{table}{CHANGE_LOG_SUFFIX}")
    ]
    assert '[{"text": "ff41"}]' in keys and '[{"text": "ff41"}, 1]' in keys and "k" in keys


def test_values_are_copied_as_they_are_beside_it(tmp_path: Path) -> None:
    database, odd = tmp_path / "shop.db", "cast(x'ff41dcdc0000' as text)"
    run(
        database,
        "create table t(a)",
        f"insert into t values (1), ('é'), (x'ff'), (null), (1.5), ({odd}), ('é'), (x'ff'), (x'')",
        "insert into t values (''), (null), (-9e999), (9223372036854775807), ('ff'), (x'41')",
    )
    with DatabaseSource(database) as source:
        copied = [
            value
            for _, batches in source.copy(source.present_lsn)
            for rows in batches
            for _, value in rows
        ]
        followed = [
            change.after["a"]
            for batch in source.batches(0, follow=False)
            for change in batch.changes
            if isinstance(change, RowChange) and change.after is not None
        ]
    assert list(map(repr, copied)) == list(map(repr, followed))
    assert len(followed) == 15


def _key(row: dict[str, Any]) -> str:
    """The primary key, by the digits of its bytes where it is no Unicode."""
    if row["k"] is not None:
        return str(row["k"])
    return str(json.loads(row["_dosql_misfit"])["k"]["text"])
