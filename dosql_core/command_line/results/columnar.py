"""Layouts that line columns up: column, table, box, markdown.

Widths are chosen from the first rows only, so that a result of any length can be shown while it
arrives: a longer value further down is wrapped inside its column, never lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from dosql_core.command_line.results.style import ResultStyle, Row, without_controls
from dosql_core.command_line.results.text_width import (
    cell_lines,
    cut,
    padded,
    text_width,
    wrapped,
)
from dosql_core.command_line.values import display_text

ROWS_MEASURED = 1_000
NARROWEST_COLUMN = 6


@dataclass(frozen=True, slots=True)
class Rule:
    """One horizontal line of a table: what it is drawn with."""

    left: str
    fill: str
    cross: str
    right: str

    def draw(self, widths: Sequence[int], padding: int) -> str:
        return (
            self.left
            + self.cross.join(self.fill * (width + 2 * padding) for width in widths)
            + self.right
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What a kind of table is drawn with; a rule that is None is not drawn."""

    left: str
    between: str
    right: str
    padding: int
    top: Rule | None
    under_header: Rule | None
    bottom: Rule | None
    headers_by_default: bool = True
    headers_are_optional: bool = False
    one_line_cells: bool = False

    def overhead(self, column_count: int) -> int:
        """Cells of a row that hold no data."""
        return (
            len(self.left)
            + len(self.right)
            + len(self.between) * max(column_count - 1, 0)
            + 2 * self.padding * column_count
        )


BOX = Frame(
    left="│",
    between="│",
    right="│",
    padding=1,
    top=Rule("┌", "─", "┬", "┐"),
    under_header=Rule("├", "─", "┼", "┤"),
    bottom=Rule("└", "─", "┴", "┘"),
)
_ASCII_RULE = Rule("+", "-", "+", "+")
TABLE = Frame("|", "|", "|", 1, _ASCII_RULE, _ASCII_RULE, _ASCII_RULE)
MARKDOWN = Frame("|", "|", "|", 1, None, Rule("|", "-", "|", "|"), None, one_line_cells=True)
COLUMN = Frame("", "  ", "", 0, None, Rule("", "-", "  ", ""), None, headers_are_optional=True)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the first rows decided for all of them."""

    widths: list[int]
    to_the_right: list[bool]
    is_cut: list[bool]


def box_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """A table drawn with Unicode's box characters."""
    return _framed(BOX, columns, rows, style)


def table_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """A table drawn with ASCII characters."""
    return _framed(TABLE, columns, rows, style)


def markdown_layout(
    columns: Sequence[str], rows: Iterable[Row], style: ResultStyle
) -> Iterator[str]:
    """A table as Markdown writes it; a value's line breaks become `<br>`, its bars `\\|`."""
    return _framed(MARKDOWN, columns, rows, style)


def column_layout(columns: Sequence[str], rows: Iterable[Row], style: ResultStyle) -> Iterator[str]:
    """Columns apart by two blanks, without a frame."""
    return _framed(COLUMN, columns, rows, style)


def _framed(
    frame: Frame, columns: Sequence[str], rows: Iterable[Row], style: ResultStyle
) -> Iterator[str]:
    remaining = iter(rows)
    first_rows = list(islice(remaining, ROWS_MEASURED))
    if not first_rows and not columns:
        return
    plan = _plan(frame, columns, first_rows, style)
    shows_headers = not frame.headers_are_optional or style.headers is not False
    if frame.top:
        yield _rule_line(frame.top, frame, plan, style)
    if shows_headers:
        header_cells = [_cell(frame, name, style) for name in columns]
        yield from _row_lines(frame, plan, header_cells, style, style.palette.header, ())
        if frame.under_header:
            yield _rule_line(frame.under_header, frame, plan, style)
    null_style = style.palette.null
    for row in chain(first_rows, remaining):
        cells = [_cell(frame, display_text(value, style.null_text), style) for value in row]
        nulls = [value is None for value in row] if null_style else ()
        yield from _row_lines(frame, plan, cells, style, "", nulls)
    if frame.bottom:
        yield _rule_line(frame.bottom, frame, plan, style)


