"""A database pushed to a lake is there exactly, whoever of them, or the line, fails meanwhile."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("msgspec")

import dosql_dbapi
from dolake.changes import Batch, RowChange
from dolake.errors import MessageTooLargeError
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.message_splitting import MessageSplitter
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.read_ahead import ReadAhead
from dolake.ingest.wire_format import decode_message
from fixtures.file_tables import stored_rows
from fixtures.lake_servers import FileLakes, LakeProcess
from fixtures.sync_reports import QuietReport
from fixtures.tcp_proxy import TcpProxies

PROGRAM = Path(__file__).parents[2] / "fixtures" / "push_program.py"
SHOP = SourceKey("shop", "main")


def push(database: Path, url: str, *words: str) -> subprocess.Popen[str]:
    with errors_of(database).open("ab") as errors:  # a pipe that nobody reads fills up
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(database), url, *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    assert process.stdout.readline() == "pushing\n", errors_of(database).read_text("utf-8")
    return process


def errors_of(database: Path) -> Path:
    """Where whoever pushes a database tells what goes wrong."""
    return database.with_suffix(".errors")


def push_once(database: Path, url: str, *words: str) -> str:
    with push(database, url, "--once", *words) as process:
        assert process.stdout is not None
        out = process.stdout.read()  # `communicate` passes over what came with the first line
    assert process.returncode == 0, errors_of(database).read_text("utf-8")
    return out


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with contextlib.closing(dosql_dbapi.connect(path, isolation_level=None)) as con:
        con.execute("create table account(id integer primary key, owner text, balance, raw blob)")
        con.execute("create table note(body)")
        for number in range(50):
            con.execute(
                "insert into account values (?, ?, ?, ?)",
                (number, f"o{number}", number / 3, number.to_bytes(4, "big")),
            )
            con.execute("insert into note values (?)", (f"note {number}",))
    return path


def assert_equal(database: Path, tables: Path, *, at_least: int | None = None) -> None:
    """The lake has the rows that the database had at the lake's watermark."""
    watermark, rows = stored_rows(tables, SHOP)
    if at_least is not None:
        assert watermark >= at_least
    with contextlib.closing(dosql_dbapi.connect(database, as_of=watermark)) as con:
        account = con.execute("select id, owner, balance, raw from account").fetchall()
        note = con.execute("select rowid, body from note").fetchall()
    found = rows.get("account", {})
    assert {row["id"]: (row["owner"], row["balance"], row["raw"]) for row in found.values()} == {
        id_: (owner, balance, None if raw is None else raw.hex())
        for id_, owner, balance, raw in account
    }
    assert {key: row["body"] for key, row in rows.get("note", {}).items()} == {
        f"[{rowid}]": body for rowid, body in note
    }


def change_something(con: Any, chance: random.Random) -> None:
    kind = chance.randrange(4)
    if kind == 0:
        con.execute("insert into account(owner, balance) values (?, ?)", ("new", chance.random()))
    elif kind == 1:
        con.execute(
            "update account set balance = ?, raw = ? where id % 7 = ?",
            (chance.choice([None, 1, 1.5, "x"]), chance.randbytes(5), chance.randrange(7)),
        )
    elif kind == 2:
        con.execute("delete from account where id = ?", (chance.randrange(80),))
    else:
        con.execute("insert into note values (?)", (chance.random(),))


def wait_for(holds: Callable[[], bool], tell: Callable[[], Any] = lambda: "") -> None:
    deadline = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about: {tell()}"
        time.sleep(0.02)


def told_by(pusher: subprocess.Popen[str], lake: LakeProcess, database: Path) -> str:
    """What both sides say, for when they do not come together."""
    status = lake.ask("/status")[1]
    errors = errors_of(database).read_text("utf-8")
    return f"{status}\nthe pusher ({pusher.poll()}) said:\n{errors[-5000:]}"


def committed_lsn(lake: LakeProcess) -> int:
    return int(lake.ask("/cdc?source=shop")[1]["committed_lsn"])


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_database_is_copied_and_then_followed(
    file_lakes: FileLakes, database: Path, words: tuple[str, ...]
) -> None:
    lake = file_lakes.start()
    assert "copied_rows=100" in push_once(database, lake.websocket_url, *words)
    assert_equal(database, file_lakes.tables())
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        chance = random.Random(5)
        for _ in range(30):
            change_something(con, chance)
        present = con.lsn
    assert "copied_rows=0" in push_once(database, lake.websocket_url, *words)
    assert_equal(database, file_lakes.tables(), at_least=present)
    with DatabaseSource(database) as source:
        assert source.slot_lsn == present  # all of it is in a snapshot, so nothing is kept for it


def test_it_survives_that_either_side_is_killed_or_the_line_is_cut(
    file_lakes: FileLakes,
    database: Path,
    tcp_proxies: TcpProxies,
    seeded_random: random.Random,
    is_long_run: bool,
) -> None:
    lake = file_lakes.start()
    proxy = tcp_proxies.to(lake.port)
    url = f"ws://127.0.0.1:{proxy.port}/ws"
    pusher = push(database, url)
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for _ in range(100 if is_long_run else 10):
            for _ in range(seeded_random.randrange(30)):
                change_something(con, seeded_random)
                time.sleep(seeded_random.random() * 0.004)
            match seeded_random.randrange(5):
                case 0:
                    lake.kill()
                    lake.start(lake.port)
                case 1:
                    end(pusher)
                    pusher = push(database, url)
                case 2:
                    proxy.cut()
                case 3:
                    proxy.cut_after(seeded_random.randrange(5000))
                case 4:
                    proxy.hold(True)
                    time.sleep(0.05)
                    proxy.hold(False)
        con.execute("insert into note values ('the last')")
        present = con.lsn
    proxy.cut_after(10**12)
    wait_for(lambda: committed_lsn(lake) >= present, lambda: told_by(pusher, lake, database))
    end(pusher)
    lake.stop()
    assert_equal(database, file_lakes.tables(), at_least=present)


