"""SQLite's values as Arrow arrays of a column's type, and what does not fit in a column of its own.

SQLite lets any value into any column. A value that its column's type cannot hold exactly is a
*misfit*: the column is NULL (or, for `any` and `json`, the value's text), and the value itself
stands in the row's MISFIT_COLUMN, a JSON object by column. Nothing is lost and nothing is refused.
"""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dolake.changes import SqlValue
from dolake.tables.column_types import ColumnType, Kind

MISFIT_COLUMN = "_dosql_misfit"
"""The column, added when the first misfit comes, that holds the misfits of a row as JSON."""

_EXACT_INTEGER_MAX = 1 << 53
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?\s*(Z|[+-]\d\d:?\d\d)?"
)
_PLAIN_DATE = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}"
_PLAIN_TIME = r"[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_PLAINLY_WRITTEN = {
    "date": _PLAIN_DATE + "$",
    "timestamp": _PLAIN_DATE + _PLAIN_TIME + "$",
    "timestamptz": _PLAIN_DATE + _PLAIN_TIME + "(Z|[+-][0-9]{2}:[0-9]{2})$",
}
_DECIMALS = decimal.Context(prec=76, traps=[decimal.InvalidOperation])


class _MisfitError(Exception):
    """The value does not fit its column."""


def to_array(values: Sequence[SqlValue], of: ColumnType) -> tuple[pa.Array, list[int]]:
    """The values as an array of the type, and the positions of those that do not fit."""
    types = set(map(type, values)) - {NoneType}
    if types <= _FAST_TYPES[of.kind]:
        with contextlib.suppress(pa.ArrowException, OverflowError, UnicodeError, ValueError):
            return _fast(values, of), []
    return _slow(values, of)


def misfits_as_json(misfits: dict[str, SqlValue]) -> str:
    """The misfits of a row: column -> value, told apart by JSON's own types.

    Shape: a blob is {"blob": hex}, an infinite real {"real": "inf"}, text that is no Unicode
           {"text": hex of its bytes}.
    """
    return json.dumps({name: _to_json(value) for name, value in misfits.items()})


def misfits_of_json(text: str) -> dict[str, SqlValue]:
    """What `misfits_as_json` was given."""
    return {name: _of_json(value) for name, value in json.loads(text).items()}


def as_unicode(value: SqlValue) -> Any:
    """Text that is no Unicode as JSON holds it, {"text": hex}; any other value as it is."""
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return {"text": value.encode("utf-8", "surrogateescape").hex()}
    return value


def plain_value(value: Any) -> SqlValue:
    """A value read from a mirror's column as it would be a key in SQLite."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    assert value is None or isinstance(value, (int, float, str, bytes))
    return value


def _fast(values: Sequence[SqlValue], of: ColumnType) -> pa.Array:
    """The array, by Arrow itself. Errors: ValueError or Arrow's when `_slow` has to look closer."""
    if of.kind in _PLAINLY_WRITTEN:
        texts = pa.array(values, pa.string())
        # Arrow takes more spellings than we do, and years that Python has not.
        written = pc.match_substring_regex(texts, _PLAINLY_WRITTEN[of.kind])
        if pc.all(written).as_py() is False:
            raise ValueError("not every text is plainly written")
        return pc.cast(texts, of.arrow)
    if of.kind == "boolean":
        numbers = pa.array(values, pa.int64())
        is_bit = pc.and_(pc.greater_equal(numbers, 0), pc.less_equal(numbers, 1))
        if pc.all(is_bit).as_py() is False:
            raise ValueError("neither 0 nor 1")
        return pc.cast(numbers, pa.bool_())
    return pa.array(values, of.arrow)


_FAST_TYPES: dict[Kind, set[type]] = {
    "long": {int},
    "double": {float},
    "string": {str},
    "json": {str},
    "any": {str},
    "binary": {bytes},
    "boolean": {int},
    "decimal": set(),
    "date": {str},
    "timestamp": {str},
    "timestamptz": {str},
}


