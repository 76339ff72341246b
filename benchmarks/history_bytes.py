"""What history costs on disk: stored bytes a commit, for commits of several kinds.

Counted as the growth of the directory beside the database, everything in it included, after the
last connection has closed, and again after `compact`. The anchor is what the WAL holds for the same
commits: whole pages.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
from measure import Settings, Table, directory_bytes, finish, run_alone, settings

ROWS = 20_000
DELETE_STRIDE = 7919  # shares no factor with ROWS, so every row is met once
BODY_BYTES = 100
AIMS = {"update a row": 150, "insert, random index key": 350}

CREATE = (
    "create table t(id integer primary key, n integer, k text, body text)",
    "create index t_k on t(k)",
    "create table counter(id integer primary key, n integer)",
    "insert into counter values (1, 0)",
)


def update_row(execute: Any, chance: random.Random, n: int) -> None:
    execute("update t set n = n + 1 where id = ?", (chance.randint(1, ROWS),))


def count_up(execute: Any, chance: random.Random, n: int) -> None:
    execute("update counter set n = n + 1 where id = 1")


def insert_indexed(execute: Any, chance: random.Random, n: int) -> None:
    execute("insert into t(n, k, body) values (0, ?, ?)", (random_text(chance), "x" * BODY_BYTES))


def update_indexed(execute: Any, chance: random.Random, n: int) -> None:
    execute("update t set k = ? where id = ?", (random_text(chance), chance.randint(1, ROWS)))


def delete_row(execute: Any, chance: random.Random, n: int) -> None:
    execute("delete from t where id = ?", (n * DELETE_STRIDE % ROWS + 1,))


def random_blob(execute: Any, chance: random.Random, n: int) -> None:
    execute("insert into t(n, body) values (0, ?)", (chance.randbytes(1000),))


KINDS: dict[str, Callable[[Any, random.Random, int], None]] = {
    "count up": count_up,
    "update a row": update_row,
    "update an indexed column": update_indexed,
    "insert, random index key": insert_indexed,
    "delete a row": delete_row,
    "insert 1,000 random bytes": random_blob,
}


def random_text(chance: random.Random) -> str:
    return chance.randbytes(10).hex()


def fill(connection: Any) -> None:
    chance = random.Random(3)
    connection.execute("begin")
    for statement in CREATE:
        connection.execute(statement)
    connection.executemany(
        "insert into t(n, k, body) values (0, ?, ?)",
        ((random_text(chance), random_text(chance) * (BODY_BYTES // 20)) for _ in range(ROWS)),
    )
    connection.execute("commit")


def commit_many(path: str, kind: str, count: int) -> list[int]:
    """Directory growth in bytes over `count` commits: after closing, and after `compact`."""
    from dosql_core.database import open_database

    file = Path(path)
    beside = file.with_name(file.name + "-dosql")
    fill_and_close(file)
    before = directory_bytes(beside)
    connection = contenders.open_dosql(file, "off")
    chance, work = random.Random(5), KINDS[kind]
    for n in range(count):
        work(connection.execute, chance, n)
    connection.close()
    closed = directory_bytes(beside) - before
    database = open_database(file)
    database.compact()
    database.close()
    return [closed, directory_bytes(beside) - before]


def fill_and_close(file: Path) -> None:
    connection = contenders.open_dosql(file, "off")
    fill(connection)
    connection.close()


def wal_bytes(path: str, kind: str, count: int) -> int:
    """Bytes that the same commits put into SQLite's WAL."""
    connection = contenders.open_apsw(Path(path), "off")
    connection.execute("pragma wal_autocheckpoint=0")
    fill(connection)
    connection.execute("pragma wal_checkpoint(truncate)")
    chance, work = random.Random(5), KINDS[kind]
    for n in range(count):
        work(connection.execute, chance, n)
    grown = os.stat(path + "-wal").st_size
    connection.close()
    return grown


def doltlite_bytes(path: str, kind: str, count: int) -> int:
    """Growth of DoltLite's file when every commit is recorded."""
    connection = contenders.open_doltlite(Path(path), "off")
    fill(connection)
    connection.execute("select dolt_commit('-A', '-m', 'filled')").fetchone()
    before = os.stat(path).st_size
    chance, work = random.Random(5), KINDS[kind]
    for n in range(count):
        work(connection.execute, chance, n)
        connection.execute("select dolt_commit('-A', '-m', 'one')").fetchone()
    connection.close()
    return os.stat(path).st_size - before


def compare(how: Settings) -> Table:
    table = Table(
        f"Bytes a commit, a table of {ROWS:,} rows",
        ("commit", "dosql", "aim", "after compact", "SQLite's WAL", "doltlite"),
    )
    count, few = how.scaled(20_000, 1000), how.scaled(1000, 200)
    for kind in KINDS:
        name = kind.replace(" ", "-").replace(",", "")
        closed, compacted = run_alone(
            commit_many, str(how.scratch / f"{name}.db"), kind, count
        ).value
        raw = run_alone(wal_bytes, str(how.scratch / f"{name}-raw.db"), kind, count).value
        dolt: object = ""
        if contenders.has_doltlite():
            path = str(how.scratch / f"{name}-dolt.db")
            dolt = run_alone(doltlite_bytes, path, kind, few).value // few
        aim = AIMS.get(kind)
        shown = f"< {aim}{'' if closed / count < aim else ' (missed)'}" if aim else ""
        table.add(kind, closed // count, shown, compacted // count, raw // count, dolt)
    table.notes.append(f"{count:,} commits each; DoltLite, which is slower, {few:,}")
    return table


def main() -> None:
    with settings(__doc__) as how:
        finish("history_bytes", "What history weighs", [compare(how)], how)


if __name__ == "__main__":
    main()
