"""SQLite's keywords and functions, and DoSQL's, as completion offers them and quoting needs them.

Source: https://www.sqlite.org/lang_keywords.html and https://www.sqlite.org/lang_corefunc.html
"""

from __future__ import annotations

import re

_SQLITE_KEYWORD_TEXT = """
    abort action add after all alter always analyze and as asc attach autoincrement before begin
    between by cascade case cast check collate column commit conflict constraint create cross
    current current_date current_time current_timestamp database default deferrable deferred
    delete desc detach distinct do drop each else end escape except exclude exclusive exists
    explain fail filter first following for foreign from full generated glob group groups having
    if ignore immediate in index indexed initially inner insert instead intersect into is isnull
    join key last left like limit match materialized natural no not nothing notnull null nulls of
    offset on or order others outer over partition plan pragma preceding primary query raise range
    recursive references regexp reindex release rename replace restrict returning right rollback
    row rows savepoint select set table temp temporary then ties to transaction trigger unbounded
    union unique update using vacuum values view virtual when where window with without
"""
SQLITE_KEYWORDS = tuple(_SQLITE_KEYWORD_TEXT.split())

DOSQL_KEYWORDS = (
    "author",
    "branch",
    "branches",
    "checkout",
    "cherry pick",
    "compact",
    "conflicts",
    "dry run",
    "fast forward only",
    "for system_time all",
    "for system_time as of",
    "for system_time between",
    "hydrate",
    "log",
    "lsn",
    "merge",
    "message",
    "newest",
    "ours",
    "protect",
    "rebase",
    "resolve",
    "restore",
    "revert",
    "show",
    "snapshot",
    "snapshots",
    "squash",
    "strict",
    "system_time",
    "theirs",
    "timestamp",
    "unprotect",
    "use",
)

_FUNCTION_TEXT = """
    abs avg changes char coalesce concat concat_ws count cume_dist date datetime dense_rank
    first_value format glob group_concat hex ifnull iif instr json json_array json_each
    json_extract json_group_array json_group_object json_object json_set json_tree json_valid
    julianday lag last_insert_rowid last_value lead length like lower ltrim max median min nth_value
    ntile nullif octet_length percent_rank percentile printf quote random randomblob rank replace
    round row_number rtrim sign strftime string_agg substr sum time timediff total total_changes
    trim typeof unhex unicode unixepoch upper zeroblob
"""
FUNCTIONS = tuple(_FUNCTION_TEXT.split())

_KEYWORD_SET = frozenset(SQLITE_KEYWORDS)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifier(name: str) -> str:
    """The name quoted for SQL, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def name_for_sql(name: str) -> str:
    """The name as a person would write it in SQL: quoted only where that is needed."""
    if _PLAIN_NAME.fullmatch(name) and name.lower() not in _KEYWORD_SET:
        return name
    return identifier(name)
