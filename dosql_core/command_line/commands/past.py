"""`dosql restore`: the past made the present again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import (
    BranchOption,
    CommandTakingNegatives,
    DatabasePath,
    JsonOption,
    MessageOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json
from dosql_core.command_line.moments import MOMENT_HELP, parse_moment
from dosql_core.command_line.opening import open_existing, rebuild_lost_head
from dosql_core.command_line.reporting import CommandFailedError, UsageError, progress_bar
from dosql_core.command_line.wording import counted, size_text
from dosql_core.identifiers import MAIN_BRANCH


def restore(
    database: DatabasePath,
    moment: Annotated[
        str | None, typer.Argument(metavar="MOMENT", help=MOMENT_HELP, show_default=False)
    ] = None,
    branch: BranchOption = None,
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="NAME", help="Only this table.")
    ] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --table: make a new table of this name."),
    ] = None,
    to_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Change nothing; write a new SQLite file instead."),
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who, for the log.")] = None,
    message: MessageOption = None,
    rebuild_head: Annotated[
        bool,
        typer.Option(
            "--rebuild-head",
            help="Make the lost or damaged file of a branch again from its history.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Put a branch, or one table, back to a moment; or write that moment to a new file.

    It is a new commit, so nothing is lost: what is undone stays in the history, and the restore
    itself can be undone.
    """
    if rebuild_head:
        _rebuild(database, branch or MAIN_BRANCH, json)
        return
    if moment is None:
        raise UsageError("restore needs a moment", MOMENT_HELP)
    if into and not table:
        raise UsageError("--into needs --table")
    if to_file and (table or author or message):
        raise UsageError("--to-file writes a file, so --table, --author and --message mean nothing")
    when, name = parse_moment(moment), branch or MAIN_BRANCH
    with open_existing(database) as opened:
        if to_file:
            if os.path.lexists(to_file):
                raise CommandFailedError(f"{to_file} is already there", "choose another name")
            with progress_bar("writing pages", unit="pages") as report:
                found = opened.export(to_file, when, name, report)
            answer = {"file": to_file, "lsn": found.lsn, "bytes": Path(to_file).stat().st_size}
            told = (
                f"{to_file} is {database} as of LSN {found.lsn},"
                f" a SQLite file of {size_text(Path(to_file).stat().st_size)}"
            )
        elif table:
            count = opened.restore_table(table, when, name, into=into)
            answer = {"table": into or table, "rows": count}
            told = f"table {into or table} is as {table} was then, with {counted(count, 'row')}"
        else:
            before = opened.lsn(name)
            lsn = opened.restore(when, name, author=author, message=message)
            answer = {"branch": name, "lsn": lsn, "lsn_before": before}
            told = (
                f"branch {name} is as it was then, as LSN {lsn}\n"
                f"to undo this: dosql restore {database} {before}"
                + (f" --branch {branch}" if branch else "")
            )
    if json:
        print_json(answer)
    else:
        print(told)


def register(app: typer.Typer) -> None:
    """Add the subcommand to the application."""
    app.command(
        cls=CommandTakingNegatives,
        epilog=examples(
            "dosql restore app.db 41",
            'dosql restore app.db "-10 minutes" --table account',
            "dosql restore app.db snapshot:monday --to-file monday.db",
            "dosql restore app.db --rebuild-head",
        ),
    )(restore)


def _rebuild(database: str, branch: str, as_json: bool) -> None:
    lsn = rebuild_lost_head(database, branch)
    if as_json:
        print_json({"file": database, "branch": branch, "lsn": lsn})
    else:
        what = database if branch == MAIN_BRANCH else f"the head of branch {branch}"
        print(f"{what} was made again from its history, as of LSN {lsn}")
