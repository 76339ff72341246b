"""From a commit in a database to rows that others read from an object store, exactly once."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")
pytest.importorskip("pyiceberg")

import dosql_dbapi
from fixtures.lake_engines import attach, duckdb_with_iceberg, rest_catalog, run_in_sail
from fixtures.lake_servers import LakeProcess, ServedLakes
from fixtures.servers import S3Server
from fixtures.tcp_proxy import TcpProxies

COLUMNS = {
    "account": ("id", "owner", "balance", "raw"),
    "line": ("purchase", "number", "amount"),
    "note": ("body",),
}
Rows = set[tuple[Any, ...]]


def make_database(path: Path) -> Path:
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        con.execute(
            "create table account(id integer primary key, owner text, balance real, raw blob)"
        )
        con.execute(
            "create table line(purchase text, number int, amount int, "
            "primary key(purchase, number)) without rowid"
        )
        con.execute("create table note(body text)")
        con.execute("begin")
        for number in range(100):
            con.execute(
                "insert into account values (?, ?, ?, ?)",
                (number, f"o{number}", number / 3, number.to_bytes(3, "big")),
            )
            con.execute("insert into line values (?, ?, ?)", (f"p{number % 9}", number, number))
            con.execute("insert into note values (?)", (f"note {number}",))
        con.execute("commit")
    return path


def change_something(con: Any, chance: random.Random) -> None:
    kind = chance.randrange(6)
    if kind == 0:
        con.execute("insert into account(owner, balance) values ('new', ?)", (chance.random(),))
    elif kind == 1:
        con.execute(
            "update account set balance = ?, raw = ? where id % 7 = ?",
            (chance.choice([None, 1.5]), chance.randbytes(5), chance.randrange(7)),
        )
    elif kind == 2:
        con.execute("delete from account where id = ?", (chance.randrange(120),))
    elif kind == 3:
        con.execute("insert into note values (?)", (str(chance.random()),))
        con.execute("delete from note where rowid = ?", (chance.randrange(120),))
    elif kind == 4:
        con.execute(
            "insert or replace into line values (?, ?, ?)",
            (f"p{chance.randrange(9)}", chance.randrange(120), chance.randrange(10**12)),
        )
    else:  # a key that changes
        con.execute(
            "update or ignore line set number = number + 1000 where number = ?",
            (chance.randrange(120),),
        )


def source_rows(database: Path, table: str, lsn: int) -> Rows:
    columns = ", ".join(COLUMNS[table])
    with contextlib.closing(dosql_dbapi.connect(database, as_of=lsn)) as con:
        rows = con.execute(f"select {columns} from {table}").fetchall()
    assert len(set(rows)) == len(rows)
    return set(rows)


def catalog_of(lake: LakeProcess, s3: S3Server | None = None) -> Any:
    """pyiceberg's client, with the keys of the bucket."""
    properties = {}
    if s3 is not None:
        properties = {
            "s3.endpoint": s3.endpoint,
            "s3.access-key-id": s3.options["access_key_id"],
            "s3.secret-access-key": s3.options["secret_access_key"],
            "s3.region": "us-east-1",
        }
    return rest_catalog(lake.url, **properties)


def assert_equal_through_pyiceberg(
    lake: LakeProcess, database: Path, s3: S3Server | None = None, source: str = "shop"
) -> int:
    """Every table is what the source was at the LSN of its snapshot; the LSN of the newest."""
    catalog = catalog_of(lake, s3)
    newest = 0
    for table, columns in COLUMNS.items():
        loaded = catalog.load_table((source, table))
        snapshot = loaded.current_snapshot()
        lsn = int(snapshot.summary["dosql.lsn"])
        found = loaded.scan().to_arrow().select(columns).to_pylist()
        rows = [tuple(row.values()) for row in found]
        assert len(rows) == len(set(rows)), f"{table}: a row is there twice"
        assert set(rows) == source_rows(database, table, lsn), f"{table} at LSN {lsn}"
        newest = max(newest, lsn)
    return newest


