"""The difference between two moments as lines for a person, or as plain values for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, overload

from dosql_core.command_line.results.style import Palette
from dosql_core.command_line.values import sql_literal
from dosql_core.command_line.wording import counted
from dosql_core.history.differences import Difference
from dosql_core.language.tokens import Token, TokenKind, significant_tokens, unquoted
from dosql_core.rows.row_change import Operation, RowChange
from dosql_core.rows.table_layout import SchemaChange

_NAMES = (TokenKind.WORD, TokenKind.QUOTED)
_TOLD = {Operation.DELETE: "deleted", Operation.UPDATE: "updated", Operation.INSERT: "inserted"}


def difference_lines(
    difference: Difference, table: str | None, limit: int | None, palette: Palette
) -> Iterator[str]:
    """Lines that tell what differs, at most `limit` rows of each table; none if nothing does."""
    renamed = difference.renamed_tables()
    difference.follow(renamed)
    table = _name_now(table, renamed)
    shown: dict[str, list[RowChange]] = {}
    counts: dict[str, Counter[Operation]] = {}
    for change in difference.rows(table):
        rows = shown.setdefault(change.table, [])
        counts.setdefault(change.table, Counter())[change.operation] += 1
        if limit is None or len(rows) < limit:
            rows.append(change)
    notes = _schema_notes(difference, table, renamed, palette)
    for name in dict.fromkeys([*notes, *shown]):
        count = counts.get(name, Counter())
        told = [f"{count[kind]:,} {word}" for kind, word in _TOLD.items() if count[kind]]
        parts = [", ".join(told), *notes.get(name, ())]
        summary = "; ".join(part for part in parts if part)
        yield f"{palette.header}{name}{palette.reset}  {summary}\n"
        rows = shown.get(name, [])
        for change in rows:
            yield f"  {_row_text(change, palette)}\n"
        if hidden := count.total() - len(rows):
            more = counted(hidden, "more row", "more rows")
            yield f"  {palette.border}... and {more}{palette.reset}\n"


def difference_as_json(difference: Difference, table: str | None) -> dict[str, Any]:
    """The difference as plain values; rows of a renamed table are those of its new name."""
    renamed = difference.renamed_tables()
    difference.follow(renamed)
    table = _name_now(table, renamed)
    return {
        "renamed_tables": renamed,
        "schema": [
            asdict(change)
            for change in difference.schema_changes()
            if table is None or _name_now(change.name, renamed).casefold() == table.casefold()
        ],
        "rows": [
            {
                "table": change.table,
                "operation": change.operation.value,
                "key": change.key,
                "before": change.before,
                "after": change.after,
            }
            for change in difference.rows(table)
        ],
    }


@overload
def _name_now(table: str, renamed: Mapping[str, str]) -> str: ...
@overload
def _name_now(table: None, renamed: Mapping[str, str]) -> None: ...
def _name_now(table: str | None, renamed: Mapping[str, str]) -> str | None:
    """What a table is called at the later moment, given either of its names."""
    for was, now in renamed.items():
        if table is not None and table.casefold() == was.casefold():
            return now
    return table


def _schema_notes(
    difference: Difference, table: str | None, renamed: Mapping[str, str], palette: Palette
) -> dict[str, list[str]]:
    was_called = {now: was for was, now in renamed.items()}
    new_names = _new_names(difference, renamed)
    notes: dict[str, list[str]] = {}
    for change in difference.schema_changes():
        if change.kind == "table" and change.name in renamed:
            continue  # it is told of under its new name
        if table is not None and change.name.casefold() != table.casefold():
            continue
        if change.kind == "table" and change.name in was_called:
            told = f"{palette.changed}renamed from {was_called[change.name]}{palette.reset}"
            columns = _columns_note(difference, change.name)
            note = f"{told}; {columns}" if columns else told
        elif change.before is None:
            note = f"{palette.added}{change.kind} created{palette.reset}"
        elif change.after is None:
            note = f"{palette.removed}{change.kind} dropped{palette.reset}"
        else:
            columns = _columns_note(difference, change.name)
            if not columns and _only_follows(change, new_names):
                continue  # the renaming, which is told of, has changed the names in its SQL
            note = columns or f"{change.kind} altered"
        notes.setdefault(change.name, []).append(note)
    return notes


def _new_names(difference: Difference, renamed: Mapping[str, str]) -> set[tuple[str, str]]:
    """Old and new name of whatever was renamed, tables and columns, in lower case."""
    pairs = list(renamed.items())
    for table in difference.tables:
        if all(difference.columns(table)):
            pairs += difference.renamed_columns(table).items()
    return {(was.casefold(), now.casefold()) for was, now in pairs}


def _only_follows(change: SchemaChange, new_names: set[tuple[str, str]]) -> bool:
    """Whether nothing but names of what was renamed differs in the SQL of an object."""
    before = significant_tokens(change.before or "")
    after = significant_tokens(change.after or "")
    return len(before) == len(after) and all(
        was.text == now.text or _names_of(was, now) in new_names
        for was, now in zip(before, after, strict=True)
    )


def _names_of(was: Token, now: Token) -> tuple[str, str] | None:
    if was.kind not in _NAMES or now.kind not in _NAMES:
        return None
    return unquoted(was).casefold(), unquoted(now).casefold()


def _columns_note(difference: Difference, table: str) -> str:
    before, after = difference.columns(table)
    renamed = difference.renamed_columns(table) if before and after else {}
    parts = [f"column {old} renamed to {new}" for old, new in renamed.items()]
    come, gone = set(renamed.values()), set(renamed)
    parts += [f"column {name} added" for name in after if name not in {*before, *come}]
    parts += [f"column {name} dropped" for name in before if name not in {*after, *gone}]
    return ", ".join(parts)


def _row_text(change: RowChange, palette: Palette) -> str:
    key = ", ".join(f"{name}={sql_literal(value)}" for name, value in change.key.items())
    if change.operation is Operation.UPDATE:
        before, after = change.before or {}, change.after or {}
        changes = ", ".join(
            f"{name}: {sql_literal(before[name])} → {sql_literal(after[name])}"
            if name in before
            else f"{name}: {sql_literal(after[name])}"
            for name in change.changed_columns
        )
        return f"{palette.changed}~ {key}{palette.reset}  {changes}"
    is_insert = change.operation is Operation.INSERT
    mark, colour = ("+", palette.added) if is_insert else ("-", palette.removed)
    values = ", ".join(
        f"{name}={sql_literal(value)}"
        for name, value in (change.after or change.before or {}).items()
        if name not in change.key
    )
    return f"{colour}{mark} {key}{palette.reset}  {values}".rstrip()
