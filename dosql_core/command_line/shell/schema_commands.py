"""Dot-commands about what the database holds: tables, schema, plans, dumps, charts."""

from __future__ import annotations

import contextlib
import os
import re
import shutil

import dosql_dbapi
from dosql_core.command_line.reporting import CommandFailedError, UsageError
from dosql_core.command_line.results.charts import bar_chart, find_series, sparkline_chart
from dosql_core.command_line.results.text_width import padded, text_width
from dosql_core.command_line.schema import USER_OBJECTS, table_names
from dosql_core.command_line.shell.dot_command import Invocation, dot_command
from dosql_core.command_line.shell.shell import Shell
from dosql_core.command_line.sql_words import name_for_sql
from dosql_core.command_line.transfer.new_file import new_file
from dosql_core.command_line.transfer.sql_dump import dump

_BLANKS_BETWEEN_NAMES = 2
_COLUMNS_WITHOUT_A_SCREEN = 80
EMPTY_NAME = '""'  # what sqlite3 shows for a database without a file
_CHART_KINDS = ("bar", "spark")


@dot_command("tables", "?PATTERN?", completes=("table",))
def tables(shell: Shell, typed: Invocation) -> None:
    """List tables and views whose names are LIKE PATTERN."""
    names = table_names(shell.connection, typed.word(0, "%"))
    shell.write_text(_in_columns(names, shell.output.screen_columns or _COLUMNS_WITHOUT_A_SCREEN))


@dot_command("indexes", "?TABLE?", completes=("table",))
def indexes(shell: Shell, typed: Invocation) -> None:
    """List indexes, of all tables or of those LIKE TABLE."""
    _, rows = shell.query(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name LIKE ? ORDER BY 1",
        (typed.word(0, "%"),),
    )
    names = [str(name) for (name,) in rows]
    shell.write_text(_in_columns(names, shell.output.screen_columns or _COLUMNS_WITHOUT_A_SCREEN))


# sqlite3's shell has it so, for what virtual tables make of themselves is there already.
_QUOTED_TABLE = re.compile(r"^CREATE TABLE (?=['\"])", re.IGNORECASE)
_IF_NOT_EXISTS = "CREATE TABLE IF NOT EXISTS "


@dot_command("schema", "?PATTERN?", completes=("table",))
def schema(shell: Shell, typed: Invocation) -> None:
    """Show the statements that made tables, views, indexes and triggers LIKE PATTERN."""
    patterns = [word for word in typed.words if word not in ("--indent", "--nosys")]
    if len(patterns) > 1 or any(word.startswith("-") for word in patterns):
        raise schema.misused()
    _, rows = shell.query(
        "SELECT name, sql, rootpage = 0 AND type <> 'trigger' FROM sqlite_schema"
        f" WHERE sql IS NOT NULL AND (tbl_name LIKE ?1 OR name LIKE ?1) AND {USER_OBJECTS}"
        " ORDER BY rowid",
        (patterns[0] if patterns else "%",),
    )
    shell.write_text(
        _QUOTED_TABLE.sub(_IF_NOT_EXISTS, str(sql))
        + (_columns_of(shell, str(name)) if tells_no_columns else "")
        + ";\n"
        for name, sql, tells_no_columns in rows
    )


def _columns_of(shell: Shell, name: str) -> str:
    """A comment with the columns of a view or a virtual table, whose definition may not tell."""
    _, columns = shell.query("SELECT name FROM pragma_table_info(?)", (name,))
    names = ",".join(name_for_sql(str(column)) for (column,) in columns)
    return f"\n/* {name_for_sql(name)}({names}) */" if names else ""


@dot_command("databases")
def databases(shell: Shell, typed: Invocation) -> None:
    """List the attached databases and their files."""
    _, rows = shell.query("PRAGMA database_list")
    for _, name, file in rows:
        mode = "r/o" if name == "main" and shell.is_read_only else "r/w"
        path = shell.target.path if name == "main" and not shell.target.is_in_memory else file
        shell.output.write(f"{name}: {path or EMPTY_NAME} {mode}\n")


