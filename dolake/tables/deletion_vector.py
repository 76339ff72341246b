"""The positions deleted from a data file: as a deletion vector (v3) or a position-delete file (v2).

A Puffin file holds one vector: DuckDB 1.5.5 misreads those that share a file.

Source: Iceberg Puffin specification, "deletion-vector-v1"; table specification, "Position Delete
Files"; RoaringFormatSpec, "Extension for 64-bit implementations".
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap

from dolake.errors import LakeCorruptError
from dolake.tables.data_file import field_of

PUFFIN_MAGIC = b"PFA1"
VECTOR_MAGIC = b"\xd1\xd3\x39\x64"
VECTOR_TYPE = "deletion-vector-v1"
POSITION_FIELD_ID = 2147483545
FILE_PATH_FIELD_ID = 2147483546

_CREATED_BY = "DoLake"
_ROW_POSITION_ID = 2147483645  # the reserved field _pos, which the vector is about


@dataclass(frozen=True, slots=True)
class PuffinVector:
    """A Puffin file with one vector, and where in it the vector stands. Units: bytes."""

    data: bytes
    content_offset: int
    content_bytes: int


def pack_puffin(positions: BitMap, data_file: str) -> PuffinVector:
    """A Puffin file that says which rows of `data_file` are deleted."""
    blob = pack_vector(positions)
    footer = json.dumps(
        {
            "blobs": [
                {
                    "type": VECTOR_TYPE,
                    "fields": [_ROW_POSITION_ID],
                    "snapshot-id": -1,  # inherited, as the sequence number is
                    "sequence-number": -1,
                    "offset": len(PUFFIN_MAGIC),
                    "length": len(blob),
                    "properties": {
                        "referenced-data-file": data_file,
                        "cardinality": str(len(positions)),
                    },
                }
            ],
            "properties": {"created-by": _CREATED_BY},
        }
    ).encode()
    data = b"".join(
        (
            PUFFIN_MAGIC,
            blob,
            PUFFIN_MAGIC,
            footer,
            struct.pack("<i", len(footer)),
            b"\0\0\0\0",  # no flags: the footer is not compressed
            PUFFIN_MAGIC,
        )
    )
    return PuffinVector(data, len(PUFFIN_MAGIC), len(blob))


def pack_vector(positions: BitMap) -> bytes:
    """The blob of a deletion vector.

    Shape: length (big-endian, of magic and vector), magic, vector (a count of 32-bit bitmaps and
           each with its key, little-endian), CRC-32 (big-endian, of magic and vector).
    """
    compact = BitMap(positions)
    compact.run_optimize()
    vector = VECTOR_MAGIC + struct.pack("<qi", 1, 0) + compact.serialize()
    return struct.pack(">I", len(vector)) + vector + struct.pack(">I", zlib.crc32(vector))


def unpack_vector(blob: bytes) -> BitMap:
    """The positions of a deletion vector's blob.

    Errors: LakeCorruptError when magic, length or checksum are wrong, or a position is beyond
            2**32.
    """
    if len(blob) < 20 or blob[4:8] != VECTOR_MAGIC:
        raise LakeCorruptError(f"no deletion vector: it begins with {blob[:8].hex()}")
    (length,) = struct.unpack_from(">I", blob)
    vector = blob[4 : 4 + length]
    (checksum,) = struct.unpack_from(">I", blob, 4 + length)
    if zlib.crc32(vector) != checksum:
        raise LakeCorruptError("a deletion vector's checksum is not that of its bytes")
    (count,) = struct.unpack_from("<q", vector, 4)
    if count == 0:
        return BitMap()
    (key,) = struct.unpack_from("<i", vector, 12)
    if count != 1 or key != 0:
        raise LakeCorruptError("a deletion vector names positions beyond 2**32")
    return BitMap.deserialize(vector[16:])


def pack_position_deletes(positions: BitMap, data_file: str) -> bytes:
    """A Parquet file of (file_path, pos), sorted, for the one data file."""
    schema = pa.schema(
        [
            field_of("file_path", pa.string(), FILE_PATH_FIELD_ID, is_required=True),
            field_of("pos", pa.int64(), POSITION_FIELD_ID, is_required=True),
        ]
    )
    numbers = pa.array(positions.to_array(), pa.int64())
    paths = pa.repeat(pa.scalar(data_file), len(numbers))
    written = io.BytesIO()
    pq.write_table(pa.table([paths, numbers], schema=schema), written, compression="zstd")
    return written.getvalue()


def unpack_position_deletes(data: bytes) -> dict[str, BitMap]:
    """The deleted positions of each data file that a position-delete file names."""
    table = pq.read_table(io.BytesIO(data), columns=["file_path", "pos"])
    paths = table.column("file_path").combine_chunks().dictionary_encode()
    if isinstance(paths, pa.ChunkedArray):
        paths = paths.combine_chunks()
    names = paths.dictionary.to_pylist()
    codes = paths.indices.to_numpy()
    positions = table.column("pos").to_numpy().astype("uint32")
    return {name: BitMap(positions[codes == number]) for number, name in enumerate(names)}
