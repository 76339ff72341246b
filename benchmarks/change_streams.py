"""Change streams: what they cost a writer, how fast a slot is read, how soon a follower hears.

Nothing is recorded when a transaction commits, so `changes=True` and `False` differ only where the
schema has triggers or enforced foreign-key actions, whose effects are noted with their cause.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measure import (
    Percentiles,
    Settings,
    Table,
    finish,
    percentiles,
    settings,
)

import dosql_dbapi
from dosql_core.database import open_database

ACCOUNT = "create table account(id integer primary key, owner text, balance real, note text)"
AUDIT = "create table audit(what text)"
SILENT = "create trigger a after delete on account begin insert into audit values (old.owner); end"
FIRING = "create trigger a after insert on account begin insert into audit values (new.owner); end"
SCHEMAS = {
    "no triggers": (ACCOUNT,),
    "a trigger that is not set off": (ACCOUNT, AUDIT, SILENT),
    "a trigger that writes a row": (ACCOUNT, AUDIT, FIRING),
}
INSERT = "insert into account(owner, balance, note) values (?, ?, ?)"
ROW = ("somebody", 1.5, "x" * 60)
SINGLE_AIM, BULK_AIM, FULL_AIM = 1.6, 2.0, 1.1
FOLLOW_AIM_MS = 10.0


def written(path: Path, schema: tuple[str, ...], *, changes: bool, durability: str) -> Any:
    con = dosql_dbapi.connect(path, isolation_level=None, durability=durability, changes=changes)
    for sql in schema:
        con.execute(sql)
    return con


def contenders(con: Any, commits: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """So many commits of a row, and one of ten times as many rows."""

    def one_by_one() -> None:
        for _ in range(commits):
            con.execute(INSERT, ROW)

    def in_bulk() -> None:
        con.execute("begin")
        con.executemany(INSERT, [ROW] * (10 * commits))
        con.execute("commit")

    return one_by_one, in_bulk


@contextlib.contextmanager
def both_ways(
    given: Settings, name: str, schema: tuple[str, ...], durability: str
) -> Iterator[dict[str, Any]]:
    """Connections to two databases, one with changes off and one with changes on."""
    with contextlib.ExitStack() as closing:
        found = {}
        for label in ("off", "on"):
            folder = given.scratch / f"{name.replace(' ', '_')}-{durability}-{label}"
            folder.mkdir()
            con = written(folder / "a.db", schema, changes=label == "on", durability=durability)
            closing.callback(con.close)
            found[label] = con
        yield found


def as_cells(measured: dict[str, list[float]], aim: float) -> list[object]:
    """Both medians in microseconds, and the median of what one is of the other."""
    cost = statistics.median(
        on / off for off, on in zip(measured["off"], measured["on"], strict=True)
    )
    missed = f" (aim <= {aim:g})" if cost > aim else ""
    medians = [statistics.median(measured[label]) * 1e6 for label in ("off", "on")]
    return [*medians, f"{cost:.2f}x{missed}"]


def capture_cost(given: Settings) -> Table:
    """The processor time of a commit with changes on, and as a multiple of one with changes off."""
    commits, rounds = given.scaled(2000, 200), given.rounds(9)
    table = Table(
        "What changes cost the writer, durability=normal, by processor time",
        (
            "schema", "off: us a commit", "on", "cost",
            "off: us a row in bulk", "on", "cost",
        ),
        notes=[f"{rounds} rounds in alternation, medians"],
    )  # fmt: skip
    for name, schema in SCHEMAS.items():
        single: dict[str, list[float]] = {"off": [], "on": []}
        bulk: dict[str, list[float]] = {"off": [], "on": []}
        with both_ways(given, name, schema, "normal") as connections:
            works = {label: contenders(con, commits) for label, con in connections.items()}
            for _ in range(rounds):
                for label, (one_by_one, in_bulk) in works.items():
                    single[label].append(processor_seconds(one_by_one) / commits)
                    bulk[label].append(processor_seconds(in_bulk) / (10 * commits))
        table.add(name, *as_cells(single, SINGLE_AIM), *as_cells(bulk, BULK_AIM))
    return table


def capture_cost_at_full(given: Settings) -> Table:
    """The time of a commit that is synced, with changes on and off: commit and commit in turn."""
    commits = given.scaled(2000, 200)
    table = Table(
        "What changes cost the writer, durability=full, by the clock",
        ("schema", "off: us a commit", "on", "cost"),
        notes=[
            f"{commits:,} commits of a row each, one here and one there in turn; medians, and of "
            "the cost the ratio of those",
        ],
    )
    for name, schema in SCHEMAS.items():
        measured: dict[str, list[float]] = {"off": [], "on": []}
        with both_ways(given, name, schema, "full") as connections:
            for _ in range(commits):
                for label, con in connections.items():
                    began = time.perf_counter()
                    con.execute(INSERT, ROW)
                    measured[label].append(time.perf_counter() - began)
        medians = {label: [statistics.median(found)] for label, found in measured.items()}
        table.add(name, *as_cells(medians, FULL_AIM))
    return table


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process, its threads included."""
    began = time.process_time()
    work()
    return time.process_time() - began