@dot_command("explain", "on|off|auto|STATEMENT", completes=("sql",))
def explain(shell: Shell, typed: Invocation) -> None:
    """Show how a statement would be carried out.

    With on, off or auto: whether EXPLAIN QUERY PLAN is drawn as a tree (off shows its rows).
    Without anything: the plan of the last query.
    """
    if typed.rest.lower() in ("on", "off", "auto"):
        shell.settings.explain = typed.rest.lower()
        return
    statement = typed.rest or shell.last_query
    if not statement:
        raise explain.misused()
    shell.run_statement(f"EXPLAIN QUERY PLAN {statement}")


@dot_command("dump", "?PATTERN? ...", completes=("table",))
def dump_tables(shell: Shell, typed: Invocation) -> None:
    """Write the database, or tables LIKE the patterns, as SQL."""
    shell.write_text(dump(shell.connection, typed.words))


@dot_command("backup", "?DB? FILE", completes=("file",))
def back_up(shell: Shell, typed: Invocation) -> None:
    """Make FILE a stock SQLite file of the database, at the moment that is shown.

    FILE is replaced if it is there; a database of DoSQL is not.
    """
    if not 1 <= len(typed.words) <= 2:
        raise back_up.misused()
    *schema, file = typed.words
    if os.path.exists(f"{file}-dosql"):
        raise CommandFailedError(
            f"{file} is a database with history", "choose another name, or `dosql detach` it"
        )
    with (
        new_file(file, force=True) as path,
        contextlib.closing(dosql_dbapi.connect(path, history=False)) as copy,
    ):
        shell.connection.backup(copy, name=schema[0] if schema else "main")


@dot_command("save", "FILE", completes=("file",))
def save(shell: Shell, typed: Invocation) -> None:
    """Do as `.backup FILE`."""
    if len(typed.words) != 1:
        raise save.misused()
    back_up.run(shell, typed)


@dot_command("chart", "?bar|spark? ?COLUMN? ?QUERY?", completes=("chart", "sql"))
def chart(shell: Shell, typed: Invocation) -> None:
    """Draw a numeric column of a query: bars, one a row, or a line of small ones.

    COLUMN is the column to draw, by default the first numeric one; the first other column labels
    the bars. Without QUERY the last one is run again.
    """
    kind, column, query = _chart_words(typed.rest)
    query = query or shell.last_query
    if not query:
        raise UsageError("there is no query to draw yet: write one after .chart, or run one first")
    columns, rows = shell.query(query)
    shell.last_query = query
    series = find_series(columns, rows, column)
    width = shell.output.screen_columns or shutil.get_terminal_size((80, 24)).columns
    draw = sparkline_chart if kind == "spark" else bar_chart
    shell.write_text(draw(series, width, shell.output.palette))


def _chart_words(rest: str) -> tuple[str, str | None, str]:
    """Kind, column and query of a `.chart`; whatever begins like a query is one."""
    kind, column = "bar", None
    word, _, behind = rest.partition(" ")
    if word in _CHART_KINDS:
        kind, rest = word, behind.strip()
        word, _, behind = rest.partition(" ")
    if word and word.lower() not in ("select", "with", "values", "pragma", "show"):
        column, rest = word.rstrip(";").strip('"'), behind.strip()
    return kind, column, rest


def _in_columns(names: list[str], screen_columns: int) -> list[str]:
    """Lines with the names in as many columns as fit, read downwards."""
    if not names:
        return []
    width = max(map(text_width, names)) + _BLANKS_BETWEEN_NAMES
    column_count = max(1, (screen_columns + _BLANKS_BETWEEN_NAMES) // width)
    line_count = -(-len(names) // column_count)
    return [
        "".join(padded(name, width) for name in names[line::line_count]).rstrip() + "\n"
        for line in range(line_count)
    ]


COMMANDS = (back_up, chart, databases, dump_tables, explain, indexes, save, schema, tables)
