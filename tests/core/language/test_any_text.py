"""What holds for every text, SQL or not, found out with random ones."""

from __future__ import annotations

import contextlib
import itertools
import string

import apsw
from hypothesis import given, settings
from hypothesis import strategies as st

from dosql_core.errors import Error
from dosql_core.language.classify import StatementKind, classify
from dosql_core.language.splitting import (
    end_of_statement,
    is_complete,
    split_statements,
    start_of_statement,
)
from dosql_core.language.tokens import TokenKind, significant_tokens, tokenize

# Pieces chosen so that their meaning depends on what happens to stand beside them.
WORDS = """
    select SELECT from with as As of insert update delete create trigger temp begin BEGIN end END
    case explain returning RETURNING for x t a$b ab é \U0001f600 \u017f system_time_ lsn_
"""
MARKS = """
    ( ) , . ; ; = == - -- -> ->> / * /* */ || | < > <> ! ' '' " ` [ ] x' X'00' '00' # ~ % & + \\ \0
    0x1f 1_000 1e5 .5 1. ? ?12 : :a @b $c :: $d(e)
"""
BLANKS = [" ", "\n", "\t", "\r\n", "\v", "\f", "\ufeff", "\u00a0"]
PIECES = st.sampled_from(WORDS.split() + MARKS.split() + BLANKS)
SOUP = st.lists(PIECES, max_size=40).map("".join)
SPACED_SOUP = st.lists(PIECES, max_size=40).map(" ".join)
TEXTS = SOUP | SPACED_SOUP | st.text(max_size=60)

OUR_FIRST_WORDS = {"USE", "CHECKOUT", "SHOW", "RESTORE", "HYDRATE", "COMPACT", "SET", "BRANCH"}


@given(TEXTS)
def test_tokens_add_up_to_the_text(text: str) -> None:
    tokens = list(tokenize(text))
    assert "".join(token.text for token in tokens) == text
    assert all(token.text for token in tokens)
    position = 0
    for token in tokens:
        assert token.start == position
        position = token.end


@given(TEXTS)
def test_tokens_mean_the_same_wherever_they_stand(text: str) -> None:
    """Reading what was read, apart from what surrounds it, reads the same."""
    for token in tokenize(text):
        if token.kind is TokenKind.ILLEGAL or text[token.end :] == "":
            continue
        if token.text in ("/", "*", "|", "<", ">", "-", "=", "."):
            continue  # what follows can make another operator, a comment or a number of them
        assert [t.text for t in tokenize(token.text)] == [token.text]


@given(TEXTS)
def test_a_text_without_our_syntax_is_never_altered(text: str) -> None:
    words = [token.word for token in significant_tokens(text)]
    if any(a == "AS" and b == "OF" for a, b in itertools.pairwise(words)):
        return
    first = next((word for word in words if word), "")
    if first in OUR_FIRST_WORDS:
        return
    statement = classify(text)
    assert statement.as_of is None
    assert statement.command is None
    assert text.startswith(statement.text)
    assert text.endswith(statement.tail)
    between = text[len(statement.text) : len(text) - len(statement.tail)]
    assert start_of_statement(between) == len(between)
    if not between and not statement.tail:
        assert statement.text is text


@given(TEXTS)
def test_every_text_is_classified_or_refused_with_our_error(text: str) -> None:
    try:
        statement = classify(text)
    except Error as error:
        assert str(error).startswith("line ")
    else:
        assert (statement.kind is StatementKind.EMPTY) == (start_of_statement(text) == len(text))


@given(TEXTS)
def test_statements_come_apart_without_losing_anything(text: str) -> None:
    statements = list(split_statements(text))
    position = 0
    for statement in statements:
        at = text.index(statement, position)
        assert start_of_statement(text[position:at]) == at - position
        position = at + len(statement)
        start = start_of_statement(statement)
        assert end_of_statement(statement, start) == len(statement)
    rest = text[position:]
    assert start_of_statement(rest) == len(rest)


@given(TEXTS)
def test_classify_and_split_agree_on_the_first_statement(text: str) -> None:
    statements = list(split_statements(text))
    try:
        statement = classify(text)
    except Error:
        return
    if statements:
        blank = string.whitespace + ";\ufeff"
        assert statement.text.strip(blank) == statements[0].strip(blank)
        assert bool(statement.tail) == (len(statements) > 1)
    else:
        assert statement.kind is StatementKind.EMPTY


STATEMENTS = st.sampled_from(
    (
        "select 1",
        "select ';', 1 -- ;\n",
        "select /* ; */ 'it''s' as [a;b]",
        'values (";")',
        "select $a(;), ?, @b",
        "explain select 1",
        "create trigger r before insert on t begin select 1; delete from t; end",
        "create temp trigger q after insert on t when case new.x when 1 then 0 end begin"
        " select case 1 when 2 then ';end;' end; insert into t select ';' ; end",
        "insert into t values (x'3b')",
        "begin",
        "end",
        "select 4/2-1--;\n",
    )
)


@given(st.lists(STATEMENTS, max_size=6), st.lists(st.sampled_from([";", "; ", ";;", ";\n-- ;\n"])))
@settings(deadline=None)
def test_sqlite_finds_the_same_statements(statements: list[str], ends: list[str]) -> None:
    script = "".join(
        statement + (ends[index % len(ends)] if ends else ";")
        for index, statement in enumerate(statements)
    )
    connection = apsw.Connection("")
    connection.execute("create table t(x)")
    seen: list[str] = []

    def trace(cursor: apsw.Cursor, sql: str, bindings: object) -> bool:
        seen.append(sql)
        return False

    cursor = connection.cursor()
    cursor.exec_trace = trace
    ours = list(split_statements(script))
    for one in ours:
        with contextlib.suppress(apsw.ExecTraceAbort):
            cursor.execute(one, (1, 2, 3) if "$" in one else ())
    assert len(ours) == len(seen) == len(statements)
    assert is_complete(script) == bool(statements)


@given(TEXTS)
def test_a_complete_text_stays_complete_when_blanks_follow(text: str) -> None:
    if is_complete(text):
        assert is_complete(text + "\n ")
        assert is_complete(text + "\n-- more")
        assert not is_complete(text + "\nselect 1")
        assert is_complete(text + "\nselect 1;")