def _plan(frame: Frame, columns: Sequence[str], rows: list[Row], style: ResultStyle) -> _Plan:
    widths = [max(map(text_width, _cell(frame, name, style))) for name in columns]
    numeric = [bool(rows)] * len(columns)
    seen_number = [False] * len(columns)
    for row in rows:
        for index, value in enumerate(row):
            if isinstance(value, int | float):
                seen_number[index] = True
            elif value is not None:
                numeric[index] = False
            for line in _cell(frame, display_text(value, style.null_text), style):
                if (width := text_width(line)) > widths[index]:
                    widths[index] = width
    to_the_right = [
        is_numeric and seen for is_numeric, seen in zip(numeric, seen_number, strict=True)
    ]
    for index, width in enumerate(style.widths[: len(widths)]):
        if width:
            widths[index] = abs(width)
            to_the_right[index] = width < 0
    natural = list(widths)
    if style.screen_columns:
        _narrow(widths, style.screen_columns - frame.overhead(len(widths)))
    is_cut = [width < before for width, before in zip(widths, natural, strict=True)]
    return _Plan(widths, to_the_right, is_cut)


def _narrow(widths: list[int], available: int) -> None:
    """Take cells from the widest columns until the row fits or nothing more can be taken."""
    excess = sum(widths) - available
    while excess > 0:
        widest = max(widths)
        if widest <= NARROWEST_COLUMN:
            return
        runner_up = max((width for width in widths if width < widest), default=0)
        fattest = [index for index, width in enumerate(widths) if width == widest]
        step = min(
            widest - max(runner_up, NARROWEST_COLUMN),
            max(1, excess // len(fattest)),
        )
        for index in fattest:
            if excess <= 0:
                return
            widths[index] -= step
            excess -= step


def _cell(frame: Frame, text: str, style: ResultStyle) -> list[str]:
    if style.escapes_controls:
        text = without_controls(text)
    if frame.one_line_cells:
        return ["<br>".join(cell_lines(text)).replace("|", "\\|")]
    return cell_lines(text)


def _row_lines(
    frame: Frame,
    plan: _Plan,
    cells: list[list[str]],
    style: ResultStyle,
    row_colour: str,
    nulls: Sequence[bool],
) -> Iterator[str]:
    reset, border = style.palette.reset, style.palette.border
    fitted = [
        _fitted(lines, width, is_cut)
        for lines, width, is_cut in zip(cells, plan.widths, plan.is_cut, strict=True)
    ]
    left, between, right = (
        f"{border}{edge}{reset}" if border and edge.strip() else edge
        for edge in (frame.left, frame.between, frame.right)
    )
    padding = " " * frame.padding
    for line in zip_longest(*fitted, fillvalue=""):
        parts = []
        for index, text in enumerate(line):
            part = padded(text, plan.widths[index], right=plan.to_the_right[index])
            colour = style.palette.null if nulls and nulls[index] else row_colour
            parts.append(f"{padding}{colour}{part}{reset if colour else ''}{padding}")
        yield (left + between.join(parts) + right).rstrip(" ") + "\n"


def _fitted(lines: list[str], width: int, is_cut: bool) -> list[str]:
    if is_cut:
        return [cut(" ⏎ ".join(lines) if len(lines) > 1 else lines[0], width)]
    return [piece for line in lines for piece in wrapped(line, width)]


def _rule_line(rule: Rule, frame: Frame, plan: _Plan, style: ResultStyle) -> str:
    text = rule.draw(plan.widths, frame.padding)
    if style.palette.border:
        text = f"{style.palette.border}{text}{style.palette.reset}"
    return text + "\n"
