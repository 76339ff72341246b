"""The text of iterdump() makes the same database anew."""

from __future__ import annotations

import contextlib

import dosql_dbapi


def test_what_needs_something_made_before_it_comes_after_it():
    with contextlib.closing(dosql_dbapi.connect(":memory:")) as source:
        source.executescript("""
            create table z(n);
            create table a(n);
            create view shown as select n from z;
            create trigger added instead of insert on shown
                begin insert into z values (new.n); end;
            create view again as select n from shown;
        """)
        text = "\n".join(source.iterdump())
    with contextlib.closing(dosql_dbapi.connect(":memory:")) as copy:
        copy.executescript(text)
        copy.execute("insert into shown values (7)")
        assert copy.execute("select n from again").fetchall() == [(7,)]
