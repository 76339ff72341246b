"""Dot-commands about the shell's own session: files in, files open, help, leaving."""

from __future__ import annotations

import os
import re
import subprocess

from dosql_core.command_line.opening import IN_MEMORY, Target
from dosql_core.command_line.reporting import CommandFailedError, UsageError
from dosql_core.command_line.schema import table_exists
from dosql_core.command_line.shell.dot_command import (
    DotCommand,
    Invocation,
    dot_command,
    find_command,
    on_or_off,
)
from dosql_core.command_line.shell.shell import LeaveShell, Shell
from dosql_core.command_line.transfer.file_source import FORMATS, format_of
from dosql_core.command_line.wording import counted


@dot_command("open", "?--readonly? ?--branch NAME? FILE", completes=("file",))
def open_database(shell: Shell, typed: Invocation) -> None:
    """Leave the present database for FILE; without FILE, for an empty one in memory."""
    words = list(typed.words)
    read_only = "--readonly" in words
    if read_only:
        words.remove("--readonly")
    branch = None
    if "--branch" in words[:-1]:
        at = words.index("--branch")
        branch = words[at + 1]
        del words[at : at + 2]
    if len(words) > 1 or (words and words[0].startswith("--")):
        raise open_database.misused()
    shell.open(Target(words[0] if words else IN_MEMORY, branch=branch, read_only=read_only))


@dot_command("read", "FILE", completes=("file",))
def read(shell: Shell, typed: Invocation) -> None:
    """Run the SQL and dot-commands in FILE."""
    if len(typed.words) != 1:
        raise read.misused()
    shell.run_file(typed.words[0])


@dot_command("import", "?--csv|--tsv|--jsonl? ?--skip N? FILE TABLE", completes=("file", "table"))
def import_file(shell: Shell, typed: Invocation) -> None:
    """Load the rows of FILE into TABLE, all or none; a table that is not there is made.

    The first line names the columns. For a table that is there it is a row like the others, as in
    sqlite3, when it holds no column's name, or when --skip has passed over the names.

    The kind of file follows from its name, or from the output mode where the name does not tell.
    `dosql import` can do more: types, renamed columns, other formats.
    """
    words, file_format, skipped = [], None, 0
    remaining = iter(typed.words)
    for typed_word in remaining:
        # sqlite3 takes one dash or two
        word = f"-{typed_word}" if re.match("-[a-z]", typed_word) else typed_word
        if word.lstrip("-") in FORMATS and word.startswith("--"):
            file_format = word.lstrip("-")
        elif word == "--skip":
            count = next(remaining, "")
            if not count.isdecimal():
                raise import_file.misused()
            skipped = int(count)
        else:
            words.append(word)
    if len(words) != 2 or words[0].startswith("--"):
        raise import_file.misused()
    from dosql_core.command_line.transfer.row_import import RowImport  # few shells import

    path, table = words
    mode = shell.settings.mode if shell.settings.mode in FORMATS else None
    chosen = file_format or format_of(path) or mode or "csv"
    imported = RowImport(path=path, table=table, file_format=chosen, lines_skipped=skipped)
    if chosen in ("csv", "tsv") and table_exists(shell.connection, table):
        imported.has_header = not skipped and imported.names_columns_of(shell.connection)
    outcome = imported.run(shell.connection, checkpoint=shell.interruption.check)
    if shell.is_interactive:
        shell.output.write(f"{counted(outcome.row_count, 'row')} into {table}\n")


@dot_command("bail", "on|off", completes=("switch",))
def bail(shell: Shell, typed: Invocation) -> None:
    """Stop a script at its first error."""
    if len(typed.words) != 1:
        raise bail.misused()
    shell.settings.bail = on_or_off(typed.words[0])


@dot_command("timeout", "MILLISECONDS")
def timeout(shell: Shell, typed: Invocation) -> None:
    """Wait so long for the write lock before giving up."""
    if not typed.word(0).isdecimal():
        raise timeout.misused()
    shell.connection.execute(f"PRAGMA busy_timeout = {int(typed.words[0])}")


@dot_command("cd", "FOLDER", completes=("file",))
def change_folder(shell: Shell, typed: Invocation) -> None:
    """Make FOLDER the one that file names are relative to."""
    if len(typed.words) != 1:
        raise change_folder.misused()
    try:
        os.chdir(typed.words[0])
    except OSError as cause:
        raise CommandFailedError(f'cannot go to "{typed.words[0]}": {cause.strerror}') from cause


@dot_command("shell", "COMMAND...")
def system_shell(shell: Shell, typed: Invocation) -> None:
    """Run COMMAND in the system's shell."""
    if not typed.rest:
        raise system_shell.misused()
    shell.output.flush()
    status = subprocess.run(typed.rest, shell=True, check=False).returncode
    if status:
        raise CommandFailedError(f"the command ended with status {status}")


@dot_command("help", "?COMMAND?", completes=("dot-command",))
def show_help(shell: Shell, typed: Invocation) -> None:
    """List the dot-commands, or explain one."""
    if typed.words:
        command = find_command(shell.commands, typed.words[0].lstrip("."))
        shell.write_text(_explanation(command))
        return
    width = max(len(command.synopsis) for command in shell.commands.values() if _is_short(command))
    lines = []
    for name in sorted(shell.commands):
        command = shell.commands[name]
        if _is_short(command):
            lines.append(f"{command.synopsis:<{width}}  {command.summary}\n")
        else:
            lines.append(f"{command.synopsis}\n{'':<{width}}  {command.summary}\n")
    shell.write_text(lines)


@dot_command("exit", "?STATUS?")
def exit_shell(shell: Shell, typed: Invocation) -> None:
    """Leave the shell, with STATUS for whoever started it."""
    word = typed.word(0, "0")
    if not word.isdecimal():
        raise UsageError(f"Usage: {exit_shell.synopsis}")
    raise LeaveShell(int(word))


@dot_command("quit")
def quit_shell(shell: Shell, typed: Invocation) -> None:
    """Leave the shell."""
    raise LeaveShell(0)


_LONGEST_SYNOPSIS_IN_A_COLUMN = 34


def _is_short(command: DotCommand) -> bool:
    return len(command.synopsis) <= _LONGEST_SYNOPSIS_IN_A_COLUMN


def _explanation(command: DotCommand) -> list[str]:
    details = f"\n{command.details}\n" if command.details else ""
    return [f"{command.synopsis}\n", f"{command.summary}.\n", details]


COMMANDS = (
    bail,
    change_folder,
    exit_shell,
    import_file,
    open_database,
    quit_shell,
    read,
    show_help,
    system_shell,
    timeout,
)