def _slow(values: Sequence[SqlValue], of: ColumnType) -> tuple[pa.Array, list[int]]:
    convert = _CONVERTERS[of.kind]
    converted: list[Any] = []
    misfits: list[int] = []
    for position, value in enumerate(values):
        if value is None:
            converted.append(None)
            continue
        try:
            converted.append(convert(value, of))
        except _MisfitError:
            misfits.append(position)
            converted.append(None)
        else:
            if of.kind == "any" and not isinstance(value, str):
                misfits.append(position)  # '1' and 1 have the same text
    return pa.array(converted, of.arrow), misfits


def _long(value: SqlValue, of: ColumnType) -> int:
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return value
    raise _MisfitError


def _double(value: SqlValue, of: ColumnType) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and (abs(value) <= _EXACT_INTEGER_MAX or int(float(value)) == value):
        return float(value)
    raise _MisfitError


def _string(value: SqlValue, of: ColumnType) -> str:
    if isinstance(value, str):
        with contextlib.suppress(UnicodeEncodeError):
            value.encode()
            return value
    raise _MisfitError


def _json(value: SqlValue, of: ColumnType) -> str:
    # The declaration JSON has numeric affinity: the document 123 is stored as a number.
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    return _string(value, of)


def _any(value: SqlValue, of: ColumnType) -> str:
    return repr(value) if isinstance(value, (int, float)) else _string(value, of)


def _binary(value: SqlValue, of: ColumnType) -> bytes:
    if isinstance(value, bytes):
        return value
    raise _MisfitError


def _boolean(value: SqlValue, of: ColumnType) -> bool:
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise _MisfitError


def _decimal(value: SqlValue, of: ColumnType) -> decimal.Decimal:
    # Numeric affinity stores '12.30' as the real 12.3; a real's shortest text is what was meant.
    if isinstance(value, bytes) or value is None:
        raise _MisfitError
    try:
        exact = decimal.Decimal(repr(value) if isinstance(value, float) else value)
        scaled = exact.quantize(decimal.Decimal(1).scaleb(-of.scale), context=_DECIMALS)
    except decimal.DecimalException as error:
        raise _MisfitError from error
    if scaled != exact or len(scaled.as_tuple().digits) > of.precision:
        raise _MisfitError
    return scaled


def _date(value: SqlValue, of: ColumnType) -> datetime.date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        with contextlib.suppress(ValueError):
            return datetime.date.fromisoformat(value)
    raise _MisfitError


def _timestamp(value: SqlValue, of: ColumnType) -> datetime.datetime:
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None or (found[5] is None) != (of.kind == "timestamp"):
        raise _MisfitError
    zone = {None: "", "Z": "+00:00"}.get(found[5], found[5])
    fraction = (found[4] or "").ljust(6, "0")
    with contextlib.suppress(ValueError):
        return datetime.datetime.fromisoformat(
            f"{found[1]}T{found[2]}:{found[3] or '00'}.{fraction}{zone}"
        )
    raise _MisfitError


_CONVERTERS: dict[Kind, Callable[[SqlValue, ColumnType], Any]] = {
    "long": _long,
    "double": _double,
    "string": _string,
    "json": _json,
    "any": _any,
    "binary": _binary,
    "boolean": _boolean,
    "decimal": _decimal,
    "date": _date,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
}


def _to_json(value: SqlValue) -> Any:
    if isinstance(value, bytes):
        return {"blob": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"real": repr(value)}
    return as_unicode(value)


def _of_json(value: Any) -> SqlValue:
    if not isinstance(value, dict):
        assert value is None or isinstance(value, (int, float, str))
        return value
    ((kind, told),) = value.items()
    if kind == "blob":
        return bytes.fromhex(told)
    if kind == "real":
        return float(told)
    return bytes.fromhex(told).decode("utf-8", "surrogateescape")
