"""Servers and test runners: workers that are forked after use, and a branch for each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import Session as StockSession

from fixtures.crash import child_environment
from fixtures.programs import run_program
from fixtures.sqlalchemy_models import Owner
from sqlalchemy_dosql import CreateBranch

# A server in the manner of gunicorn's --preload: it uses the database, and forks its workers.
PRE_FORK = """
    import os, sys
    from sqlalchemy import create_engine, text
    from sqlalchemy.orm import Session

    engine = create_engine(f"dosql:///{sys.argv[1]}?timeout=60")
    with engine.connect() as connection:
        connection.execute(text("create branch dev"))
        assert connection.execute(text("select count(*) from owner")).scalar() == 0
    dev = engine.execution_options(branch="dev")
    with dev.connect() as connection:
        connection.execute(text("select count(*) from owner"))

    def work(number):
        for turn in range(10):
            with engine.begin() as connection:
                connection.execute(
                    text("insert into owner(kind, name) values ('owner', :name)"),
                    {"name": f"worker {number} turn {turn}"},
                )
            with dev.connect() as connection:
                assert connection.execute(text("select count(*) from owner")).scalar() == 0

    workers = []
    for number in range(3):
        worker = os.fork()
        if worker == 0:
            try:
                work(number)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            engine.dispose()
            sys.exit(0)
        workers.append(worker)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) for worker in workers]
    assert statuses == [0, 0, 0], statuses
    with engine.connect() as connection:
        print(connection.execute(text("select count(*) from owner")).scalar())
    engine.dispose()
"""


def test_workers_are_forked_from_a_server_that_used_its_engine(bank, database_path):
    bank.dispose()
    assert run_program(PRE_FORK, database_path).strip() == "30"


WORKER_TESTS = """
    import os
    import pytest
    from sqlalchemy import create_engine, text

    WORKER = os.environ["PYTEST_XDIST_WORKER"]


    @pytest.fixture(scope="session")
    def engine():
        main = create_engine("dosql:///" + os.environ["BANK"])
        with main.connect() as connection:
            connection.execute(text(f"create branch '{WORKER}'"))
        main.dispose()
        engine = create_engine("dosql:///" + os.environ["BANK"] + "?branch=" + WORKER)
        yield engine
        engine.dispose()


    @pytest.mark.parametrize("number", range(12))
    def test_a_branch_is_ones_own(engine, number):
        with engine.begin() as connection:
            assert connection.branch == WORKER
            connection.execute(
                text("insert into owner(kind, name) values ('owner', :name)"),
                {"name": f"{WORKER} {number}"},
            )
            names = connection.execute(text("select name from owner")).scalars().all()
        assert all(name == "ann" or name.startswith(WORKER) for name in names)
"""


def test_every_worker_of_xdist_has_a_branch(bank, database_path, tmp_path):
    pytest.importorskip("xdist")
    with StockSession(bank) as session:
        session.add(Owner(name="ann"))
        session.commit()
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_workers.py").write_text(textwrap.dedent(WORKER_TESTS))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", str(suite)],
        cwd=suite,
        env={**child_environment(), "BANK": str(database_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    with bank.connect() as connection:
        names = {row.name for row in connection.execute(text("show branches"))}
        assert names == {"main", "gw0", "gw1"}
        assert connection.execute(select(Owner.name)).scalars().all() == ["ann"]


def test_two_processes_write_through_their_own_engines(bank, database_path):
    program = """
        import sys
        from sqlalchemy import create_engine, text
        engine = create_engine(f"dosql:///{sys.argv[1]}?timeout=60")
        for turn in range(20):
            with engine.begin() as connection:
                connection.execute(
                    text("insert into owner(kind, name) values ('owner', :name)"),
                    {"name": f"{sys.argv[2]} {turn}"},
                )
        engine.dispose()
    """
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(database_path), name],
            env=child_environment(),
        )
        for name in ("left", "right")
    ]
    assert [writer.wait(timeout=600) for writer in writers] == [0, 0]
    with bank.connect() as connection:
        assert connection.execute(text("select count(*) from owner")).scalar() == 40


def test_a_branch_per_process_is_made_from_one_engine(bank, database_path):
    with bank.connect() as connection:
        connection.execute(CreateBranch(f"worker-{os.getpid()}"))
    engine = create_engine(f"dosql:///{database_path}?branch=worker-{os.getpid()}")
    with engine.connect() as connection:
        assert connection.branch == f"worker-{os.getpid()}"
    engine.dispose()
