"""What a source sends and the tables apply: row and schema changes in whole commits."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

SqlValue = None | int | float | str | bytes
Values = dict[str, SqlValue]

ROWID_KEY = "_rowid_"
"""The key of a row whose table has no primary key."""


class RowChange(msgspec.Struct, frozen=True, tag="row"):
    """One row inserted, updated or deleted by one commit.

    Shape: (`lsn`, `index`) names the change within its source and branch. `before` is None for an
           insert, `after` for a delete; images hold every column but generated ones. A changed
           primary key is a delete and an insert.
    Units: `committed_at` counts microseconds since 1970, UTC.
    """

    lsn: int
    index: int
    committed_at: int
    operation: Literal["insert", "update", "delete"]
    table: str
    key: Values
    before: Values | None = None
    after: Values | None = None


class SourceCommit(NamedTuple):
    """A commit of a source, told from any other that has its LSN by its time.

    Units: `committed_at` is microseconds since 1970.
    """

    lsn: int
    committed_at: int


class Column(msgspec.Struct, frozen=True):
    """A column as the source declares it.

    Shape: `key_position` is 1.. for the columns of the primary key and 0 for others; a table none
           of whose columns has one is keyed by its rowid, under `ROWID_KEY`. `default` is what rows
           older than an added column hold in it.
    """

    name: str
    declared_type: str
    is_not_null: bool = False
    key_position: int = 0
    default: SqlValue = None


class TableSchema(msgspec.Struct, frozen=True):
    """A table of the source and its columns, in the order of the source."""

    table: str
    columns: tuple[Column, ...]

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The names of the primary key's columns in its order; ROWID_KEY alone without one."""
        keyed = sorted(
            (column for column in self.columns if column.key_position),
            key=lambda column: column.key_position,
        )
        return tuple(column.name for column in keyed) or (ROWID_KEY,)


class SchemaChange(msgspec.Struct, frozen=True, tag="schema"):
    """A table made (`before` is None), dropped (`after` is None) or altered by one commit.

    Shape: `table` is the name before the change, or the new table's. `renamed` maps old names of
           columns to new ones.
    """

    lsn: int
    index: int
    committed_at: int
    table: str
    before: TableSchema | None = None
    after: TableSchema | None = None
    renamed: dict[str, str] = {}


Change = RowChange | SchemaChange


class Batch(msgspec.Struct, frozen=True):
    """Consecutive whole commits of one branch of one source.

    Shape: holds the changes of the commits after `after_lsn` up to and with `last_lsn`, in order;
           commits without a change of interest still count. A source's batches are contiguous:
           `after_lsn` is the `last_lsn` of the batch before.
    """

    source: str
    branch: str
    after_lsn: int
    last_lsn: int
    changes: tuple[Change, ...] = ()
