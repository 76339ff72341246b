"""The layouts by the names users give them (`.mode box`, `--mode csv`)."""

from __future__ import annotations

from dosql_core.command_line.results.columnar import (
    box_layout,
    column_layout,
    markdown_layout,
    table_layout,
)
from dosql_core.command_line.results.delimited import (
    ascii_layout,
    csv_layout,
    insert_layout,
    line_layout,
    list_layout,
    quote_layout,
    tcl_layout,
    tsv_layout,
)
from dosql_core.command_line.results.structured import html_layout, json_layout, jsonl_layout
from dosql_core.command_line.results.style import Layout

LAYOUTS: dict[str, Layout] = {
    "ascii": ascii_layout,
    "box": box_layout,
    "column": column_layout,
    "csv": csv_layout,
    "html": html_layout,
    "insert": insert_layout,
    "json": json_layout,
    "jsonl": jsonl_layout,
    "line": line_layout,
    "list": list_layout,
    "markdown": markdown_layout,
    "quote": quote_layout,
    "table": table_layout,
    "tabs": tsv_layout,
    "tcl": tcl_layout,
    "tsv": tsv_layout,
}
"""`tabs` is sqlite3's name for `tsv`."""

FRAMED_LAYOUTS = frozenset({"box", "column", "markdown", "table"})
"""The ones for eyes: cut to the screen in a terminal, and with headers of their own."""
