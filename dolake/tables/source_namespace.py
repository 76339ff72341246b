"""The tables of one branch of a source, as the catalog has them: found, made, and forked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import LoadedTable, TableRegistry
from dolake.changes import TableSchema
from dolake.errors import AlreadyExistsError, LakeSchemaMismatchError
from dolake.tables.branch_forks import fork_changes
from dolake.tables.change_log import ChangeLog, cdc_schema_fields, change_log_layout
from dolake.tables.lake_table import (
    CHANGE_LOG,
    CHANGE_LOG_SUFFIX,
    LAYOUT,
    MIRROR,
    ROLE,
    SOURCE,
    TABLE,
    layout_property,
    sort_order,
)
from dolake.tables.mirror import Mirror
from dolake.tables.partitioning import partition_spec
from dolake.tables.schema_mapping import Layout, assign_ids, new_layout, settled
from dolake.tables.staged_table import StagedTable
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse

_EMPTY_SCHEMA: dict[str, Any] = {"type": "struct", "schema-id": 0, "fields": []}


class SourceNamespace:
    """The mirrors and change logs of one branch of a source, by their names in the source."""

    def __init__(
        self, registry: TableRegistry, warehouse: Warehouse, source: str, options: TableOptions
    ) -> None:
        """Open those that there are, and make the namespace when it is not there."""
        self._registry = registry
        self._warehouse = warehouse
        self._source = source
        self._options = options
        self.name = options.namespace or (source,)
        self.mirrors: dict[str, Mirror] = {}
        self.logs: dict[str, ChangeLog] = {}
        for levels in range(1, len(self.name) + 1):
            registry.namespaces.create(self.name[:levels], if_not_exists=True)
        for identifier in registry.list_tables(self.name):
            self._open(registry.load_table(identifier))

    @property
    def tables(self) -> list[StagedTable]:
        """All of them."""
        return [*self.mirrors.values(), *self.logs.values()]

    def mirror(self, table: str) -> Mirror:
        """The mirror of a table. Errors: LakeSchemaMismatchError when there is none."""
        try:
            return self.mirrors[table]
        except KeyError:
            raise LakeSchemaMismatchError(
                f"there is no mirror of {table!r}: its schema was never sent"
            ) from None

    def mirror_for(self, schema: TableSchema) -> Mirror:
        """The mirror of a table, and its change log where wanted; made when there is none."""
        name = schema.table
        if name not in self.mirrors:
            types = self._options.column_types.get(name, {})
            loaded, layout = self._made(
                schema,
                (*self.name, name),
                MIRROR,
                new_layout(schema, types),
                self._options.partition_by.get(name, ()),
            )
            self.mirrors[name] = Mirror(
                self._warehouse, loaded, self._options.branch, types, layout
            )
        if self._options.has_change_log and name not in self.logs:
            types = self._options.column_types.get(name, {})
            loaded, layout = self._made(
                schema,
                (*self.name, f"{name}{CHANGE_LOG_SUFFIX}"),
                CHANGE_LOG,
                change_log_layout(schema, types),
                self._options.change_log_partition_by.get(name, ()),
            )
            self.logs[name] = ChangeLog(
                self._warehouse, loaded, self._options.branch, types, layout
            )
        return self.mirrors[name]

    def _made(
        self,
        table: TableSchema,
        identifier: TableIdentifier,
        role: str,
        wanted: Layout,
        partition_fields: Sequence[str],
    ) -> tuple[LoadedTable, Layout | None]:
        """A new Iceberg table, or that of other branches, where ours has no columns yet."""
        layout, schema, last_id = assign_ids(wanted, _EMPTY_SCHEMA, 0, ())
        schema["schema-id"] = 0
        if role == CHANGE_LOG:
            schema["fields"] += cdc_schema_fields(last_id + 1)
        sorting = self._options.sort_by.get(table.table, ()) if role == MIRROR else ()
        ours = {SOURCE: self._source, TABLE: table.table, ROLE: role}
        properties = {
            "format-version": str(self._options.format_version),
            "write.parquet.compression-codec": "zstd",
            # A metadata file for every flush: those that the newest no longer names go with it.
            "write.metadata.delete-after-commit.enabled": "true",
            **ours,
        }
        is_main = self._options.branch == "main"
        if is_main:
            properties[LAYOUT] = settled(layout).to_property()
        try:
            loaded = self._registry.create_table(
                identifier,
                schema,
                partition_spec=partition_spec(partition_fields, schema),
                sort_order=sort_order(sorting, schema),
                properties=properties,
            )
        except AlreadyExistsError:
            loaded = self._registry.load_table(identifier)
            told = loaded.metadata.get("properties") or {}
            if any(told.get(name) != value for name, value in ours.items()):
                raise
        has_columns = is_main and LAYOUT in loaded.metadata.get("properties", {})
        return loaded, None if has_columns else Layout(table.table, ())

    def fork_from(self, parent_branch: str, lsn: int) -> int:
        """Begin our branch where another was at an LSN; the LSN after which changes are wanted.

        Shape: that LSN is the newest flush of the parent not after `lsn`. A fork's stream of
               changes begins with its parent's commits, so it can be read from there on.
        Errors: SnapshotNotFoundError when the snapshots of that time have expired.
        """
        tables = [self._registry.load_table(name) for name in self._registry.list_tables(self.name)]
        forked, begin = fork_changes(tables, self._source, self._options.branch, parent_branch, lsn)
        for loaded in self._registry.commit(forked):
            self._open(loaded)
        return begin

    def _open(self, loaded: LoadedTable) -> None:
        properties = loaded.metadata.get("properties") or {}
        branch, name = self._options.branch, properties.get(TABLE)
        if properties.get(SOURCE) != self._source or name is None:
            return
        if layout_property(branch) not in properties:
            return
        types = self._options.column_types.get(name, {})
        if properties.get(ROLE) == MIRROR:
            self.mirrors[name] = Mirror(self._warehouse, loaded, branch, types)
        elif properties.get(ROLE) == CHANGE_LOG:
            self.logs[name] = ChangeLog(self._warehouse, loaded, branch, types)
