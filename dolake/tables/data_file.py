"""Data files: Parquet written with field ids and described by statistics, and read back.

Rows that move to another file take their lineage along in two columns of reserved ids; a file
whose rows are all new needs neither.

Source: Iceberg table specification, "Row Lineage", "Reserved Field IDs", appendix A "Parquet".
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolake.errors import ObjectNotFoundError
from dolake.tables.manifests import Content, DataFile
from dolake.tables.single_values import lower_bound, upper_bound
from dolake.warehouse import Warehouse

ROW_ID_COLUMN = "_row_id"
ROW_ID_FIELD_ID = 2147483540
LAST_UPDATED_COLUMN = "_last_updated_sequence_number"
LAST_UPDATED_FIELD_ID = 2147483539
ROWS_PER_GROUP = 100_000

_FIELD_ID = b"PARQUET:field_id"


def field_of(name: str, kind: pa.DataType, field_id: int, *, is_required: bool = False) -> pa.Field:
    """An Arrow field that Parquet stores with Iceberg's field id."""
    return pa.field(name, kind, nullable=not is_required, metadata={_FIELD_ID: str(field_id)})


LINEAGE_FIELDS = (
    field_of(ROW_ID_COLUMN, pa.int64(), ROW_ID_FIELD_ID),
    field_of(LAST_UPDATED_COLUMN, pa.int64(), LAST_UPDATED_FIELD_ID),
)


def pack_rows(rows: pa.Table) -> tuple[bytes, pq.FileMetaData]:
    """The rows as a Parquet file, and its footer."""
    written = io.BytesIO()
    texts = [f.name for f in rows.schema if pa.types.is_string(f.type)]
    with pq.ParquetWriter(
        written,
        rows.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=texts,
        store_schema=False,
        write_page_index=False,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(rows, row_group_size=ROWS_PER_GROUP)
        closing = writer
    return written.getvalue(), closing.writer.metadata


def describe_rows(
    rows: pa.Table,
    iceberg_types: Mapping[int, str],
    *,
    path: str,
    file_bytes: int,
    footer: pq.FileMetaData,
    spec_id: int,
    partition: tuple[Any, ...],
    sort_order_id: int | None,
) -> DataFile:
    """What a manifest says of a Parquet file: sizes, counts and bounds of the table's columns.

    Shape: `iceberg_types` by field id; columns of other ids (the lineage) get no statistics.
    """
    sizes: dict[int, int] = {}
    offsets = []
    ids = [int((f.metadata or {}).get(_FIELD_ID, b"-1")) for f in rows.schema]
    for group in range(footer.num_row_groups):
        row_group = footer.row_group(group)
        offset = None
        for column, field_id in enumerate(ids):
            chunk = row_group.column(column)
            if column == 0:
                offset = chunk.dictionary_page_offset or chunk.data_page_offset
            if field_id in iceberg_types:
                sizes[field_id] = sizes.get(field_id, 0) + chunk.total_compressed_size
        if offset is not None:
            offsets.append(offset)
    values, nulls, lower, upper = {}, {}, {}, {}
    for column, field_id in enumerate(ids):
        kind = iceberg_types.get(field_id)
        if kind is None:
            continue
        array = rows.column(column)
        values[field_id] = len(array)
        nulls[field_id] = array.null_count
        if array.null_count == len(array):
            continue
        extremes = pc.min_max(array)
        lower[field_id] = lower_bound(extremes["min"].as_py(), kind)
        bound = upper_bound(extremes["max"].as_py(), kind)
        if bound is not None:
            upper[field_id] = bound
    return DataFile(
        content=Content.DATA,
        file_path=path,
        file_format="PARQUET",
        partition=partition,
        record_count=rows.num_rows,
        file_bytes=file_bytes,
        spec_id=spec_id,
        column_sizes=sizes,
        value_counts=values,
        null_value_counts=nulls,
        nan_value_counts={i: 0 for i in values if iceberg_types[i] == "double"},
        lower_bounds=lower,
        upper_bounds=upper,
        split_offsets=tuple(offsets),
        sort_order_id=sort_order_id,
    )


def read_columns(warehouse: Warehouse, path: str, fields: Sequence[pa.Field]) -> pa.Table:
    """Columns of a data file by field id, in the order asked for and of the types asked for.

    Shape: a column the file was written without is all NULL.
    """
    with open_parquet(warehouse, path) as parquet:
        stored = parquet.schema_arrow
        by_id = {int((f.metadata or {}).get(_FIELD_ID, b"-1")): f.name for f in stored}
        names = [by_id.get(int(f.metadata[_FIELD_ID])) for f in fields]
        read = parquet.read(columns=[name for name in names if name is not None])
        count = parquet.metadata.num_rows
    columns = []
    for field, name in zip(fields, names, strict=True):
        if name is None:
            columns.append(pa.nulls(count, field.type))
        else:
            column = read.column(name)
            columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.table(columns, schema=pa.schema(fields))


def open_parquet(warehouse: Warehouse, path: str) -> pq.ParquetFile:
    """A Parquet file of the warehouse, of which only what is asked for is fetched.

    Errors: ObjectNotFoundError.
    """
    if warehouse.folder is not None:
        try:
            return pq.ParquetFile(warehouse.folder / warehouse.path_of(path), memory_map=True)
        except FileNotFoundError as error:
            raise ObjectNotFoundError(f"there is no object {path}") from error
    return pq.ParquetFile(pa.PythonFile(_StoredFile(warehouse, path), mode="r"), pre_buffer=True)


class _StoredFile(io.RawIOBase):
    """An object of the warehouse as a file that can be read from any place."""

    def __init__(self, warehouse: Warehouse, path: str) -> None:
        self._warehouse, self._path = warehouse, path
        self._size, self._at = warehouse.size_of(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        length = self._size - self._at if size < 0 else min(size, self._size - self._at)
        data = self._warehouse.read_range(self._path, self._at, length) if length > 0 else b""
        self._at += len(data)
        return data
