"""What subcommands answer on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dosql_core.command_line.reporting import palette_for
from dosql_core.command_line.results.columnar import box_layout, column_layout
from dosql_core.command_line.results.style import ResultStyle
from dosql_core.identifiers import SqlValue


def print_json(value: Any) -> None:
    """Print the value as JSON; records become objects, times ISO 8601."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: Any) -> Any:
    """The value made of nothing but what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[SqlValue]]) -> None:
    """Print rows for a person: framed and wrapped to fit in a terminal, else whole and bare."""
    if sys.stdout.isatty():
        print_box(columns, rows)
    else:
        sys.stdout.writelines(column_layout(columns, rows, ResultStyle()))


def print_box(columns: Sequence[str], rows: Iterable[Sequence[SqlValue]]) -> None:
    """Print rows framed: wrapped to fit in a terminal, whole elsewhere."""
    is_terminal = sys.stdout.isatty()
    style = ResultStyle(
        screen_columns=shutil.get_terminal_size().columns if is_terminal else None,
        wraps_values=True,
        escapes_controls=is_terminal,
        palette=palette_for(sys.stdout),
    )
    sys.stdout.writelines(box_layout(columns, rows, style))


def print_facts(facts: Mapping[str, object]) -> None:
    """Print named values, one a line."""
    palette = palette_for(sys.stdout)
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{palette.border}{name:>{width}}{palette.reset}  {value}")
