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

# SQLite's values that are plain, and those that are wrapped as well. Almost no message needs the
# second kind, and telling it from text is what costs: it is tried only where the first one fails.
PlainValue = None | Integer | float | str


class JsonSpecial(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What JSON has no value for: a blob, text that is no Unicode, or an infinite real.

    Shape: blobs and text are the hexadecimal digits of their bytes.
    """

    base16: str | None = None
    real: Literal["inf", "-inf"] | None = None
    text_base16: str | None = None


class PackedBlob(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A blob in msgpack: an array of one binary, so that no text is mistaken for one.

    Shape: the bytes of text that is no Unicode have `is_text` behind them.
    """

    data: bytes
    is_text: bool = False


JsonValue = None | Integer | float | str | JsonSpecial
PackedValue = None | Integer | float | str | PackedBlob


def value_of_json(value: Any) -> SqlValue:
    """The value that JSON holds. Errors: ValueError for what is none."""
    if type(value) is not JsonSpecial:
        return value  # type: ignore[no-any-return]
    blob, real, text = value.base16, value.real, value.text_base16
    if blob is not None and real is None and text is None:
        return bytes.fromhex(blob)
    if real is not None and blob is None and text is None:
        return float(real)
    if text is not None and blob is None and real is None:
        return _text_of(bytes.fromhex(text))
    raise ValueError(
        'a special value is {"base16": digits}, {"text_base16": digits} or {"real": "inf"}'
    )


def value_as_json(value: SqlValue) -> Any:
    """A value as JSON holds it, but for text that is no Unicode: see `text_as_json`."""
    if isinstance(value, bytes):
        return {"base16": value.hex()}
    if isinstance(value, float) and math.isinf(value):
        return {"real": "inf" if value > 0 else "-inf"}
    return value


def value_of_packed(value: Any) -> SqlValue:
    """The value that msgpack holds."""
    if type(value) is not PackedBlob:
        return value  # type: ignore[no-any-return]
    return _text_of(value.data) if value.is_text else value.data


def value_as_packed(value: SqlValue) -> Any:
    """A value as msgpack holds it, but for text that is no Unicode: see `text_as_packed`."""
    return (value,) if isinstance(value, bytes) else value


# Whoever encodes finds out by itself that some text is no Unicode. Only then are the values of the
# message gone through with these, before they are encoded once more.


def text_as_json(value: SqlValue) -> Any:
    """Text that is no Unicode as JSON holds it; any other value as it is."""
    stored = _bytes_of_odd_text(value)
    return value if stored is None else JsonSpecial(text_base16=stored.hex())


def text_as_packed(value: SqlValue) -> Any:
    """Text that is no Unicode as msgpack holds it; any other value as it is."""
    stored = _bytes_of_odd_text(value)
    return value if stored is None else PackedBlob(stored, True)


def _bytes_of_odd_text(value: SqlValue) -> bytes | None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    return None


def _text_of(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")
