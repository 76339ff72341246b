"""The command `dolake` as a person and a program use it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")

import dosql_dbapi
from dolake.command_line import main
from fixtures.lake_servers import ServedLakes


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("DOLAKE_", "AWS_")):
            monkeypatch.delenv(name)


def dolake(*words: str, status: int = 0) -> str:
    """What the command says on stdout, or where it fails on both."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = main(list(words))
    assert found == status, err.getvalue()
    return out.getvalue() if status == 0 else err.getvalue() + out.getvalue()


def in_json(*words: str) -> Any:
    return json.loads(dolake(*words, "--json"))


@pytest.fixture
def shop() -> Path:
    with contextlib.closing(dosql_dbapi.connect("shop.db", isolation_level=None)) as con:
        con.execute("create table orders(id integer primary key, customer text, total real)")
        for number in range(1, 4):
            con.execute("insert into orders values (?, 'ann', ?)", (number, number * 1.5))
    return Path("shop.db")


def change(sql: str) -> int:
    with contextlib.closing(dosql_dbapi.connect("shop.db", isolation_level=None)) as con:
        con.execute(sql)
        return int(con.lsn)


def test_a_day_with_a_lake(shop: Path) -> None:
    assert dolake("sync", "shop.db", "--once") == (
        "shop: 3 rows of 1 table copied; the lake has LSN 4\n"
    )
    first = change("update orders set total = 10 where id = 2")
    change("delete from orders where id = 1")
    told = in_json("sync", "shop.db", "--once")
    assert (told["source"], told["changes"], told["copied_rows"]) == ("shop", 2, 0)
    (table,) = in_json("tables")
    assert (table["table"], table["rows"], table["lsn"]) == ("shop.orders", 2, first + 1)
    assert "shop.orders" in dolake("tables")
    rows = in_json("query", "select id, total from shop.orders order by id")
    assert rows == [{"id": 2, "total": 10.0}, {"id": 3, "total": 4.5}]
    at_first = "select count(*) as n from shop.orders as of lsn 4"
    assert in_json("query", at_first) == [{"n": 3}]
    (plan,) = in_json("query", "select * from shop.orders where id = 9", "--explain")
    assert plan["files-read"] == 0 < plan["files"]
    newest, oldest = in_json("snapshots", "shop.orders")
    assert (newest["lsn"], newest["is_current"], oldest["lsn"]) == (first + 1, True, 4)
    assert "current" in dolake("snapshots", "shop.orders")


def test_what_is_asked_wrongly_is_told_with_a_hint(shop: Path) -> None:
    assert "there is no lake at ./lake" in dolake("tables", status=2)
    assert "there is no database at nothing.db" in dolake("sync", "nothing.db", status=2)
    assert not Path("nothing.db").exists()
    dolake("sync", "shop.db", "--once")
    told = dolake("snapshots", "shop.nothing", status=1)
    assert "LAKEHOUSE_TABLE_NOT_FOUND" in told and "hint:" in told
    assert "source.table" in dolake("snapshots", "orders", status=2)
    assert "12h, 30d" in dolake("expire", "--older-than", "soon", status=2)
    error = json.loads(dolake("query", "select nothing from shop.orders", "--json", status=1))
    assert error["code"].startswith("LAKEHOUSE_") and error["hint"]
    assert "SOURCE=TOKEN" in dolake("serve", "--source-token", "x", status=2)
    assert "no token" in dolake("serve", "--host", "0.0.0.0", "--port", "0", status=1)


def test_another_database_of_the_same_name_is_not_mixed_in(shop: Path, tmp_path: Path) -> None:
    dolake("sync", "shop.db", "--once")
    other = tmp_path / "elsewhere" / "shop.db"
    other.parent.mkdir()
    dosql_dbapi.connect(other).close()
    assert "CDC_SOURCE_MISMATCH" in dolake("sync", str(other), "--once", status=1)
    dolake("sync", str(other), "--once", "--name", "other")


def test_a_lake_is_copied_anew_on_demand(shop: Path) -> None:
    dolake("sync", "shop.db", "--once")
    change("insert into orders values (9, 'bob', 1)")
    assert "4 rows of 1 table copied" in dolake("sync", "shop.db", "--once", "--copy")
    assert in_json("query", "select count(*) as n from shop.orders") == [{"n": 4}]


def test_single_tables_are_brought_along(shop: Path) -> None:
    change("create table secret(x)")
    dolake("sync", "shop.db", "--once", "--table", "ORDERS")
    change("insert into secret values (1)")
    dolake("sync", "shop.db", "--once", "--table", "orders")
    assert [table["table"] for table in in_json("tables")] == ["shop.orders"]


