"""Layouts other programs parse by structure: JSON, JSON lines, HTML."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence

from dosql_core.command_line.results.style import ResultStyle, Row
from dosql_core.command_line.values import display_text, json_text


def json_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """One array of objects, a row a line; nothing at all for no rows, as sqlite3's shell does."""
    before = "["
    for text in _objects(columns, rows):
        yield before + text
        before = ",\n"
    if before != "[":
        yield "]\n"


def jsonl_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """One object a line."""
    for text in _objects(columns, rows):
        yield text + "\n"


def html_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """The rows of an HTML table, without the `<TABLE>` around them."""
    if style.headers:
        yield _html_row("TH", columns)
    for row in rows:
        yield _html_row("TD", [display_text(value, style.null_text) for value in row])


def _objects(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    keys = [json.dumps(name, ensure_ascii=False) for name in columns]
    for row in rows:
        members = (f"{key}:{json_text(value)}" for key, value in zip(keys, row, strict=True))
        yield "{" + ",".join(members) + "}"


def _html_row(tag: str, texts: Sequence[str]) -> str:
    cells = "\n".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
    return f"<TR>{cells}\n</TR>\n"
