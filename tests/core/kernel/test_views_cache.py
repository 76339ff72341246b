"""What has been read of a past moment is not decoded again."""

from __future__ import annotations

import contextlib

import dosql_dbapi
from dosql_core.storage.page_history import PageView


def test_a_database_of_many_pages_is_read_twice_and_decoded_once(database_path, monkeypatch):
    with contextlib.closing(dosql_dbapi.connect(database_path, isolation_level=None)) as con:
        con.execute("create table t(a)")
        con.execute("begin")
        con.executemany("insert into t values (?)", [(bytes(3000),)] * 1500)
        con.execute("commit")
    decoded = []
    read_page = PageView.read_page

    def count_and_read(view: PageView, page: int) -> bytes:
        decoded.append(page)
        return read_page(view, page)

    monkeypatch.setattr(PageView, "read_page", count_and_read)
    with contextlib.closing(dosql_dbapi.connect(database_path, as_of=2)) as past:
        for _ in range(3):
            assert past.execute("select sum(length(a)) from t").fetchone() == (4_500_000,)
    assert len(decoded) > 1000
    assert len(decoded) - len(set(decoded)) < 10  # the header is looked at more than once
