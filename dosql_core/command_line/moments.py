"""Moments as typed on a command line or in the shell, and as SQL says them."""

from __future__ import annotations

from dosql_core.command_line.reporting import UsageError
from dosql_core.command_line.sql_words import identifier
from dosql_core.command_line.values import text_literal

Moment = int | str

MOMENT_HELP = (
    "a moment is an LSN (5), a time in UTC ('2026-11-23 10:00:00'), a distance ('-1 hour'), "
    "snapshot:NAME, branch:NAME or branch:NAME@LSN"
)
PRESENT = "now"


def parse_moment(text: str) -> Moment:
    """A moment as typed: a bare number is an LSN, anything else is told to the database as it is.

    Errors: UsageError when there is nothing to tell.
    """
    stripped = text.strip()
    if not stripped:
        raise UsageError("the moment is empty", MOMENT_HELP)
    return int(stripped) if stripped.isdecimal() else stripped


def as_of_clause(moment: Moment) -> str:
    """The clause that makes a table reference read the moment.

    Source: docs/sql.md
    """
    return f"FOR SYSTEM_TIME AS OF {_moment_sql(moment)}"


def table_at(table: str, moment: Moment | None, alias: str) -> str:
    """A reference to the table as of the moment, or as it is now for None."""
    if moment is None:
        return f"{identifier(table)} AS {alias}"
    return f"{identifier(table)} {as_of_clause(moment)} AS {alias}"


def _moment_sql(moment: Moment) -> str:
    if isinstance(moment, int):
        return f"LSN {moment}"
    kind, colon, value = moment.partition(":")
    value = value.strip()
    match kind.strip().lower() if colon else "":
        case "lsn" | "version":
            return f"LSN {_whole_number(value)}"
        case "snapshot":
            return f"SNAPSHOT {text_literal(value)}"
        case "timestamp":
            return f"TIMESTAMP {text_literal(value)}"
        case "branch":
            name, at, inner = value.partition("@")
            within = f" {_moment_sql(parse_moment(inner))}" if at else ""
            return f"BRANCH {text_literal(name)}{within}"
    return f"TIMESTAMP {text_literal(moment)}"


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not an LSN: it must be a whole number", MOMENT_HELP
        ) from None
