"""A forked child inherits SQLite's locks without holding them: it is refused."""

from __future__ import annotations

from fixtures.programs import run_program

FORK = """
import os, sys, warnings, dosql_dbapi
warnings.simplefilter("ignore")  # that the process has threads
path, is_open = sys.argv[1], sys.argv[2] == "open"
con = dosql_dbapi.connect(path, isolation_level=None)
con.execute("create table if not exists t(a)")
if not is_open:
    con.close()
child = os.fork()
if child == 0:
    for attempt in (lambda: con.execute("select 1"), lambda: dosql_dbapi.connect(path)):
        try:
            attempt()
        except dosql_dbapi.Error as error:
            print(error.code, flush=True)
        else:
            print("no error", flush=True)
    os._exit(0)
os.waitpid(child, 0)
if is_open:
    con.execute("insert into t values (1)")
    print(con.execute("select count(*) from t").fetchone()[0])
    con.close()
"""


def test_a_child_uses_neither_the_connection_nor_the_database_of_its_parent(database_path):
    printed = run_program(FORK, database_path, "open").split("\n")
    assert printed[:3] == ["DB_FORKED", "DB_FORKED", "1"]


def test_a_child_opens_what_its_parent_has_closed(database_path):
    printed = run_program(FORK, database_path, "closed").split("\n")
    assert printed[1] == "no error"
