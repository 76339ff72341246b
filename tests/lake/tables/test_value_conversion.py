"""Values of SQLite in columns of Iceberg's types, and what becomes of those that do not fit."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyarrow")

from dolake.errors import LakeConfigurationError
from dolake.tables.column_types import ColumnType, type_named, type_of_declaration
from dolake.tables.value_conversion import (
    misfits_as_json,
    misfits_of_json,
    plain_value,
    to_array,
)

DECLARATIONS = [
    "INTEGER",
    "REAL",
    "TEXT",
    "BLOB",
    "BOOLEAN",
    "DECIMAL(6,2)",
    "DATE",
    "DATETIME",
    "TIMESTAMPTZ",
    "JSON",
    "",
]
MOMENTS = st.sampled_from(
    [
        "2024-02-29",
        "2023-02-29",
        "0000-01-01",
        "0099-12-31",
        "9999-12-31",
        "2024-01-01 10:20",
        "2024-01-01T10:20:30",
        "2024-01-01 10:20:30.5",
        "2024-01-01 10:20:30.123456789",
        "2024-01-01 24:00:00",
        "2024-01-01 23:59:60",
        "2024-01-01T10",
        "2024-01-01T102030",
        "2024-01-01 10:20Z",
        "2024-01-01 10:20:30+01:00",
        "2024-01-01 10:20:30 +0130",
        "2024-1-1",
        " 2024-01-01",
        "2024-01-01\n",
        "",
    ]
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**53 + 1, -(2**53) - 1])
REALS = st.floats(allow_nan=False) | st.sampled_from([1.0, 12.3, 0.005, 1e300, -0.0])
VALUES = st.one_of(
    st.none(),
    NUMBERS,
    REALS,
    st.text(max_size=5),
    st.binary(max_size=5),
    MOMENTS,
    st.just("\udc80"),
)


@pytest.mark.parametrize("declared", DECLARATIONS)
@given(values=st.lists(VALUES, max_size=6))
def test_what_becomes_of_a_value_does_not_depend_on_its_neighbours(
    declared: str, values: list[Any]
) -> None:
    kind = type_of_declaration(declared)
    array, misfits = to_array(values, kind)
    alone = [to_array([value], kind) for value in values]
    assert array.to_pylist() == [one.to_pylist()[0] for one, _ in alone]
    assert misfits == [n for n, (_, missed) in enumerate(alone) if missed]
    assert array.type == kind.arrow and len(array) == len(values)


@pytest.mark.parametrize("declared", ["DATE", "DATETIME", "TIMESTAMPTZ"])
@given(values=st.lists(MOMENTS | st.just(0), min_size=1, max_size=3))
def test_moments_are_read_alike_alone_and_among_others(declared: str, values: list[Any]) -> None:
    kind = type_of_declaration(declared)
    array, _ = to_array(values, kind)
    assert array.to_pylist() == [to_array([v, None, b""], kind)[0].to_pylist()[0] for v in values]


@pytest.mark.parametrize("declared", ["INTEGER", "REAL", "TEXT", "BLOB", "BOOLEAN", "DATE", ""])
@given(values=st.lists(VALUES, max_size=6))
def test_a_column_and_its_misfits_tell_every_value(declared: str, values: list[Any]) -> None:
    array, misfits = to_array(values, type_of_declaration(declared))
    told = {str(n): values[n] for n in misfits}
    restored = misfits_of_json(misfits_as_json(told))
    for n, (value, stored) in enumerate(zip(values, array.to_pylist(), strict=True)):
        back = restored[str(n)] if n in misfits else plain_value(stored)
        assert back == value
        if declared != "REAL":  # SQLite makes reals of integers there
            assert type(back) is type(value)


@pytest.mark.parametrize(
    ("declared", "value", "stored"),
    [
        ("DECIMAL(6,2)", 12.3, decimal.Decimal("12.30")),
        ("DECIMAL(6,2)", "9999.99", decimal.Decimal("9999.99")),
        ("DECIMAL(6,2)", 10000, None),
        ("DECIMAL(6,2)", 1.005, None),
        ("DATETIME", "2024-01-02T03:04", datetime.datetime(2024, 1, 2, 3, 4)),
        ("DATETIME", "2024-01-02", None),
        ("DATETIME", 1704164640, None),
        (
            "TIMESTAMPTZ",
            "2024-01-02 03:04:05+02:00",
            datetime.datetime(2024, 1, 2, 1, 4, 5, tzinfo=datetime.UTC),
        ),
        ("JSON", 1.5, "1.5"),
        ("BOOLEAN", 2, None),
        ("INTEGER", 1.5, None),
        ("NUMERIC", 2**53 + 1, None),
        ("", 7, "7"),
    ],
)
def test_values_become_what_the_page_says(declared: str, value: Any, stored: Any) -> None:
    array, misfits = to_array([value], type_of_declaration(declared))
    (found,) = array.to_pylist()
    assert found == stored and bool(misfits) == (stored is None or declared == "")


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ("int", "long"),
        ("UNSIGNED BIG INT", "long"),
        ("varchar(20)", "string"),
        ("NCHAR(55)", "string"),
        ("double precision", "double"),
        ("numeric", "double"),
        ("decimal(10)", "decimal(10,0)"),
        ("DECIMAL(50,2)", "double"),
        ("Decimal( 10 , 5 )", "decimal(10,5)"),
        ("timestamp with time zone", "timestamptz"),
        ("datetime(6)", "timestamp"),
        ("FLOATING POINT", "long"),  # SQLite's rule, too: POINT ends in INT
        ("jsonb", "json"),
    ],
)
def test_a_declaration_has_its_type(declared: str, kind: str) -> None:
    assert type_of_declaration(declared).name == kind
    assert type_named(kind) == type_of_declaration(declared)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(LakeConfigurationError, match="'money' is no type"):
        type_named("money")
    assert ColumnType("decimal", 5, 2).iceberg == "decimal(5, 2)"
