"""The history of rows, and differences: of all rows, of one row, and what changed among many.

400,000 versions, made by 400 commits of 1,000 rows each, and 40,000 made one by one; then 1,000
changes in a table of 1,000,000 rows (`--quick`: a tenth). Each query is first asked in a process
that has seen nothing yet, then again. Processor time is told beside what passed, for it is what a
query costs on a machine with other things to do.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import contenders
from measure import Settings, Table, finish, run_alone, settings

ROWS = 1000
COUNT_AIM_MS = 1000.0
DIFF_AIM_MS = 100.0
QUERIES = {
    "count all versions": "select count(*) from item for system_time all",
    "read all versions": "select count(*), sum(n), max(_dosql_valid_from) "
    "from item for system_time all",
    "count those of the middle tenth": "select count(*) from item for system_time "
    "between lsn {low} and lsn {high}",
    "all versions of one row": "select * from item for system_time all where id = 500",
    "blame of one row": "select * from dosql_blame('item', 501)",
}
DIFFERENCES = {
    "dosql_diff, 1,000 changes": "select count(*), sum(after_n) from dosql_diff('item', 2, 3)",
    "dosql_diff, nothing changed": "select count(*), sum(after_n) from dosql_diff('item', 3, 3)",
}


def make_versions(path: str, commits: int, one_by_one: bool) -> int:
    """Rows, then versions of them; returns the newest LSN."""
    connection = contenders.open_dosql(Path(path), "off")
    connection.execute("create table item(id integer primary key, n int, name text, body text)")
    _fill(connection, ROWS)
    for number in range(commits):
        if one_by_one:
            connection.execute("update item set n = n + 1 where id = ?", (number * 7919 % ROWS,))
        else:
            connection.execute("update item set n = n + 1")
    newest: int = connection.lsn
    connection.close()
    return newest


def make_changes(path: str, rows: int) -> int:
    """Many rows, and a commit that changes 1,000 of them all over the table."""
    connection = contenders.open_dosql(Path(path), "off")
    connection.execute("create table item(id integer primary key, n int, name text, body text)")
    _fill(connection, rows)
    step = rows // 1000
    connection.execute("update item set n = n + 1 where id % ? = 0", (step,))
    newest: int = connection.lsn
    connection.close()
    return newest


def _fill(connection: Any, rows: int) -> None:
    connection.execute("begin immediate")
    connection.executemany(
        "insert into item values (?, ?, ?, ?)",
        ((n, n * 10, f"name {n}", f"some text about the item {n}") for n in range(rows)),
    )
    connection.commit()


def ask(path: str, sql: str, times: int) -> list[list[float]]:
    """Seconds passed and seconds of processor time, the first time and the best of the others."""
    connection = contenders.open_dosql(Path(path))
    connection.execute("select count(*) from item where id = 1").fetchall()
    spent = []
    for _ in range(times + 1):
        began, processor = time.perf_counter(), time.process_time()
        connection.execute(sql).fetchall()
        spent.append([time.perf_counter() - began, time.process_time() - processor])
    connection.close()
    return [spent[0], min(spent[1:], key=lambda pair: pair[1])]


def versions(how: Settings, title: str, commits: int, one_by_one: bool) -> Table:
    table = Table(
        title,
        ("query", "first ms", "first, processor ms", "again ms", "again, processor ms", "aim ms"),
    )
    path = how.scratch / f"versions-{one_by_one}.db"
    newest = run_alone(make_versions, str(path), commits, one_by_one).value
    low = newest // 2
    for name, sql in QUERIES.items():
        asked = sql.format(low=low, high=low + newest // 10)
        first, again = run_alone(ask, str(path), asked, 5).value
        aim = COUNT_AIM_MS if name == "count all versions" and not one_by_one else ""
        table.add(name, *(1000 * seconds for seconds in (*first, *again)), aim)
    return table


def differences(how: Settings) -> Table:
    rows = how.scaled(1_000_000, 100_000)
    table = Table(
        f"1,000 changes among {rows:,} rows",
        ("query", "first ms", "first, processor ms", "again ms", "again, processor ms", "aim ms"),
    )
    path = how.scratch / "changes.db"
    run_alone(make_changes, str(path), rows)
    for name, sql in DIFFERENCES.items():
        first, again = run_alone(ask, str(path), sql, 5).value
        table.add(name, *(1000 * seconds for seconds in (*first, *again)), DIFF_AIM_MS)
    return table


def main() -> None:
    with settings(__doc__) as how:
        many, single = how.scaled(400, 40), how.scaled(40_000, 4_000)
        tables = [
            versions(how, f"{many * ROWS:,} versions, {ROWS:,} a commit", many, False),
            versions(how, f"{single:,} versions, one a commit", single, True),
            differences(how),
        ]
        finish("row_history", "The history of rows, and differences", tables, how)


if __name__ == "__main__":
    main()
