"""`dosql export`: data out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from dosql_core.command_line.commands.parameters import (
    AsOfOption,
    BranchOption,
    DatabasePath,
    FormatOption,
    JsonOption,
    examples,
)
from dosql_core.command_line.commands.printing import print_json
from dosql_core.command_line.moments import parse_moment
from dosql_core.command_line.opening import (
    Connection,
    Target,
    connect,
    open_existing,
    require_database,
)
from dosql_core.command_line.reporting import (
    UsageError,
    progress_bar,
)
from dosql_core.command_line.schema import data_tables, describe_table
from dosql_core.command_line.shell.interruption import Interruption
from dosql_core.command_line.sql_words import identifier
from dosql_core.command_line.transfer.file_source import format_of
from dosql_core.command_line.transfer.formats import (
    ALL_FORMATS,
    SQL_SCRIPT,
    SQLITE_FILE,
    typed_delimiter,
)
from dosql_core.command_line.transfer.new_file import STANDARD_OUTPUT, new_file, new_text
from dosql_core.command_line.transfer.row_export import (
    write_delimited,
    write_json,
    write_json_lines,
    write_parquet,
)
from dosql_core.command_line.transfer.sql_dump import dump
from dosql_core.command_line.wording import counted, duration_text, size_text
from dosql_core.identifiers import MAIN_BRANCH


def export_data(
    database: DatabasePath,
    destination: Annotated[
        str,
        typer.Argument(metavar="FILE", help="What to write; `-` is stdout.", show_default=False),
    ],
    table: Annotated[
        str | None, typer.Option("--table", "-t", metavar="NAME", help="The rows of this table.")
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", "-q", metavar="SQL", help="The rows of this query.")
    ] = None,
    file_format: FormatOption = None,
    as_of: AsOfOption = None,
    branch: BranchOption = None,
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHARACTER", help="What stands between fields.")
    ] = None,
    header: Annotated[bool, typer.Option(help="Begin with the columns' names.")] = True,
    null: Annotated[str, typer.Option(metavar="TEXT", help="What NULL looks like.")] = "",
    force: Annotated[bool, typer.Option(help="Replace FILE if it is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Write a table, a query's rows, or the whole database, now or as of a moment.

    CSV, TSV, JSON lines, JSON and Parquet hold one table or query; a SQL script holds one table or
    all; a SQLite file holds all.
    """
    chosen = file_format or format_of(destination) or ("csv" if destination == "-" else "")
    if chosen not in ALL_FORMATS:
        raise UsageError(
            f"the name {destination} tells no format" if not chosen else f"{chosen} is no format",
            f"say --format with one of {', '.join(ALL_FORMATS)}",
        )
    require_database(database)
    if chosen in (SQLITE_FILE, "parquet") and destination == STANDARD_OUTPUT:
        raise UsageError(f"a {chosen} file cannot be written to stdout")
    started = time.perf_counter()
    moment = None if as_of is None else parse_moment(as_of)
    answer: dict[str, object]
    if chosen == SQLITE_FILE:
        if table or query:
            raise UsageError("a SQLite file holds the whole database, not one table or query")
        with (
            new_file(destination, force) as path,
            open_existing(database) as opened,
            progress_bar("writing pages", unit="pages") as report,
        ):
            found = opened.export(path, moment, branch or MAIN_BRANCH, report)
        answer = {"lsn": found.lsn}
        told = f"LSN {found.lsn}"
    else:
        connection = connect(Target(database, branch=branch, as_of=moment, create=False))
        interruption = Interruption()
        try:
            with interruption.watching(connection.interrupt):
                if chosen == SQL_SCRIPT:
                    if query:
                        raise UsageError("a SQL script holds tables, not a query's rows")
                    with new_text(destination, force) as stream:
                        for piece in dump(connection, [table] if table else []):
                            interruption.check()
                            stream.write(piece)
                    answer, told = {}, "SQL script"
                else:
                    sql = _rows_wanted(connection, table, query)
                    count = _export_rows(
                        connection, sql, destination, chosen, delimiter, header, null, force,
                        interruption,
                    )  # fmt: skip
                    answer, told = {"rows": count}, counted(count, "row")
        finally:
            connection.close()
    if destination == STANDARD_OUTPUT:
        return
    size = Path(destination).stat().st_size
    if json:
        print_json({"file": destination, "bytes": size, **answer})
    else:
        elapsed = duration_text(time.perf_counter() - started)
        print(f"{told} exported to {destination} ({size_text(size)}) in {elapsed}")


def register(app: typer.Typer) -> None:
    """Add the subcommand to the application."""
    app.command(
        "export",
        epilog=examples(
            "dosql export app.db account.csv --table account",
            'dosql export app.db - --format jsonl --query "select * from account" | head',
            "dosql export app.db backup.sqlite",
            'dosql export app.db yesterday.sql --as-of "-1 day"',
        ),
    )(export_data)


def _rows_wanted(connection: Connection, table: str | None, query: str | None) -> str:
    if table and query:
        raise UsageError("choose --table or --query, not both")
    if query:
        return query
    if table is None:
        names = data_tables(connection)
        if len(names) != 1:
            raise UsageError(
                "which table should be exported?",
                f"say --table with one of {', '.join(names)}" if names else "there are none",
            )
        table = names[0]
    described = describe_table(connection, table)
    wanted = ", ".join(identifier(column.name) for column in described.columns)
    return f"SELECT {wanted} FROM {identifier(table)}"


def _export_rows(
    connection: Connection,
    sql: str,
    destination: str,
    file_format: str,
    delimiter: str | None,
    header: bool,
    null: str,
    force: bool,
    interruption: Interruption,
) -> int:
    cursor = connection.execute(sql)
    if cursor.description is None:
        raise UsageError("the statement answers no rows, so there is nothing to export")
    columns = [column[0] for column in cursor.description]
    with progress_bar("exporting rows", unit="rows") as report:

        def checkpoint(count: int) -> None:
            interruption.check()
            report(count)

        if file_format == "parquet":
            with new_file(destination, force) as path:
                return write_parquet(path, columns, cursor, checkpoint=checkpoint)
        with new_text(destination, force) as stream:
            if file_format == "jsonl":
                return write_json_lines(stream, columns, cursor, checkpoint=checkpoint)
            if file_format == "json":
                return write_json(stream, columns, cursor, checkpoint=checkpoint)
            return write_delimited(
                stream,
                columns,
                cursor,
                delimiter=typed_delimiter(delimiter) or ("\t" if file_format == "tsv" else ","),
                has_header=header,
                null_text=null,
                checkpoint=checkpoint,
            )
