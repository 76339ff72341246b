"""From the words of a command line to an exit status."""

from __future__ import annotations

import sys

from dosql_core.command_line.entry import reported
from dosql_core.command_line.exit_codes import ExitCode
from dosql_core.command_line.reporting import MissingExtraError


def main(words: list[str] | None = None) -> int:
    """Run `dolake` with the words (those of the process by default); its exit status."""
    chosen = sys.argv[1:] if words is None else words
    return reported(lambda: _run(chosen), as_json="--json" in chosen)


def _run(words: list[str]) -> int:
    try:
        from dolake.command_line.application import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("dolake", "dosql_core", "dosql_dbapi"):
            raise
        raise MissingExtraError("dolake", "lake") from error
    try:
        app(words or ["--help"], prog_name="dolake")
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else ExitCode.OK
    return ExitCode.OK
