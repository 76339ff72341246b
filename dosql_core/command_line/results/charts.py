"""Numbers drawn with characters: bars, and lines of small bars."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dosql_core.command_line.reporting import CommandFailedError
from dosql_core.command_line.results.style import Palette, Row
from dosql_core.command_line.results.text_width import cut, padded, text_width
from dosql_core.command_line.values import display_text, real_text

_EIGHTHS = " ▏▎▍▌▋▊▉"  # a bar's last cell is filled from the left
_LEVELS = "▁▂▃▄▅▆▇█"
_WIDEST_LABEL = 30
_SHORTEST_BAR = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A numeric column, and a label for each of its values."""

    name: str
    labels: list[str]
    values: list[float | None]


def find_series(columns: Sequence[str], rows: Sequence[Row], column: str | None = None) -> Series:
    """The column to draw: the one named, or the first that holds numbers and is no mere label.

    Errors: CommandFailedError when there is none.
    """
    numeric = [index for index in range(len(columns)) if _is_numeric(rows, index)]
    if column is not None:
        lowered = [name.lower() for name in columns]
        if column.lower() not in lowered:
            raise CommandFailedError(
                f"the result has no column {column}", f"it has {', '.join(columns)}"
            )
        drawn = lowered.index(column.lower())
        if drawn not in numeric:
            raise CommandFailedError(f"column {columns[drawn]} holds no numbers")
    elif not numeric:
        raise CommandFailedError("the result has no numeric column to draw")
    else:
        # In `select month, count(*)` both are numbers, and the first one is the label.
        drawn = numeric[1] if len(numeric) > 1 and numeric[0] == 0 else numeric[0]
    others = [index for index in range(len(columns)) if index != drawn]
    label = others[0] if others else None
    labels = [
        display_text(row[label], "NULL") if label is not None else str(number)
        for number, row in enumerate(rows, start=1)
    ]
    return Series(columns[drawn], labels, [_number(row[drawn]) for row in rows])


def bar_chart(series: Series, width: int, palette: Palette) -> Iterator[str]:
    """One bar a row, from zero; negative ones grow to the left of it."""
    known = [value for value in series.values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    label_width = min(max(map(text_width, series.labels), default=0), _WIDEST_LABEL)
    texts = ["NULL" if value is None else _short(value) for value in series.values]
    text_cells = max(map(len, texts), default=0)
    room = max(_SHORTEST_BAR, width - label_width - text_cells - 4)
    scale = room / ((high - low) or 1.0)
    left_room = round(-low * scale)
    yield f"{palette.header}{series.name}{palette.reset}\n"
    for label, value, text in zip(series.labels, series.values, texts, strict=True):
        name = padded(cut(label.replace("\n", " "), label_width), label_width)
        bar = _bar(value or 0.0, scale, left_room)
        yield (
            f"{name}  {palette.accent}{padded(bar, room)}{palette.reset}"
            f"  {padded(text, text_cells, right=True)}\n"
        )


def sparkline_chart(series: Series, width: int, palette: Palette) -> Iterator[str]:
    """All values as one line of small bars, with the range they span."""
    known = [value for value in series.values if value is not None]
    if not known:
        yield f"{series.name}: no values\n"
        return
    line = sparkline(series.values, width)
    yield f"{palette.header}{series.name}{palette.reset}\n"
    yield f"{palette.accent}{line}{palette.reset}\n"
    mean = statistics.fmean(known)
    yield f"min {_short(min(known))}  mean {_short(mean)}  max {_short(max(known))}"
    yield f"  ({len(series.values):,} values)\n"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The values as at most `width` small bars; more values than that are averaged in groups."""
    if len(values) > width:
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [_mean(values[start:end]) for start, end in pairwise(edges)]
    known = [value for value in values if value is not None]
    if not known:
        return " " * len(values)
    low, span = min(known), max(known) - min(known)
    top = len(_LEVELS) - 1

    def level(value: float) -> str:
        return _LEVELS[round((value - low) / span * top)] if span else _LEVELS[top // 2]

    return "".join(" " if value is None else level(value) for value in values)


def _bar(value: float, scale: float, left_room: int) -> str:
    if value < 0:
        cells = round(-value * scale)
        return " " * (left_room - cells) + "█" * cells
    eighths = round(value * scale * 8)
    if value > 0 and eighths == 0:
        eighths = 1  # something is not nothing
    whole, part = divmod(eighths, 8)
    return " " * left_room + "█" * whole + (_EIGHTHS[part] if part else "")


def _is_numeric(rows: Sequence[Row], index: int) -> bool:
    values = [row[index] for row in rows if row[index] is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _short(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if 0.01 <= abs(value) < 1e9 else real_text(value)
