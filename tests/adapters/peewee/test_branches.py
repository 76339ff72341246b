"""Peewee on branches: databases opened on one, and blocks that work on another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("peewee")

from peewee import OperationalError
from playhouse import db_url

from fixtures.peewee_library import Library, library_on, opened_library
from peewee_dosql import DoSQLDatabase, PooledDoSQLDatabase, register_url_schemes


@pytest.fixture
def library(database_path: Path) -> Iterator[Library]:
    with opened_library(database_path) as library:
        library.database.execute_sql("CREATE BRANCH dev")
        yield library


def add(library: Library, title: str) -> None:
    library.Book.create(author=1, title=title)


def test_a_block_writes_on_a_branch_alone(library: Library) -> None:
    with library.database.branch("dev"):
        add(library, "Planet of Exile")
        assert library.titles() == ["Rocannon's World", "Planet of Exile"]
    assert library.titles() == ["Rocannon's World"]


def test_a_transaction_outside_goes_on_around_the_block(library: Library) -> None:
    with library.database.atomic() as transaction:
        add(library, "undone")
        with library.database.branch("dev"), library.database.atomic():
            add(library, "kept on dev")
        transaction.rollback()
    assert library.titles() == ["Rocannon's World"]
    with library.database.branch("dev"):
        assert library.titles() == ["Rocannon's World", "kept on dev"]


def test_blocks_nest_and_end_with_an_error(library: Library) -> None:
    add(library, "on main")
    with library.database.branch("dev"):
        with pytest.raises(ZeroDivisionError), library.database.branch("main"):
            assert library.titles() == ["Rocannon's World", "on main"]
            raise ZeroDivisionError
        assert library.titles() == ["Rocannon's World"]


def test_a_branch_is_read_as_of_a_moment_of_its_own(library: Library) -> None:
    with library.database.branch("dev") as database:
        before = database.lsn
        add(library, "later")
        with database.as_of(before):
            assert library.titles() == ["Rocannon's World"]


def test_a_block_changes_nothing_for_other_threads(library: Library) -> None:
    seen: list[list[str]] = []

    def look() -> None:
        with library.database.connection_context():
            seen.append(library.titles())

    with library.database.branch("dev"):
        add(library, "on dev")
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [["Rocannon's World"]]


def test_closing_and_connecting_again_stays_within_the_block(library: Library) -> None:
    with library.database.branch("dev"):
        library.database.close()
        add(library, "on dev")
    assert library.titles() == ["Rocannon's World"]


def test_a_branch_that_is_not_there_leaves_the_connection_alone(library: Library) -> None:
    with (
        pytest.raises(OperationalError, match="there is no branch 'none'") as raised,
        library.database.branch("none"),
    ):
        pass
    assert raised.value.orig.code == "BRANCH_NOT_FOUND"
    assert library.titles() == ["Rocannon's World"]


def test_a_database_is_opened_on_a_branch(library: Library, database_path: Path) -> None:
    dev = library_on(DoSQLDatabase(database_path, branch="dev"))
    with dev.database.connection_context():
        add(dev, "on dev")
        assert dev.database.connection().branch == "dev"
    assert library.titles() == ["Rocannon's World"]


@pytest.mark.parametrize("scheme", ["dosql", "dosql+pool"])
def test_a_url_names_branch_and_moment(library: Library, database_path: Path, scheme: str) -> None:
    register_url_schemes()
    with library.database.branch("dev"):
        lsn = library.database.lsn
        add(library, "on dev")
    database = db_url.connect(f"{scheme}:///{database_path}?branch=dev&as_of={lsn}")
    with database.connection_context():
        assert library_on(database).titles() == ["Rocannon's World"]
    if isinstance(database, PooledDoSQLDatabase):
        database.close_all()


def test_a_pool_keeps_its_connections_on_their_branch(database_path: Path) -> None:
    with opened_library(database_path) as first:
        first.database.execute_sql("CREATE BRANCH dev")
    pool = PooledDoSQLDatabase(database_path, max_connections=1)
    library = library_on(pool)
    for _ in range(3):
        with pool.connection_context():
            connection = pool.connection()
            with pool.branch("dev"):
                add(library, "on dev")
            assert pool.connection() is connection
            assert library.titles() == ["Rocannon's World"]
    pool.close_all()


def test_a_pool_takes_no_connection_back_that_is_elsewhere(database_path: Path) -> None:
    with opened_library(database_path) as first:
        first.database.execute_sql("CREATE BRANCH dev")
    pool = PooledDoSQLDatabase(database_path, max_connections=1)
    library = library_on(pool)
    with pool.connection_context():
        pool.execute_sql("USE BRANCH dev")
        add(library, "on dev")
    with pool.connection_context():
        assert library.titles() == ["Rocannon's World"]
    pool.close_all()


def test_a_url_counts_commits_back(database_path: Path) -> None:
    with opened_library(database_path) as library:
        add(library, "Planet of Exile")
    register_url_schemes()
    database = db_url.connect(f"dosql:///{database_path}?as_of=-1")
    with database.connection_context():
        assert library_on(database).titles() == ["Rocannon's World"]


def test_a_pooled_connection_serves_one_thread_after_another(database_path: Path) -> None:
    with opened_library(database_path):
        pass
    pool = PooledDoSQLDatabase(database_path, max_connections=1, timeout=30)
    library = library_on(pool)

    def work() -> None:
        for _ in range(5):
            with pool.connection_context(), pool.atomic():
                library.Book.update(price=library.Book.price + 1).execute()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pool.connection_context():
        assert library.Book.get().price == 10 + 4 * 5
    pool.close_all()