def test_a_commit_larger_than_a_message_goes_in_parts(
    file_lakes: FileLakes, database: Path
) -> None:
    lake = file_lakes.start(limits={"message_bytes_max": 5000, "event_bytes_max": 5000})
    push_once(database, lake.websocket_url)
    with contextlib.closing(dosql_dbapi.connect(database)) as con:
        con.execute("update account set owner = owner || ' the elder', raw = zeroblob(400)")
        con.execute("insert into note select 'n' || id from account")
        con.commit()
        present = con.lsn
    push_once(database, lake.websocket_url)
    assert_equal(database, file_lakes.tables(), at_least=present)


def test_a_lake_that_is_away_for_long_gets_everything_in_the_end(
    file_lakes: FileLakes, database: Path
) -> None:
    lake = file_lakes.start()
    pusher = push(database, lake.websocket_url)
    wait_for(lambda: committed_lsn(lake) > 0)
    lake.kill()
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        for _ in range(100):
            change_something(con, random.Random(6))
        present = con.lsn
    assert pusher.poll() is None
    lake.start(lake.port)
    wait_for(lambda: committed_lsn(lake) >= present)
    end(pusher)
    assert_equal(database, file_lakes.tables(), at_least=present)


def test_reading_ahead_ends_even_while_it_begins_to_wait(database: Path) -> None:
    is_beginning = threading.Event()

    def batches(source: DatabaseSource) -> Iterator[Batch]:
        is_beginning.set()
        time.sleep(0.3)  # as the opening of a large database on a loaded machine
        yield from source.batches(source.present_lsn, follow=True)

    with DatabaseSource(database) as source:
        ahead = ReadAhead(batches(source), source.end_waits)
        assert is_beginning.wait(60)
        closing = threading.Thread(target=ahead.close, daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()


def test_a_sender_outlives_that_its_source_is_halted(file_lakes: FileLakes, database: Path) -> None:
    lake = file_lakes.start(tier="P0")
    pusher = push(database, lake.websocket_url)
    wait_for(lambda: committed_lsn(lake) > 0)
    with contextlib.closing(dosql_dbapi.connect(database, isolation_level=None)) as con:
        con.execute("insert into note values ('poison')")
        wait_for(lambda: bool(lake.ask("/dead-letters")[1]["dead_letters"]))
        con.execute("insert into note values ('what comes after it')")
        present = con.lsn
    wait_for(lambda: errors_of(database).read_text("utf-8").count("could not be applied") > 6)
    assert lake.ask("/sources/shop/resume", {"drop": True})[0] == 200
    wait_for(lambda: committed_lsn(lake) >= present, lambda: told_by(pusher, lake, database))
    end(pusher)


def test_a_lake_that_was_lost_is_noticed_and_copied_anew(
    file_lakes: FileLakes, database: Path
) -> None:
    first = file_lakes.start("first")
    push_once(database, first.websocket_url)
    second = file_lakes.start("second")  # has nothing
    assert "copied_rows=100" in push_once(database, second.websocket_url)
    assert_equal(database, file_lakes.tables("second"))


def test_without_a_lake_it_says_so_in_the_end(database: Path) -> None:
    from dolake.errors import LakeUnreachableError
    from dolake.ingest.push_client import PushClient, PushOptions

    with DatabaseSource(database) as source:
        client = PushClient(source, PushOptions("ws://127.0.0.1:1/ws"), QuietReport())
        with pytest.raises(LakeUnreachableError):
            client.run(follow=False, patience_seconds=0.2)


def rows(lsn: int, count: int, size: int = 10) -> list[RowChange]:
    return [
        RowChange(lsn, n, 0, "insert", "t", {"id": n}, None, {"id": n, "v": "x" * size})
        for n in range(count)
    ]


@pytest.mark.parametrize("form", Form)
def test_messages_are_split_at_commits_where_they_can_be(form: Form) -> None:
    changes = tuple(change for lsn in (3, 4, 5, 9) for change in rows(lsn, 20))
    splitter = MessageSplitter(form, 900)
    sent = list(splitter.messages(Batch("s", "main", 2, 12, changes)))
    assert len(sent) > 1 and all(len(each.raw) <= 900 for each in sent)
    assert [each.sequence for each in sent] == list(range(1, len(sent) + 1))
    back = [decode_message(each.raw, form) for each in sent]
    reached, gathered = 2, []
    for message in back:
        assert isinstance(message, BatchMessage)
        assert message.after_lsn == reached
        reached = reached if message.more else message.last_lsn
        gathered += [(change.lsn, change.index) for change in message.changes]
    assert reached == 12
    assert gathered == [(change.lsn, change.index) for change in changes]


def test_a_change_larger_than_a_message_is_refused() -> None:
    splitter = MessageSplitter(Form.JSON, 1000)
    with pytest.raises(MessageTooLargeError, match="change 0 of LSN 3"):
        list(splitter.messages(Batch("s", "main", 2, 3, tuple(rows(3, 2, 2000)))))
