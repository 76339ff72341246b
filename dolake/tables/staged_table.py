"""A table that changes of a source are staged for, and whose next snapshot may be on its way.

What mirrors and change logs share: the columns as they are committed, and what was prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dolake.catalog.table_registry import LoadedTable, TableChange
from dolake.tables.lake_table import LakeTable, SchemaUpdate
from dolake.tables.schema_mapping import Layout, settled
from dolake.tables.snapshot_commit import PreparedSnapshot, SnapshotCommit
from dolake.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class _Prepared:
    snapshot: PreparedSnapshot
    layout: Layout
    new_paths: list[str]


class StagedTable:
    """One branch of a mirror or a change log. Not safe for several threads."""

    def __init__(
        self,
        warehouse: Warehouse,
        loaded: LoadedTable,
        branch: str,
        types: Mapping[str, str],
        layout: Layout | None = None,
    ) -> None:
        """Hold the table; without a `layout` its columns are those that the branch has stored."""
        self.table = LakeTable(warehouse, loaded, branch)
        self.layout = self.table.stored_layout() if layout is None else layout
        self._warehouse = warehouse
        self._types = types
        self._prepared: _Prepared | None = None

    def prepare(self, summary: Mapping[str, str]) -> TableChange | None:
        """Write the files of a snapshot of what is staged; None when nothing is.

        Shape: `summary` goes into the snapshot's. Call `committed` or `failed` afterwards.
        """
        raise NotImplementedError

    def committed(self, loaded: LoadedTable) -> None:
        """What was prepared is committed: hold it, and let go of what was staged."""
        raise NotImplementedError

    def follow(self, loaded: LoadedTable) -> bool:
        """Hold the table as it is now; whether somebody else's snapshot had come."""
        raise NotImplementedError

    @property
    def prepared_snapshot_id(self) -> int | None:
        """The snapshot that is prepared and neither committed nor known to have failed."""
        return None if self._prepared is None else self._prepared.snapshot.snapshot_id

    def failed(self) -> None:
        """What was prepared is not committed, and never will be: its files go."""
        if self._prepared is not None:
            self._warehouse.forget(self._prepared.new_paths)
            self._prepared = None

    # -- for mirrors and change logs themselves ----------------------------------------------------

    def _begin_commit(self, schema: Mapping[str, Any]) -> SnapshotCommit:
        """A commit on top of the contents held, written with a schema that may be new."""
        table = self.table
        metadata = {**table.metadata, "schemas": [*table.metadata["schemas"], schema]}
        return SnapshotCommit(self._warehouse, metadata, table.ref, table.contents, schema)

    def _hold_prepared(
        self, snapshot: PreparedSnapshot, update: SchemaUpdate, layout: Layout, paths: list[str]
    ) -> TableChange:
        """Remember a snapshot whose files are written, and say what is to be committed.

        Shape: `paths` are the files that go with the snapshot's own when it is not.
        """
        self._prepared = _Prepared(snapshot, layout, [*paths, *snapshot.paths])
        return TableChange(
            self.table.identifier,
            [*snapshot.requirements, *update.requirements],
            [*update.updates, *snapshot.updates, *self.table.layout_updates(layout)],
        )

    def _take_prepared(self, loaded: LoadedTable) -> None:
        """The prepared snapshot is what the table holds now."""
        prepared = self._prepared
        assert prepared is not None
        self.table.metadata = loaded.metadata
        self.table.contents = prepared.snapshot.contents
        self.layout = settled(prepared.layout)
        self._prepared = None
