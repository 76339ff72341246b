"""Dot-commands about the past and its forks: log, branches, moments, differences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from dosql_core.command_line import row_past
from dosql_core.command_line.difference_text import difference_lines
from dosql_core.command_line.moments import PRESENT, parse_moment
from dosql_core.command_line.opening import open_existing
from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.row_past import row_history
from dosql_core.command_line.schema import table_exists
from dosql_core.command_line.shell.dot_command import Invocation, dot_command
from dosql_core.command_line.shell.shell import Shell
from dosql_core.command_line.sql_words import identifier
from dosql_core.command_line.values import parse_literal
from dosql_core.command_line.wording import counted, size_text
from dosql_core.database import Database
from dosql_core.errors import Error
from dosql_core.identifiers import MAIN_BRANCH

_COMMITS_SHOWN = 20
_DIFFERENCES_SHOWN = 20


@dot_command("log", "?COUNT?")
def log(shell: Shell, typed: Invocation) -> None:
    """List the last commits of the branch, the newest first.

    It is the table dosql_log, which any query can read.
    """
    word = typed.word(0, str(_COMMITS_SHOWN))
    if not word.isdecimal():
        raise log.misused()
    columns, rows = shell.query(
        "SELECT lsn, committed_at, pages, bytes, author, message FROM dosql_log"
        " ORDER BY lsn DESC LIMIT ?",
        (int(word),),
    )
    shell.write_rows(columns, rows)


@dot_command("branch", "?NAME? | -c NAME ?FROM? | -d NAME", completes=("branch",))
def branch(shell: Shell, typed: Invocation) -> None:
    """List branches, go to one, make one (-c, and go there), or drop one (-d)."""
    match typed.words:
        case []:
            columns, rows = shell.query("SHOW BRANCHES")
            shell.write_rows(columns, rows, wraps_values=True)
        case ["-c", name]:
            shell.query(f"CREATE BRANCH {identifier(name)}")
            shell.use_branch(name)
        case ["-c", name, source]:
            shell.query(f"CREATE BRANCH {identifier(name)} FROM {identifier(source)}")
            shell.use_branch(name)
        case ["-d", name]:
            shell.query(f"DROP BRANCH {identifier(name)}")
        case [name] if not name.startswith("-"):
            shell.use_branch(name)
        case _:
            raise branch.misused()


@dot_command("snapshot", "?NAME? | -d NAME", completes=("snapshot",))
def snapshot(shell: Shell, typed: Invocation) -> None:
    """List snapshots, name the present moment, or drop a name (-d)."""
    match typed.words:
        case []:
            columns, rows = shell.query("SHOW SNAPSHOTS")
            shell.write_rows(columns, rows, wraps_values=True)
        case ["-d", name]:
            shell.query(f"DROP SNAPSHOT {identifier(name)}")
        case [name] if not name.startswith("-"):
            shell.query(f"CREATE SNAPSHOT {identifier(name)}")
        case _:
            raise snapshot.misused()


@dot_command("asof", "MOMENT|now", completes=("moment",))
def asof(shell: Shell, typed: Invocation) -> None:
    """Go to a moment of the past, where everything can be read and nothing written; `now` returns.

    MOMENT is an LSN (5), a time in UTC (2026-11-23 10:00:00), a distance (-1 hour),
    snapshot:NAME or branch:NAME.
    """
    if not typed.words:
        raise asof.misused()
    moment = " ".join(typed.words)
    as_of = None if moment.lower() == PRESENT else parse_moment(moment)
    shell.open(shell.target.at(branch=shell.branch, as_of=as_of))


@dot_command("diff", "?TABLE? FROM ?TO? ?--all?", completes=("moment", "moment"))
def diff(shell: Shell, typed: Invocation) -> None:
    """Show the rows that differ between two moments, of TABLE or of all tables.

    TABLE may be the name it had at FROM. Without TO, between FROM and now. A moment of several
    words is put in quotes. At most 20 rows of a table are shown, with --all every one.
    """
    words = [word for word in typed.words if word != "--all"]
    table = None
    if len(words) == 3 or (len(words) == 2 and table_exists(shell.connection, words[0])):
        table, *words = words
    if not 1 <= len(words) <= 2:
        raise diff.misused()
    if shell.target.is_in_memory:
        raise UsageError("a database in memory has no past to compare with")
    limit = None if "--all" in typed.words else _DIFFERENCES_SHOWN
    branch_name = shell.branch or MAIN_BRANCH
    with open_existing(shell.target.path) as database:
        if table is None and len(words) == 2 and _was_table(database, words, branch_name):
            table, *words = words
        before = parse_moment(words[0])
        after = parse_moment(words[1]) if len(words) == 2 and words[1].lower() != PRESENT else None
        with database.diff(before, after, branch_name) as difference:
            lines = difference_lines(difference, table, limit, shell.output.palette)
            shell.write_text(_or_nothing(lines))


def _was_table(database: Database, words: list[str], branch_name: str) -> bool:
    """Whether the first word is no moment, but was a table at the second; it is none now."""
    try:
        database.resolve(parse_moment(words[0]), branch_name)
    except Error:
        with suppress(Error), database.diff(parse_moment(words[1]), None, branch_name) as since:
            return words[0].casefold() in map(str.casefold, since.tables)
    return False


@dot_command("history", "TABLE KEY...", completes=("table", ""))
def history(shell: Shell, typed: Invocation) -> None:
    """Show every version that a row has had, the oldest first, and which commits made them.

    KEY is the primary key, one word for each of its columns, or the rowid where there is none.
    """
    if len(typed.words) < 2:
        raise history.misused()
    table, *key = typed.words
    shell.write_rows(*row_history(shell.connection, table, list(map(parse_literal, key))))


@dot_command("blame", "TABLE KEY...", completes=("table", ""))
def blame(shell: Shell, typed: Invocation) -> None:
    """Show which commit gave each column of a row the value it has.

    KEY is the primary key, one word for each of its columns, or the rowid where there is none.
    """
    if len(typed.words) < 2:
        raise blame.misused()
    table, *key = typed.words
    shell.write_rows(*row_past.blame(shell.connection, table, list(map(parse_literal, key))))


@dot_command("status")
def status(shell: Shell, typed: Invocation) -> None:
    """Show where the shell is: file, branch, moment, transaction, sizes."""
    connection = shell.connection
    (page_count,) = shell.query("PRAGMA page_count")[1][0]
    (page_size,) = shell.query("PRAGMA page_size")[1][0]
    values = {
        "file": shell.target.path,
        "branch": shell.branch or "none (no history is kept)",
        "moment": "now" if shell.target.as_of is None else str(shell.target.as_of),
        "LSN": "none" if shell.lsn is None else str(shell.lsn),
        "transaction": "open" if connection.in_transaction else "none",
        "size": f"{size_text(int(str(page_count)) * int(str(page_size)))}"
        f" in {counted(int(str(page_count)), 'page')}",
        "durability": shell.target.durability,
    }
    for name, value in values.items():
        shell.output.write(f"{name:>12}: {value}\n")


def _or_nothing(lines: Iterator[str]) -> Iterator[str]:
    """The lines, or one that says there are none."""
    first = next(lines, "no differences\n")
    yield first
    yield from lines


COMMANDS = (asof, blame, branch, diff, history, log, snapshot, status)
