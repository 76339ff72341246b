"""The shell: runs statements and dot-commands on one connection, and writes what they answer.

It does not read a terminal; whoever feeds it input does.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.opening import (
    Connection,
    Cursor,
    Target,
    connect,
    current_branch,
    current_lsn,
    remove_if_empty,
    would_be_made,
)
from dosql_core.command_line.reporting import (
    CommandFailedError,
    UsageError,
    error_text,
    progress_bar,
    wants_colour,
)
from dosql_core.command_line.results.layouts import LAYOUTS
from dosql_core.command_line.results.plan_tree import PLAN_COLUMNS, plan_tree
from dosql_core.command_line.results.style import Row
from dosql_core.command_line.shell.dot_command import DotCommand, Invocation, find_command
from dosql_core.command_line.shell.interruption import InterruptedByUserError, Interruption
from dosql_core.command_line.shell.output import PagedWriter, ResultsClosedError, ShellOutput
from dosql_core.command_line.shell.script import ShellInput, gather, is_blank
from dosql_core.command_line.shell.settings import ShellSettings
from dosql_core.command_line.shell.statement_parameters import parameters_for
from dosql_core.command_line.wording import counted, duration_text
from dosql_core.errors import Error, ReadOnlyMomentError
from dosql_core.language.splitting import split_statements

_LISTING = re.compile(r"\s*SHOW\b", re.IGNORECASE)
_ROWS_A_FETCH = 256
_MAX_READ_DEPTH = 32
_LINES_OF_THE_NEXT_PROMPT = 3


class LeaveShell(Exception):
    """The shell is to end with this exit status."""

    def __init__(self, status: int = 0) -> None:
        super().__init__(status)
        self.status = status


class Shell:
    """One connection, its settings, and where its results go."""

    def __init__(
        self,
        target: Target,
        settings: ShellSettings,
        commands: dict[str, DotCommand],
        *,
        is_interactive: bool,
    ) -> None:
        self.target = target
        self.settings = settings
        self.commands = commands
        self.is_interactive = is_interactive
        self.output = ShellOutput(is_interactive=is_interactive)
        self.interruption = Interruption()
        self.error_count = 0
        self.last_query = ""
        self._source_names: list[str] = []
        self._made: list[Target] = []  # whose files were not there before
        self._has_done_something = False
        self.connection = self._connect(target)

    # -- the database ------------------------------------------------------------------------------

    def open(self, target: Target) -> None:
        """Leave the present database for another, or for another branch or moment of it.

        The new connection is made first: if it fails, the shell stays where it was.
        """
        connection = self._connect(target)
        self.connection.close()
        self.connection, self.target = connection, target

    def use_branch(self, name: str) -> None:
        """Go to the head of a branch."""
        self.open(self.target.at(branch=name, as_of=None))

    @property
    def branch(self) -> str | None:
        """The branch the connection is on; None where no history is kept."""
        return current_branch(self.connection)

    @property
    def lsn(self) -> int | None:
        """The LSN the connection sees; None where no history is kept."""
        return current_lsn(self.connection)

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written here."""
        return self.target.read_only or self.target.as_of is not None

    def close(self) -> None:
        """End redirections and close the connection; an open transaction is rolled back.

        A new database to which nothing was committed goes again, as a person would expect it;
        a script that went well may have wanted the empty file, which sqlite3 leaves it.
        """
        self.output.close()
        self.connection.close()
        if self.is_interactive or self.error_count or not self._has_done_something:
            for target in self._made:
                remove_if_empty(target)

    def _connect(self, target: Target) -> Connection:
        whole = replace(target, path=os.path.abspath(target.path))  # `.cd` may come in between
        is_new = would_be_made(target)
        with progress_bar("reading the database for its first history") as report:
            connection = connect(target, on_progress=report)
        if is_new:
            self._made.append(whole)
        return connection

    # -- input -------------------------------------------------------------------------------------

    def run_script(self, lines: Iterable[str], name: str = "") -> None:
        """Run every input in the lines; an error is told with its line and counted.

        Errors: LeaveShell when a command or `.bail` says so; UsageError when files read each
        other without end.
        """
        if len(self._source_names) >= _MAX_READ_DEPTH:
            raise UsageError(f"files read each other more than {_MAX_READ_DEPTH} deep")
        self._source_names.append(name)
        try:
            for part in gather(lines):
                if self.settings.echo:
                    print(part.text.rstrip("\n"))
                if not self.run(part) and self.settings.bail:
                    raise LeaveShell(1)
        finally:
            self._source_names.pop()

    def run_file(self, path: str) -> None:
        """Run a file of SQL and dot-commands.

        Errors: CommandFailedError when it cannot be read.
        """
        try:
            with Path(path).open(encoding="utf-8", errors="surrogateescape") as lines:
                self.run_script(lines, path)
        except OSError as cause:
            raise CommandFailedError(f'cannot open "{path}": {cause.strerror}') from cause

    def run(self, part: ShellInput) -> bool:
        """Run one dot-command, or statements until one fails; True when all went well."""
        try:
            if part.is_dot_command:
                self._run_dot_command(part.text)
            else:
                for statement in split_statements(part.text):
                    self.interruption.check()
                    self.run_statement(statement)
        except LeaveShell:
            raise
        except (InterruptedByUserError, KeyboardInterrupt):
            self._tell_interruption()
            return False
        except (Error, CommandFailedError, UsageError) as error:
            if self.interruption.is_requested:
                self._tell_interruption()
            else:
                self._tell_error(error, part.line_number)
            return False
        except ResultsClosedError:
            pass  # whoever read the results had seen enough
        finally:
            self.output.end_command()
        self._has_done_something = True
        return True

    def watching_for_interrupts(self) -> AbstractContextManager[None]:
        """While inside, Ctrl-C stops the statement that runs."""
        return self.interruption.watching(lambda: self.connection.interrupt())

    def _run_dot_command(self, text: str) -> None:
        invocation = Invocation.parse(text)
        command = find_command(self.commands, invocation.name)
        command.run(self, invocation)

    # -- statements --------------------------------------------------------------------------------

    def run_statement(self, sql: str) -> None:
        """Run one statement and write its rows, then what the settings want said about it."""
        if is_blank(sql):
            return
        started, cpu_before = time.perf_counter(), _cpu_seconds()
        changes_before = self.connection.total_changes
        cursor = self.connection.execute(sql, parameters_for(sql, self.settings.parameters))
        row_count = 0
        if cursor.description is not None:
            self.last_query = sql
            columns = [column[0] for column in cursor.description]
            is_listing = bool(_LISTING.match(sql))
            row_count = self.write_rows(columns, cursor, wraps_values=is_listing)
        elapsed = time.perf_counter() - started
        self._tell_statement(cursor, row_count, elapsed, changes_before)
        if self.settings.timer:
            user, system = (
                now - then for now, then in zip(_cpu_seconds(), cpu_before, strict=True)
            )
            self.output.write(f"Run Time: real {elapsed:.3f} user {user:.6f} sys {system:.6f}\n")

    def query(self, sql: str, parameters: Any = ()) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and all rows of a query a dot-command asks on the user's behalf."""
        cursor = self.connection.execute(sql, parameters)
        columns = [column[0] for column in cursor.description or ()]
        return columns, cursor.fetchall()

    def write_rows(
        self,
        columns: list[str],
        rows: Iterable[Row],
        mode: str | None = None,
        *,
        wraps_values: bool = False,
    ) -> int:
        """Lay rows out in the mode and write them; how many there were.

        `wraps_values`: the names among them are to be seen whole, however narrow the screen is.
        """
        count = 0

        def counted_rows() -> Iterator[Row]:
            nonlocal count
            for row in rows:
                count += 1
                if not count % _ROWS_A_FETCH:
                    self.interruption.check()
                yield row

        if self.settings.explain != "off" and tuple(columns) == PLAN_COLUMNS:
            self.write_text(plan_tree(counted_rows()))
            return count
        style = self.settings.style(
            screen_columns=self.output.screen_columns,
            palette=self.output.palette,
            wraps_values=wraps_values,
        )
        layout = LAYOUTS[mode or self.settings.mode]
        self.write_text(layout(columns, counted_rows(), style))
        return count

    def write_text(self, pieces: Iterable[str]) -> None:
        """Write text that may be long: in a terminal, what does not fit goes through a pager.

        Errors: ResultsClosedError when whoever reads it has gone.
        """
        if not (self.settings.paging and self.output.is_terminal and sys.stdin.isatty()):
            for piece in pieces:
                self.output.write(piece)
            return
        screen_lines = shutil.get_terminal_size().lines - _LINES_OF_THE_NEXT_PROMPT
        writer = PagedWriter(sys.stdout, screen_lines=screen_lines)
        try:
            for piece in pieces:
                writer.write(piece)
        finally:
            writer.close()

    # -- what is said about the work ---------------------------------------------------------------

    def _tell_statement(
        self, cursor: Cursor, row_count: int, elapsed: float, changes_before: int
    ) -> None:
        changes = self.connection.total_changes - changes_before
        if self.settings.shows_changes:
            total = self.connection.total_changes
            self.output.write(f"changes: {changes}   total_changes: {total}\n")
        if not (self.settings.shows_row_count and self.output.is_terminal):
            return
        if cursor.description is not None:
            what = counted(row_count, "row")
        elif changes:
            what = f"{counted(changes, 'row')} changed"
        else:
            what = "done"
        palette = self.output.palette
        self.output.write(f"{palette.border}({what}, {duration_text(elapsed)}){palette.reset}\n")

    def _tell_error(self, error: BaseException, line_number: int) -> None:
        self.error_count += 1
        self.output.flush()
        if isinstance(error, ReadOnlyMomentError) and self.target.as_of is not None:
            error.hint = "the shell looks at the past; `.asof now` returns to the present"
        if self.is_interactive and len(self._source_names) == 0:
            print(error_text(error, colour=wants_colour(sys.stderr)), file=sys.stderr)
            return
        name = self._source_names[-1] if self._source_names else ""
        place = f"near line {line_number}" + (f" of {name}" if name else "")
        label = f"Error: {place}"
        print(error_text(error, colour=wants_colour(sys.stderr), label=label), file=sys.stderr)

    def _tell_interruption(self) -> None:
        self.interruption.end()
        self.error_count += 1
        self.output.flush()
        if not self.is_interactive:
            raise LeaveShell(ExitCode.INTERRUPTED)
        print("Interrupted", file=sys.stderr)


def _cpu_seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime
