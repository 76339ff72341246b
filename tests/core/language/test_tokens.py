"""Tokens end where SQLite's own tokenizer ends them."""

from __future__ import annotations

import time

import apsw
import pytest

from dosql_core.language.tokens import (
    NO_BARE_ALIAS,
    RESERVED_WORDS,
    Token,
    TokenKind,
    place,
    quoted_name,
    quoted_string,
    significant_tokens,
    tokenize,
    unquoted,
)

ONE_TOKEN = [
    (TokenKind.STRING, "'it''s'"),
    (TokenKind.STRING, "''"),
    (TokenKind.STRING, "'line\nbreak -- no comment'"),
    (TokenKind.QUOTED, '"a ""b"""'),
    (TokenKind.QUOTED, "`a``b`"),
    (TokenKind.QUOTED, "[a [b\"']"),
    (TokenKind.BLOB, "x'00fF'"),
    (TokenKind.BLOB, "X''"),
    (TokenKind.ILLEGAL, "x'0'"),
    (TokenKind.ILLEGAL, "x'0g'"),
    (TokenKind.ILLEGAL, "x'00"),
    (TokenKind.NUMBER, "1_000"),
    (TokenKind.NUMBER, "0x1F_ff"),
    (TokenKind.NUMBER, "1.5e-3"),
    (TokenKind.NUMBER, "1."),
    (TokenKind.NUMBER, ".5E+1"),
    (TokenKind.ILLEGAL, "12ab"),
    (TokenKind.ILLEGAL, "0xg"),
    (TokenKind.ILLEGAL, "1e"),
    (TokenKind.ILLEGAL, "1$"),
    (TokenKind.PARAMETER, "?"),
    (TokenKind.PARAMETER, "?12"),
    (TokenKind.PARAMETER, ":a1"),
    (TokenKind.PARAMETER, "@größe"),
    (TokenKind.PARAMETER, "$a::b(c'd;)"),
    (TokenKind.PARAMETER, ":::a"),
    (TokenKind.WORD, "a$b"),
    (TokenKind.WORD, "_x9"),
    (TokenKind.WORD, "größe\u00a0\U0001f600"),
    (TokenKind.WORD, "xx"),
    (TokenKind.WORD, "\u017felect"),
    (TokenKind.WORD, "a\ufeff"),
    (TokenKind.OPERATOR, "->>"),
    (TokenKind.OPERATOR, "->"),
    (TokenKind.OPERATOR, "||"),
    (TokenKind.OPERATOR, "<>"),
    (TokenKind.OPERATOR, "=="),
    (TokenKind.OPERATOR, ";"),
    (TokenKind.COMMENT, "-- to the end 'of the line"),
    (TokenKind.COMMENT, "/* a * b / ' */"),
    (TokenKind.COMMENT, "/**/"),
    (TokenKind.COMMENT, "/*/ */"),
    (TokenKind.COMMENT, "/* never closed"),
    (TokenKind.COMMENT, "/*/"),
    (TokenKind.BLANK, " \t\r\n\f"),
    (TokenKind.BLANK, " \v"),
    (TokenKind.BLANK, "\ufeff"),
    (TokenKind.ILLEGAL, "'never closed"),
    (TokenKind.ILLEGAL, '"never closed -- '),
    (TokenKind.ILLEGAL, "[never closed"),
    (TokenKind.ILLEGAL, "`"),
    (TokenKind.ILLEGAL, "\0"),
    (TokenKind.ILLEGAL, "!"),
    (TokenKind.ILLEGAL, "\v"),
    (TokenKind.ILLEGAL, "#"),
    (TokenKind.ILLEGAL, ":"),
    (TokenKind.ILLEGAL, ":::::"),
    (TokenKind.ILLEGAL, "$a(b"),
]


@pytest.mark.parametrize(("kind", "text"), ONE_TOKEN)
def test_a_token_is_read_whole(kind: TokenKind, text: str) -> None:
    assert list(tokenize(text)) == [Token(kind, text, 0)]


SEVERAL_TOKENS = [
    ("a->>b", ["a", "->>", "b"]),
    ("a- -b", ["a", "-", "-", "b"]),
    ("1--2", ["1"]),
    ("a<=b", ["a", "<=", "b"]),
    ("/*", ["/", "*"]),
    ("a/*b*/c", ["a", "c"]),
    ("x'ab'x'cd'", ["x'ab'", "x'cd'"]),
    ("ax'ab'", ["ax", "'ab'"]),
    ("'a'\"b\"[c]`d`", ["'a'", '"b"', "[c]", "`d`"]),
    ("1..2", ["1.", ".2"]),
    ("a.b.c", ["a", ".", "b", ".", "c"]),
    (":a(b c)", [":a(b", "c", ")"]),
    ("?1a", ["?1", "a"]),
    ("a:b", ["a", ":b"]),
    ("a$b:c", ["a$b", ":c"]),
    ("select\u00a01", ["select\u00a01"]),
    ("'a''", ["'a''"]),
]


@pytest.mark.parametrize(("sql", "texts"), SEVERAL_TOKENS)
def test_tokens_end_where_the_next_begins(sql: str, texts: list[str]) -> None:
    tokens = significant_tokens(sql)
    assert [token.text for token in tokens] == [*texts, ""]
    assert tokens[-1] == Token(TokenKind.END, "", len(sql))


@pytest.mark.parametrize(
    ("kind", "text"), [case for case in ONE_TOKEN if case[0] is TokenKind.PARAMETER]
)
def test_sqlite_sees_the_same_parameter(kind: TokenKind, text: str) -> None:
    connection = apsw.Connection("")
    values = (7,) * (12 if text == "?12" else 1)
    assert connection.execute(f"select {text}", values).get == 7


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        case
        for case in ONE_TOKEN
        if case[0] in (TokenKind.STRING, TokenKind.BLOB, TokenKind.NUMBER, TokenKind.ILLEGAL)
    ],
)
def test_sqlite_reads_what_we_call_a_value_and_refuses_what_we_call_illegal(
    kind: TokenKind, text: str
) -> None:
    connection = apsw.Connection("")
    if kind is TokenKind.ILLEGAL:
        with pytest.raises((apsw.SQLError, ValueError)):
            connection.execute(f"select 1/**/{text}")
    else:
        assert connection.execute(f"select {text}").get is not None


def test_quotes_are_taken_off_and_put_on() -> None:
    for text, name in [("'it''s'", "it's"), ('"a""b"', 'a"b'), ("`a``b`", "a`b"), ("[a``]", "a``")]:
        (token,) = tokenize(text)
        assert unquoted(token) == name
    assert quoted_name('a"b') == '"a""b"'
    assert quoted_string("it's") == "'it''s'"


def test_a_place_counts_lines_and_columns_from_one() -> None:
    assert place("ab\ncd", 0) == "line 1, column 1"
    assert place("ab\ncd", 4) == "line 2, column 2"
    assert place("ab\n", 3) == "line 2, column 1"


def test_our_lists_of_words_are_sqlites() -> None:
    connection = apsw.Connection("")
    connection.execute("create table t(x)")

    def is_accepted(sql: str) -> bool:
        try:
            connection.execute(sql)
        except apsw.SQLError:
            return False
        return True

    assert {w for w in apsw.keywords if not is_accepted(f"select 1 as {w}")} == RESERVED_WORDS
    assert {w for w in apsw.keywords if not is_accepted(f"select 1 from t {w}")} == NO_BARE_ALIAS


@pytest.mark.parametrize(
    "unit", ["'", "''", "/*", "--", "[", "$a", "$a(", "1_", "x'", "::", "(", "-"]
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    def seconds(count: int) -> float:
        sql = "select " + unit * count
        best = 1e9
        for _ in range(3):
            start = time.thread_time()
            significant_tokens(sql)
            best = min(best, time.thread_time() - start)
        return best

    assert seconds(40_000) < 40 * max(seconds(4_000), 0.001)
