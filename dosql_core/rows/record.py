"""SQLite's record format: a payload taken apart into values; no I/O.

Source: https://sqlite.org/fileformat2.html, "Record Format".
"""

from __future__ import annotations

import struct
from functools import lru_cache

from dosql_core.identifiers import SqlValue
from dosql_core.rows.btree_page import read_varint

_REAL = struct.Struct(">d")
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_FIRST_BLOB = 12


def decode_record(payload: bytes, encoding: str) -> list[SqlValue]:
    """The values of a record, as they are stored.

    Text that is not valid in the database's encoding comes with surrogates in place of its bytes.
    """
    header_bytes = payload[0]
    if header_bytes >= 0x80:
        header_bytes, _ = read_varint(payload, 0)
    values: list[SqlValue] = []
    offset = header_bytes
    for serial_type in _serial_types(payload[:header_bytes]):
        if serial_type >= _FIRST_BLOB:
            end = offset + (serial_type - _FIRST_BLOB) // 2
            content = payload[offset:end]
            values.append(
                content.decode(encoding, "surrogateescape") if serial_type & 1 else content
            )
            offset = end
        elif serial_type in _INTEGER_BYTES:
            end = offset + _INTEGER_BYTES[serial_type]
            values.append(int.from_bytes(payload[offset:end], "big", signed=True))
            offset = end
        elif serial_type == 7:
            values.append(_REAL.unpack_from(payload, offset)[0])
            offset += 8
        elif serial_type == 0:
            values.append(None)
        else:  # 8 and 9 are the integers 0 and 1
            values.append(serial_type - 8)
    return values


@lru_cache(maxsize=4096)
def _serial_types(header: bytes) -> tuple[int, ...]:
    """The types a record header lists; rows of a table have few different headers."""
    types = []
    _, offset = read_varint(header, 0)
    while offset < len(header):
        serial_type, offset = read_varint(header, offset)
        types.append(serial_type)
    return tuple(types)
