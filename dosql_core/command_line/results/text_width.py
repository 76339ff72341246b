"""How many terminal cells a text takes, and cutting or wrapping it to a number of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

ELLIPSIS = "…"

_TAB_CELLS = 4


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def text_width(text: str) -> int:
    """Terminal cells the text takes on one line."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text filled with blanks to `width` cells; longer text stays as it is."""
    blanks = " " * (width - text_width(text))
    return blanks + text if right else text + blanks


def cut(text: str, width: int) -> str:
    """The text, ending in an ellipsis where it had to be cut to `width` cells."""
    if text_width(text) <= width:
        return text
    return next(_pieces(text, width - 1), "") + ELLIPSIS


def wrapped(text: str, width: int) -> list[str]:
    """The text in pieces of at most `width` cells."""
    if text_width(text) <= width:
        return [text]
    return list(_pieces(text, width))


def cell_lines(text: str) -> list[str]:
    """The lines of a cell, with tabs as blanks because a table's columns know only cells."""
    if "\t" in text:
        text = text.expandtabs(_TAB_CELLS)
    return text.splitlines() or [""]


def _pieces(text: str, width: int) -> Iterator[str]:
    """Cut into pieces of at most `width` cells, at least one character each."""
    start = taken = 0
    for position, character in enumerate(text):
        character_width = _character_width(character)
        if taken + character_width > width and position > start:
            yield text[start:position]
            start, taken = position, 0
        taken += character_width
    yield text[start:]
