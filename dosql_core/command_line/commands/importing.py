"""`dosql import`: data in."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import (
    BranchOption,
    DatabasePath,
    FormatOption,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json
from dosql_core.command_line.opening import (
    Connection,
    Target,
    connect,
    nothing_left_of_failure,
)
from dosql_core.command_line.reporting import (
    ProgressReport,
    UsageError,
    note,
    progress_bar,
)
from dosql_core.command_line.shell.interruption import Interruption
from dosql_core.command_line.transfer.column_types import ColumnType, type_named
from dosql_core.command_line.transfer.file_source import STANDARD_INPUT, format_of
from dosql_core.command_line.transfer.formats import (
    ALL_FORMATS,
    SQL_SCRIPT,
    SQLITE_FILE,
    typed_delimiter,
)
from dosql_core.command_line.transfer.row_import import IF_EXISTS, RowImport
from dosql_core.command_line.transfer.script_import import import_script
from dosql_core.command_line.transfer.sqlite_import import import_sqlite_file
from dosql_core.command_line.wording import counted, duration_text

_TEXT_SUFFIXES = ("", ".txt", ".dat", ".gz", ".zip")
_SQLITE_MAGIC = b"SQLite format 3\0"


def import_data(
    database: DatabasePath,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What to read; `-` is stdin.", show_default=False)
    ],
    table: Annotated[
        str | None,
        typer.Option(
            "--table", "-t", metavar="NAME", help="Into this one; by default FILE's name."
        ),
    ] = None,
    file_format: FormatOption = None,
    column_type: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="COLUMN=TYPE", help="Do not guess this column's type."),
    ] = None,
    primary_key: Annotated[
        list[str] | None,
        typer.Option("--primary-key", "--pk", metavar="COLUMN", help="The new table's key."),
    ] = None,
    if_exists: Annotated[
        str, typer.Option(metavar="WHAT", help="When the table is there: append, replace or fail.")
    ] = "append",
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHARACTER", help="What stands between fields.")
    ] = None,
    header: Annotated[bool, typer.Option(help="The first line names the columns.")] = True,
    null: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What NULL looks like; else an empty field.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="How the text is encoded.")] = "utf-8-sig",
    skip: Annotated[int, typer.Option(min=0, help="Ignore so many lines first.")] = 0,
    branch: BranchOption = None,
    json: JsonOption = False,
) -> None:
    """Load a file of rows, a SQL script or a SQLite file: all of it or nothing, in one commit.

    The types of a new table's columns are guessed from the data: a column is an integer or a real
    one only if every value comes back exactly as it was written.
    """
    chosen = file_format or _detect_format(file)
    if chosen not in ALL_FORMATS:
        raise UsageError(f"{chosen} is no format", f"the formats are {', '.join(ALL_FORMATS)}")
    if file != STANDARD_INPUT and not Path(file).is_file():
        raise UsageError(f"there is no file {file}")
    if if_exists not in IF_EXISTS:
        raise UsageError(f"--if-exists should be one of: {', '.join(IF_EXISTS)}")
    started = time.perf_counter()
    interruption = Interruption()
    with (
        nothing_left_of_failure(database),
        closing(connect(Target(database, branch=branch))) as connection,
    ):
        with (
            interruption.watching(connection.interrupt),
            progress_bar(f"importing {Path(file).name}") as report,
        ):
            if chosen == SQL_SCRIPT:
                changes = import_script(connection, file, report, interruption.check)
                answer: dict[str, object] = {"rows": changes}
                told = counted(changes, "row")
            elif chosen == SQLITE_FILE:
                names = [table] if table else []
                copied = import_sqlite_file(connection, file, names, report, interruption.check)
                answer = {"tables": copied.row_counts, "left_out": copied.left_out}
                told = (
                    f"{counted(sum(copied.row_counts.values()), 'row')} in"
                    f" {counted(len(copied.row_counts), 'table')}"
                )
                for name in copied.left_out:
                    note(f"virtual table {name} was left out")
            else:
                asked = RowImport(
                    path=file,
                    table=table or _table_named_after(file),
                    file_format=chosen,
                    types=dict(_read_type(word) for word in column_type or ()),
                    if_exists=if_exists,
                    primary_key=tuple(primary_key or ()),
                    delimiter=typed_delimiter(delimiter),
                    has_header=header,
                    null_text=null,
                    encoding=encoding,
                    lines_skipped=skip,
                )
                answer, told = _import_rows(connection, asked, report, interruption)
        lsn = connection.lsn
    if json:
        print_json({**answer, "lsn": lsn})
    else:
        elapsed = time.perf_counter() - started
        print(f"{told} imported in {duration_text(elapsed)}, as LSN {lsn}")


def register(app: typer.Typer) -> None:
    """Add the subcommand to the application."""
    app.command(
        "import",
        epilog=examples(
            "dosql import app.db people.csv",
            "dosql import app.db people.csv --table person --type zip=text --pk id",
            "dosql import app.db events.jsonl.gz --branch dev",
            "dosql import app.db dump.sql",
            "dosql import app.db other.sqlite --table account",
        ),
    )(import_data)


def _import_rows(
    connection: Connection, asked: RowImport, report: ProgressReport, interruption: Interruption
) -> tuple[dict[str, object], str]:
    outcome = asked.run(connection, report, interruption.check)
    for column, value in outcome.widened_columns.items():
        kind = outcome.types[column].value
        note(f"column {column} holds {value} further down, so it became {kind}")
    answer: dict[str, object] = {
        "table": asked.table,
        "rows": outcome.row_count,
        "created": outcome.table_created,
        "types": {name: kind.value for name, kind in outcome.types.items()},
    }
    verb = "new table" if outcome.table_created else "table"
    return answer, f"{counted(outcome.row_count, 'row')} into {verb} {asked.table}"


def _detect_format(file: str) -> str:
    """What the name says, or what the first bytes do; CSV for stdin.

    Errors: UsageError when neither tells.
    """
    if file == STANDARD_INPUT:
        return "csv"
    by_name = format_of(file)
    if by_name:
        return by_name
    try:
        with open(file, "rb") as stream:
            if stream.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC:
                return SQLITE_FILE
    except OSError:
        return "csv"  # opening it for good will say what is wrong
    suffix = Path(file).suffix
    if suffix.lower() in _TEXT_SUFFIXES:
        return "csv"
    raise UsageError(
        f"the name of {file} does not tell its format: nothing known ends in {suffix}",
        f"say --format and one of {', '.join(ALL_FORMATS)}",
    )


def _table_named_after(file: str) -> str:
    if file == STANDARD_INPUT:
        raise UsageError("rows from stdin need --table")
    return Path(file).name.partition(".")[0]


def _read_type(word: str) -> tuple[str, ColumnType]:
    column, equals, kind = word.rpartition("=")
    if not equals or not column:
        raise UsageError(f"{word!r} should be COLUMN=TYPE")
    return column, type_named(kind)
