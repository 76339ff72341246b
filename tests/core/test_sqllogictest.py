"""SQLite's sqllogictest through DoSQL's driver: in memory, in a file that keeps history, and read
back from that history, by connections of the past and by AS OF.

The data is not part of this repository. It is looked for in the folder that `DOSQL_SQLLOGICTEST`
names, or else in `../shared/sqllogictest` beside the checkout; every `*.test` file found there is
run, those over `EVERYDAY_BYTES_MAX` with `--long`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import dosql_dbapi
from fixtures import sqllogictest
from fixtures.sqllogictest import Query, Report, Statement

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT_VARIABLE = "DOSQL_SQLLOGICTEST"
BESIDE_THE_CHECKOUT = REPOSITORY.parent / "shared" / "sqllogictest"
EVERYDAY_BYTES_MAX = 2_000_000
FAILURES_SHOWN = 10


def data_folder() -> Path:
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or BESIDE_THE_CHECKOUT)


def data_files() -> list[Path]:
    return sorted(data_folder().rglob("*.test"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "records" not in metafunc.fixturenames:
        return
    files = data_files()
    if files:
        cases = [
            pytest.param(
                file,
                id=str(file.relative_to(data_folder())),
                marks=[pytest.mark.long] * (file.stat().st_size > EVERYDAY_BYTES_MAX),
            )
            for file in files
        ]
        metafunc.parametrize("file", cases)
    else:
        where = f"{data_folder()} has no *.test file; name a folder in {ENVIRONMENT_VARIABLE}"
        skip = pytest.mark.skip(reason=f"no sqllogictest data: {where}")
        metafunc.parametrize("file", [pytest.param(None, marks=skip, id="no-data")])


@pytest.fixture
def records(file: Path) -> list[Statement | Query]:
    return list(sqllogictest.parse(file))


def assert_no_failures(report: Report) -> None:
    if report.failures:
        shown = "\n".join(map(str, report.failures[:FAILURES_SHOWN]))
        pytest.fail(
            f"{len(report.failures)} of {report.statement_count} statements and "
            f"{report.query_count} queries came out differently:\n{shown}",
            pytrace=False,
        )


@pytest.fixture
def connection(database_path: Path) -> Iterator[dosql_dbapi.Connection]:
    """A connection in autocommit mode to a new file: every statement is a commit of its own."""
    opened = dosql_dbapi.connect(database_path, isolation_level=None)
    yield opened
    opened.close()


def test_in_memory(records: list[Statement | Query]) -> None:
    connection = dosql_dbapi.connect(":memory:", isolation_level=None)
    try:
        assert_no_failures(sqllogictest.run(records, connection, dosql_dbapi.Error))
    finally:
        connection.close()


def test_in_a_file_and_read_back_from_its_history(
    records: list[Statement | Query], database_path: Path, connection: dosql_dbapi.Connection
) -> None:
    """Every query is asked twice: of the head, and AS OF the LSN the head then had, after all
    tables are gone from the head."""
    asked_at: dict[int, list[Query]] = {}
    report = sqllogictest.run(
        records,
        connection,
        dosql_dbapi.Error,
        before_query=lambda query: asked_at.setdefault(connection.lsn, []).append(query),
    )
    assert_no_failures(report)
    drop_everything(connection)
    temporary = sqllogictest.temporary_names(records)
    for lsn, queries in asked_at.items():
        in_history = [query for query in queries if not names_any(query, temporary)]
        past = dosql_dbapi.connect(database_path, as_of=lsn)
        try:
            assert_no_failures(sqllogictest.run(in_history, past, dosql_dbapi.Error))
        finally:
            past.close()


def drop_everything(connection: dosql_dbapi.Connection) -> None:
    for kind in ("view", "table"):
        listed = "select name from sqlite_schema where type = ? and name not like 'sqlite%'"
        for (name,) in connection.execute(listed, (kind,)).fetchall():
            connection.execute(f'drop {kind} "{name}"')


def names_any(query: Query, names: set[str]) -> bool:
    return any(name in query.sql.lower() for name in names)


def test_asked_of_the_present_with_as_of_at_every_table(
    records: list[Statement | Query], connection: dosql_dbapi.Connection, is_long_run: bool
) -> None:
    """Queries are asked once more when their tables are gone, each table AS OF that LSN: all of
    them in a long run, else up to two hundred or so of each LSN."""
    asked_at: dict[int, list[Query]] = {}
    sqllogictest.run(
        records,
        connection,
        dosql_dbapi.Error,
        before_query=lambda query: asked_at.setdefault(connection.lsn, []).append(query),
    )
    drop_everything(connection)
    temporary = sqllogictest.temporary_names(records)
    asked_count = 0
    for lsn, queries in asked_at.items():
        listed = f"select name from sqlite_schema as of lsn {lsn} where type in ('table', 'view')"
        names = [name for (name,) in connection.execute(listed).fetchall()]
        rewritten = [
            replace(query, sql=with_as_of(query.sql, names, lsn))
            for query in queries[:: 1 if is_long_run else 1 + len(queries) // 200]
            if not names_any(query, temporary)
        ]
        asked_count += sum("AS OF" in query.sql for query in rewritten)
        assert_no_failures(sqllogictest.run(rewritten, connection, dosql_dbapi.Error))
    assert asked_count or not any(asked_at.values())


def with_as_of(sql: str, names: list[str], lsn: int) -> str:
    """The query with a moment behind every name that stands where a table may."""
    if not names:
        return sql
    alternatives = "|".join(map(re.escape, names))
    reference = rf"(\b(?:from|join|in)\s+|,\s*|\(\s*(?=\w+\s*\)))\b({alternatives})\b(?!\s*[.(])"
    return re.sub(reference, rf"\1\2 AS OF LSN {lsn}", sql, flags=re.IGNORECASE)
