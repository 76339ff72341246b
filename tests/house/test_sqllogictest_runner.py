"""The sqllogictest runner against stock SQLite: what it accepts, and that it can refuse."""

from __future__ import annotations

import sqlite3
import textwrap
from pathlib import Path

import pytest

from fixtures import sqllogictest
from fixtures.sqllogictest import Report


@pytest.fixture
def run(tmp_path: Path):
    """Run the text of a file against a new database in memory."""

    def run_text(text: str) -> Report:
        file = tmp_path / "case.test"
        file.write_text(textwrap.dedent(text))
        connection = sqlite3.connect(":memory:", isolation_level=None)
        try:
            return sqllogictest.run(sqllogictest.parse(file), connection, sqlite3.Error)
        finally:
            connection.close()

    return run_text


@pytest.mark.parametrize(
    ("types", "sql", "printed"),
    [
        ("I", "select 7.9", "7"),
        ("I", "select ' -12abc'", "-12"),
        ("I", "select 4294967297", "1"),
        ("R", "select '2.5x'", "2.500"),
        ("R", "select 0.0005", "0.001"),
        ("R", "select -9223372036854775808", "-9223372036854776000.000"),
        ("T", "select ''", "(empty)"),
        ("T", "select null", "NULL"),
        ("T", "select 'a' || char(9) || 'é'", "a@@@"),
        ("T", "select 1e20", "1.0e+20"),
    ],
)
def test_values_are_printed_by_type(run, types: str, sql: str, printed: str) -> None:
    report = run(f"query {types} nosort\n{sql}\n----   \n{printed}\n")
    assert (report.query_count, report.failures) == (1, [])


def test_rows_and_values_are_sorted_as_asked(run) -> None:
    report = run(
        """\
        query II rowsort
        values (10, 1), (9, 2)
        ----
        10
        1
        9
        2

        query II valuesort
        values (10, 1), (9, 2)
        ----
        1
        10
        2
        9
        """
    )
    assert (report.query_count, report.failures) == (2, [])


def test_long_results_are_compared_by_hash(run) -> None:
    digest = sqllogictest.hash_of(["1", "2", "3"])
    query = "query I nosort\nvalues (1), (2), (3)\n----\n3 values hashing to "
    assert run(query + digest).failures == []
    assert len(run(query + "0" * 32).failures) == 1


@pytest.mark.parametrize(
    "record",
    [
        "query I nosort\nselect 1\n----\n2",
        "query I nosort\nselect 1\n----",
        "query I nosort\nselect 1 where 0\n----\n1",
        "query II nosort\nselect 1\n----\n1",
        "query I nosort\nselect * from nowhere\n----\n1",
        "statement ok\ncreate table",
        "statement error\ncreate table t(x)",
        "statement ok\ncreate table t(x);\ncreate table t(x);",
        "query I nosort x\nselect 1\n----\n1\n\nquery I nosort x\nselect 2\n----\n2",
    ],
)
def test_an_outcome_that_differs_is_a_failure(run, record: str) -> None:
    assert len(run(record).failures) == 1


def test_an_error_where_nothing_is_expected_passes(run) -> None:
    assert run("query I nosort\nselect * from nowhere\n----\n").failures == []


def test_records_for_other_engines_are_left_out(run) -> None:
    report = run(
        """\
        onlyif mysql
        statement ok
        nonsense

        skipif sqlite
        statement ok
        nonsense

        skipif mysql # comment
        onlyif sqlite
        statement ok
        create table t(x)

        onlyif sqlite
        halt

        statement ok
        nonsense
        """
    )
    assert (report.statement_count, report.failures) == (1, [])


def test_a_record_of_an_unknown_kind_is_refused(run) -> None:
    with pytest.raises(ValueError, match=r"case\.test:2: cannot read 'loop 3'"):
        run("\nloop 3")
