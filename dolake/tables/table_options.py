"""How the tables of a source are laid out in the lake: frozen options, given once at opening."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dolake.errors import LakeConfigurationError

_NOTHING: Mapping[str, tuple[str, ...]] = {}
_NO_TYPES: Mapping[str, Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options of a source's tables; those by table are keyed by the table's name in the source.

    Shape: `namespace` is where the tables are, by default one named after the source.
           `format_version` 3 deletes by deletion vectors; 2 by position-delete files, for readers
           without v3. `has_change_log` adds an append-only `<table>__changes` to each table.
           `partition_by` and `sort_by` list columns or transforms such as `day(created)`, and for
           change logs `change_log_partition_by` does; `column_types` overrules what a declared
           type becomes. All of these but `column_types` count when a table is first made.
    """

    namespace: tuple[str, ...] = ()
    branch: str = "main"
    format_version: int = 3
    has_change_log: bool = False
    partition_by: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    change_log_partition_by: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    sort_by: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    column_types: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _NO_TYPES)
    rows_per_file_max: int = 1_000_000

    def __post_init__(self) -> None:
        if self.format_version not in (2, 3):
            raise LakeConfigurationError(
                f"format version {self.format_version}: a mirror has version 2 or 3"
            )
