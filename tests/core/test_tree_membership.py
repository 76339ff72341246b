"""Which pages a table has, followed from commit to commit, is what a walk of its tree finds."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.history.tree_membership import TreeMembership
from dosql_core.identifiers import MAIN_BRANCH_ID, Lsn
from dosql_core.rows.page_image import PageImage
from dosql_core.rows.table_layout import read_schema

DEFINITIONS = (
    "create table t(id integer primary key, v)",
    "create table t(id text primary key, v) without rowid",
)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_pages_are_followed_through_splits_and_merges(
    definition: str, tmp_path: Path, seeded_random: random.Random, is_long_run: bool
) -> None:
    path = tmp_path / "app.db"
    with closing(dosql_dbapi.connect(path, isolation_level=None, durability="off")) as con:
        con.execute("pragma page_size = 512")
        con.execute(definition)
        con.execute("create table other(a, b)")
        for _ in range(400 if is_long_run else 120):
            con.execute("begin")
            for _ in range(seeded_random.choice([1, 3, 40])):
                low = seeded_random.randrange(900)
                size = seeded_random.choice([1, 20, 200, 600])
                change = seeded_random.random()
                if change < 0.55:
                    con.execute(
                        "insert or replace into t with recursive n(x) as "
                        "(select ? union all select x + 1 from n where x < ?) "
                        "select x, hex(zeroblob(?)) from n",
                        (low, low + size // 8, size // 2),
                    )
                elif change < 0.75:
                    con.execute("delete from t where abs(id) between ? and ?", (low, low + size))
                elif change < 0.9:
                    con.execute("update t set v = hex(zeroblob(?)) where id = ?", (size, low))
                else:
                    con.execute("insert into other select randomblob(300), 1 from t limit 9")
                    con.execute("delete from other where rowid % 3 = 0")
            con.execute("commit")
            if seeded_random.random() < 0.02:
                con.execute("delete from t")
            if seeded_random.random() < 0.02:
                con.execute("vacuum")
    with open_database(path) as database:
        history = database.sealed(MAIN_BRANCH_ID)
        timeline = history.timeline(history.newest_lsn)
        written = timeline.written(1, history.newest_lsn)
        depths = set()
        tree: TreeMembership | None = None
        for lsn in map(Lsn, range(2, history.newest_lsn + 1)):
            view = history.view(lsn)
            layout = read_schema(view).tables["t"]
            interior, leaves = PageImage(view).tree_pages(layout.root_page)
            found = leaves if layout.has_rowid else leaves | interior
            if tree is None:
                tree = TreeMembership(
                    timeline.page_at, layout.root_page, lsn, leaves_only=layout.has_rowid
                )
            elif tree.may_move(written[lsn]):
                before = tree.pages
                went, came = tree.move_to(lsn, set(written[lsn]))
                assert (went, came) == (before - found, found - before)
            assert tree.pages == found
            depths.add(len(interior) > 2)
        assert True in depths  # trees of three levels, too
