"""What a source sends is what it says it is."""

from __future__ import annotations

import pytest

pytest.importorskip("msgspec")

from dolake.changes import ROWID_KEY, Column, TableSchema


def test_the_key_of_a_table_is_in_the_order_of_its_primary_key() -> None:
    schema = TableSchema("t", (Column("a", "int", key_position=2), Column("b", "", key_position=1)))
    assert schema.key_columns == ("b", "a")


def test_a_table_without_primary_key_is_keyed_by_its_rowid() -> None:
    assert TableSchema("t", (Column("a", "int"),)).key_columns == (ROWID_KEY,)
