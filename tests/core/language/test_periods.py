"""FOR SYSTEM_TIME BETWEEN, FROM, CONTAINED IN and ALL: where they are found, and what is left."""

from __future__ import annotations

import pytest

from dosql_core.errors import TimeTravelSyntaxError
from dosql_core.language.as_of import AsOfQuery
from dosql_core.language.classify import classify
from dosql_core.language.periods import DifferenceClause, PeriodClause, PeriodKind


def query_of(sql: str) -> AsOfQuery:
    query = classify(sql).as_of
    assert query is not None
    return query


def rendered(sql: str) -> str:
    """The query with h1, h2 ... where histories go."""
    query = query_of(sql)
    return query.render([f"h{number}" for number in range(1, len(query.clauses) + 1)])


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from t for system_time all", 'select * from h1 AS "t"'),
        ("select * from main.t for system_time all", 'select * from h1 AS "t"'),
        ("select * from t for system_time all as h where x", "select * from h1 as h where x"),
        ("select * from t h for system_time all where x", "select * from h1 h where x"),
        (
            "select * from t for system_time between lsn 1 and lsn 5 where a and b",
            'select * from h1 AS "t" where a and b',
        ),
        (
            "select * from t for system_time between '-1 hour' and 'now' h",
            "select * from h1 h",
        ),
        (
            "select * from t for system_time from lsn 1 to lsn 2, u for system_time all",
            'select * from h1 AS "t", h2 AS "u"',
        ),
        (
            "select * from t FOR SYSTEM_TIME CONTAINED IN (LSN 1, SNAPSHOT 'x') JOIN u USING (id)",
            'select * from h1 AS "t" JOIN u USING (id)',
        ),
        (
            "with c as (select * from t for system_time all) select * from c",
            'with c as (select * from h1 AS "t") select * from c',
        ),
        (
            "select * from (t for system_time all join u) where exists (select 1 from [t t] for "
            "system_time between branch 'dev' lsn 5 and branch dev)",
            'select * from (h1 AS "t" join u) where exists (select 1 from h2 AS "t t")',
        ),
        (
            "insert into u select id from t for system_time all",
            'insert into u select id from h1 AS "t"',
        ),
        (
            "update u set x = h.x from t for system_time all h where h.id = u.id",
            "update u set x = h.x from h1 h where h.id = u.id",
        ),
        (
            "select * from t for system_time between lsn 1 and lsn 2+1 a "
            "join t for system_time between lsn 1 and lsn 2+1 b",
            "select * from h1 a join h1 b",
        ),
        ("select * from t for system_time all, dosql_diff('t', 1, 2)",
         'select * from h1 AS "t", h2(\'t\', 1, 2) AS "dosql_diff"'),
        ("select * from dosql_diff('t', ?, (select 1)) d",
         "select * from h1('t', ?, (select 1)) d"),
        ("select * from dosql_diff('t')", 'select * from h1(\'t\') AS "dosql_diff"'),
    ],
)  # fmt: skip
def test_a_period_makes_the_reference_one_to_a_history(sql: str, expected: str) -> None:
    assert rendered(sql) == expected


def test_a_clause_says_which_table_and_which_period() -> None:
    query = query_of(
        "select * from t for system_time between lsn 1 and lsn :b, [u u] for system_time all, "
        "dosql_diff('w w', 1), t for system_time from '2026-01-01' to branch dev lsn ?"
    )
    first, second, third, fourth = query.clauses
    assert isinstance(first, PeriodClause)
    assert (first.table, first.kind) == ("t", PeriodKind.BETWEEN)
    assert [moment.literal for moment in first.moments] == [1, None]
    assert second == PeriodClause("u u", PeriodKind.ALL)
    assert third == DifferenceClause("w w")
    assert isinstance(fourth, PeriodClause)
    assert [p.position for p in fourth.all_parameters] == [1]


def test_parameters_of_a_period_go_with_it() -> None:
    query = query_of(
        "select ? from t for system_time between lsn ? and timestamp ? where id = ? and x = ?5"
    )
    values, remaining = query.split_parameters(("a", 1, "now", "b", "c"))
    assert values == [(1, "now")]
    assert remaining == ("a", "b", "c")
    assert query.render(["h"]).endswith("where id = ?  and x = ?3".replace("  ", " "))


@pytest.mark.parametrize(
    "sql",
    [
        "select 'from t for system_time all'",
        "select 1 -- from t for system_time all",
        "select 1 /* from t for system_time between lsn 1 and lsn 2 */ from t",
        'select "for system_time all" from t',
        "select for system_time from t",
        "select x as for, system_time from t where 'for system_time all' <> x",
        "select * from [t for system_time all]",
        "select 'dosql_diff(''t'', 1)' from t",
        "select dosql_diff from t",
        "select * from dosql_diff(?, 1, 2)",
        "select * from dosql_diff('a' || 'b', 1, 2)",
        "select * from main.dosql_diff",
        "create view v as select * from dosql_diff('t', 1)",
    ],
)
def test_what_only_looks_like_a_period_is_left_alone(sql: str) -> None:
    assert classify(sql).as_of is None


@pytest.mark.parametrize(
    ("sql", "column", "message"),
    [
        ("select * from t for system_time between lsn 1", 46, "has the end of the statement where"),
        ("select * from t for system_time between lsn 1 to lsn 2", 47, "has to where AND"),
        ("select * from t for system_time from lsn 1 and lsn 2", 44, "has and where TO"),
        ("select * from t for system_time between and lsn 2", 41, "and is no moment"),
        ("select * from t for system_time contained (1, 2)", 43, "followed by (, expected IN"),
        ("select * from t for system_time contained in lsn 1", 46, "followed by lsn, expected IN"),
        ("select * from t for system_time contained in (lsn 1 lsn 2)", 53, "has lsn where , was"),
        ("select * from t for system_time contained in (lsn 1, lsn 2", 59, "where ) was"),
        ("select * from t for system_time all as of lsn 1", 37, "t has a moment already"),
        ("select * from t for system_time sometimes", 33, "expected AS OF, BETWEEN, FROM"),
        ("delete from t for system_time all", 15, "the past cannot be written"),
        ("update t for system_time all set x = 1", 10, "the past cannot be written"),
        ("select 1 in t for system_time all", 13, "has several columns, and IN compares one"),
        ("select * from (select 1) for system_time all", 26, "a subquery has no past"),
        ("select * from json_each('[]') for system_time all", 31, "table-valued function"),
        ("select * from dosql_diff('t', 1) for system_time all", 34, "table-valued function"),
        ("with c as (select 1) select * from c for system_time all", 36, "common table expression"),
        ("create view v as select * from t for system_time all", 34, "definition of a view"),
        ("create view v as select * from t for system_time between 1 and 2", 34, "of a view"),
        ("select * from temp.t for system_time all", 15, "temporary tables have no past"),
        ("select * from dosql_log for system_time all", 15, "log of all moments"),
    ],
)  # fmt: skip
def test_a_misplaced_or_misspelt_period_is_refused(sql: str, column: int, message: str) -> None:
    with pytest.raises(TimeTravelSyntaxError) as caught:
        classify(sql)
    assert str(caught.value).startswith(f"line 1, column {column}: ")
    assert message in str(caught.value)
    assert caught.value.code == "TT_INVALID_SYNTAX"
