"""Which data files a query can leave out, by what is known of each: partition, bounds, counts.

The conditions come from DuckDB's optimizer, which has pushed them down to the scans of each table.
A file is left out only when no row of it can meet one of them; whatever is not understood keeps it.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dolake.tables.manifests import DataFile
from dolake.tables.partitioning import PartitionField, bucket

_FLIPPED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}
_INTEGERS = ("int", "long")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY = datetime.date(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)


class _Unknown(Exception):
    """Something that is not understood: the file is read."""


@dataclass(frozen=True, slots=True)
class PrunableColumn:
    """A column as conditions name it. Shape: `type` is Iceberg's name of a primitive type."""

    field_id: int
    type: str


class FilePruning:
    """The conditions of one scan of a table, held against files.

    Shape: `conditions` are trees of DuckDB's parser, all of which a row must meet; `fields` are
           those of the partition spec by its id.
    """

    def __init__(
        self,
        conditions: Sequence[Any],
        columns: Mapping[str, PrunableColumn],
        fields: Mapping[int, Sequence[PartitionField]],
    ) -> None:
        self._conditions = conditions
        self._columns = columns
        self._fields = fields

    def left_out_by(self, file: DataFile) -> str:
        """What rules a file out, "partition" or "statistics"; "" for one that must be read."""
        for condition in self._conditions:
            for reason in ("partition", "statistics"):
                if not self._may_match(condition, file, reason):
                    return reason
        return ""

    def _may_match(self, tree: Any, file: DataFile, by: str) -> bool:
        try:
            kind = tree["type"]
            if kind == "CONJUNCTION_AND":
                return all(self._may_match(child, file, by) for child in tree["children"])
            if kind == "CONJUNCTION_OR":
                return any(self._may_match(child, file, by) for child in tree["children"])
            if kind in _FLIPPED:
                return self._may_compare(tree, file, by)
            if kind == "COMPARE_IN":
                column = self._column(tree["children"][0])
                return any(
                    self._may_be(column, "COMPARE_EQUAL", constant, file, by)
                    for constant in tree["children"][1:]
                )
            if kind == "COMPARE_BETWEEN":
                column = self._column(tree["input"])
                return self._may_be(
                    column, "COMPARE_GREATERTHANOREQUALTO", tree["lower"], file, by
                ) and self._may_be(column, "COMPARE_LESSTHANOREQUALTO", tree["upper"], file, by)
            if kind == "OPERATOR_IS_NULL" and by == "statistics":
                return file.null_value_counts.get(self._column(tree["children"][0]).field_id) != 0
            if kind == "OPERATOR_IS_NOT_NULL" and by == "statistics":
                return not _is_all_null(file, self._column(tree["children"][0]).field_id)
        except (_Unknown, KeyError, TypeError, ValueError, struct.error, ArithmeticError):
            pass
        return True

    def _may_compare(self, tree: Any, file: DataFile, by: str) -> bool:
        kind = tree["type"]
        if tree["left"]["class"] == "COLUMN_REF":
            return self._may_be(self._column(tree["left"]), kind, tree["right"], file, by)
        column = self._column(tree["right"])
        return self._may_be(column, _FLIPPED[kind], tree["left"], file, by)

    def _may_be(
        self, column: PrunableColumn, kind: str, constant: Any, file: DataFile, by: str
    ) -> bool:
        """Whether some value of the column in the file may stand in this relation to a constant."""
        value = _stored_constant(constant, column.type)
        if by == "partition":
            return kind != "COMPARE_EQUAL" or self._partition_may_hold(column, value, file)
        if _is_all_null(file, column.field_id):
            return False
        if column.type in ("float", "double") and file.nan_value_counts.get(column.field_id) != 0:
            return True  # NaN is outside of the bounds, and above all numbers to DuckDB
        lower = _stored_bound(file.lower_bounds.get(column.field_id), column)
        upper = _stored_bound(file.upper_bounds.get(column.field_id), column)
        is_below = lower is not None and value < lower
        is_above = upper is not None and value > upper
        if kind == "COMPARE_EQUAL":
            return not is_below and not is_above
        if kind == "COMPARE_LESSTHAN":
            return lower is None or lower < value
        if kind == "COMPARE_GREATERTHAN":
            return upper is None or upper > value
        return not (is_below if kind == "COMPARE_LESSTHANOREQUALTO" else is_above)

    def _partition_may_hold(self, column: PrunableColumn, value: Any, file: DataFile) -> bool:
        for field, found in zip(self._fields[file.spec_id], file.partition, strict=True):
            if field.source_id != column.field_id:
                continue
            if field.transform == "identity" and column.type in (*_INTEGERS, "string", "date"):
                found = found.encode() if isinstance(found, str) else found
                if found != value:
                    return False
            count = field.transform.removeprefix("bucket[").removesuffix("]")
            if count != field.transform and column.type in (*_INTEGERS, "string"):
                text = value.decode() if isinstance(value, bytes) else value
                if isinstance(text, int | str) and bucket(text, int(count)) != found:
                    return False
        return True

    def _column(self, tree: Any) -> PrunableColumn:
        names = tree.get("column_names", ())
        if tree["class"] != "COLUMN_REF" or len(names) != 1 or names[0] not in self._columns:
            raise _Unknown
        return self._columns[names[0]]


def _is_all_null(file: DataFile, field_id: int) -> bool:
    nulls = file.null_value_counts.get(field_id)
    return nulls is not None and nulls == file.value_counts.get(field_id)


def _stored_constant(tree: Any, type_: str) -> Any:
    """A constant of a condition as bounds of a column of this type are compared."""
    if tree["class"] == "CAST":
        tree = tree["child"]
    if tree["class"] != "CONSTANT" or tree["value"]["is_null"]:
        raise _Unknown
    value, told = tree["value"]["value"], tree["value"]["type"]
    if told["id"] == "DECIMAL":
        value = Decimal(value).scaleb(-told["type_info"]["scale"])
    if type_ in _INTEGERS or type_ in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise _Unknown
        # A literal such as 0.1 is compared as the nearest value of the column's type.
        if type_ == "float":
            return struct.unpack("<f", struct.pack("<f", value))[0]
        return float(value) if type_ == "double" else value
    if type_.startswith("decimal") and isinstance(value, int | Decimal):
        return Decimal(value)
    if not isinstance(value, str):
        raise _Unknown
    if type_ == "string":
        return value.encode()
    if type_ == "date":
        return (datetime.date.fromisoformat(value) - _EPOCH_DAY).days
    if type_ in ("timestamp", "timestamptz"):
        moment = datetime.datetime.fromisoformat(value)
        if (moment.tzinfo is None) != (type_ == "timestamp"):
            raise _Unknown
        return (moment.replace(tzinfo=moment.tzinfo or datetime.UTC) - _EPOCH) // _MICROSECOND
    raise _Unknown


def _stored_bound(raw: bytes | None, column: PrunableColumn) -> Any:
    """A bound as it is compared, None where there is none.

    Files from before a column was made wider have bounds of the narrower type.
    """
    if raw is None:
        return None
    type_ = column.type
    if type_ in ("int", "long", "date", "timestamp", "timestamptz"):
        return int.from_bytes(raw, "little", signed=True)
    if type_ in ("float", "double"):
        return struct.unpack("<f" if len(raw) == 4 else "<d", raw)[0]
    if type_ == "string":
        return raw
    if type_.startswith("decimal"):
        scale = int(type_.partition(",")[2].rstrip(") "))
        return Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-scale)
    raise _Unknown
