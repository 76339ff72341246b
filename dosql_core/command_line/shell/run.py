"""`dosql [shell]` from its words to its exit status: decides who feeds the shell its input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.opening import require_database
from dosql_core.command_line.reporting import (
    CommandFailedError,
    MissingExtraError,
    error_text,
    wants_colour,
)
from dosql_core.command_line.shell.all_commands import DOT_COMMANDS
from dosql_core.command_line.shell.arguments import HELP, ShellArguments, parse_shell_arguments
from dosql_core.command_line.shell.script import ShellInput
from dosql_core.command_line.shell.settings import ShellSettings
from dosql_core.command_line.shell.shell import LeaveShell, Shell
from dosql_core.command_line.versions import version_line


def run_shell(words: list[str]) -> int:
    """Run the shell as its words ask; its exit status.

    Errors: UsageError when the words make no sense; what opening the database raises.
    """
    arguments = parse_shell_arguments(words)
    if arguments.wants_help:
        print(HELP, end="")
        return ExitCode.OK
    if arguments.wants_version:
        print(version_line())
        return ExitCode.OK
    is_interactive = _is_interactive(arguments)
    if is_interactive:
        _require_terminal_library()
    if arguments.target.read_only and not arguments.target.is_in_memory:
        require_database(arguments.target.path)
    shell = Shell(
        arguments.target,
        _settings(arguments, is_interactive),
        DOT_COMMANDS,
        is_interactive=is_interactive,
    )
    try:
        return _feed(shell, arguments)
    except LeaveShell as leave:
        return leave.status
    finally:
        shell.close()


def init_file() -> Path:
    """The user's own commands for the beginning of every interactive shell."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "dosql" / "init.sql"


def _feed(shell: Shell, arguments: ShellArguments) -> int:
    """Give the shell its input: commands, then statements, a person, or a script."""
    _run_init_file(shell, arguments)
    with shell.watching_for_interrupts():
        for command in arguments.commands:
            if not shell.run(ShellInput(command, 1)) and arguments.bail:
                return ExitCode.FAILED
        for statement in arguments.statements:
            if not shell.run(ShellInput(statement, 1)):
                return ExitCode.FAILED
        if arguments.statements:
            return ExitCode.OK
        if not shell.is_interactive:
            shell.run_script(_standard_input())
            return ExitCode.FAILED if shell.error_count else ExitCode.OK
    from dosql_core.command_line.shell.terminal import converse

    converse(shell)
    return ExitCode.OK


def _run_init_file(shell: Shell, arguments: ShellArguments) -> None:
    path = arguments.init_file
    if path is None:
        own = init_file()
        path = str(own) if shell.is_interactive and own.is_file() else ""
    if not path:
        return
    try:
        with shell.watching_for_interrupts():
            shell.run_file(path)
    except CommandFailedError as error:
        print(error_text(error, colour=wants_colour(sys.stderr)), file=sys.stderr)


def _settings(arguments: ShellArguments, is_interactive: bool) -> ShellSettings:
    # A person who passes statements still looks at a terminal, but sqlite3's answer is list mode
    # and scripts rely on that, so only the conversation gets the settings for a person.
    settings = ShellSettings.for_a_person() if is_interactive else ShellSettings()
    if arguments.mode is not None:
        settings.mode = arguments.mode
    if arguments.headers is not None:
        settings.headers = arguments.headers
    if arguments.separator is not None:
        settings.column_separator = _unescaped(arguments.separator)
    if arguments.newline is not None:
        settings.row_separator = _unescaped(arguments.newline)
    if arguments.null_text is not None:
        settings.null_text = arguments.null_text
    settings.bail = arguments.bail
    settings.echo = arguments.echo
    return settings


def _is_interactive(arguments: ShellArguments) -> bool:
    if arguments.statements:
        return False
    if arguments.is_interactive is not None:
        return arguments.is_interactive
    return sys.stdin.isatty() and sys.stdout.isatty()


def _require_terminal_library() -> None:
    try:
        import prompt_toolkit
        import pygments  # noqa: F401
    except ImportError:
        raise MissingExtraError("the interactive shell", "cli") from None
    assert prompt_toolkit


def _standard_input() -> Iterator[str]:
    sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
    yield from sys.stdin


def _unescaped(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r")
