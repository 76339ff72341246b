"""The Typer application that the subcommands make up."""

from __future__ import annotations

from dosql_core.command_line.reporting import MissingExtraError

try:
    import typer
except ImportError:
    raise MissingExtraError("this command", "cli") from None

from dosql_core.command_line.commands import (
    branches,
    changes,
    exporting,
    importing,
    past,
    reading,
    snapshots,
    tour,
    upkeep,
)
from dosql_core.command_line.commands.parameters import examples
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.shell.arguments import HELP as SHELL_HELP
from dosql_core.command_line.versions import version_line

PLAIN_CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="dosql",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=PLAIN_CONTEXT,
    help="SQLite that remembers and forks. `dosql FILE` opens a shell on a database.",
    epilog=examples(
        "dosql app.db",
        'dosql app.db "select * from account"',
        "dosql log app.db",
        "dosql tour",
    ),
)


@app.callback(invoke_without_command=True)
def _top(
    version: bool = typer.Option(False, "--version", help="Tell the versions and leave."),
) -> None:
    if version:
        print(version_line())
        raise typer.Exit(ExitCode.OK)


@app.command(
    "shell",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
    help="Open a shell, or run statements; the default for `dosql FILE`.",
)
def _shell() -> None:
    print(SHELL_HELP, end="")  # the words of a shell never come here: entry.py takes them


reading.register(app)
past.register(app)
app.add_typer(branches.app, name="branch")
app.add_typer(snapshots.app, name="snapshot")
changes.register(app)
importing.register(app)
exporting.register(app)
upkeep.register(app)
tour.register(app)


def run_command(words: list[str]) -> int:
    """Run a subcommand; its exit status.

    Errors: those of the command; Typer itself tells about wrong usage and leaves with status 2.
    """
    try:
        app(words, prog_name="dosql")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else ExitCode.OK
    return ExitCode.OK
