"""`dosql snapshot`: list, create, drop."""

from __future__ import annotations

from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import (
    AsOfOption,
    BranchOption,
    DatabasePath,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json, print_table
from dosql_core.command_line.moments import parse_moment
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.wording import time_text
from dosql_core.identifiers import MAIN_BRANCH

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Name moments, so that they are kept and found again.",
)

SnapshotName = Annotated[
    str, typer.Argument(metavar="NAME", help="The snapshot.", show_default=False)
]


@app.command("list", epilog=examples("dosql snapshot list app.db"))
def list_snapshots(database: DatabasePath, json: JsonOption = False) -> None:
    """List the snapshots, the oldest first."""
    with open_existing(database) as opened:
        snapshots = opened.snapshots.list()
    if json:
        print_json(snapshots)
        return
    rows = [
        (
            snapshot.name,
            snapshot.branch,
            snapshot.lsn,
            time_text(snapshot.committed_at) if snapshot.committed_at else None,
            time_text(snapshot.created_at),
        )
        for snapshot in snapshots
    ]
    print_table(("name", "branch", "lsn", "committed_at", "created_at"), rows)


@app.command(
    epilog=examples(
        "dosql snapshot create app.db before-migration",
        "dosql snapshot create app.db monday --as-of '2026-11-23 00:00:00'",
    )
)
def create(
    database: DatabasePath,
    name: SnapshotName,
    branch: BranchOption = None,
    as_of: AsOfOption = None,
    json: JsonOption = False,
) -> None:
    """Name the present, or another moment; it is kept until the name is dropped."""
    with open_existing(database) as opened:
        made = opened.snapshots.create(
            name,
            None if as_of is None else parse_moment(as_of),
            branch or MAIN_BRANCH,
        )
    if json:
        print_json(made)
        return
    print(f"snapshot {made.name} is LSN {made.lsn} of {made.branch}")


@app.command(epilog=examples("dosql snapshot drop app.db before-migration"))
def drop(database: DatabasePath, name: SnapshotName) -> None:
    """Forget a name; what only it needed goes with the next compaction."""
    with open_existing(database) as opened:
        opened.snapshots.drop(name)
    print(f"snapshot {name} dropped")
