"""Whether every file that tables need is there and holds what the metadata says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from dolake.catalog.identifiers import TableIdentifier
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import LakeCorruptError, ObjectNotFoundError
from dolake.tables.snapshot_contents import SnapshotContents, load_contents, load_deletes
from dolake.warehouse import Warehouse
from dosql_core.errors import Error

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class LakeFinding:
    """Something that is wrong. Shape: `snapshot_id` is None where it is the table itself."""

    table: str
    snapshot_id: int | None
    what: str

    def __str__(self) -> str:
        where = "" if self.snapshot_id is None else f", snapshot {self.snapshot_id}"
        return f"{self.table}{where}: {self.what}"


def verify_table(
    registry: TableRegistry,
    warehouse: Warehouse,
    identifier: TableIdentifier,
    *,
    deep: bool = True,
    progress: Progress | None = None,
) -> Iterator[LakeFinding]:
    """What is wrong with a table: every snapshot's files, and with `deep` the rows in them."""
    name = ".".join(identifier)
    try:
        metadata = registry.load_table(identifier).metadata
    except Error as error:
        yield LakeFinding(name, None, str(error))
        return
    snapshots = metadata.get("snapshots") or ()
    seen: dict[str, str | None] = {}  # what is wrong with each file, for snapshots share them
    known: SnapshotContents | None = None
    for done, snapshot in enumerate(snapshots):
        if progress is not None:
            progress(done, len(snapshots))
        snapshot_id = snapshot["snapshot-id"]
        try:
            known = contents = load_contents(warehouse, snapshot, known)
        except (Error, ValueError, KeyError, EOFError) as error:
            yield LakeFinding(name, snapshot_id, f"its manifests cannot be read: {error}")
            continue
        for what in _wrong_with(warehouse, contents, seen, deep=deep):
            yield LakeFinding(name, snapshot_id, what)
    if progress is not None:
        progress(len(snapshots), len(snapshots))


def _wrong_with(
    warehouse: Warehouse, contents: SnapshotContents, seen: dict[str, str | None], *, deep: bool
) -> Iterator[str]:
    rows = 0
    for entry in contents.live(is_data=True):
        file = entry.data_file
        rows += file.record_count
        if file.file_path not in seen:
            seen[file.file_path] = _wrong_with_file(
                warehouse, file.file_path, file.record_count, file.file_bytes, deep=deep
            )
        if (wrong := seen[file.file_path]) is not None:
            yield wrong
    summary = contents.snapshot or {}
    told = (summary.get("summary") or {}).get("total-records")
    if told is not None and int(told) != rows:
        yield f"its summary tells {told} rows, its data files {rows}"
    try:
        deletes = load_deletes(warehouse, contents)
    except (Error, ValueError) as error:
        yield f"its deletes cannot be read: {error}"
        return
    counts = {path: entry.data_file.record_count for path, entry in contents.data_files().items()}
    for path, deleted in deletes.items():
        if path in counts and deleted.positions and deleted.positions.max() >= counts[path]:
            yield f"rows beyond the end of {path} are deleted"


def _wrong_with_file(
    warehouse: Warehouse, path: str, rows: int, size_bytes: int, *, deep: bool
) -> str | None:
    try:
        size = warehouse.size_of(path)
        if size != size_bytes:
            return f"{path} has {size} bytes, and {size_bytes} were written"
        if deep:
            parquet = pq.ParquetFile(
                pa.BufferReader(warehouse.read(path)), page_checksum_verification=True
            )
            found = parquet.read().num_rows
            if found != rows:
                return f"{path} has {found} rows, and {rows} were written"
    except ObjectNotFoundError:
        return f"{path} is missing"
    except (pa.ArrowException, OSError, LakeCorruptError) as error:
        return f"{path} cannot be read: {error}"
    return None