READER = """
import json, sys, time
from dosql_core.database import open_database
with open_database(sys.argv[1]) as database:
    with database.changes.slots.consume(sys.argv[2], follow=False) as consumer:
        began, busy = time.perf_counter(), time.process_time()
        count = sum(len(events) for _, events in consumer.commits())
        print(json.dumps([count, time.perf_counter() - began, time.process_time() - busy]))
"""


def read_in_process(path: Path, slot: str) -> tuple[int, float, float]:
    with open_database(path) as database, database.changes.slots.consume(slot, follow=False) as c:
        began, busy = time.perf_counter(), time.process_time()
        count = sum(len(events) for _, events in c.commits())
        return count, time.perf_counter() - began, time.process_time() - busy


def read_elsewhere(path: Path, slot: str) -> tuple[int, float, float]:
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path), slot], capture_output=True, text=True, check=True
    )
    count, seconds, busy = json.loads(done.stdout)
    return count, seconds, busy


def slot_speed(given: Settings) -> Table:
    """Events a second through a slot: read where they were written, and in another process."""
    commits = given.scaled(10_000, 1000)
    path = given.scratch / "slots.db"
    con = written(path, (ACCOUNT,), changes=True, durability="normal")
    con.execute("create index by_owner on account(owner)")
    con.execute("begin")
    con.executemany(INSERT, [(f"owner {n}", n, "x" * 60) for n in range(10_000)])
    con.execute("commit")
    works: dict[str, Callable[[], object]] = {
        "single-row inserts": lambda: [con.execute(INSERT, ROW) for _ in range(commits)],
        "single-row updates all over": lambda: [
            con.execute("update account set balance = ? where id = ?", (n, 1 + n * 7919 % 10_000))
            for n in range(commits)
        ],
        "one insert of many rows": lambda: con.execute(
            f"insert into account(owner, balance, note) select owner, balance, note "
            f"from account limit {10 * commits}"
        ),
    }
    rows = []
    for name, work in works.items():
        measured = []
        with open_database(path) as database:
            slots = database.changes.slots
            for slot in ("here", "there"):
                slots.create(slot)
            work()
            for slot, read in (("here", read_in_process), ("there", read_elsewhere)):
                count, seconds, busy = read(path, slot)
                measured += [count / seconds, count / busy]
            for slot in ("here", "there"):
                slots.drop(slot)
        rows.append((name, count, *measured))
    con.close()
    return Table(
        "Events a second through a slot",
        (
            "commits of",
            "events",
            "where they were written",
            "by processor time",
            "in another process",
            "by processor time",
        ),
        rows,
        notes=["a reader works out the changes itself: its speed is that of one core"],
    )


FOLLOWED = """
import sys, time
import dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None, durability=sys.argv[3])
for _ in range(int(sys.argv[2])):
    con.execute("insert into account(balance) values (?)", (time.time(),))
    time.sleep(0.01)
con.close()
"""


def begin_writing(where: str, path: Path, commits: int, durability: str) -> Callable[[], object]:
    """Commit at a steady pace; what comes back waits until that is done."""
    if where == "another process":
        command = [sys.executable, "-c", FOLLOWED, str(path), str(commits), durability]
        return subprocess.Popen(command, env=os.environ).wait

    def write() -> None:
        con = dosql_dbapi.connect(path, isolation_level=None, durability=durability)
        for _ in range(commits):
            con.execute("insert into account(balance) values (?)", (time.time(),))
            time.sleep(0.01)
        con.close()

    writer = threading.Thread(target=write)
    writer.start()
    return writer.join


def follow_latency(given: Settings) -> Table:
    """From the moment before a commit to the moment its event is in the follower's hands."""
    commits = given.scaled(400, 50)
    rows = []
    for durability in ("normal", "full"):
        for where in ("this process", "another process"):
            path = given.scratch / f"follow-{durability}-{where.split()[0]}.db"
            con = written(path, (ACCOUNT,), changes=True, durability=durability)
            seconds: list[float] = []
            with open_database(path) as database:
                subscription = database.changes.subscribe(follow=True)
                wait = begin_writing(where, path, commits, durability)
                for _ in range(commits):
                    event = next(subscription)
                    seconds.append(time.time() - event.after["balance"])
                wait()
                subscription.close()
            con.close()
            found: Percentiles = percentiles(seconds)
            rows.append((durability, where, found))
    return Table(
        "How soon a follower hears of a commit, ms",
        ("durability", "committed in", "p50", "p99", f"p50 within {FOLLOW_AIM_MS:g} ms"),
        [
            (d, w, f.p50 / 1e3, f.p99 / 1e3, "yes" if f.p50 / 1e3 <= FOLLOW_AIM_MS else "no")
            for d, w, f in rows
        ],
        notes=["from before the commit, so its own time and its sync are in it"],
    )


def main() -> None:
    with settings(__doc__) as given:
        costs = [capture_cost(given), capture_cost_at_full(given)]
        tables = [*costs, slot_speed(given), follow_latency(given)]
        finish("change_streams", "Change streams", tables, given)


if __name__ == "__main__":
    main()
