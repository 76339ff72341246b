"""The Iceberg type of a column that SQLite declares, by the rule of docs/lake_types.md.

The rule looks at the declaration alone, never at the values: what does not fit is a misfit
(`value_conversion`), and the type of a column does not depend on which row came first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dolake.errors import LakeConfigurationError

Kind = Literal[
    "long",
    "double",
    "string",
    "binary",
    "boolean",
    "decimal",
    "date",
    "timestamp",
    "timestamptz",
    "json",
    "any",
]

DECIMAL_PRECISION_MAX = 38

_ARGUMENTS = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_EXACT: dict[str, Kind] = {
    "BOOL": "boolean",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DATETIME": "timestamp",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITHOUT TIME ZONE": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "JSON": "json",
    "JSONB": "json",
    "UUID": "string",
    "TIME": "string",
    "": "any",
    "ANY": "any",
}
_ARROW: dict[str, pa.DataType] = {
    "long": pa.int64(),
    "double": pa.float64(),
    "string": pa.string(),
    "json": pa.string(),
    "any": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The type of a mirror's column: `json` and `any` are strings in Iceberg."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def iceberg(self) -> str:
        """The type as Iceberg's JSON writes it."""
        if self.kind == "decimal":
            return f"decimal({self.precision}, {self.scale})"
        return "string" if self.kind in ("json", "any") else self.kind

    @property
    def arrow(self) -> pa.DataType:
        """The type of its Arrow arrays."""
        if self.kind == "decimal":
            return pa.decimal128(self.precision, self.scale)
        return _ARROW[self.kind]

    @property
    def name(self) -> str:
        """The type as `type_of_declaration` and the options of a table read it."""
        return f"decimal({self.precision},{self.scale})" if self.kind == "decimal" else self.kind

    def widens_to(self, other: ColumnType) -> bool:
        """Whether files written with this type can be read as the other: Iceberg's promotions."""
        if self.iceberg == other.iceberg:
            return True
        return (
            self.kind == other.kind == "decimal"
            and self.scale == other.scale
            and self.precision <= other.precision
        )


def type_of_declaration(declared_type: str) -> ColumnType:
    """The type of a column by the words of its declaration; see docs/lake_types.md."""
    words = " ".join(_ARGUMENTS.sub(" ", declared_type).upper().split())
    arguments = _ARGUMENTS.search(declared_type)
    if words in _EXACT:
        return ColumnType(_EXACT[words])
    if words in ("DECIMAL", "NUMERIC", "DEC", "NUMBER") and arguments is not None:
        precision, scale = int(arguments[1]), int(arguments[2] or 0)
        if 0 < precision <= DECIMAL_PRECISION_MAX and scale <= precision:
            return ColumnType("decimal", precision, scale)
        return ColumnType("double")
    # From here on SQLite's own rule of affinity, in its order.
    if "INT" in words:
        return ColumnType("long")
    if any(part in words for part in ("CHAR", "CLOB", "TEXT")):
        return ColumnType("string")
    if "BLOB" in words:
        return ColumnType("binary")
    return ColumnType("double")


def type_named(name: str) -> ColumnType:
    """The type that an option of a table names: `long`, `decimal(10,2)`, `timestamp` ...

    Errors: LakeConfigurationError for another name.
    """
    words = _ARGUMENTS.sub("", name).strip().lower()
    if words == "decimal":
        chosen = type_of_declaration(name)
        if chosen.kind == "decimal":
            return chosen
    elif words in _ARROW:
        return ColumnType(words)  # type: ignore[arg-type]
    raise LakeConfigurationError(
        f"{name!r} is no type of a mirror's column",
        hint=f"choose among {', '.join(sorted(_ARROW))} and decimal(precision,scale)",
    )
