"""SQLite's values on the wire: what JSON and msgpack have no value for is wrapped.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec

from dolake.changes import SqlValue

_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 63) - 1
Integer = Annotated[int, msgspec.Meta(ge=_INTEGER_MIN, le=_INTEGER_MAX)]
Lsn = Annotated[int, msgspec.Meta(ge=0, le=_INTEGER_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]

# SQLite's values but blobs and infinities, and those as well. Almost no message needs the second
# kind, and telling blobs from text is what costs, so it is tried only where the first one fails.
PlainValue = None | Integer | float | str


class JsonSpecial(msgspec.Struct, forbid_unknown_fields=True):
    """What JSON has no value for: a blob in hexadecimal digits, or an infinite real."""

    base16: str | None = None
    real: Literal["inf", "-inf"] | None = None


class PackedBlob(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A blob in msgpack: an array of one binary, so that no text is mistaken for one."""

    data: bytes


JsonValue = None | Integer | float | str | JsonSpecial
PackedValue = None | Integer | float | str | PackedBlob


def value_of_json(value: Any) -> SqlValue:
    """The value that JSON holds. Errors: ValueError for what is none."""
    if type(value) is not JsonSpecial:
        return value  # type: ignore[no-any-return]
    if value.base16 is not None and value.real is None:
        return bytes.fromhex(value.base16)
    if value.real is not None and value.base16 is None:
        return float(value.real)
    raise ValueError('a special value is {"base16": digits} or {"real": "inf"}')


def value_as_json(value: SqlValue) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, bytes):
        return {"base16": value.hex()}
    if isinstance(value, float) and math.isinf(value):
        return {"real": "inf" if value > 0 else "-inf"}
    return value


def value_of_packed(value: Any) -> SqlValue:
    """The value that msgpack holds."""
    return value.data if type(value) is PackedBlob else value


def value_as_packed(value: SqlValue) -> Any:
    """A value as msgpack holds it."""
    return (value,) if isinstance(value, bytes) else value
