"""The columns of a source's table as fields of an Iceberg schema, and how they change together.

A *layout* says which field each column is stored in. It is kept as a property of the table, one for
each branch, for Iceberg's schema belongs to all branches, and a branch's columns may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyarrow as pa

from dolake.changes import ROWID_KEY, Column, SchemaChange, SqlValue, TableSchema
from dolake.tables.column_types import ColumnType, type_named, type_of_declaration
from dolake.tables.data_file import field_of
from dolake.tables.value_conversion import MISFIT_COLUMN

UNASSIGNED = 0
"""The field id of a column that the Iceberg table does not have yet."""

# What a key is must be told from the column alone, so its type keeps values exactly.
_INEXACT_FOR_KEYS = ("timestamp", "timestamptz", "json")


@dataclass(frozen=True, slots=True)
class LaidOutColumn:
    """A column and the field that holds it.

    Shape: `origin_id` is the field of the last committed layout that rows made before have their
           values in, None where there is none: then they have `default`.
    """

    column: Column
    field_name: str
    field_id: int
    type: ColumnType
    is_required: bool = False
    origin_id: int | None = None
    default: SqlValue = None

    @property
    def is_recomputed(self) -> bool:
        """Whether rows made before must be written anew to have the column's value."""
        return self.field_id == UNASSIGNED and (
            self.origin_id is not None or self.default is not None
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a table in the lake.

    Shape: `rowid_id` and `misfit_id` are the fields of `_rowid_` and of misfits; None where the
           table has no such column, UNASSIGNED where it is about to. `key_names` are the primary
           key's columns, (ROWID_KEY,) for a table without.
    """

    table: str
    columns: tuple[LaidOutColumn, ...]
    rowid_id: int | None = None
    misfit_id: int | None = None
    key_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        # Every change of a row asks for them.
        schema = TableSchema(self.table, tuple(c.column for c in self.columns))
        object.__setattr__(self, "key_names", schema.key_columns)

    @property
    def is_keyed_by_integers(self) -> bool:
        """Whether a key is expected to be one integer."""
        if self.key_names == (ROWID_KEY,):
            return True
        keyed = [c for c in self.columns if c.column.key_position]
        return len(keyed) == 1 and keyed[0].type.kind == "long"

    @property
    def field_ids(self) -> set[int]:
        ids = {c.field_id for c in self.columns}
        return (ids | {self.rowid_id or 0, self.misfit_id or 0}) - {UNASSIGNED}

    @property
    def key_ids(self) -> list[int]:
        """The fields of the key."""
        if self.is_rowid_required:
            return [self.rowid_id or 0]
        return [c.field_id for c in self.columns if c.column.key_position]

    @property
    def has_unassigned(self) -> bool:
        return UNASSIGNED in (self.rowid_id, self.misfit_id) or any(
            c.field_id == UNASSIGNED for c in self.columns
        )

    def arrow_fields(self) -> list[pa.Field]:
        """The fields of a data file's table, in the order in which `row_table` makes them."""
        fields = [
            field_of(c.field_name, c.type.arrow, c.field_id, is_required=c.is_required)
            for c in self.columns
        ]
        if self.rowid_id is not None:
            fields.append(
                field_of(ROWID_KEY, pa.int64(), self.rowid_id, is_required=self.is_rowid_required)
            )
        if self.misfit_id is not None:
            fields.append(field_of(MISFIT_COLUMN, pa.string(), self.misfit_id))
        return fields

    @property
    def is_rowid_required(self) -> bool:
        return self.key_names == (ROWID_KEY,)

    def to_property(self) -> str:
        """The layout as a property of the Iceberg table."""
        stored = _StoredLayout(
            self.table,
            [
                _StoredColumn(
                    c.column.name,
                    c.column.declared_type,
                    c.column.is_not_null,
                    c.column.key_position,
                    c.field_name,
                    c.field_id,
                    c.type.name,
                    c.is_required,
                )
                for c in self.columns
            ],
            self.rowid_id,
            self.misfit_id,
        )
        return msgspec.json.encode(stored).decode()


class _StoredColumn(msgspec.Struct):
    name: str
    declared: str
    not_null: bool
    key: int
    field: str
    id: int
    type: str
    required: bool


class _StoredLayout(msgspec.Struct):
    table: str
    columns: list[_StoredColumn]
    rowid: int | None
    misfit: int | None


def layout_of_property(text: str) -> Layout:
    """What `Layout.to_property` was."""
    stored = msgspec.json.decode(text, type=_StoredLayout)
    columns = tuple(
        LaidOutColumn(
            Column(c.name, c.declared, c.not_null, c.key),
            c.field,
            c.id,
            type_named(c.type),
            c.required,
            origin_id=c.id,
        )
        for c in stored.columns
    )
    return Layout(stored.table, columns, stored.rowid, stored.misfit)


def layout_as_of(layout: Layout, schema: Mapping[str, Any]) -> Layout:
    """The layout as it was when the table had an earlier schema."""
    known = {c.field_id: c for c in layout.columns}
    columns = []
    rowid_id = misfit_id = None
    for f in schema["fields"]:
        if f["name"] == MISFIT_COLUMN:
            misfit_id = f["id"]
        elif f["name"] == ROWID_KEY:
            rowid_id = f["id"]
        elif f["id"] in known:
            column = known[f["id"]]
            renamed = msgspec.structs.replace(column.column, name=f["name"])
            columns.append(replace(column, column=renamed, field_name=f["name"]))
        else:
            declared = type_of_declaration(f.get("doc", ""))
            kind = declared if declared.iceberg == f["type"] else type_named(f["type"])
            dropped = Column(f["name"], f.get("doc", ""))
            columns.append(LaidOutColumn(dropped, f["name"], f["id"], kind, origin_id=f["id"]))
    return Layout(layout.table, tuple(columns), rowid_id, misfit_id)


def new_layout(table: TableSchema, types: Mapping[str, str]) -> Layout:
    """The layout of a table the lake does not have yet. Shape: no field has its id."""
    columns = tuple(_laid_out(column, types) for column in table.columns)
    has_key = any(column.key_position for column in table.columns)
    layout = Layout(table.table, columns, None if has_key else UNASSIGNED)
    # SQLite itself lets nothing but integers into the one column declared INTEGER PRIMARY KEY.
    keyed = [c for c in columns if c.column.key_position]
    if len(keyed) == 1 and keyed[0].column.declared_type.upper() == "INTEGER":
        layout = replace(
            layout,
            columns=tuple(replace(c, is_required=c is keyed[0]) for c in columns),
        )
    return layout


def _laid_out(column: Column, types: Mapping[str, str]) -> LaidOutColumn:
    overruled = types.get(column.name)
    kind = type_named(overruled) if overruled else type_of_declaration(column.declared_type)
    if column.key_position and kind.kind in _INEXACT_FOR_KEYS:
        kind = ColumnType("any")
    return LaidOutColumn(column, column.name, UNASSIGNED, kind, default=column.default)


def changed_layout(
    layout: Layout,
    after: TableSchema,
    renamed: Mapping[str, str],
    types: Mapping[str, str],
    *,
    shared_ids: Iterable[int] = (),
) -> Layout:
    """The layout of the table as it is after a change of its schema.

    Shape: a column that goes on with a type that can hold its old values keeps its field; one of
           another type, and one renamed whose field other branches use (`shared_ids`), gets a new
           field and its old values are converted into it.
    """
    fresh = new_layout(after, types)
    earlier = {c.column.name: c for c in layout.columns}
    old_names = {new: old for old, new in renamed.items()}
    shared = set(shared_ids)
    columns = []
    for column in fresh.columns:
        name = column.column.name
        old_name = old_names.get(name, name if name not in renamed else None)
        before = earlier.get(old_name) if old_name is not None else None
        if before is None:
            columns.append(column)
            continue
        is_renamed = before.column.name != name
        goes_on = before.type.widens_to(column.type) and not (
            is_renamed and before.field_id in shared
        )
        columns.append(
            replace(
                column,
                field_name=before.field_name if not is_renamed else column.field_name,
                field_id=before.field_id if goes_on else UNASSIGNED,
                is_required=before.is_required and column.is_required,
                origin_id=before.origin_id,
                default=before.default,
            )
        )
    rowid_id = layout.rowid_id if layout.rowid_id is not None else fresh.rowid_id
    return replace(layout, table=after.table, columns=tuple(columns), rowid_id=rowid_id)


def follow_change(
    layout: Layout, change: SchemaChange, types: Mapping[str, str], shared_ids: Iterable[int] = ()
) -> Layout:
    """As `changed_layout`, of a change as the source sends it."""
    assert change.after is not None
    return changed_layout(layout, change.after, change.renamed, types, shared_ids=shared_ids)


def assign_ids(
    layout: Layout, schema: Mapping[str, Any], last_column_id: int, kept_ids: Iterable[int]
) -> tuple[Layout, dict[str, Any], int]:
    """The layout with an id for every field, the Iceberg schema for it, and the last id now used.

    Shape: fields of `schema` whose ids are in `kept_ids` belong to others and stay as they are; a
           column whose name one of them has gets another name.
    """
    ids = iter(range(last_column_id + 1, last_column_id + len(layout.columns) + 3))
    kept = [f for f in schema["fields"] if f["id"] in set(kept_ids) - layout.field_ids]
    taken = {f["name"].casefold() for f in kept}
    columns = []
    for column in layout.columns:
        name = column.field_name
        shared = next((f for f in kept if _is_same_field(f, column)), None)
        if shared is not None:  # another branch has added it already
            kept = [f for f in kept if f is not shared]
            taken.discard(name.casefold())
            column = replace(column, field_id=shared["id"])
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        assigned = column.field_id
        if assigned == UNASSIGNED:
            assigned = last_column_id = next(ids)
        columns.append(replace(column, field_id=assigned, field_name=name))
    rowid_id, misfit_id = layout.rowid_id, layout.misfit_id
    if rowid_id == UNASSIGNED:
        rowid_id = last_column_id = next(ids)
    if misfit_id == UNASSIGNED:
        misfit_id = last_column_id = next(ids)
    made = replace(layout, columns=tuple(columns), rowid_id=rowid_id, misfit_id=misfit_id)
    return made, _iceberg_schema(made, kept), last_column_id


def _is_same_field(field: Mapping[str, Any], column: LaidOutColumn) -> bool:
    return (
        column.field_id == UNASSIGNED
        and field["name"] == column.field_name
        and field["type"] == column.type.iceberg
    )


def settled(layout: Layout) -> Layout:
    """The layout once it is committed: from now on old values are where new ones go."""
    return replace(
        layout,
        columns=tuple(
            replace(
                c,
                column=msgspec.structs.replace(c.column, default=None),
                origin_id=c.field_id,
                default=None,
            )
            for c in layout.columns
        ),
    )


def _iceberg_schema(layout: Layout, kept: list[dict[str, Any]]) -> dict[str, Any]:
    fields = [
        {
            "id": c.field_id,
            "name": c.field_name,
            "required": c.is_required,
            "type": c.type.iceberg,
            "doc": c.column.declared_type,
        }
        for c in layout.columns
    ]
    if layout.rowid_id is not None:
        fields.append(
            {
                "id": layout.rowid_id,
                "name": ROWID_KEY,
                "required": layout.is_rowid_required,
                "type": "long",
                "doc": "the row's number in SQLite",
            }
        )
    if layout.misfit_id is not None:
        fields.append(
            {
                "id": layout.misfit_id,
                "name": MISFIT_COLUMN,
                "required": False,
                "type": "string",
                "doc": "values their columns cannot hold, as JSON",
            }
        )
    identifiers = [c.field_id for c in layout.columns if c.is_required and c.column.key_position]
    if layout.is_rowid_required and layout.rowid_id is not None:
        identifiers = [layout.rowid_id]
    schema: dict[str, Any] = {"type": "struct", "fields": fields + kept}
    if identifiers:
        schema["identifier-field-ids"] = identifiers
    return schema


def arrow_type(iceberg_type: str) -> pa.DataType:
    """The Arrow type of a field that we or others made.

    Errors: LakeConfigurationError for a type no mirror has, such as a struct.
    """
    others = {"int": pa.int32(), "float": pa.float32()}
    if iceberg_type in others:
        return others[iceberg_type]
    return type_named(iceberg_type).arrow


def same_fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two Iceberg schemas say the same, whatever their numbers."""

    def told(schema: Mapping[str, Any]) -> tuple[Any, ...]:
        return (
            [
                (f["id"], f["name"], f["required"], f["type"], f.get("doc"))
                for f in schema["fields"]
            ],
            sorted(schema.get("identifier-field-ids") or ()),
        )

    return told(one) == told(other)
