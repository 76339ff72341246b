"""Subcommands that look: query, log, diff, blame, info."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dosql_core.command_line import row_past
from dosql_core.command_line.commands.parameters import (
    AsOfOption,
    BranchOption,
    CommandTakingNegatives,
    DatabasePath,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import (
    print_facts,
    print_json,
    print_table,
)
from dosql_core.command_line.difference_sql import difference_as_sql
from dosql_core.command_line.difference_text import difference_as_json, difference_lines
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.moments import PRESENT, parse_moment
from dosql_core.command_line.opening import Target, connect, open_existing
from dosql_core.command_line.reporting import UsageError, palette_for, progress_bar
from dosql_core.command_line.results.layouts import LAYOUTS
from dosql_core.command_line.shell.interruption import Interruption
from dosql_core.command_line.shell.settings import ShellSettings
from dosql_core.command_line.shell.statement_parameters import parameters_for
from dosql_core.command_line.values import parse_literal
from dosql_core.command_line.wording import age_text, counted, size_text, time_text
from dosql_core.identifiers import MAIN_BRANCH, SqlValue
from dosql_core.language.splitting import split_statements

_COMMITS_SHOWN = 20


def query(
    database: DatabasePath,
    sql: Annotated[
        list[str], typer.Argument(metavar="SQL...", help="Statements; `-` reads them from stdin.")
    ],
    as_of: AsOfOption = None,
    branch: BranchOption = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Value of a parameter :NAME."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="How rows are laid out: " + ", ".join(sorted(LAYOUTS))),
    ] = None,
    header: Annotated[bool, typer.Option(help="Show the names of columns.")] = True,
    null: Annotated[str, typer.Option(metavar="TEXT", help="What NULL looks like.")] = "",
    json: JsonOption = False,
) -> None:
    """Run statements of SQL and print what they answer.

    Rows are a table in a terminal and CSV elsewhere, unless --mode or --json says otherwise.
    """
    if mode is not None and mode not in LAYOUTS:
        raise UsageError(f"mode should be one of: {' '.join(sorted(LAYOUTS))}")
    chosen = "json" if json else mode or ("box" if sys.stdout.isatty() else "csv")
    parameters = dict(_read_parameter(word) for word in parameter or ())
    settings = ShellSettings(mode=chosen, headers=header, null_text=null)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    style = settings.style(screen_columns=columns, palette=palette_for(sys.stdout))
    interruption = Interruption()
    connection = connect(_target(database, branch, as_of))
    try:
        with interruption.watching(connection.interrupt):
            for text in sql:
                for statement in split_statements(sys.stdin.read() if text == "-" else text):
                    cursor = connection.execute(statement, parameters_for(statement, parameters))
                    if cursor.description is not None:
                        names = [column[0] for column in cursor.description]
                        for piece in LAYOUTS[chosen](names, cursor, style):
                            interruption.check()
                            sys.stdout.write(piece)
    finally:
        connection.close()


def log(
    database: DatabasePath,
    branch: BranchOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="At most so many commits.")
    ] = _COMMITS_SHOWN,
    everything: Annotated[bool, typer.Option("--all", help="Every commit that is kept.")] = False,
    first: Annotated[int | None, typer.Option(metavar="LSN", help="From this one on.")] = None,
    last: Annotated[int | None, typer.Option(metavar="LSN", help="Up to this one.")] = None,
    json: JsonOption = False,
) -> None:
    """List commits, the newest first."""
    with open_existing(database) as opened:
        commits = opened.log(
            branch or MAIN_BRANCH,
            limit=None if everything else limit,
            first=first,
            last=last,
        )
    if json:
        print_json(commits)
        return
    columns = ("lsn", "committed_at", "age", "pages", "history", "author", "message", "notes")
    rows = [
        (
            commit.lsn,
            time_text(commit.committed_at),
            age_text(commit.committed_at),
            commit.pages,
            size_text(commit.bytes),
            commit.author,
            commit.message,
            " ".join(commit.flags),
        )
        for commit in commits
    ]
    print_table(*_without_empty_columns(columns, rows))


def diff(
    database: DatabasePath,
    before: Annotated[str, typer.Argument(metavar="FROM", help="A moment.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="TO", help="A later moment.")] = PRESENT,
    table: Annotated[str | None, typer.Option("--table", "-t", help="Only this table.")] = None,
    branch: BranchOption = None,
    limit: Annotated[int, typer.Option(help="At most so many rows of a table; 0 for all.")] = 20,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Leave with status 4 when something differs.")
    ] = False,
    json: JsonOption = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print statements that make FROM into TO.")
    ] = False,
) -> None:
    """Show the rows that differ between two moments, which may be on two branches."""
    if sql and json:
        raise UsageError("--sql and --json exclude each other")
    earlier, later = parse_moment(before), None
    if after.lower() != PRESENT:
        later = parse_moment(after)
    with (
        open_existing(database) as opened,
        opened.diff(earlier, later, branch or MAIN_BRANCH) as difference,
    ):
        if json:
            told = difference_as_json(difference, table)
            print_json(told)
            found_one = bool(told["rows"] or told["schema"])
        else:
            lines = (
                (f"{statement}\n" for statement in difference_as_sql(difference, table))
                if sql
                else difference_lines(difference, table, limit or None, palette_for(sys.stdout))
            )
            found_one = False
            for line in lines:
                found_one = True
                sys.stdout.write(line)
            if not found_one and not sql:
                print("no differences")
    if found_one and exit_code:
        raise typer.Exit(ExitCode.DIFFERENT)


def blame(
    database: DatabasePath,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Its table.")],
    key: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Its primary key, a word a column.")
    ],
    branch: BranchOption = None,
    as_of: AsOfOption = None,
    json: JsonOption = False,
) -> None:
    """Tell which commit gave each column of a row its value: when, who, and why."""
    connection = connect(_target(database, branch, as_of))
    try:
        columns, rows = row_past.blame(connection, table, list(map(parse_literal, key)))
    finally:
        connection.close()
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        print_table(columns, rows)
    else:
        print("there is no such row")


def info(database: DatabasePath, json: JsonOption = False) -> None:
    """Tell the sizes, counts and settings of a database."""
    with (
        progress_bar("reading the database for its first history") as report,
        open_existing(database, report) as opened,
    ):
        found = opened.info()
    if json:
        print_json(found)
        return
    kept = found.retention
    limits = [
        f"{kept.age_seconds:g} seconds" if kept.age_seconds is not None else "",
        counted(kept.commits_max, "commit") if kept.commits_max is not None else "",
        size_text(kept.history_bytes_max) if kept.history_bytes_max is not None else "",
    ]
    facts: dict[str, object] = {
        "file": found.path,
        "database id": found.database_id,
        "head": f"{size_text(found.database_bytes)} in pages of {found.page_size} bytes",
        "newest commit": f"LSN {found.lsn}, {found.last_commit_at or 'never'}",
        "oldest moment": f"LSN {found.oldest_lsn}",
        "history": size_text(found.history_bytes),
        "not yet captured": size_text(found.wal_bytes),
        "beside the file": size_text(found.directory_bytes),
        "branches": found.branches,
        "snapshots": found.snapshots,
        "history is kept": " or ".join(limit for limit in limits if limit) or "for ever",
    }
    if found.oldest_reader_lsn is not None:
        facts["oldest open snapshot"] = f"LSN {found.oldest_reader_lsn}"
    if found.opening_note:
        facts["found when opening"] = found.opening_note
    if found.maintenance_failure:
        facts["maintenance"] = f"failed: {found.maintenance_failure}"
    print_facts(facts)


def register(app: typer.Typer) -> None:
    """Add the subcommands to the application."""
    app.command(
        epilog=examples(
            'dosql query app.db "select * from account"',
            'dosql query app.db --as-of "-1 hour" --json "select * from account"',
            'dosql query app.db -p owner=bob "select * from account where owner = :owner"',
        )
    )(query)
    app.command(epilog=examples("dosql log app.db", "dosql log app.db -n 5 --json"))(log)
    app.command(
        cls=CommandTakingNegatives,
        epilog=examples(
            "dosql diff app.db 5",
            'dosql diff app.db "-1 day" --table account',
            "dosql diff app.db branch:dev",
            "dosql diff app.db branch:dev branch:main --sql",
        ),
    )(diff)
    app.command(
        cls=CommandTakingNegatives,
        epilog=examples("dosql blame app.db account 42", "dosql blame app.db line 7 1 --json"),
    )(blame)
    app.command(epilog=examples("dosql info app.db", "dosql info app.db --json"))(info)


def _target(database: str, branch: str | None, as_of: str | None) -> Target:
    moment = None if as_of is None else parse_moment(as_of)
    return Target(database, branch=branch, as_of=moment, create=False)


def _read_parameter(word: str) -> tuple[str, SqlValue]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"{word!r} is no parameter: it should be NAME=VALUE")
    return name if name[0] in ":@$?" else f":{name}", parse_literal(value)


def _without_empty_columns(
    columns: tuple[str, ...], rows: Sequence[tuple[SqlValue, ...]]
) -> tuple[list[str], list[list[SqlValue]]]:
    """The table without columns that have nothing to say."""
    kept = [i for i in range(len(columns)) if not rows or any(row[i] for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
