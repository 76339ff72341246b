"""Layouts with one row a line: list, csv, tsv, ascii, quote, insert; and line, one value a line.

Where sqlite3's shell has a layout of the same name, the bytes are the same, except that real
numbers keep every digit that matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from dosql_core.command_line.results.style import ResultStyle, Row, without_controls
from dosql_core.command_line.results.text_width import padded, text_width
from dosql_core.command_line.sql_words import name_for_sql
from dosql_core.command_line.values import display_text, sql_literal
from dosql_core.identifiers import SqlValue

UNIT_SEPARATOR = "\x1f"
RECORD_SEPARATOR = "\x1e"

_CSV_MUST_QUOTE = re.compile(r"[^!#-&(-~]")  # what sqlite3's shell quotes: all but plain ASCII
_NARROWEST_LINE_NAME = 5
_C_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\f": "\\f"}


def list_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Values side by side, `|` between them."""
    return _lines(columns, rows, style, "|", "\n")


def tsv_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Values side by side, tabs between them, nothing escaped."""
    return _lines(columns, rows, style, "\t", "\n")


def ascii_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Values and rows ended by ASCII's unit and record separators."""
    return _lines(columns, rows, style, UNIT_SEPARATOR, RECORD_SEPARATOR)


def csv_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Comma-separated values: NULL is an empty field, an empty text a quoted one."""
    separator = "," if style.column_separator is None else style.column_separator
    end = "\n" if style.row_separator is None else style.row_separator

    def field(value: SqlValue) -> str:
        if value is None:
            return style.null_text
        text = display_text(value)
        return csv_quoted(text) if needs_csv_quotes(text, separator) else text

    if style.headers:
        yield separator.join(map(field, columns)) + end
    for row in rows:
        yield separator.join(map(field, row)) + end


def quote_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Values as SQL literals, commas between them."""
    separator = "," if style.column_separator is None else style.column_separator
    if style.headers:
        yield separator.join(map(sql_literal, columns)) + "\n"
    for row in rows:
        yield separator.join(map(sql_literal, row)) + "\n"


def tcl_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Values as strings of C and Tcl, blanks between them."""
    separator = " " if style.column_separator is None else style.column_separator
    if style.headers:
        yield separator.join(map(_c_string, columns)) + "\n"
    for row in rows:
        yield separator.join(_c_string(display_text(v, style.null_text)) for v in row) + "\n"


def insert_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """INSERT statements that make the rows again, into the table the style names."""
    named = f"({','.join(map(name_for_sql, columns))})" if style.headers else ""
    start = f"INSERT INTO {name_for_sql(style.insert_table)}{named} VALUES("
    for row in rows:
        yield f"{start}{','.join(map(sql_literal, row))});\n"


def line_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """`name = value` lines, an empty line between rows."""
    widest = max(map(text_width, columns), default=0)
    width = max(widest, _NARROWEST_LINE_NAME)
    names = [padded(name, width, right=True) for name in columns]
    header, reset = style.palette.header, style.palette.reset
    show = _shower(style)
    for row_index, row in enumerate(rows):
        if row_index:
            yield "\n"
        for name, value in zip(names, row, strict=True):
            yield f"{header}{name}{reset} = {show(value)}\n"


def needs_csv_quotes(text: str, separator: str) -> bool:
    """Whether a CSV reader would otherwise take the text for something else."""
    return not text or _CSV_MUST_QUOTE.search(text) is not None or separator in text


def csv_quoted(text: str) -> str:
    """The text in CSV's quotes."""
    return '"' + text.replace('"', '""') + '"'


def _c_string(text: str) -> str:
    return '"' + "".join(_C_ESCAPES.get(character, character) for character in text) + '"'


def _lines(
    columns: Sequence[str],
    rows: Iterable[Row],
    style: ResultStyle,
    default_separator: str,
    default_end: str,
) -> Iterator[str]:
    separator = default_separator if style.column_separator is None else style.column_separator
    end = default_end if style.row_separator is None else style.row_separator
    show = _shower(style)
    if style.headers:
        yield separator.join(columns) + end
    for row in rows:
        yield separator.join(map(show, row)) + end


def _shower(style: ResultStyle) -> Callable[[SqlValue], str]:
    null_text = style.null_text
    if style.escapes_controls:
        return lambda value: without_controls(display_text(value, null_text))
    return lambda value: display_text(value, null_text)
