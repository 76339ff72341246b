"""The difference between two moments as lines for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from dosql_core.command_line.comparison import (
    ADDED,
    CHANGED,
    REMOVED,
    Comparison,
    RowDifference,
    TablePair,
)
from dosql_core.command_line.results.style import Palette
from dosql_core.command_line.values import sql_literal
from dosql_core.command_line.wording import counted


def difference_lines(
    comparison: Comparison, pairs: Iterable[TablePair], limit: int | None, palette: Palette
) -> Iterator[str]:
    """Lines that tell what differs, at most `limit` rows of each table; none if nothing does."""
    for pair in pairs:
        yield from _table_lines(comparison, pair, limit, palette)


def _table_lines(
    comparison: Comparison, pair: TablePair, limit: int | None, palette: Palette
) -> Iterator[str]:
    bold, reset = palette.header, palette.reset
    if pair.before is None:
        yield f"{bold}{pair.name}{reset}  {palette.added}table created{reset}\n"
        return
    if pair.after is None:
        yield f"{bold}{pair.name}{reset}  {palette.removed}table dropped{reset}\n"
        return
    differences = comparison.differences(pair)
    shown = list(islice(differences, limit))
    counts = dict.fromkeys((REMOVED, CHANGED, ADDED), 0)
    for difference in shown:
        counts[difference.kind] += 1
    for difference in differences:
        counts[difference.kind] += 1
    note = _column_note(pair)
    if not shown and not note:
        return
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    yield f"{bold}{pair.name}{reset}  {'; '.join(part for part in (told, note) if part)}\n"
    for difference in shown:
        yield f"  {_difference_text(difference, palette)}\n"
    if hidden := sum(counts.values()) - len(shown):
        yield f"  {palette.border}... and {counted(hidden, 'more row', 'more rows')}{reset}\n"


def _column_note(pair: TablePair) -> str:
    assert pair.before and pair.after
    before = [column.name for column in pair.before.columns]
    after = [column.name for column in pair.after.columns]
    parts = [f"column {name} added" for name in after if name not in before]
    parts += [f"column {name} dropped" for name in before if name not in after]
    return ", ".join(parts)


def _difference_text(difference: RowDifference, palette: Palette) -> str:
    key = ", ".join(f"{name}={sql_literal(value)}" for name, value in difference.key.items())
    before, after = difference.before or {}, difference.after or {}
    if difference.kind == CHANGED:
        changes = ", ".join(
            f"{name}: {sql_literal(before[name])} → {sql_literal(after[name])}" for name in after
        )
        return f"{palette.changed}~ {key}{palette.reset}  {changes}"
    mark, colour = ("+", palette.added) if difference.kind == ADDED else ("-", palette.removed)
    values = ", ".join(
        f"{name}={sql_literal(value)}"
        for name, value in (after or before).items()
        if name not in difference.key
    )
    return f"{colour}{mark} {key}{palette.reset}  {values}".rstrip()