def push(database: Path, lake: LakeProcess, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "dolake.command_line", "push"),
            *(str(database), lake.websocket_url, *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def push_once(database: Path, lake: LakeProcess, *words: str) -> str:
    process = push(database, lake, "--once", *words)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def accepted_lsn(lake: LakeProcess, source: str = "shop") -> int:
    return int(lake.ask(f"/cdc?source={source}")[1]["accepted_lsn"])


def flushed(lake: LakeProcess) -> None:
    assert lake.ask("/flush", {}, "POST")[0] == 200


@pytest.mark.filterwarnings("ignore:Iceberg scan planning")  # polars says that it is slow
def test_from_the_database_to_s3_and_back_by_four_engines(
    served_lakes: ServedLakes, s3_server: S3Server, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Each table is read at its newest snapshot and at the one before, as of the LSN of each."""
    polars = pytest.importorskip("polars")
    database = make_database(tmp_path / "shop.db")
    lake = served_lakes.start(
        s3_server.new_uri(), "--vend-credentials", environment=s3_server.environment
    )
    assert "300 rows of 3 tables copied" in push_once(database, lake)
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        chance = random.Random(3)
        for _ in range(4):
            for _ in range(15):
                change_something(con, chance)
            push_once(database, lake)
            assert_equal_through_pyiceberg(lake, database, s3_server)
        present = con.lsn
    assert accepted_lsn(lake) == present

    catalog = catalog_of(lake, s3_server)
    reads = []  # table, columns, snapshot, the rows as of its LSN
    for table, columns in COLUMNS.items():
        snapshots = catalog.load_table(("shop", table)).snapshots()
        for snapshot in sorted(snapshots, key=lambda found: found.sequence_number)[-2:]:
            lsn = int(snapshot.summary["dosql.lsn"])
            expected = source_rows(database, table, lsn)
            reads.append((table, columns, snapshot.snapshot_id, expected))
    assert len({frozenset(expected) for *_, expected in reads}) == len(reads) == 6

    variables = {**s3_server.environment, "AWS_ALLOW_HTTP": "true"}
    options = {name.lower(): value for name, value in variables.items()}
    duck = duckdb_with_iceberg(pytestconfig)
    attach(duck, lake.url)
    for table, columns, snapshot_id, expected in reads:
        loaded = catalog.load_table(("shop", table))
        arrow = loaded.scan(snapshot_id=snapshot_id).to_arrow().select(columns)
        assert_same(expected, [tuple(row.values()) for row in arrow.to_pylist()])
        found = duck.execute(
            f"select {', '.join(columns)} from lake.shop.{table} at (version => {snapshot_id})"
        ).fetchall()
        assert_same(expected, found)
        lazy = polars.scan_iceberg(loaded, snapshot_id=snapshot_id, storage_options=options)
        assert_same(expected, lazy.select(columns).collect().rows())
    duck.close()
    in_sail = run_in_sail(
        pytestconfig,
        lake.url,
        [
            f"select {', '.join('hex(raw)' if name == 'raw' else name for name in columns)} "
            f"from lake.shop.{table} version as of {snapshot_id}"
            for table, columns, snapshot_id, _ in reads
        ],
        tmp_path,
        variables=variables,
    )
    for (_, columns, _, expected), rows in zip(reads, in_sail, strict=True):
        if "raw" in columns:
            rows = [(*row[:-1], row[-1] and bytes.fromhex(row[-1])) for row in rows]
        assert_same(expected, rows)


def assert_same(expected: Rows, found: list[tuple[Any, ...]]) -> None:
    """No row is missing, none is there that should not be, and none twice."""
    assert len(found) == len(expected)
    assert set(found) == expected


def change_schema(con: Any, chance: random.Random, number: int) -> None:
    """Add, rename or drop a column of `account` that is there for this alone."""
    found = con.execute("select name from pragma_table_info('account') where name like 'more%'")
    added = [name for (name,) in found]
    kind = chance.randrange(3) if added else 0
    if kind == 0:
        con.execute(f"alter table account add column more{number} {chance.choice(['int', 'text'])}")
        con.execute(f"update account set more{number} = id where id % 3 = 0")
    elif kind == 1:
        con.execute(f"alter table account rename column {chance.choice(added)} to more{number}")
    else:
        con.execute(f"alter table account drop column {chance.choice(added)}")


def assert_equal_at_every_lsn(lake: LakeProcess, database: Path, source: str, some: int) -> None:
    """Of each table the newest snapshots of the source, with all columns it had at their LSNs."""
    catalog = catalog_of(lake)
    for table in COLUMNS:
        loaded = catalog.load_table((source, table))
        of_source = [
            snapshot
            for snapshot in sorted(loaded.snapshots(), key=lambda found: found.sequence_number)
            if snapshot.summary.operation.value != "replace" and "dosql.lsn" in snapshot.summary
        ]
        for snapshot in of_source[-some:]:
            lsn = int(snapshot.summary["dosql.lsn"])
            with contextlib.closing(dosql_dbapi.connect(database, as_of=lsn)) as con:
                cursor = con.execute(f"select * from {table}")
                columns = [column[0] for column in cursor.description or ()]
                expected = cursor.fetchall()
            found = loaded.scan(snapshot_id=snapshot.snapshot_id).to_arrow().select(columns)
            rows = [tuple(row.values()) for row in found.to_pylist()]
            assert sorted(map(repr, rows)) == sorted(map(repr, expected)), f"{table} at LSN {lsn}"


def test_several_sources_through_kills_of_everybody(
    served_lakes: ServedLakes, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    """Rows, keys and columns change, maintenance rewrites files, and whoever works is killed."""
    databases = {name: make_database(tmp_path / f"{name}.db") for name in ("shop", "mail")}
    lake = served_lakes.start(
        tmp_path / "warehouse", "--flush-age", "0.1", "--maintain-every", "0.5"
    )
    pushers = {name: push(database, lake) for name, database in databases.items()}
    opened = {
        name: dosql_dbapi.connect(database, isolation_level=None)
        for name, database in databases.items()
    }
    for number in range(60 if is_long_run else 5):
        for _ in range(seeded_random.randrange(40)):
            change_something(seeded_random.choice(list(opened.values())), seeded_random)
            time.sleep(seeded_random.random() * 0.01)
        change_schema(seeded_random.choice(list(opened.values())), seeded_random, number)
        victim = seeded_random.choice(["lake", *databases])
        if victim == "lake":
            lake.kill()
            lake.start(lake.port)
        else:
            end(pushers[victim])
            pushers[victim] = push(databases[victim], lake)
    for name, con in opened.items():
        con.execute("insert into note values ('the last')")
        present = con.lsn
        wait_for(lambda name=name, present=present: accepted_lsn(lake, name) >= present)  # type: ignore[misc]
        con.close()
    for pusher in pushers.values():
        end(pusher)
    flushed(lake)
    for name, database in databases.items():
        assert_equal_through_pyiceberg(lake, database, source=name)
        assert_equal_at_every_lsn(lake, database, name, some=100 if is_long_run else 6)


@pytest.mark.parametrize(
    "outage",
    ["server stopped", "connections refused", pytest.param("line dead", marks=pytest.mark.long)],
)
def test_an_outage_of_the_object_store_loses_nothing_and_ends_by_itself(
    served_lakes: ServedLakes,
    stoppable_s3_server: S3Server,
    tcp_proxies: TcpProxies,
    tmp_path: Path,
    outage: str,
) -> None:
    database = make_database(tmp_path / "shop.db")
    proxy = tcp_proxies.to(stoppable_s3_server.port)
    environment = {
        **stoppable_s3_server.environment,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
    }
    lake = served_lakes.start(
        stoppable_s3_server.new_uri(), "--flush-age", "0.1", environment=environment
    )
    push_once(database, lake)
    pusher = push(database, lake)
    if outage == "server stopped":
        stoppable_s3_server.stop()
    elif outage == "connections refused":
        proxy.refuse()
    else:
        proxy.hold(True)
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for _ in range(60):
            change_something(con, random.Random(4))
        present = con.lsn
    wait_for(lambda: accepted_lsn(lake) == present)  # acknowledged, though nothing can be written
    if outage != "line dead":
        wait_for(lambda: lake.ask("/health")[1] == {"status": "degraded"})
    if outage == "server stopped":
        stoppable_s3_server.start()
    elif outage == "connections refused":
        proxy.forward()
    else:
        proxy.cut()
        proxy.hold(False)
    wait_for(lambda: lake.ask("/cdc?source=shop")[1]["committed_lsn"] == present)
    end(pusher)
    assert lake.ask("/health") == (200, {"status": "ok"})
    assert assert_equal_through_pyiceberg(lake, database, stoppable_s3_server) == present


def test_a_sync_killed_at_any_moment_goes_on_where_it_was(
    served_lakes: ServedLakes, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    database = make_database(tmp_path / "shop.db")
    words = [
        *(sys.executable, "-m", "dolake.command_line", "sync", str(database)),
        *("--warehouse", str(tmp_path / "warehouse"), "--state", str(tmp_path / "lake-state")),
    ]
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for _ in range(60 if is_long_run else 5):
            running = subprocess.Popen([*words, "--flush-age", "0.02"], stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 0.8 + seeded_random.random() * 1.5
            while time.monotonic() < deadline:
                change_something(con, seeded_random)
                time.sleep(0.005)
            running.kill()
            running.wait()
        present = con.lsn
    subprocess.run([*words, "--once"], check=True, capture_output=True, timeout=600)
    lake = served_lakes.start(tmp_path / "warehouse")
    assert assert_equal_through_pyiceberg(lake, database) == present
