"""Single values as Iceberg stores them in bounds: one column's minimum, one partition's value."""

from __future__ import annotations

import datetime
import decimal
import struct
from typing import Any

BOUND_CHARACTERS_MAX = 16
BOUND_BYTES_MAX = 16

_EPOCH_DATE = datetime.date(1970, 1, 1)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def to_stored(value: Any) -> Any:
    """Dates as days and timestamps as microseconds since 1970; other values as they are."""
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return (moment - _EPOCH) // _MICROSECOND
    if isinstance(value, datetime.date):
        return (value - _EPOCH_DATE).days
    return value


def to_bytes(value: Any, iceberg_type: str) -> bytes:
    """The value in Iceberg's binary form of single values.

    Source: Iceberg table specification, appendix D, "Binary single-value serialization".
    """
    stored = to_stored(value)
    if iceberg_type in ("int", "date"):
        return struct.pack("<i", stored)
    if iceberg_type in ("long", "timestamp", "timestamptz"):
        return struct.pack("<q", stored)
    if iceberg_type == "double":
        return struct.pack("<d", stored)
    if iceberg_type == "boolean":
        return b"\x01" if stored else b"\x00"
    if iceberg_type == "string":
        return bytes(stored.encode())
    if iceberg_type == "binary":
        return bytes(stored)
    if iceberg_type.startswith("decimal"):
        return _decimal_bytes(stored)
    raise ValueError(f"no bounds are kept for {iceberg_type}")


def lower_bound(value: Any, iceberg_type: str) -> bytes:
    """Bytes that are not above the value: long texts and blobs are cut."""
    if iceberg_type == "string":
        return bytes(value[:BOUND_CHARACTERS_MAX].encode())
    if iceberg_type == "binary":
        return bytes(value[:BOUND_BYTES_MAX])
    return to_bytes(value, iceberg_type)


def upper_bound(value: Any, iceberg_type: str) -> bytes | None:
    """Bytes that are not below the value, or None when a cut one has nothing above it."""
    if iceberg_type == "string" and len(value) > BOUND_CHARACTERS_MAX:
        return _next_text(value[:BOUND_CHARACTERS_MAX])
    if iceberg_type == "binary" and len(value) > BOUND_BYTES_MAX:
        cut = bytes(value[:BOUND_BYTES_MAX]).rstrip(b"\xff")
        return cut[:-1] + bytes([cut[-1] + 1]) if cut else None
    return to_bytes(value, iceberg_type)


def _next_text(text: str) -> bytes | None:
    """The least text above all that begin with this one, by code points as UTF-8 sorts them."""
    for end in range(len(text), 0, -1):
        point = ord(text[end - 1])
        if point < 0x10FFFF:
            point = 0xE000 if point == 0xD7FF else point + 1  # surrogates are no characters
            return (text[: end - 1] + chr(point)).encode()
    return None


def _decimal_bytes(value: decimal.Decimal) -> bytes:
    sign, digits, _ = value.as_tuple()
    unscaled = int("".join(map(str, digits)) or "0") * (-1 if sign else 1)
    length = max(1, (unscaled + (unscaled < 0)).bit_length() // 8 + 1)
    return unscaled.to_bytes(length, "big", signed=True)
