"""A program is warned of what its own interpreter's sqlite3 deprecates, and served all the same."""

from __future__ import annotations

import contextlib
import datetime
import sys
import warnings
from collections.abc import Iterator

import pytest

import dosql_dbapi


@pytest.fixture
def connection() -> Iterator[dosql_dbapi.Connection]:
    with contextlib.closing(dosql_dbapi.connect(":memory:")) as opened:
        yield opened


@contextlib.contextmanager
def warned_since(minor: int, match: str) -> Iterator[None]:
    """The block warns on Python 3.`minor` and later, at a line of this file, and not before."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    told = [(w.category, w.filename) for w in caught if match in str(w.message)]
    expected = [(DeprecationWarning, __file__)] if sys.version_info >= (3, minor) else []
    assert told[:1] == expected


def test_a_function_may_be_given_by_keywords(connection):
    with warned_since(13, "'name', 'narg' and 'func'"):
        connection.create_function(name="twice", narg=1, func=lambda value: value * 2)
    assert connection.execute("select twice(21)").fetchone() == (42,)


def test_an_aggregate_may_be_given_by_keywords(connection):
    class Count:
        def __init__(self):
            self.rows = 0

        def step(self, _value):
            self.rows += 1

        def finalize(self):
            return self.rows

    with warned_since(13, "'name', 'n_arg' and 'aggregate_class'"):
        connection.create_aggregate("tally", n_arg=1, aggregate_class=Count)
    assert connection.execute("select tally(1)").fetchone() == (1,)


def test_a_missing_parameter_is_named(connection):
    with warned_since(13, "create_function"), pytest.raises(TypeError, match="'narg'"):
        connection.create_function("twice", func=str)


def test_keywords_a_method_does_not_deprecate_are_no_news(connection):
    connection.create_function("half", 1, lambda value: value / 2, deterministic=True)
    assert connection.execute("select half(3)").fetchone() == (1.5,)


def test_options_of_connect_may_be_given_by_position():
    with warned_since(13, "more than 1 positional"):
        connection = dosql_dbapi.connect(":memory:", 5.0)
    connection.close()


def test_the_default_adapters_and_converters_still_serve():
    day = datetime.date(2024, 2, 29)
    connection = dosql_dbapi.connect(":memory:", detect_types=dosql_dbapi.PARSE_DECLTYPES)
    connection.execute("create table t(d date)")
    with warned_since(12, "default date adapter"):
        connection.execute("insert into t values (?)", (day,))
    with warned_since(12, "default date converter"):
        assert connection.execute("select d from t").fetchone() == (day,)
    connection.close()


def test_a_closed_connection_says_so_even_when_called_with_nothing():
    connection = dosql_dbapi.connect(":memory:")
    connection.close()
    with pytest.raises(dosql_dbapi.ProgrammingError, match="closed database"):
        connection()


@pytest.mark.parametrize("is_uri", [False, True])
def test_a_path_that_is_not_utf8_is_refused_as_a_database_error(tmp_path, is_uri):
    path = f"file:{tmp_path}/%e7.db" if is_uri else bytes(tmp_path) + b"/\xe7.db"
    with pytest.raises(dosql_dbapi.OperationalError, match="not UTF-8"):
        dosql_dbapi.connect(path, uri=is_uri)
