"""The grammar of DoSQL's own statements: text to the records of `commands`.

A statement is ours only by its first words, which SQLite's own statements never begin with, so a
table called branch or snapshot is never in the way.
"""

from __future__ import annotations

from dosql_core.language.commands import (
    Command,
    Compact,
    CreateBranch,
    CreateSnapshot,
    DropBranch,
    DropSnapshot,
    HydrateBranch,
    IfMissing,
    IsolationLevel,
    Name,
    ProtectBranch,
    RenameBranch,
    Restore,
    RestoreTable,
    SetCommitAuthor,
    SetCommitMessage,
    SetTransaction,
    ShowBranches,
    ShowLog,
    ShowSnapshots,
    UseBranch,
)
from dosql_core.language.merge_statements import MERGE_FORMS
from dosql_core.language.statement_reader import Forms, StatementReader

# First words that SQLite's statements begin with, too: the second word decides.
SHARED_FIRST_WORDS = frozenset(("CREATE", "DROP", "DELETE", "ALTER", "COMMIT"))


def parse_command(sql: str, first_word: str) -> Command | None:
    """The command a statement is; None when it is none of ours.

    Shape: `sql` is one statement, `first_word` its first word in upper case.
    Errors: ProgrammingError (TimeTravelSyntaxError in a moment) saying what was found and what was
            expected.
    """
    forms = _FORMS.get(first_word)
    if forms is None:
        return None
    statement = StatementReader(sql)
    for words, parse, usage in forms:
        if statement.cursor.take(*words):
            statement.usage = usage
            command = parse(statement)
            statement.expect_end()
            return command
    if first_word in SHARED_FIRST_WORDS:
        return None
    statement.cursor.advance()
    statement.usage = "; or ".join(dict.fromkeys(usage for _, _, usage in forms))
    raise statement.error(" or ".join(dict.fromkeys(words[1] for words, _, _ in forms)))


def _create_branch(statement: StatementReader) -> Command:
    if_not_exists = statement.cursor.take("IF", "NOT", "EXISTS")
    name = statement.name("the new branch")
    source = statement.name("a branch") if statement.cursor.take("FROM") else None
    return CreateBranch(name, if_not_exists, source, statement.optional_moment())


def _drop_branch(statement: StatementReader) -> Command:
    if_exists = statement.cursor.take("IF", "EXISTS")
    name = statement.name("a branch")
    return DropBranch(name, if_exists, force=statement.cursor.take("FORCE"))


def _alter_branch(statement: StatementReader) -> Command:
    cursor = statement.cursor
    name = statement.name("a branch")
    if cursor.take("RENAME"):
        statement.expect("TO")
        return RenameBranch(name, statement.name("the branch from now on"))
    if cursor.take("PROTECT") or cursor.take("SET", "PROTECTED"):
        return ProtectBranch(name, True)
    if cursor.take("UNPROTECT") or cursor.take("SET", "UNPROTECTED"):
        return ProtectBranch(name, False)
    raise statement.error("RENAME TO, PROTECT or UNPROTECT")


def _use_branch(statement: StatementReader) -> Command:
    is_creating = statement.cursor.take("IF", "NOT", "EXISTS")
    name = statement.name("a branch")
    return UseBranch(name, IfMissing.CREATE if is_creating else IfMissing.REFUSE)


def _checkout_new_branch(statement: StatementReader) -> Command:
    return UseBranch(statement.name("the new branch"), IfMissing.ALWAYS_CREATE)


def _hydrate_branch(statement: StatementReader) -> Command:
    return HydrateBranch(statement.name("a branch"))


def _create_snapshot(statement: StatementReader) -> Command:
    if_not_exists = statement.cursor.take("IF", "NOT", "EXISTS")
    name = statement.name("the new snapshot")
    return CreateSnapshot(name, if_not_exists, statement.optional_moment())


def _drop_snapshot(statement: StatementReader) -> Command:
    if_exists = statement.cursor.take("IF", "EXISTS")
    return DropSnapshot(statement.name("a snapshot"), if_exists)


def _show_branches(statement: StatementReader) -> Command:
    return ShowBranches(_pattern(statement))


def _show_snapshots(statement: StatementReader) -> Command:
    return ShowSnapshots(_pattern(statement))


def _pattern(statement: StatementReader) -> Name | None:
    if not statement.cursor.take("LIKE"):
        return None
    pattern = statement.text()
    if pattern is None:
        raise statement.error("a pattern in quotes")
    return pattern


def _show_log(statement: StatementReader) -> Command:
    cursor = statement.cursor
    if not cursor.take("LIMIT"):
        return ShowLog()
    limit = statement.number()
    if limit is None:
        raise statement.error("a whole number")
    return ShowLog(limit)


def _restore(statement: StatementReader) -> Command:
    return Restore(statement.moment_to_restore())


def _restore_branch(statement: StatementReader) -> Command:
    is_named = not (statement.cursor.is_at("TO") or statement.is_at_moment())
    branch = statement.name("a branch") if is_named else None
    return Restore(statement.moment_to_restore(), branch)


