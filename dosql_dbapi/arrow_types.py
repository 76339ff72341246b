"""Arrow types of result columns, and SQLite's values made into arrays of them.

The rule (docs/driver_extras.md): a type the program asks for, else the declared type of the column,
else what the values are. A value that its type cannot hold exactly is an error that names it; the
one thing rounded is a binary fraction in a column declared DECIMAL.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dosql_core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow

_DECIMAL = re.compile(r"^(?:DECIMAL|NUMERIC|NUMBER|DEC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)$")
_DECIMAL128_DIGITS_MAX = 38
_DECIMAL256_DIGITS_MAX = 76
_KINDS = {int: "an integer", float: "a real number", str: "text", bytes: "a blob"}
_HINT = (
    "CAST the column in the query, or give its type: schema={{{name!r}: pyarrow.string()}} takes "
    "every value as text"
)


def require_pyarrow() -> Any:
    """The pyarrow module.

    Errors: MissingExtraError when it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError("Arrow results need pyarrow", "columnar") from None
    return pyarrow


def declared_arrow_type(declared: str | None) -> pyarrow.DataType | None:
    """The Arrow type of a declared type, by SQLite's rules of affinity; None when it says nothing.

    Without a declaration (an expression), or with one SQLite gives NUMERIC affinity and we give no
    meaning, the values decide.
    """
    arrow = require_pyarrow()
    name = (declared or "").strip().upper()
    digits = _DECIMAL.match(name)
    if digits is not None:
        return _decimal_type(int(digits[1]), int(digits[2] or 0))
    word = name.partition("(")[0].strip()
    if word.startswith("BOOL"):
        return arrow.bool_()
    if word == "DATE":
        return arrow.date32()
    if word.startswith(("DATETIME", "TIMESTAMP")):
        return arrow.timestamp("us")
    if word == "TIME":
        return arrow.time64("us")
    if "INT" in word:
        return arrow.int64()
    if any(part in word for part in ("CHAR", "CLOB", "TEXT", "JSON")):
        return arrow.string()
    if "BLOB" in word or "BINARY" in word:
        return arrow.binary()
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return arrow.float64()
    return None


def _decimal_type(precision: int, scale: int) -> pyarrow.DataType | None:
    arrow = require_pyarrow()
    if scale > precision or precision == 0:
        return None
    if precision <= _DECIMAL128_DIGITS_MAX:
        return arrow.decimal128(precision, scale)
    return arrow.decimal256(precision, scale) if precision <= _DECIMAL256_DIGITS_MAX else None


def asked_types(
    names: Sequence[str], schema: pyarrow.Schema | Mapping[str, pyarrow.DataType] | None
) -> list[pyarrow.DataType | None]:
    """The type the program asked for, for each column.

    Errors: DataError when it names a column the result does not have.
    """
    if schema is None:
        return [None] * len(names)
    if not isinstance(schema, Mapping):
        schema = {field.name: field.type for field in schema}
    unknown = [name for name in schema if name not in names]
    if unknown:
        raise DataError(f"schema names {unknown}; the columns are {list(names)}")
    return [schema.get(name) for name in names]


