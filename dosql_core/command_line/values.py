"""How one SQL value is written: for people, as a SQL literal, as JSON; and back from text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from dosql_core.identifiers import SqlValue

BLOB_LITERAL = re.compile(r"[xX]'((?:[0-9a-fA-F]{2})*)'")

_NUL = "\0"


def real_text(value: float) -> str:
    """A floating point number the way SQLite spells one, with every digit that matters.

    Python's `repr` is the shortest text that reads back as the same number; SQLite adds that a
    real number always shows a point (`1.0e+15`), and calls the infinities `Inf` and `-Inf`.
    """
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text


def display_text(value: SqlValue, null_text: str = "") -> str:
    """The value as a person reads it.

    A blob that holds text is shown as that text, as sqlite3's shell does; any other blob as a
    literal, because its bytes could do anything to a terminal.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return null_text
    if isinstance(value, float):
        return real_text(value)
    if isinstance(value, bytes):
        return _blob_text(value)
    return str(value)


def sql_literal(value: SqlValue) -> str:
    """The value as SQL text that evaluates to exactly it."""
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return text_literal(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, float):
        if math.isinf(value):  # SQL has no word for it; a number too large to hold becomes it
            return "9.0e+999" if value > 0 else "-9.0e+999"
        return real_text(value)
    return str(value)


def text_literal(text: str) -> str:
    """The text in SQL quotes.

    A NUL would end the statement for SQLite's parser, so the text is spliced around `char(0)`.
    """
    if _NUL not in text:
        return "'" + text.replace("'", "''") + "'"
    return "(" + "||char(0)||".join(text_literal(part) for part in text.split(_NUL)) + ")"


def json_value(value: SqlValue) -> Any:
    """What `json.dumps` should be given for the value; JSON has no blobs, so they become hex."""
    return value.hex() if isinstance(value, bytes) else value


def json_text(value: Any) -> str:
    """The value as strict JSON on one line.

    JSON has no infinity; a number that every reader rounds to infinity takes its place.
    """
    if isinstance(value, float) and math.isinf(value):
        return "9.0e+999" if value > 0 else "-9.0e+999"
    return json.dumps(json_value(value), ensure_ascii=False)


def parse_literal(text: str) -> SqlValue:
    """What the text means when typed as a value: a SQL literal if it is one, otherwise itself."""
    stripped = text.strip()
    if stripped.upper() == "NULL":
        return None
    if re.fullmatch(r"[+-]?\d+", stripped) and -(2**63) <= int(stripped) < 2**63:
        return int(stripped)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?", stripped):
        return float(stripped)
    if blob := BLOB_LITERAL.fullmatch(stripped):
        return bytes.fromhex(blob[1])
    if len(stripped) >= 2 and stripped[0] == stripped[-1] == "'":
        return stripped[1:-1].replace("''", "'")
    return text


def _blob_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"x'{value.hex()}'"
    return text if text.isprintable() else f"x'{value.hex()}'"