def test_following_ends_on_ctrl_c_with_everything_in_a_snapshot(shop: Path) -> None:
    said, rows = "up to LSN 4", 3
    for seconds in (0.5, 5.0, 50.0):  # nothing tells from outside that it has seen the change
        following = subprocess.Popen(
            [
                *(sys.executable, "-m", "dolake.command_line", "sync", "shop.db", "--verbose"),
                *("--flush-age", "3600"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert following.stderr is not None
        while said not in following.stderr.readline():
            assert following.poll() is None
        lsn, rows = change("insert into orders(customer, total) values ('bob', 7)"), rows + 1
        time.sleep(seconds)
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=300)
        assert following.returncode == 0, err
        if out.endswith(f"the lake has LSN {lsn}\n"):
            break
        said = "following"  # the next one has no copy to tell of
    assert out.endswith(f"the lake has LSN {lsn}\n")
    assert in_json("query", "select count(*) as n from shop.orders") == [{"n": rows}]


def test_maintenance_and_verification(shop: Path) -> None:
    dolake("sync", "shop.db", "--once")
    for number in range(10, 20):
        change(f"insert into orders values ({number}, 'x', 1)")
        dolake("sync", "shop.db", "--once")
    (done,) = in_json("compact")
    assert done["compaction"]["files_before"] > done["compaction"]["files_after"]
    assert in_json("tables")[0]["files"] == done["compaction"]["files_after"]
    (done,) = in_json("expire", "--older-than", "0s", "--keep", "1")
    assert done["expiry"]["snapshots"] > 5
    assert len(in_json("snapshots", "shop.orders")) == 1
    assert dolake("verify") == "1 table of ./lake: sound\n"
    (file,) = Path("lake/shop/orders/data").glob("*.parquet")
    raw = bytearray(file.read_bytes())
    raw[30:90] = bytes(value ^ 0xFF for value in raw[30:90])
    file.write_bytes(raw)
    assert in_json("verify", "--quick")["is_sound"]
    found = dolake("verify", status=3)
    assert "cannot be read" in found
    file.write_bytes(raw[:-10])
    assert "bytes" in dolake("verify", "--quick", status=3)
    file.unlink()
    assert "is missing" in dolake("verify", status=3)


def test_a_served_lake_is_queried_with_what_is_in_no_snapshot_yet(
    shop: Path, served_lakes: ServedLakes, tmp_path: Path
) -> None:
    lake = served_lakes.start(tmp_path / "lake", "--flush-age", "3600", "--token", "secret")
    access = ("--token", "secret")
    dolake("push", "shop.db", lake.websocket_url, "--once", *access)
    token = "Bearer secret"
    rows = [
        {
            "type": "row",
            "lsn": 5,
            "index": index,
            "committed_at": 0,
            "operation": operation,
            "table": "orders",
            "key": {"id": number},
            "after": None
            if operation == "delete"
            else {"id": number, "customer": "new", "total": 0.5},
        }
        for index, (operation, number) in enumerate(
            [("insert", 50), ("update", 2), ("delete", 3)], 1
        )
    ]
    batch = {"type": "batch", "sequence": 1, "after_lsn": 4, "last_lsn": 5, "changes": rows}
    assert lake.ask("/cdc?source=shop", batch, authorization=token)[0] == 200
    wanted = "select id, customer from shop.orders order by id"
    server = ("--server", lake.url, *access)
    expected = [
        {"id": 1, "customer": "ann"},
        {"id": 2, "customer": "new"},
        {"id": 50, "customer": "new"},
    ]
    deadline = time.monotonic() + 300
    while (found := in_json("query", wanted, *server)) != expected:
        assert time.monotonic() < deadline, found
    assert len(in_json("query", wanted, "--state", str(tmp_path / "lake-state"))) == 3
    assert "bearer token" in dolake("query", wanted, "--server", lake.url, status=1)
    assert lake.stop() == 0
    assert in_json("query", wanted, "--state", str(tmp_path / "lake-state")) == expected


def test_maintenance_runs_while_a_lake_is_served(
    shop: Path, served_lakes: ServedLakes, tmp_path: Path, seeded_random: random.Random
) -> None:
    lake = served_lakes.start(tmp_path / "lake", "--maintain-every", "1")
    for number in range(10, 22):
        change(f"insert into orders values ({number}, 'x', {seeded_random.random()})")
        dolake("push", "shop.db", lake.websocket_url, "--once")
    state = ("--state", str(tmp_path / "lake-state"))
    deadline = time.monotonic() + 300
    while in_json("tables", *state)[0]["files"] > 8:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert in_json("query", "select count(*) as n from shop.orders", *state) == [{"n": 15}]
    assert dolake("verify", *state).endswith("sound\n")


@pytest.mark.parametrize(
    "command",
    ["serve", "sync", "push", "tables", "snapshots", "query", "compact", "expire", "verify"],
)
def test_every_command_has_help_with_examples(command: str) -> None:
    told = dolake(command, "--help")
    assert f"dolake {command}" in told.partition("Examples:")[2]
    assert "--json" in told
    assert not re.search(r"--\w[\w-]*  +<\w+>  *$", told, re.MULTILINE), "an option without help"


def test_without_a_word_it_tells_what_there_is() -> None:
    assert "serve" in dolake() and "dolake sync app.db" in dolake("--help")
    assert "dosql" in dolake("--version").lower()
