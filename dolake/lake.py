"""A lake as this process has it open: its warehouse, its catalog, and a directory of its own."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from dolake.catalog.table_registry import TableRegistry
from dolake.ingest.lake_tables import SourceKey
from dolake.tables.source_tables import SourceTables
from dolake.tables.table_options import TableOptions
from dolake.warehouse import Warehouse

STATE_NAME = ".dolake"
DEFAULT_STATE = "./dolake-state"


class Lake:
    """Where the tables are, and where the lake keeps what is its own.

    Shape: the state directory holds the catalog's database and what ingest keeps; of a lake in a
           folder it is `.dolake` in that, of one in a bucket it has to be given, or is
           `./dolake-state`.
    """

    def __init__(
        self,
        warehouse: str | os.PathLike[str],
        *,
        state: str | os.PathLike[str] | None = None,
        table_options: TableOptions | None = None,
        **store_options: Any,
    ) -> None:
        self.warehouse = Warehouse(warehouse, **store_options)
        if state is not None:
            self.state = Path(state)
        elif self.warehouse.folder is not None:
            self.state = self.warehouse.folder / STATE_NAME
        else:
            self.state = Path(DEFAULT_STATE)
        self.state.mkdir(parents=True, exist_ok=True)
        self.table_options = table_options or TableOptions()
        self.registry = TableRegistry(self.state / "catalog.db", self.warehouse)

    def open_tables(self, key: SourceKey) -> SourceTables:
        """The tables of a branch of a source."""
        options = replace(self.table_options, branch=key.branch)
        return SourceTables(self.registry, self.warehouse, key.source, options)

    def close(self) -> None:
        """Let go of the catalog."""
        self.registry.close()

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(Exception):
            self.close()
