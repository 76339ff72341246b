"""Subcommands that bring a database into a lake: sync and push."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from dolake.command_line.lake_opening import (
    DEFAULT_WAREHOUSE,
    FLUSH_DEFAULTS,
    ChangeLogOption,
    EndpointOption,
    FlushAgeOption,
    FlushRowsOption,
    FormatVersionOption,
    StateOption,
    WarehouseOption,
    open_lake,
)
from dolake.command_line.scheduled_upkeep import (
    MAINTAIN_EVERY_SECONDS,
    SNAPSHOTS_KEPT,
    KeepSnapshotsOption,
    MaintainEveryOption,
    maintained,
)
from dolake.ingest.database_source import DatabaseSource
from dolake.ingest.database_sync import DatabaseSync, SyncResult
from dolake.ingest.ingest_locks import source_lock
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import Form
from dolake.ingest.push_client import PushClient, PushOptions
from dolake.ingest.source_identity import check_identity
from dolake.settings import FlushPolicy, IngestSettings, Tier
from dolake.tables.table_options import TableOptions
from dosql_core.command_line.commands.parameters import DatabasePath, JsonOption, examples
from dosql_core.command_line.commands.printing import print_json
from dosql_core.command_line.reporting import (
    ProgressReport,
    UsageError,
    note,
    progress_bar,
)
from dosql_core.command_line.wording import counted, duration_text

NameOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The source's name in the lake; by default the file's."),
]
SourceBranchOption = Annotated[
    str, typer.Option("--branch", "-b", metavar="NAME", help="The branch to bring into the lake.")
]
TableOption = Annotated[
    list[str] | None,
    typer.Option("--table", "-t", metavar="NAME", help="Only this table; may be given again."),
]
SlotOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="The slot of the database that remembers how far we are."),
]
OnceOption = Annotated[
    bool, typer.Option("--once", help="Leave when the lake has everything there is now.")
]
CopyOption = Annotated[
    bool, typer.Option("--copy", help="Copy the tables anew, in place of what the lake has.")
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell of every snapshot.")]


def sync(
    database: DatabasePath,
    warehouse: WarehouseOption = DEFAULT_WAREHOUSE,
    state: StateOption = None,
    endpoint: EndpointOption = None,
    once: OnceOption = False,
    copy: CopyOption = False,
    name: NameOption = None,
    branch: SourceBranchOption = "main",
    table: TableOption = None,
    slot: SlotOption = "dolake",
    flush_rows: FlushRowsOption = FLUSH_DEFAULTS.rows_max,
    flush_age: FlushAgeOption = FLUSH_DEFAULTS.age_seconds_max,
    change_log: ChangeLogOption = False,
    format_version: FormatVersionOption = 3,
    maintain_every: MaintainEveryOption = MAINTAIN_EVERY_SECONDS,
    keep_snapshots: KeepSnapshotsOption = SNAPSHOTS_KEPT,
    verbose: VerboseOption = False,
    json: JsonOption = False,
) -> None:
    """Copy a database of this machine into a lake, and keep the lake up to date with it.

    The first time its tables are copied; from then on every commit follows, exactly once, however
    often this is ended and begun again. Ctrl-C ends it, with everything seen so far in a snapshot.
    """
    _require_file(database)
    settings = IngestSettings(flush=FlushPolicy(rows_max=flush_rows, age_seconds_max=flush_age))
    options = TableOptions(has_change_log=change_log, format_version=format_version)
    with (
        open_lake(warehouse, state, endpoint, options) as lake,
        DatabaseSource(
            database, name=name, branch=branch, slot=slot, tables=table, begin_anew=copy
        ) as source,
        source_lock(lake.state, SourceKey(source.name, branch)),
        _Told(verbose=verbose, json=json) as told,
    ):
        check_identity(lake.state, source.name, source.database_id)
        work = DatabaseSync(source, lake.open_tables, settings, told)
        if not once:
            note(f"following {database} into {warehouse}; Ctrl-C ends it")
        with (
            maintained(lake, 0 if once else maintain_every, keep_snapshots),
            _ended_by_signals(work.stop),
        ):
            result = work.run(follow=not once, copy=copy)
    _tell(result, source.name, json=json)


def push(
    database: DatabasePath,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The lake's address: ws://host:8181/ws.")
    ],
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", envvar="DOLAKE_TOKEN", help="What lets us in."),
    ] = None,
    once: OnceOption = False,
    copy: CopyOption = False,
    name: NameOption = None,
    branch: SourceBranchOption = "main",
    table: TableOption = None,
    slot: SlotOption = "dolake",
    tier: Annotated[
        Tier | None,
        typer.Option(help="How hard the lake holds on to the changes: docs/lake.md."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send JSON that people can read, not msgpack.")
    ] = False,
    verbose: VerboseOption = False,
    json: JsonOption = False,
) -> None:
    """Send a database's changes to a lake that is served elsewhere.

    The lake may be away, and either side may be killed: on connecting the lake says what it has,
    and the database keeps what the lake has not put into a snapshot yet.
    """
    _require_file(database)
    options = PushOptions(
        url, token, None if tier is None else tier.value, Form.JSON if plain else Form.MSGPACK
    )
    with (
        DatabaseSource(
            database, name=name, branch=branch, slot=slot, tables=table, begin_anew=copy
        ) as source,
        _Told(verbose=verbose, json=json) as told,
    ):
        client = PushClient(source, options, told)
        if not once:
            note(f"pushing {database} to {url}; Ctrl-C ends it")
        with _ended_by_signals(client.stop):
            result = client.run(follow=not once, copy=copy)
    _tell(result, source.name, json=json)


class _Told:
    """Tells a person, or a program, what a sync does."""

    def __init__(self, *, verbose: bool, json: bool) -> None:
        self._verbose = verbose
        self._json = json
        self._bar = contextlib.ExitStack()
        self._table: str | None = None
        self._report: ProgressReport = lambda done, total=None: None

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bar.close()

    def copied(self, table: str, rows: int, rows_all: int) -> None:
        if table != self._table:
            self._bar.close()
            self._table = table
            self._report = self._bar.enter_context(progress_bar(f"copying {table}", unit="rows"))
        self._report(rows, rows_all)

    def committed(self, lsn: int, rows: int) -> None:
        self._bar.close()
        self._table = None
        if self._verbose:
            note(f"up to LSN {lsn}" + (f": {counted(rows, 'change')}" if rows else ""))

    def failed(self, error: Exception, retry_seconds: float) -> None:
        note(f"{error}; trying again in {duration_text(retry_seconds)}")


def _tell(result: SyncResult, name: str, *, json: bool) -> None:
    if json:
        print_json({"source": name, **asdict(result)})
        return
    told = []
    if result.copied_tables:
        told.append(
            f"{counted(result.copied_rows, 'row')} of {counted(result.copied_tables, 'table')} "
            "copied"
        )
    if result.changes or not told:
        told.append(counted(result.changes, "change"))
    print(f"{name}: {', '.join(told)}; the lake has LSN {result.lsn}")


def _require_file(database: str) -> None:
    if not os.path.exists(database):
        raise UsageError(f"there is no database at {database}", hint="check the path")


@contextlib.contextmanager
def _ended_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM have the work end in good order; a second one ends it at once."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def register(app: typer.Typer) -> None:
    """Add these subcommands."""
    app.command(
        epilog=examples(
            "dolake sync app.db",
            "dolake sync app.db --once --warehouse ./lake",
            "dolake sync app.db --warehouse s3://bucket/lake --state ./state --table orders",
        )
    )(sync)
    app.command(
        epilog=examples(
            "dolake push app.db ws://lake.example.org:8181/ws --token $TOKEN",
            "dolake push app.db ws://localhost:8181/ws --once",
        )
    )(push)