def _restore_table(statement: StatementReader) -> Command:
    cursor = statement.cursor
    table = statement.name("a table")
    # `AS of TO ...` calls the new table "of"; any other AS OF is the moment.
    is_renamed = cursor.is_at("AS") and not cursor.is_at("AS", "OF")
    is_renamed = is_renamed or any(cursor.is_at("AS", "OF", word) for word in ("TO", "AS", "FOR"))
    new_name = None
    if is_renamed:
        cursor.advance()
        new_name = statement.name("the table to put it into")
    return RestoreTable(table, statement.moment_to_restore(), new_name)


def _compact(statement: StatementReader) -> Command:
    statement.cursor.take("HISTORY")
    return Compact()


def _set_transaction(statement: StatementReader) -> Command:
    cursor = statement.cursor
    isolation: IsolationLevel | None = None
    read_only: bool | None = None
    while True:
        if cursor.take("ISOLATION", "LEVEL"):
            isolation = _isolation_level(statement)
        elif cursor.take("READ", "ONLY"):
            read_only = True
        elif cursor.take("READ", "WRITE"):
            read_only = False
        else:
            raise statement.error("ISOLATION LEVEL, READ ONLY or READ WRITE")
        if not cursor.is_at_operator(","):
            return SetTransaction(isolation, read_only)
        cursor.advance()


def _isolation_level(statement: StatementReader) -> IsolationLevel:
    for level in IsolationLevel:
        if statement.cursor.take(*level.value.split()):
            return level
    raise statement.error(" or ".join(level.value for level in IsolationLevel))


def _set_commit_author(statement: StatementReader) -> Command:
    return SetCommitAuthor(_text_or_null(statement))


def _set_commit_message(statement: StatementReader) -> Command:
    return SetCommitMessage(_text_or_null(statement))


def _text_or_null(statement: StatementReader) -> Name | None:
    if statement.cursor.is_at_operator("="):
        statement.cursor.advance()
    if statement.cursor.take("NULL"):
        return None
    text = statement.text()
    if text is None:
        raise statement.error("a text in quotes")
    return text


_MOMENT = "[AS OF moment]"
_DROP_BRANCH = "DROP BRANCH [IF EXISTS] name [FORCE]"
_CHECKOUT = "CHECKOUT BRANCH [IF NOT EXISTS] name, or CHECKOUT NEW BRANCH name"
_RESTORE = "RESTORE [DATABASE | BRANCH [name]] TO moment"
_LOG = "SHOW LOG [LIMIT number]"

# By first word, then by the words that follow, the longer before the shorter.
_FORMS: Forms = {
    "CREATE": (
        (
            ("CREATE", "BRANCH"),
            _create_branch,
            f"CREATE BRANCH [IF NOT EXISTS] name [FROM branch] {_MOMENT}",
        ),
        (
            ("CREATE", "SNAPSHOT"),
            _create_snapshot,
            f"CREATE SNAPSHOT [IF NOT EXISTS] 'name' {_MOMENT}",
        ),
    ),
    "DROP": (
        (("DROP", "BRANCH"), _drop_branch, _DROP_BRANCH),
        (("DROP", "SNAPSHOT"), _drop_snapshot, "DROP SNAPSHOT [IF EXISTS] 'name'"),
    ),
    "DELETE": ((("DELETE", "BRANCH"), _drop_branch, _DROP_BRANCH),),
    "ALTER": (
        (
            ("ALTER", "BRANCH"),
            _alter_branch,
            "ALTER BRANCH name RENAME TO name, or ALTER BRANCH name [UN]PROTECT",
        ),
    ),
    "USE": ((("USE", "BRANCH"), _use_branch, "USE BRANCH name"),),
    "CHECKOUT": (
        (("CHECKOUT", "BRANCH"), _use_branch, _CHECKOUT),
        (("CHECKOUT", "NEW", "BRANCH"), _checkout_new_branch, _CHECKOUT),
    ),
    "SHOW": (
        (("SHOW", "BRANCHES"), _show_branches, "SHOW BRANCHES [LIKE 'pattern']"),
        (("SHOW", "SNAPSHOTS"), _show_snapshots, "SHOW SNAPSHOTS [LIKE 'pattern']"),
        (("SHOW", "LOG"), _show_log, _LOG),
    ),
    "BRANCH": ((("BRANCH", "LOG"), _show_log, _LOG),),
    "RESTORE": (
        (("RESTORE", "TABLE"), _restore_table, "RESTORE TABLE name [AS new_name] TO moment"),
        (("RESTORE", "BRANCH"), _restore_branch, _RESTORE),
        (("RESTORE", "DATABASE"), _restore, _RESTORE),
        (("RESTORE",), _restore, _RESTORE),
    ),
    **MERGE_FORMS,
    "HYDRATE": ((("HYDRATE", "BRANCH"), _hydrate_branch, "HYDRATE BRANCH name"),),
    "COMPACT": ((("COMPACT",), _compact, "COMPACT [HISTORY]"),),
    "SET": (
        (
            ("SET", "TRANSACTION"),
            _set_transaction,
            "SET TRANSACTION ISOLATION LEVEL level, or SET TRANSACTION READ ONLY | READ WRITE",
        ),
        (("SET", "COMMIT", "AUTHOR"), _set_commit_author, "SET COMMIT AUTHOR 'who'"),
        (("SET", "COMMIT", "MESSAGE"), _set_commit_message, "SET COMMIT MESSAGE 'why'"),
    ),
}
