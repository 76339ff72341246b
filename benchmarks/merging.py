"""Comparing and merging branches: 1,000 changes on either side of a table of 1,000,000 rows.

The same scripts run on DoltLite (PyPI `doltlite`, its own process), where it is installed. Times
are of the whole statement, its commit included; processor time stands beside, for a busy machine
makes the clock lie.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import contenders
from measure import Settings, Table, finish, run_alone, settings

AIM_MS = 100.0
MEASURED = ("diff", "merge, fast forward", "merge, both sides changed")
CREATE = "create table item(id integer primary key, k integer not null, body text not null)"
FILL = """
    with recursive n(i) as (select ? union all select i + 1 from n where i < ?)
    insert into item(id, k, body) select i, i * 7919 % 1000003, hex(randomblob(30)) from n
"""
ROWS_PER_COMMIT = 100_000
SPREADS = {"spread": 1, "together": 0}


def fill(connection: Any, row_count: int) -> None:
    connection.execute(CREATE)
    for first in range(1, row_count + 1, ROWS_PER_COMMIT):
        last = min(first + ROWS_PER_COMMIT - 1, row_count)
        connection.execute(FILL, (first, last)).fetchall()


def prepare(path: str, row_count: int) -> None:
    connection = contenders.open_dosql(Path(path), "off")
    fill(connection, row_count)
    connection.close()


def change(connection: Any, row_count: int, count: int, is_spread: bool, offset: int) -> None:
    """So many rows updated, in a transaction, spread over the table or side by side."""
    step = row_count // count if is_spread else 2
    connection.execute("begin")
    connection.executemany(
        "update item set k = -k - 1 where id = ?",
        [(1 + (number * step + offset) % row_count,) for number in range(count)],
    )
    connection.execute("commit")


def seal(database: Any, name: str) -> None:
    """Have the commits of both sides in history, as DoltLite has them by its `dolt_commit`."""
    for branch in ("main", name):
        database.log(branch, limit=1)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Milliseconds by the clock and by the processor."""
    began, processor = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - began) * 1000, (time.process_time() - processor) * 1000


def run_dosql(path: str, row_count: int, count: int, is_spread: bool, rounds: int) -> Any:
    """Milliseconds of a diff, a fast forward and a merge of both sides, for each round."""
    from dosql_core.database import open_database

    main = contenders.open_dosql(Path(path), "off")
    told = []
    with open_database(path) as database:
        for number in range(rounds):
            name = f"{'spread' if is_spread else 'together'}{number}"
            main.execute(f"create branch {name}")
            branch = contenders.open_dosql(Path(path), "off", branch=name)
            change(branch, row_count, count, is_spread, 0)
            seal(database, name)
            moments = "branch:main", f"branch:{name}"
            compared = timed(lambda moments=moments: list(database.diff(*moments).rows()))
            forward = timed(lambda name=name: database.branches.merge(name))
            change(branch, row_count, count, is_spread, 0)
            change(main, row_count, count, is_spread, 1)
            seal(database, name)
            merged = timed(lambda name=name: database.branches.merge(name))
            branch.close()
            told.append([compared, forward, merged])
    main.close()
    return told


def run_doltlite(path: str, row_count: int, count: int, is_spread: bool, rounds: int) -> Any:
    """The same on DoltLite."""
    connection = contenders.open_doltlite(Path(path), "off")

    def call(sql: str) -> Any:
        return connection.execute(f"select {sql}").fetchall()

    if not Path(path + ".filled").exists():
        fill(connection, row_count)
        call("dolt_commit('-A', '-m', 'filled')")
        Path(path + ".filled").touch()
    told = []
    for number in range(rounds):
        name = f"{'spread' if is_spread else 'together'}{number}"
        call(f"dolt_branch('{name}')")
        call(f"dolt_checkout('{name}')")
        change(connection, row_count, count, is_spread, 0)
        call("dolt_commit('-A', '-m', 'branch')")
        call("dolt_checkout('main')")
        compared = timed(lambda name=name: _diff(connection, name))
        forward = timed(lambda name=name: call(f"dolt_merge('{name}')"))
        call(f"dolt_checkout('{name}')")
        change(connection, row_count, count, is_spread, 0)
        call("dolt_commit('-A', '-m', 'branch')")
        call("dolt_checkout('main')")
        change(connection, row_count, count, is_spread, 1)
        call("dolt_commit('-A', '-m', 'main')")
        merged = timed(lambda name=name: call(f"dolt_merge('{name}')"))
        told.append([compared, forward, merged])
    connection.close()
    return told


def _diff(connection: Any, name: str) -> Any:
    return connection.execute(
        "select count(*), sum(length(to_body)) from dolt_diff_item('main', ?)", (name,)
    ).fetchall()


def compare(how: Settings, table: Table) -> None:
    row_count, count, rounds = how.scaled(1_000_000, 50_000), how.scaled(1000, 200), how.rounds(5)
    path = how.scratch / "merging.db"
    run_alone(prepare, str(path), row_count)
    runs: list[tuple[str, Callable[..., Any], Path]] = [("dosql", run_dosql, path)]
    if contenders.has_doltlite():
        runs.append(("doltlite", run_doltlite, how.scratch / "merging.dolt"))
    for spread, is_spread in SPREADS.items():
        for name, run, where in runs:
            told = run_alone(run, str(where), row_count, count, bool(is_spread), rounds).value
            best = [
                min(rounds_of, key=lambda pair: pair[1]) for rounds_of in zip(*told, strict=True)
            ]
            fast = [what for what, pair in zip(MEASURED, best, strict=True) if pair[1] < AIM_MS]
            cells = [f"{clock:.0f} ({processor:.0f})" for clock, processor in best]
            table.add(
                f"{name}, {count:,} changes {spread} in {row_count:,} rows", *cells, ", ".join(fast)
            )


def main() -> None:
    with settings(__doc__) as how:
        table = Table(
            "Milliseconds by the clock (by the processor), the best of the rounds",
            ("what", *MEASURED, "under 100 ms by the processor"),
        )
        compare(how, table)
        finish("merging", "Comparing and merging branches", [table], how)


if __name__ == "__main__":
    main()
