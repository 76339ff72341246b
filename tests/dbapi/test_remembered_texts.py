"""A program that puts its values into its SQL does not fill the memory with it."""

from __future__ import annotations

import contextlib

import dosql_dbapi
from dosql_dbapi.remembered_texts import RememberedTexts


def test_many_texts_or_long_ones_are_forgotten() -> None:
    for length, count in ((10, 10_000), (100_000, 100), (10_000_000, 3)):
        texts: RememberedTexts[int] = RememberedTexts()
        for number in range(count):
            text = f"{number:0{length}d}"
            texts.make_room(text)
            texts[text] = number
            assert len(texts) <= 4096
            assert sum(map(len, texts)) <= max(4_000_000, length)
            assert texts[text] == number


def test_a_connection_remembers_no_more_than_that() -> None:
    with contextlib.closing(dosql_dbapi.connect(":memory:", isolation_level=None)) as con:
        con.execute("create table t(a)")
        filler = "x" * 200_000
        for number in range(60):
            con.execute(f"insert into t values (length('{filler}') + {number})")
            found = con.execute(f"select a, '{filler}' from t where a = {200_000 + number}")
            assert found.description is not None and found.description[0][0] == "a"
            assert len(found.fetchall()) == 1
            con.execute(f"savepoint x -- {number}{filler}")
            con.execute(f"release x -- {number}{filler}")
        for remembered in (con._plans, con._plans.statements, con._plans.steady, con._columns_of):
            assert sum(map(len, remembered)) <= 4_000_000
        assert len(con._plans) > 1
        assert con.execute("select count(*), max(a) from t").fetchall() == [(60, 200_059)]
