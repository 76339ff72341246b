"""A file that deletes rows of one data file, in the form that a table's format version has."""

from __future__ import annotations

from dataclasses import replace

from pyroaring import BitMap

from dolake.tables.deletion_vector import FILE_PATH_FIELD_ID, pack_position_deletes, pack_puffin
from dolake.tables.lake_table import LakeTable
from dolake.tables.manifests import Content, DataFile
from dolake.tables.snapshot_commit import new_file_path


def packed_deletes(
    table: LakeTable, data_file: DataFile, positions: BitMap
) -> tuple[DataFile, bytes]:
    """A file that deletes positions of a data file, as the table's format version has it."""
    described = DataFile(
        content=Content.POSITION_DELETES,
        file_path="",
        file_format="",
        partition=data_file.partition,
        record_count=len(positions),
        file_bytes=0,
        spec_id=data_file.spec_id,
        referenced_data_file=data_file.file_path,
    )
    if table.format_version >= 3:
        puffin = pack_puffin(positions, data_file.file_path)
        return replace(
            described,
            file_path=new_file_path(table.metadata, "data", "{}-deletes.puffin"),
            file_format="PUFFIN",
            file_bytes=len(puffin.data),
            content_offset=puffin.content_offset,
            content_bytes=puffin.content_bytes,
        ), puffin.data
    data = pack_position_deletes(positions, data_file.file_path)
    bounds = {FILE_PATH_FIELD_ID: data_file.file_path.encode()}
    return replace(
        described,
        file_path=new_file_path(table.metadata, "data", "{}-deletes.parquet"),
        file_format="PARQUET",
        file_bytes=len(data),
        lower_bounds=bounds,
        upper_bounds=bounds,
    ), data
