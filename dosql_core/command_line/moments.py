"""Moments as typed on a command line or in the shell."""

from __future__ import annotations

from dosql_core.command_line.reporting import UsageError

Moment = int | str

MOMENT_HELP = (
    "a moment is an LSN (5; -1: one commit ago), a time in UTC ('2026-11-23 10:00:00'), "
    "a distance ('-1 hour'), snapshot:NAME, branch:NAME or branch:NAME@LSN"
)
PRESENT = "now"


def parse_moment(text: str) -> Moment:
    """A moment as typed: a bare number is an LSN, anything else is told to the database as it is.

    Errors: UsageError when there is nothing to tell.
    """
    stripped = text.strip()
    if not stripped:
        raise UsageError("the moment is empty", MOMENT_HELP)
    return int(stripped) if stripped.removeprefix("-").isdecimal() else stripped
