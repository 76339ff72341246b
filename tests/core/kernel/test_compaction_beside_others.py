"""While one process rewrites history, the others capture, read moments, and pin them."""

from __future__ import annotations

import dosql_dbapi
from dosql_core.database import open_database
from dosql_core.options import Retention
from fixtures.programs import run_program

COMMIT_AND_LOOK_BACK = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
con.execute("insert into t values ('by another process')")
con.execute("create branch beside")
con.execute("create snapshot 'then'")
counted = con.execute("select count(*) from t for system_time as of lsn ?", (con.lsn,)).fetchone()
print(con.lsn, *counted)
"""
PIN_AN_OLD_MOMENT = """
import sys, dosql_dbapi
con = dosql_dbapi.connect(sys.argv[1], isolation_level=None)
con.execute("create branch old as of lsn 4")
con.execute("create snapshot 'older' as of lsn 3")
"""


def ten_commits(path) -> None:
    with dosql_dbapi.connect(path, isolation_level=None) as con:
        con.execute("create table t(a)")
        for number in range(9):
            con.execute("insert into t values (?)", (number,))
            con.execute("pragma wal_checkpoint")
    con.close()


class OnceDuringCompaction:
    """A progress callback that runs a program once, while the compaction waits for it."""

    def __init__(self, program: str, path) -> None:
        self._program = program
        self._path = path
        self.printed: str | None = None

    def __call__(self, done: int, total: int) -> None:
        if self.printed is None:
            self.printed = run_program(self._program, self._path)


def test_a_fresh_moment_is_read_and_pinned_while_another_process_compacts(database_path):
    ten_commits(database_path)
    meanwhile = OnceDuringCompaction(COMMIT_AND_LOOK_BACK, database_path)
    with open_database(database_path) as database:
        database.set_retention(Retention(commits_max=5))
        database.compact(meanwhile)
        assert meanwhile.printed == "11 10\n"
        assert database.lsn("beside") == 11
        assert [commit.lsn for commit in database.log()] == [11, 10, 9, 8, 7, 6, 5]


def test_a_moment_pinned_while_a_compaction_was_about_to_drop_it_is_kept(database_path):
    ten_commits(database_path)
    with open_database(database_path) as database:
        database.set_retention(Retention(commits_max=5))
        database.compact(OnceDuringCompaction(PIN_AN_OLD_MOMENT, database_path))
    for options, count in (({"branch": "old"}, 3), ({"as_of": "snapshot:older"}, 2)):
        with dosql_dbapi.connect(database_path, **options) as con:
            assert con.execute("select count(*) from t").fetchone() == (count,)
        con.close()
