"""Make the merges of `scenarios` on one engine; `python running.py doltlite` is the child for one.

What came of a merge is told the same way for both: merged, with the rows of every table; or
conflicts, with the tables or objects they are in. DoltLite replaces the SQLite of its process, so
it is run in one of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

Told = dict[str, Any]
TABLES = """
    select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite%'
    and name not like '_dosql%' and name not like 'dolt%' order by name
"""


def contents(connection: Any) -> Told:
    """Rows of all tables and views, sorted, with their columns."""
    found: Told = {}
    for (name,) in connection.execute(TABLES).fetchall():
        cursor = connection.execute(f'select * from "{name}"')
        columns = [column[0] for column in cursor.description]
        rows = [[[type(v).__name__, v] for v in row] for row in cursor.fetchall()]
        order = sorted(range(len(columns)), key=columns.__getitem__)
        found[name] = [
            [columns[place] for place in order],
            sorted([[row[place] for place in order] for row in rows], key=repr),
        ]
    return found


def on_doltlite(folder: Path, scenario: Told) -> Told:
    """What DoltLite makes of it."""
    importlib.import_module("doltlite")
    import sqlite3

    connection = sqlite3.connect(folder / "dolt.db", isolation_level=None)

    def call(sql: str) -> Any:
        return connection.execute(f"select {sql}").fetchall()

    def committed(statements: Any) -> None:
        for sql in statements:
            connection.execute(sql)
        if statements:
            with contextlib.suppress(sqlite3.OperationalError):  # when it all came to nothing
                call("dolt_commit('-A', '-m', 'step')")

    committed(scenario["base"])
    call("dolt_branch('dev')")
    call("dolt_checkout('dev')")
    committed(scenario["theirs"])
    call("dolt_checkout('main')")
    committed(scenario["ours"])
    connection.execute("begin")
    try:
        call("dolt_merge('dev')")
    except sqlite3.Error as error:
        where: list[str] = []
        for table, column in (
            ("dolt_conflicts", '"table"'),
            ("dolt_schema_conflicts", "table_name"),
            ("dolt_constraint_violations", '"table"'),
        ):
            try:
                where += [name for (name,) in connection.execute(f"select {column} from {table}")]
            except sqlite3.Error:
                continue
        connection.close()
        kind = "conflicts" if where else "refused"
        return {"outcome": kind, "where": sorted(set(where)), "said": str(error)}
    if connection.in_transaction:
        connection.execute("commit")
    told = {"outcome": "merged", "rows": contents(connection)}
    connection.close()
    return told


def on_dosql(folder: Path, scenario: Told) -> Told:
    """What DoSQL makes of it."""
    import dosql_dbapi
    from dosql_core.errors import MergeConflictError

    connection = dosql_dbapi.connect(folder / "ours.db", isolation_level=None, durability="off")
    for sql in scenario["base"]:
        connection.execute(sql)
    connection.execute("create branch dev")
    dev = dosql_dbapi.connect(
        folder / "ours.db", isolation_level=None, branch="dev", durability="off"
    )
    for sql in scenario["theirs"]:
        dev.execute(sql)
    dev.close()
    for sql in scenario["ours"]:
        connection.execute(sql)
    try:
        connection.execute("merge branch dev using abort")
    except MergeConflictError as error:
        connection.close()
        where = sorted({conflict.table for conflict in error.conflicts})
        kinds = ", ".join(sorted({conflict.kind.value for conflict in error.conflicts}))
        return {"outcome": "conflicts", "where": where, "said": kinds}
    told = {"outcome": "merged", "rows": contents(connection)}
    connection.close()
    return told


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent))
    scenarios = importlib.import_module("scenarios").SCENARIOS
    run = {"doltlite": on_doltlite, "dosql": on_dosql}[sys.argv[1]]
    told = {}
    for scenario in scenarios:
        with tempfile.TemporaryDirectory() as folder:
            told[scenario.name] = run(Path(folder), asdict(scenario))
    Path(sys.argv[2]).write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main()
