"""Parameters of AS OF queries: SQLite's own binding of the whole text is the oracle.

In a query each moment's value is also selected, as an ordinary expression, from a copy of the query
with the clauses left out; what SQLite binds there is what the clauses must have been given.
"""

from __future__ import annotations

from typing import Any

import apsw
import pytest

from dosql_core.errors import ProgrammingError
from dosql_core.language.as_of import AsOfQuery
from dosql_core.language.classify import classify
from dosql_core.language.moments import MomentClause


def as_of_query(sql: str) -> AsOfQuery:
    as_of = classify(sql).as_of
    assert as_of is not None
    return as_of


def selected(as_of: AsOfQuery, bindings: Any) -> tuple[Any, ...]:
    """What the rendered query selects when every moment is the present."""
    connection = apsw.Connection("")
    connection.execute("create table t(x); insert into t values (0)")
    rendered = as_of.render(["main"] * len(as_of.clauses))
    rows: list[tuple[Any, ...]] = connection.execute(rendered, bindings).fetchall()
    return rows[0]


POSITIONAL = [
    # sql, values bound, values of each clause, what is selected
    ("select ?, a.x, ? from t a as of lsn ?", "abc", ["c"], ("a", 0, "b")),
    ("select ? from t a as of lsn ?, t b as of lsn ? where 1 or ?", "abcd", ["b", "c"], ("a",)),
    ("select ?, ? from t as of branch ? lsn ? where ? is not null", "abcde", ["cd"], ("a", "b")),
    ("select ?2, ?1 from t as of lsn ?3", "abc", ["c"], ("b", "a")),
    ("select ?3, ?1 from t as of lsn ?2", "abc", ["b"], ("c", "a")),
    ("select ?2, ?, ?1 from t as of lsn ?", "abcd", ["d"], ("b", "c", "a")),
    ("select ? from t as of lsn ?4 where ? is not null", "abcde", ["d"], ("a",)),
    ("select ?1, ?1 from t as of lsn ?1", "a", ["a"], ("a", "a")),
    ("select ?5 from t as of lsn ?2", "abcde", ["b"], ("e",)),
    ("select 1 from t as of lsn ?", "a", ["a"], (1,)),
    ("select :a, ? from t as of lsn :b", "abc", ["c"], ("a", "b")),
    ("select :a, ?1, :a from t as of lsn @a", "ab", ["b"], ("a", "a", "a")),
    ("select ?3 from t as of lsn ?7 where :b is not null and ?5 = 'e'", "abcdefgh", ["g"], ("c",)),
    ("select ? from t as of lsn ? || ? || 'x', t b where ? = 'd'", "abcd", ["bc"], ("a",)),
    ("select ? from t as of lsn ?3 || ?2 || ?3", "abc", ["cb"], ("a",)),
    ("select ?, ? from t as of lsn 5", "ab", [""], ("a", "b")),
]


@pytest.mark.parametrize(("sql", "bound", "of_clauses", "row"), POSITIONAL)
def test_values_given_by_position_are_divided(
    sql: str, bound: str, of_clauses: list[str], row: tuple[Any, ...]
) -> None:
    as_of = as_of_query(sql)
    values, remaining = as_of.split_parameters(tuple(bound))
    assert values == [tuple(text) for text in of_clauses]
    assert selected(as_of, remaining) == row


NAMED = [
    ("select :a, $b from t as of lsn @c", [("c",)], ("a", "b")),
    ("select :a from t as of lsn :a", [("a",)], ("a",)),
    (
        "select :a from t as of branch :b timestamp :c, t u as of lsn :d",
        [("b", "c"), ("d",)],
        ("a",),
    ),
    ("select :a, :b from t as of lsn 5", [()], ("a", "b")),
    ("select $a::b(c) from t as of lsn :a", [("a",)], ("other",)),
    ("select ?2, :a from t as of lsn ?1", [("one",)], ("two", "a")),
]


@pytest.mark.parametrize(("sql", "of_clauses", "row"), NAMED)
def test_values_given_by_name_are_divided(
    sql: str, of_clauses: list[tuple[Any, ...]], row: tuple[Any, ...]
) -> None:
    bound = dict(zip("abcd", "abcd", strict=True)) | {"a::b(c)": "other", "1": "one", "2": "two"}
    as_of = as_of_query(sql)
    values, remaining = as_of.split_parameters(bound)
    assert values == of_clauses
    assert selected(as_of, remaining) == row


def test_a_clause_knows_which_parameters_it_takes() -> None:
    (clause,) = as_of_query("select ? from t as of branch :b lsn ?").clauses
    assert isinstance(clause, MomentClause)
    assert clause.is_parameter
    assert [(p.position, p.name) for p in clause.all_parameters] == [(1, "b"), (2, None)]


def test_a_value_is_an_expression_that_stands_alone() -> None:
    (clause,) = as_of_query("select ? from t as of lsn ?3 || ? || ?3 || :n").clauses
    assert isinstance(clause, MomentClause)
    assert not clause.is_parameter
    assert clause.value_sql == "?1 || ?2 || ?1 || ?3"
    connection = apsw.Connection("")
    assert connection.execute(f"select {clause.value_sql}", "xyz").get == "xyxz"


def test_without_parameters_in_clauses_the_bindings_are_handed_on() -> None:
    as_of = as_of_query("select ?5, :x from t as of lsn 5")
    for bound in ([1, 2], {"x": 1}):
        assert as_of.split_parameters(bound)[1] is bound
    assert as_of.split_parameters(None) == ([()], ())
    assert as_of.render(["s"]) == 'select ?5, :x from "s"."t" AS "t"'


@pytest.mark.parametrize("bound", [(), (1,), (1, 2, 3), None])
def test_a_wrong_number_of_values_is_refused(bound: Any) -> None:
    as_of = as_of_query("select ? from t as of lsn ?")
    with pytest.raises(ProgrammingError, match="uses 2, and there are") as caught:
        as_of.split_parameters(bound)
    assert caught.value.code == "BIND_COUNT_MISMATCH"


def test_a_missing_name_is_refused() -> None:
    with pytest.raises(ProgrammingError, match="parameter :b") as caught:
        as_of_query("select :a from t as of lsn :b").split_parameters({"a": 1})
    assert caught.value.code == "BIND_MISSING_PARAM"


def test_a_bare_parameter_cannot_be_found_by_name() -> None:
    with pytest.raises(ProgrammingError, match="Binding 2 has no name"):
        as_of_query("select ? from t as of lsn ?").split_parameters({"a": 1})


def test_a_mapping_may_compute_what_is_missing() -> None:
    class Computed(dict[str, str]):
        def __missing__(self, key: str) -> str:
            return key * 2

    values, remaining = as_of_query("select :a from t as of lsn :b").split_parameters(Computed())
    assert values == [("bb",)]
    assert isinstance(remaining, Computed)
