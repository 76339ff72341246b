"""Layouts that line columns up: column, table, box, markdown.

Widths are chosen from the first rows only, so that a result of any length can be shown while it
arrives: a longer value further down is wrapped inside its column, never lost. Where a row does not
fit the screen, the names of columns are wrapped first, and only then values are cut (or wrapped).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
NARROWEST_VALUE = 6
NARROWEST_NAME = 3
_MODEST_VALUE = 16
_WORD = re.compile(r"[^\W_]+_*|\W+|_+")


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
    frame, plan = _plan(frame, columns, first_rows, style)
    shows_headers = not frame.headers_are_optional or style.headers is not False
    if frame.top:
        yield _rule_line(frame.top, frame, plan, style)
    if shows_headers:
        header_cells = [
            [line for whole in _cell(frame, name, style) for line in _broken_at_words(whole, width)]
            for name, width in zip(columns, plan.widths, strict=True)
        ]
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


def _plan(
    frame: Frame, columns: Sequence[str], rows: list[Row], style: ResultStyle
) -> tuple[Frame, _Plan]:
    """Widths and alignments; and the frame, without its padding where a row fits only so."""
    names = [_cell(frame, name, style) for name in columns]
    widths = [0] * len(columns)
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
    of_values = list(widths)
    widths = [
        max(of_value, *map(text_width, name))
        for of_value, name in zip(of_values, names, strict=True)
    ]
    for index, width in enumerate(style.widths[: len(widths)]):
        if width:
            of_values[index] = widths[index] = abs(width)
            to_the_right[index] = width < 0
    if not style.screen_columns:
        return frame, _Plan(widths, to_the_right, [False] * len(widths))
    if frame.one_line_cells:
        narrowest = [NARROWEST_VALUE] * len(widths)
        _narrow(widths, narrowest, _room(frame, widths, style.screen_columns))
    else:
        of_words = [
            max((text_width(word) for line in name for word in _words_of(line)), default=0)
            for name in names
        ]
        frame = _fit(frame, widths, of_values, of_words, style.screen_columns)
    is_cut = [
        width < of_value and not style.wraps_values
        for width, of_value in zip(widths, of_values, strict=True)
    ]
    return frame, _Plan(widths, to_the_right, is_cut)


def _fit(
    frame: Frame, widths: list[int], of_values: list[int], of_words: list[int], screen_columns: int
) -> Frame:
    """Narrow columns until a row fits, by what disturbs a reader least; the frame it fits in.

    A row that is too wide in any case keeps its padding, and the words of its names whole.
    """
    modest = [min(width, _MODEST_VALUE) for width in of_values]
    least = [min(width, NARROWEST_VALUE) for width in of_values]
    dense = replace(frame, padding=0)
    with_least = list(map(max, least, of_words))
    steps = (
        (frame, list(map(max, of_values, of_words))),
        (frame, list(map(max, modest, of_words))),
        (dense, list(map(max, modest, of_words))),
        (dense, [max(width, NARROWEST_NAME) for width in modest]),
        (frame, with_least),
        (dense, [max(width, NARROWEST_NAME) for width in least]),
    )
    for tried_frame, narrowest in steps:
        room = _room(tried_frame, widths, screen_columns)
        if sum(map(min, widths, narrowest)) <= room:
            _narrow(widths, narrowest, room)
            return tried_frame
    _narrow(widths, with_least, _room(frame, widths, screen_columns))
    return frame


def _room(frame: Frame, widths: list[int], screen_columns: int) -> int:
    return screen_columns - frame.overhead(len(widths))


def _narrow(widths: list[int], narrowest: Sequence[int], available: int) -> None:
    """Take cells from the widest columns until the row fits or nothing more can be taken."""
    excess = sum(widths) - available
    while excess > 0:
        spare = [index for index, width in enumerate(widths) if width > narrowest[index]]
        if not spare:
            return
        widest = max(widths[index] for index in spare)
        fattest = [index for index in spare if widths[index] == widest]
        stops = [widths[index] for index in spare if widths[index] < widest]
        stops += [narrowest[index] for index in fattest]
        step = min(widest - max(stops), max(1, excess // len(fattest)))
        for index in fattest:
            if excess <= 0:
                return
            widths[index] -= step
            excess -= step


def _words_of(name: str) -> list[str]:
    return [word.rstrip() for word in _WORD.findall(name)]


def _broken_at_words(text: str, width: int) -> Iterator[str]:
    """The text in lines of at most `width` cells, broken between its words where it can be."""
    line = ""
    for word in _WORD.findall(text):
        if line and text_width(line + word.rstrip()) > width:
            yield from wrapped(line.rstrip(), width)
            line = ""
        line += word
    yield from wrapped(line.rstrip(), width)


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
        _fitted(lines, width, is_cut=is_cut, at_words=style.wraps_values)
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


def _fitted(lines: list[str], width: int, *, is_cut: bool, at_words: bool) -> list[str]:
    if is_cut:
        return [cut(" ⏎ ".join(lines) if len(lines) > 1 else lines[0], width)]
    broken = _broken_at_words if at_words else wrapped
    return [
        piece
        for line in lines
        for piece in ([line] if text_width(line) <= width else broken(line, width))
    ]


def _rule_line(rule: Rule, frame: Frame, plan: _Plan, style: ResultStyle) -> str:
    text = rule.draw(plan.widths, frame.padding)
    if style.palette.border:
        text = f"{style.palette.border}{text}{style.palette.reset}"
    return text + "\n"
