"""The settings a layout obeys, and the colours it may use; no layout lives here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dosql_core.identifiers import SqlValue

Row = Sequence[SqlValue]


@dataclass(frozen=True, slots=True)
class Palette:
    """Terminal escape sequences for the parts of a table; empty ones where colour is unwanted."""

    header: str = ""
    null: str = ""
    border: str = ""
    added: str = ""
    removed: str = ""
    changed: str = ""
    accent: str = ""
    reset: str = ""


PLAIN = Palette()
COLOURED = Palette(
    header="\x1b[1m",
    null="\x1b[2;3m",
    border="\x1b[2m",
    added="\x1b[32m",
    removed="\x1b[31m",
    changed="\x1b[33m",
    accent="\x1b[36m",
    reset="\x1b[0m",
)


@dataclass(frozen=True, slots=True)
class ResultStyle:
    """How results are laid out.

    Units: `widths` and `screen_columns` count terminal cells. A width of 0 is chosen from the
    data, a negative one aligns to the right, as in sqlite3's `.width`.
    """

    headers: bool | None = None
    """None leaves it to the layout: tables show them, text for programs does not."""
    null_text: str = ""
    column_separator: str | None = None
    row_separator: str | None = None
    widths: tuple[int, ...] = ()
    insert_table: str = "table"
    screen_columns: int | None = None
    """Cut cells so that a row fits; None shows every value whole."""
    wraps_values: bool = False
    """Wrap them instead: for what is short but for its names."""
    escapes_controls: bool = False
    palette: Palette = PLAIN


Layout = Callable[[Sequence[str], Iterable[Row], ResultStyle], Iterator[str]]
"""Turns columns and rows into pieces of text, line ends included, while rows still arrive."""


def without_controls(text: str) -> str:
    """The text with control characters made visible (`^[`), newlines and tabs kept.

    A value must not be able to move the cursor, recolour or retitle the terminal it is shown on.
    """
    if text.isprintable():
        return text
    return "".join(
        f"^{chr(ord(c) ^ 0x40)}" if (ord(c) < 32 and c not in "\n\t") or c == "\x7f" else c
        for c in text
    )
