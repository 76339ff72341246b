"""Virtual tables in a merge: the tables they keep for themselves, brought over or built anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dosql_core.history.table_copy import copy_rows
from dosql_core.kernel.connection import run
from dosql_core.language.tokens import quoted_name, significant_tokens
from dosql_core.merging.attached_rows import AttachedRows
from dosql_core.merging.conflict import Side
from dosql_core.merging.schema_merge import SchemaPlan, TablePlan, is_of_virtual
from dosql_core.rows.table_layout import Schema

_CROSSED = "both sides changed what it keeps, and it cannot be built anew from its content"


def plan_content(plan: SchemaPlan, crossed: Iterable[str], ours: Schema, theirs: Schema) -> None:
    """Have the rows of full-text tables merge that both sides changed."""
    for name in crossed:
        content = f"{name}_content"
        layout = ours.tables.get(content)
        sql = ours.objects.get(("table", name), "")
        if _module(sql) == "fts5" and layout is not None and content in theirs.tables:
            names: dict[str, str | None] = {column: column for column in layout.columns}
            their_columns = theirs.tables[content].columns
            plan.tables[content] = TablePlan(
                content,
                base_names=dict(names),
                our_names=dict(names),
                their_names={column: names.get(column) for column in their_columns},
            )


def brought(plan: SchemaPlan, they_changed: Collection[str]) -> list[str]:
    """The virtual tables of which something has to be brought."""
    new = {made.name for made in plan.made}
    return [
        name
        for name in plan.virtual
        if name in new or any(is_of_virtual(name, table) for table in they_changed)
    ]


def bring_virtual_tables(
    rows: AttachedRows,
    plan: SchemaPlan,
    names: Iterable[str],
    crossed: Collection[str],
    chosen: dict[str, Side],
) -> Iterator[tuple[str, str]]:
    """Make those of theirs what they are there, or of both; what cannot be done is yielded.

    `chosen` says whose a table shall be that both sides changed and that cannot be built anew.
    """
    kernel = rows.kernel
    new = {made.name: made.sql for made in plan.made if made.kind == "table"}
    for name in names:
        if name in new:
            run(kernel, new[name])
        is_ours = name in crossed and name not in new
        if not is_ours or chosen.get(name) is Side.THEIRS:
            for table in _kept_tables(kernel, name):
                run(kernel, f"DELETE FROM main.{quoted_name(table)}")
                copy_rows(kernel, rows.source(rows.schema_of(Side.THEIRS), table), table)
        elif _can_be_rebuilt(kernel, name):
            table = quoted_name(name)
            run(kernel, f"INSERT INTO main.{table}({table}) VALUES ('rebuild')")
        elif chosen.get(name) is not Side.OURS:
            yield name, _CROSSED


def _kept_tables(kernel: Any, name: str) -> list[str]:
    shadows = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'"
    listed = run(kernel, shadows)
    return [table for (table,) in listed if is_of_virtual(name, table)]


def _can_be_rebuilt(kernel: Any, name: str) -> bool:
    (sql,) = run(kernel, "SELECT sql FROM main.sqlite_schema WHERE name = ?", (name,))[0]
    if _module(sql) != "fts5":
        return False
    words = [token.text.strip("'\"").casefold() for token in significant_tokens(sql)]
    for place, word in enumerate(words[:-2]):
        if word == "content" and words[place + 1] == "=":
            return bool(words[place + 2])  # '' keeps no content
    return True


def _module(sql: str) -> str:
    words = [token.word for token in significant_tokens(sql)]
    return words[words.index("USING") + 1].casefold() if "USING" in words else ""
