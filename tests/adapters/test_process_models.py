"""Servers and test runners as they are deployed: forked workers, threads, tasks, xdist workers.

Each story is a program of its own, run by a fresh interpreter that makes the processes it tells of.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("peewee")

PROGRAM_SECONDS_MAX = 600

APPLICATION = """
import os, sys, threading
from peewee_dosql import DoSQLDatabase, DoSQLModel
from peewee import CharField, fn

database = DoSQLDatabase("app.db", timeout=60)

class Visit(DoSQLModel):
    who = CharField()
    class Meta:
        database = database

def handle(who):
    "One request: a connection, a transaction, done."
    with database.connection_context(), database.atomic():
        Visit.create(who=who)
"""

PRE_FORK = """
with database.connection_context():  # the application is loaded before its workers are forked
    database.create_tables([Visit])

workers = []
for number in range(3):
    worker = os.fork()
    if worker == 0:
        for _ in range(20):
            handle(f"worker {number}")
        os._exit(0)
    workers.append(worker)
assert all(os.waitpid(worker, 0)[1] == 0 for worker in workers)

with database.connection_context():
    query = Visit.select(Visit.who, fn.COUNT()).group_by(Visit.who).order_by(Visit.who)
    print(list(query.tuples()), database.lsn)
"""

FORKED_WHILE_OPEN = """
database.connect()
database.create_tables([Visit])
worker = os.fork()
if worker == 0:
    try:
        Visit.create(who="child")
    except Exception as error:
        print(type(error).__name__, error.orig.code)
        sys.stdout.flush()
        os._exit(0)
    os._exit(1)
assert os.waitpid(worker, 0)[1] == 0
Visit.create(who="parent")
print(Visit.select().count())
database.close()
"""

THREADS = """
with database.connection_context():
    database.create_tables([Visit])
threads = [
    threading.Thread(target=lambda: [handle("thread") for _ in range(20)]) for _ in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with database.connection_context():
    print(Visit.select().count())
"""

TASKS = """
import asyncio

def on_branch(name):
    with database.connection_context(), database.branch(name):
        Visit.create(who=name)
        return Visit.select().count()

async def main():
    with database.connection_context():
        database.create_tables([Visit])
        for number in range(4):
            database.execute_sql(f"CREATE BRANCH task_{number}")
    await asyncio.gather(*(asyncio.to_thread(handle, "task") for _ in range(40)))
    print(await asyncio.gather(*(asyncio.to_thread(on_branch, f"task_{n}") for n in range(4))))
    with database.connection_context():
        print(Visit.select().count())

asyncio.run(main())
"""

XDIST_CONFTEST = """
import contextlib, itertools, os
import dosql_dbapi
import pytest

TEMPLATE = "template.db"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main-process")
NUMBERS = itertools.count()

@pytest.fixture
def branch():
    name = f"test-{WORKER}-{next(NUMBERS)}"
    opened = dosql_dbapi.connect(TEMPLATE, isolation_level=None, timeout=60)
    with contextlib.closing(opened) as connection:
        connection.execute(f'CREATE BRANCH "{name}"')
        yield name
        connection.execute(f'DROP BRANCH "{name}" FORCE')
"""

XDIST_TESTS = """
import contextlib
import dosql_dbapi
import pytest

@pytest.mark.parametrize("number", range(12))
def test_sees_the_template_and_itself_alone(branch, number):
    with contextlib.closing(dosql_dbapi.connect("template.db", branch=branch)) as mine:
        assert mine.execute("select n from t").fetchall() == [(-1,)]
        mine.execute("insert into t values (?)", (number,))
        mine.commit()
        assert mine.execute("select n from t").fetchall() == [(-1,), (number,)]
"""


def output_of(program: str, folder: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", APPLICATION + program],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS_MAX,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_workers_forked_from_a_loaded_application_share_its_database(tmp_path: Path) -> None:
    counts = [(f"worker {number}", 20) for number in range(3)]
    assert output_of(PRE_FORK, tmp_path) == f"{counts} 61"


def test_a_worker_forked_with_a_connection_open_is_told(tmp_path: Path) -> None:
    told = output_of(FORKED_WHILE_OPEN, tmp_path).splitlines()
    assert told == ["ProgrammingError DB_FORKED", "1"]


def test_threads_of_a_server_lose_no_request(tmp_path: Path) -> None:
    assert output_of(THREADS, tmp_path) == "160"


def test_tasks_work_in_threads_each_on_its_branch(tmp_path: Path) -> None:
    assert output_of(TASKS, tmp_path).splitlines() == ["[1, 1, 1, 1]", "40"]


def test_xdist_workers_have_a_branch_for_each_test(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    (tmp_path / "conftest.py").write_text(XDIST_CONFTEST)
    (tmp_path / "test_branches.py").write_text(XDIST_TESTS)
    fill = (
        "import dosql_dbapi; c = dosql_dbapi.connect('template.db');"
        "c.execute('create table t (n)'); c.execute('insert into t values (-1)');"
        "c.commit(); c.close()"
    )
    subprocess.run([sys.executable, "-c", fill], cwd=tmp_path, check=True)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "3", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS_MAX,
    )
    assert ended.returncode == 0, ended.stdout
    assert "12 passed" in ended.stdout
    left = "import dosql_dbapi; print(*dosql_dbapi.connect('template.db').execute('SHOW BRANCHES'))"
    shown = subprocess.run(
        [sys.executable, "-c", left], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "test-gw" not in shown.stdout
