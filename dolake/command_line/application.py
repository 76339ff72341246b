"""The Typer application that the subcommands make up."""

from __future__ import annotations

import typer

from dolake.command_line import letters, querying, reading, sending, serving, upkeep
from dosql_core.command_line.commands.parameters import examples
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.versions import version_line

app = typer.Typer(
    name="dolake",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Every change of DoSQL databases in Apache Iceberg, exactly once.",
    epilog=examples(
        "dolake sync app.db",
        "dolake tables",
        'dolake query "select count(*) from app.orders"',
        "dolake serve --warehouse s3://bucket/lake --state /var/lib/dolake",
        "dolake push app.db ws://lake.example.org:8181/ws",
    ),
)


@app.callback(invoke_without_command=True)
def _top(
    version: bool = typer.Option(False, "--version", help="Tell the versions and leave."),
) -> None:
    if version:
        print(version_line())
        raise typer.Exit(ExitCode.OK)


serving.register(app)
sending.register(app)
reading.register(app)
querying.register(app)
upkeep.register(app)
letters.register(app)