class Column:
    """One column of a result: its name and type; None while no value has decided it."""

    def __init__(self, name: str, arrow_type: pyarrow.DataType | None) -> None:
        self.name = name
        self.type = arrow_type
        self.is_inferred = arrow_type is None

    def array(self, values: Sequence[Any], first_row: int) -> pyarrow.Array:
        """The values as an array of this column's type; of their own while it has none.

        Units:  `first_row` is the number of the first value's row in the result, for errors.
        Errors: DataError for a value that the type cannot hold.
        """
        arrow = require_pyarrow()
        try:
            return _converted(values, self.type)
        except (arrow.ArrowException, ValueError, ArithmeticError, TypeError) as error:
            raise self._mismatch(values, first_row) from error

    def _mismatch(self, values: Sequence[Any], first_row: int) -> DataError:
        hint = _HINT.format(name=self.name)
        if self.type is None:
            return self._mixture(values, first_row, hint)
        for number, value in enumerate(values):
            if not _fits(value, self.type):
                return DataError(
                    f"row {first_row + number} of column {self.name!r} holds {_shown(value)}; "
                    f"its Arrow type is {self.type}",
                    hint=hint,
                )
        return DataError(f"column {self.name!r} does not fit its Arrow type {self.type}", hint=hint)

    def _mixture(self, values: Sequence[Any], first_row: int, hint: str) -> DataError:
        is_number = {int: True, float: True}
        first: Any = None
        for number, value in enumerate(values):
            if value is None:
                continue
            if first is None:
                first = value
            elif is_number.get(type(value)) != is_number.get(type(first)):
                return DataError(
                    f"column {self.name!r} holds {_shown(first)} and, in row "
                    f"{first_row + number}, {_shown(value)}; an Arrow column has one type",
                    hint=hint,
                )
        return DataError(
            f"column {self.name!r} mixes real numbers with integers beyond 2**53", hint=hint
        )

    def decide(self, seen: set[pyarrow.DataType]) -> None:
        """Take the one type that holds all of the types `seen` in an inferred column.

        Errors: DataError when there is none.
        """
        arrow = require_pyarrow()
        kinds = seen - {arrow.null()}
        if kinds == {arrow.int64(), arrow.float64()}:
            kinds = {arrow.float64()}
        elif kinds == {arrow.string(), arrow.binary()}:
            kinds = {arrow.binary()}
        if len(kinds) > 1:
            shown = " and ".join(sorted(map(str, kinds)))
            raise DataError(
                f"column {self.name!r} holds {shown}; an Arrow column has one type",
                hint=_HINT.format(name=self.name),
            )
        self.type = kinds.pop() if kinds else arrow.null()

    def unified(self, arrays: Sequence[pyarrow.Array]) -> pyarrow.ChunkedArray:
        """The arrays of an inferred column as one, of the type that holds them all."""
        arrow = require_pyarrow()
        if self.is_inferred:
            self.decide({array.type for array in arrays})
            try:
                arrays = [array.cast(self.type) for array in arrays]
            except arrow.ArrowException as error:
                raise self._mixture((), 0, _HINT.format(name=self.name)) from error
        return arrow.chunked_array(arrays, type=self.type)


def _converted(values: Sequence[Any], target: pyarrow.DataType | None) -> pyarrow.Array:
    arrow = require_pyarrow()
    types = arrow.types
    if target is None:
        return arrow.array(values)
    if types.is_decimal(target):
        return _made(values, _decimal_maker(target.scale), target)
    if types.is_time(target):
        return _made(values, datetime.time.fromisoformat, target)
    is_text = types.is_string(target) or types.is_large_string(target)
    try:
        # Never arrow.array(values, target): that would cut 1.5 to 1 without a word.
        found = arrow.array(values)
    except (arrow.ArrowException, TypeError):
        if is_text:
            return _made(values, _text, target)
        raise
    if found.type.equals(target):
        return found
    if is_text and not types.is_null(found.type):
        return _made(values, _text, target)
    if types.is_boolean(target) and types.is_integer(found.type):
        if not {0, 1}.issuperset(found.unique().drop_null().to_pylist()):
            raise ValueError("neither 0 nor 1")
    elif types.is_temporal(target) and not (
        types.is_string(found.type) or types.is_null(found.type)
    ):
        raise ValueError("a date or a time is text here")
    return found.cast(target)


def _made(
    values: Sequence[Any], make: Callable[[Any], Any], target: pyarrow.DataType
) -> pyarrow.Array:
    made = [None if value is None else make(value) for value in values]
    return require_pyarrow().array(made, type=target)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return value.decode() if isinstance(value, bytes) else repr(value)


def _decimal_maker(scale: int) -> Callable[[Any], decimal.Decimal]:
    step = decimal.Decimal(1).scaleb(-scale)
    context = decimal.Context(prec=_DECIMAL256_DIGITS_MAX)

    def make(value: Any) -> decimal.Decimal:
        if isinstance(value, float):
            # SQLite keeps 1.10 in such a column as the nearest binary fraction.
            return decimal.Decimal(repr(value)).quantize(step, context=context)
        return decimal.Decimal(value)

    return make


def _fits(value: Any, target: pyarrow.DataType) -> bool:
    try:
        _converted([value], target)
    except Exception:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    shown = text if len(text) <= 40 else text[:37] + "..."
    return f"{_KINDS.get(type(value), type(value).__name__)} ({shown})"
