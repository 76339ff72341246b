"""The arguments and options that several subcommands share, each described once."""

from __future__ import annotations

from typing import Annotated

import typer

from dosql_core.command_line.moments import MOMENT_HELP
from dosql_core.command_line.transfer.formats import ALL_FORMATS

DatabasePath = Annotated[
    str, typer.Argument(metavar="DATABASE", help="The database file.", show_default=False)
]
MomentArgument = Annotated[
    str, typer.Argument(metavar="MOMENT", help=MOMENT_HELP, show_default=False)
]
BranchOption = Annotated[
    str | None,
    typer.Option("--branch", "-b", metavar="NAME", help="On this branch; main by default."),
]
BranchName = Annotated[str, typer.Argument(metavar="NAME", help="The branch.", show_default=False)]
MessageOption = Annotated[str | None, typer.Option("--message", "-m", help="Why.")]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="MOMENT", help=f"As of a moment: {MOMENT_HELP}."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        help=f"One of {', '.join(ALL_FORMATS)}; by default what the file's name says.",
    ),
]


def examples(*lines: str) -> str:
    """The end of a help text: commands to try, one a line."""
    return "\n\n".join(("Examples:", *lines))
