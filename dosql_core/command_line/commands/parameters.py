"""The arguments and options that several subcommands share, each described once."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

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


_NEGATIVE = re.compile(r"-\d")


class CommandTakingNegatives(TyperCommand):
    """A subcommand whose arguments may begin as options do: `-1`, `-10 minutes`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Have what begins like a negative number stand behind all options, where it is none."""
        return super().parse_args(ctx, self._with_arguments_last(list(args)))

    def _with_arguments_last(self, words: list[str]) -> list[str]:
        end = words.index("--") if "--" in words else len(words)
        valued = {
            name
            for parameter in self.params
            if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            for name in parameter.opts
        }
        options: list[str] = []
        arguments: list[str] = []
        is_value = False
        for word in words[:end]:
            is_option = word.startswith("-") and len(word) > 1 and not _NEGATIVE.match(word)
            (options if is_value or is_option else arguments).append(word)
            is_value = not is_value and word in valued
        if not any(map(_NEGATIVE.match, arguments)):
            return words
        return [*options, "--", *arguments, *words[end + 1 :]]


def examples(*lines: str) -> str:
    """The end of a help text: commands to try, one a line."""
    return "\n\n".join(("Examples:", *lines))
