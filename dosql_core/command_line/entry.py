"""From the words of a command line to an exit status."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable

from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.reporting import (
    CommandFailedError,
    MissingExtraError,
    UsageError,
    report_error,
)
from dosql_core.errors import Error

COMMAND_NAMES = frozenset(
    {
        "blame",
        "branch",
        "changes",
        "compact",
        "detach",
        "diff",
        "export",
        "import",
        "info",
        "log",
        "query",
        "restore",
        "slot",
        "snapshot",
        "tour",
        "verify",
    }
)
"""The subcommands; any other first word is the shell's, so `dosql app.db` opens app.db."""


def main(words: list[str] | None = None) -> int:
    """Run `dosql` with the words (those of the process by default); its exit status."""
    chosen = sys.argv[1:] if words is None else words
    return reported(lambda: _dispatch(chosen), as_json=_wants_json(chosen))


def reported(work: Callable[[], int], *, as_json: bool) -> int:
    """Do the work of a command; the exit status, errors told on stderr."""
    try:
        status = work()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.BROKEN_PIPE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except UsageError as error:
        report_error(error, as_json=as_json)
        return ExitCode.USAGE
    except (Error, CommandFailedError, MissingExtraError) as error:
        report_error(error, as_json=as_json)
        return ExitCode.FAILED


def _dispatch(words: list[str]) -> int:
    # Subcommands bring typer and rich along; the shell in a pipe must start without them.
    if words and words[0] in COMMAND_NAMES:
        from dosql_core.command_line.commands.application import run_command

        return run_command(words)
    is_lost = not words and sys.stdin.isatty()
    if is_lost or words in (["--help"], ["-h"], ["-help"], ["help"]):
        from dosql_core.command_line.commands.application import run_command

        return run_command(["--help"])
    _refuse_mistyped_command(words)
    from dosql_core.command_line.shell.run import run_shell

    return run_shell(words[1:] if words[:1] == ["shell"] else words)


def _refuse_mistyped_command(words: list[str]) -> None:
    """`dosql lgo app.db` means a command, and is not to make a database called lgo.

    Errors: UsageError.
    """
    if len(words) < 2 or not words[0].isalpha() or os.path.lexists(words[0]):
        return
    meant = difflib.get_close_matches(words[0], COMMAND_NAMES, n=1, cutoff=0.6)
    if meant and any(map(os.path.lexists, words[1:])):
        raise UsageError(
            f"there is neither a command nor a file {words[0]}",
            f"did you mean {meant[0]}? A new database of that name is ./{words[0]}",
        )


def _wants_json(words: list[str]) -> bool:
    return bool(words) and words[0] in COMMAND_NAMES and "--json" in words


def _forget_stdout() -> None:
    """Nobody reads our stdout: let the interpreter's last flush go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
