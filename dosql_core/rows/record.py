"""SQLite's record format: a payload taken apart into values; no I/O.

Source: https://sqlite.org/fileformat2.html, "Record Format".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from dosql_core.identifiers import SqlValue
from dosql_core.rows.btree_page import read_varint

_FIRST_BLOB = 12
# What struct unpacks for a serial type; integers of 3 and 6 bytes it does not know.
_FORMATS = {1: "b", 2: "h", 3: "3s", 4: "i", 5: "6s", 6: "q", 7: "d"}
_ODD_INTEGERS = (3, 5)
_NULL, _ZERO, _ONE = 0, 8, 9
_CONSTANTS: dict[int, SqlValue] = {_NULL: None, _ZERO: 0, _ONE: 1}

Finishing = tuple[tuple[int, int], ...]
"""Places of a record whose unpacked bytes are not the value yet, each with its serial type."""


def decode_record(payload: bytes, encoding: str) -> list[SqlValue]:
    """The values of a record, as they are stored.

    Text that is not valid in the database's encoding comes with surrogates in place of its bytes.
    Errors: struct.error or IndexError when it is cut short.
    """
    header_bytes = payload[0]
    if header_bytes >= 0x80:
        header_bytes, _ = read_varint(payload, 0)
    unpack_from, finishing, constants = _reading(payload[:header_bytes])
    values = list(unpack_from(payload, header_bytes))
    for place, value in constants:
        values.insert(place, value)
    for place, serial_type in finishing:
        if serial_type in _ODD_INTEGERS:
            values[place] = int.from_bytes(values[place], "big", signed=True)
        else:
            values[place] = values[place].decode(encoding, "surrogateescape")
    return values


def bytes_up_to(payload: bytes, place: int) -> int | None:
    """How many bytes of a record reach to the end of the value at `place`.

    None where the record's header, of which only the beginning may be given, does not tell.
    """
    try:
        end, offset = read_varint(payload, 0)
        header_bytes = end
        for _ in range(place + 1):
            if offset >= header_bytes:
                break  # an older record, that has not as many values
            serial_type, offset = read_varint(payload, offset)
            if serial_type >= _FIRST_BLOB:
                end += (serial_type - _FIRST_BLOB) // 2
            elif serial_type not in _CONSTANTS:
                end += struct.calcsize(">" + _FORMATS[serial_type])
    except IndexError:
        return None
    return end


@lru_cache(maxsize=4096)
def _reading(
    header: bytes,
) -> tuple[Callable[[bytes, int], tuple[Any, ...]], Finishing, tuple[tuple[int, SqlValue], ...]]:
    """How to read the values behind a record header; rows of a table have few different ones."""
    formats, finishing, constants = [">"], [], []
    _, offset = read_varint(header, 0)
    place = 0
    while offset < len(header):
        serial_type, offset = read_varint(header, offset)
        if serial_type >= _FIRST_BLOB:
            formats.append(f"{(serial_type - _FIRST_BLOB) // 2}s")
            if serial_type & 1:
                finishing.append((place, serial_type))
        elif serial_type in _CONSTANTS:
            constants.append((place, _CONSTANTS[serial_type]))
        else:
            formats.append(_FORMATS[serial_type])
            if serial_type in _ODD_INTEGERS:
                finishing.append((place, serial_type))
        place += 1
    return struct.Struct("".join(formats)).unpack_from, tuple(finishing), tuple(constants)
