"""DoSQL's own statements, parsed into records; carrying them out is done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One of our own statements."""


def parse_command(sql: str, first_word: str, lowered: str) -> Command | None:
    """The command a statement is; None when it is none of ours."""
    return None
