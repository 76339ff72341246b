"""Three-way merge of schemas: which statements bring their objects to us, and what contradicts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dosql_core.language.tokens import Token, TokenKind, quoted_name, tokenize
from dosql_core.merging.three_way import Conflict, ConflictKind
from dosql_core.rows.row_change import NamedValues
from dosql_core.rows.table_layout import SchemaChange

TABLE = "table"
_KINDS_BEFORE_ROWS = (TABLE,)


@dataclass(slots=True)
class SchemaPlan:
    """What is done to our schema.

    Shape: `before_rows` make, alter and drop tables; `after_rows` make what stands on them.
           `replaced_tables` are taken over whole from their side, rows and all.
    """

    before_rows: list[str] = field(default_factory=list)
    after_rows: list[str] = field(default_factory=list)
    replaced_tables: list[str] = field(default_factory=list)
    dropped_tables: list[str] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.before_rows or self.after_rows or self.replaced_tables or self.conflicts)


def merge_schemas(
    ours: Collection[SchemaChange],
    theirs: Collection[SchemaChange],
    tables_we_changed: Collection[str],
    tables_they_changed: Collection[str],
) -> SchemaPlan:
    """What brings their changes of the schema to us.

    An object that only one side changed merges, and one that both changed to the same. Two sides
    that only added columns to a table merge, too. Everything else is a conflict.
    """
    plan = SchemaPlan()
    own = {(change.kind, change.name): change for change in ours}
    for their in theirs:
        our = own.get((their.kind, their.name))
        if our is not None and our.after == their.after:
            continue
        if our is not None and not _both_added_columns(our, their):
            plan.conflicts.append(_conflict(our, their))
        elif their.kind != TABLE:
            _plan_object(plan, their)
        else:
            _plan_table(plan, their, our, is_used=their.name in tables_we_changed)
    for our in ours:
        if our.kind == TABLE and our.after is None and our.name in tables_they_changed:
            same = SchemaChange(TABLE, our.name, our.before, our.before)
            plan.conflicts.append(_conflict(our, same))
    return plan


def _plan_object(plan: SchemaPlan, their: SchemaChange) -> None:
    if their.before is not None:
        # Its table may be gone by now, and it with it.
        plan.before_rows.insert(
            0, f"DROP {their.kind.upper()} IF EXISTS main.{quoted_name(their.name)}"
        )
    if their.after is not None:
        plan.after_rows.append(their.after)


def _plan_table(
    plan: SchemaPlan, their: SchemaChange, our: SchemaChange | None, *, is_used: bool
) -> None:
    if their.before is None:
        assert their.after is not None
        plan.before_rows.append(their.after)
    elif their.after is None:
        if is_used:
            plan.conflicts.append(_conflict(our, their))
        else:
            plan.before_rows.append(f"DROP TABLE main.{quoted_name(their.name)}")
            plan.dropped_tables.append(their.name)
    else:
        added = added_columns(their.before, their.after)
        if added:
            table = f"main.{quoted_name(their.name)}"
            plan.before_rows += [f"ALTER TABLE {table} ADD COLUMN {column}" for column in added]
        elif is_used:
            plan.conflicts.append(_conflict(our, their))
        else:
            plan.replaced_tables.append(their.name)


def _both_added_columns(our: SchemaChange, their: SchemaChange) -> bool:
    if our.kind != TABLE or None in (our.before, our.after, their.before, their.after):
        return False
    our_columns = added_columns(our.before or "", our.after or "")
    their_columns = added_columns(their.before or "", their.after or "")
    names = [_first_word(column) for column in (*our_columns, *their_columns)]
    return bool(our_columns and their_columns) and len(names) == len(set(names))


def added_columns(before: str, after: str) -> list[str]:
    """The definitions of the columns that `after` has at its end more than `before`.

    Empty when anything else differs, too.
    """
    old, new = _definitions(before), _definitions(after)
    if not old or len(new) <= len(old) or new[: len(old)] != old:
        return []
    return new[len(old) :]


def _definitions(create_table: str) -> list[str]:
    """What stands between the commas of CREATE TABLE's parentheses; empty if there are none."""
    parts: list[str] = []
    depth, start = 0, 0
    for token in _words(create_table):
        if token.text == "(":
            depth += 1
            if depth == 1:
                start = token.end
        elif token.text == ")":
            depth -= 1
            if depth == 0:
                return [*parts, create_table[start : token.start].strip()]
        elif token.text == "," and depth == 1:
            parts.append(create_table[start : token.start].strip())
            start = token.end
    return []


def _words(sql: str) -> list[Token]:
    return [token for token in tokenize(sql) if token.kind is not TokenKind.BLANK]


def _first_word(definition: str) -> str:
    return _words(definition)[0].text.strip("\"`[]'").casefold()


def _conflict(our: SchemaChange | None, their: SchemaChange) -> Conflict:
    def sql(text: str | None) -> NamedValues | None:
        return None if text is None else {"sql": text}

    ours = our.after if our is not None else their.before
    return Conflict(
        ConflictKind.SCHEMA,
        their.name,
        {"kind": their.kind},
        sql(their.before),
        sql(ours),
        sql(their.after),
        detail=f"both sides changed {their.kind} {their.name}, or rows of it and its definition",
    )
