"""Our own statements: what each is read as, and what is said of one that is written wrongly."""

from __future__ import annotations

import dataclasses
from typing import Any

import apsw
import pytest

from dosql_core.errors import DataError, ProgrammingError, TimeTravelSyntaxError
from dosql_core.language.classify import StatementKind, classify
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
    bind_command,
)
from dosql_core.language.merge_commands import (
    AbortMerge,
    CherryPick,
    CommitMerge,
    MergeBranch,
    MergeOptions,
    MergeUsing,
    RebaseBranch,
    ResolveConflicts,
    Revert,
)
from dosql_core.language.moments import MomentClause, MomentKind
from dosql_core.language.parameters import Parameter

LSN_5 = MomentClause(MomentKind.LSN, "5", literal=5)
SNAPSHOT_X = MomentClause(MomentKind.SNAPSHOT, "'x'", literal="x")
DEV_LSN_5 = MomentClause(MomentKind.BRANCH, "'dev'", literal="dev", inner=LSN_5)

COMMANDS: list[tuple[str, Command]] = [
    ("create branch dev", CreateBranch("dev")),
    ("CREATE BRANCH 'fix/it''s'", CreateBranch("fix/it's")),
    ('create branch "a ""b"', CreateBranch('a "b')),
    ("create branch [a b];", CreateBranch("a b")),
    ("create branch if", CreateBranch("if")),
    ("create/**/branch -- new\n dev -- done", CreateBranch("dev")),
    ("create branch if not exists dev from main", CreateBranch("dev", True, "main")),
    ("create branch dev as of lsn 5", CreateBranch("dev", moment=LSN_5)),
    (
        "create branch dev from 'x y' for system_time as of snapshot x;",
        CreateBranch("dev", source="x y", moment=SNAPSHOT_X),
    ),
    (
        "create branch dev as of '-1 hour'",
        CreateBranch(
            "dev", moment=MomentClause(MomentKind.TIMESTAMP, "'-1 hour'", literal="-1 hour")
        ),
    ),
    ("drop branch dev", DropBranch("dev")),
    ("drop branch if exists dev force", DropBranch("dev", True, True)),
    ("delete branch dev", DropBranch("dev")),
    ("drop branch force", DropBranch("force")),
    ("alter branch a rename to b", RenameBranch("a", "b")),
    ("alter branch a protect", ProtectBranch("a", True)),
    ("alter branch a unprotect", ProtectBranch("a", False)),
    ("alter branch a set protected", ProtectBranch("a", True)),
    ("alter branch a set unprotected", ProtectBranch("a", False)),
    ("use branch dev", UseBranch("dev")),
    ("checkout branch 'dev'", UseBranch("dev")),
    ("checkout branch if not exists dev", UseBranch("dev", IfMissing.CREATE)),
    ("checkout new branch dev", UseBranch("dev", IfMissing.ALWAYS_CREATE)),
    ("show branches", ShowBranches()),
    ("show branches like 'fix/%'", ShowBranches("fix/%")),
    ("hydrate branch dev", HydrateBranch("dev")),
    ("merge branch dev", MergeBranch("dev")),
    (
        "merge branch dev into main using theirs squash fast forward only dry run",
        MergeBranch("dev", "main", MergeOptions(MergeUsing.THEIRS, True, True, True)),
    ),
    ("commit merge", CommitMerge()),
    ("commit merge into 'main';", CommitMerge("main")),
    ("abort merge into main", AbortMerge("main")),
    ("resolve conflicts using base", ResolveConflicts(MergeUsing.BASE)),
    (
        "resolve conflicts on t into dev using newest",
        ResolveConflicts(MergeUsing.NEWEST, "t", target="dev"),
    ),
    ("resolve conflict 3 using ours", ResolveConflicts(MergeUsing.OURS, first=3)),
    ("revert lsn 7", Revert(7)),
    (
        "revert lsn 7 to 9 on branch dev using ours dry run",
        Revert(7, 9, "dev", MergeOptions(MergeUsing.OURS, True)),
    ),
    ("cherry pick lsn 7 from branch dev", CherryPick(7, None, "dev")),
    (
        "cherry pick lsn 7 to 8 from branch dev into main using abort",
        CherryPick(7, 8, "dev", "main", MergeOptions(MergeUsing.ABORT)),
    ),
    ("rebase branch dev", RebaseBranch("dev")),
    (
        "rebase branch dev onto main squash",
        RebaseBranch("dev", "main", MergeOptions(is_squash=True)),
    ),
    ("create snapshot 'x'", CreateSnapshot("x")),
    (
        "create snapshot if not exists x as of branch dev lsn 5",
        CreateSnapshot("x", True, DEV_LSN_5),
    ),
    ("drop snapshot 'x'", DropSnapshot("x")),
    ("drop snapshot if exists x", DropSnapshot("x", True)),
    ("show snapshots", ShowSnapshots()),
    ("show snapshots like ?", ShowSnapshots(Parameter(0, None))),
    ("show log", ShowLog()),
    ("show log limit 10", ShowLog(10)),
    ("branch log limit :n", ShowLog(Parameter(0, "n"))),
    ("restore to lsn 5", Restore(LSN_5)),
    ("restore as of lsn 5", Restore(LSN_5)),
    ("restore to as of lsn 5", Restore(LSN_5)),
    ("restore for system_time as of lsn 5", Restore(LSN_5)),
    ("restore database to snapshot 'x'", Restore(SNAPSHOT_X)),
    ("restore branch to lsn 5", Restore(LSN_5)),
    ("restore branch as of lsn 5", Restore(LSN_5)),
    ("restore branch dev to lsn 5", Restore(LSN_5, "dev")),
    ("restore branch for for system_time as of lsn 5", Restore(LSN_5, "for")),
    ("restore table t to lsn 5", RestoreTable("t", LSN_5)),
    ("restore table t as of lsn 5", RestoreTable("t", LSN_5)),
    ("restore table 't u' as old to branch dev lsn 5", RestoreTable("t u", DEV_LSN_5, "old")),
    ("restore table t as old as of lsn 5", RestoreTable("t", LSN_5, "old")),
    ("restore table t as of to lsn 5", RestoreTable("t", LSN_5, "of")),
    ("compact", Compact()),
    ("COMPACT HISTORY;", Compact()),
    ("set transaction read only", SetTransaction(read_only=True)),
    ("set transaction read write", SetTransaction(read_only=False)),
    (
        "set transaction isolation level serializable, read only",
        SetTransaction(IsolationLevel.SERIALIZABLE, True),
    ),
    *(
        (f"set transaction isolation level {level.value}", SetTransaction(level))
        for level in IsolationLevel
    ),
    ("set commit author 'ann'", SetCommitAuthor("ann")),
    ("set commit author = ?", SetCommitAuthor(Parameter(0, None))),
    ("set commit message 'why'", SetCommitMessage("why")),
    ("set commit message null", SetCommitMessage(None)),
]


@pytest.mark.parametrize(("sql", "command"), COMMANDS)
def test_a_command_is_read(sql: str, command: Command) -> None:
    statement = classify(sql)
    assert statement.kind is StatementKind.COMMAND
    assert statement.command == command
    assert statement.text is sql


@pytest.mark.parametrize("sql", [sql for sql, _ in COMMANDS])
def test_no_command_is_a_statement_of_sqlite(sql: str) -> None:
    with pytest.raises(apsw.SQLError, match="syntax error"):
        apsw.Connection("").execute(sql, (1,) * sql.count("?"))


def test_every_kind_of_command_is_shown_once() -> None:
    shown = {type(command).__name__ for _, command in COMMANDS}
    assert shown == {subclass.__name__ for subclass in Command.__subclasses__()}


REFUSED = [
    ("create branch", 14, "found the end of the statement, expected the name of the new branch"),
    ("create branch from x", 15, "found from, expected the name"),
    ("create branch 5", 15, "found 5, expected the name"),
    ("create branch a b", 17, "found b, expected the end of the statement"),
    ("create branch a from", 21, "expected the name of a branch"),
    ("create branch if not x", 18, "found not, expected the end"),
    ("create snapshot", 16, "expected the name of the new snapshot"),
    ("create snapshot x from y", 19, "found from, expected the end"),
    ("drop branch a cascade", 15, "found cascade, expected the end"),
    ("alter branch a", 15, "expected RENAME TO, PROTECT or UNPROTECT"),
    ("alter branch a rename b", 23, "found b, expected TO"),
    ("use main", 5, "found main, expected BRANCH"),
    ("checkout main", 10, "found main, expected BRANCH or NEW"),
    ("show tables", 6, "found tables, expected BRANCHES or SNAPSHOTS or LOG"),
    ("show branches like x", 20, "found x, expected a pattern in quotes"),
    ("show log limit x", 16, "found x, expected a whole number"),
    ("show log limit -1", 16, "found -, expected a whole number"),
    ("branch", 7, "found the end of the statement, expected LOG"),
    ("hydrate", 8, "expected BRANCH"),
    ("merge branch dev using force", 24, "expected OURS, THEIRS, NEWEST or ABORT"),
    ("compact everything", 9, "found everything, expected the end"),
    ("restore lsn 5", 9, "found lsn, expected TO and a moment"),
    ("restore branch dev", 19, "expected TO and a moment"),
    ("set x = 1", 5, "found x, expected TRANSACTION or COMMIT"),
    ("set transaction", 16, "expected ISOLATION LEVEL, READ ONLY or READ WRITE"),
    ("set transaction isolation level chaos", 33, "found chaos, expected READ UNCOMMITTED or"),
    ("set transaction read only,", 27, "expected ISOLATION LEVEL"),
    ("set commit author ann", 19, "found ann, expected a text in quotes"),
]


@pytest.mark.parametrize(("sql", "column", "message"), REFUSED)
def test_a_misspelt_command_says_what_was_expected(sql: str, column: int, message: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        classify(sql)
    assert str(caught.value).startswith(f"line 1, column {column}: ")
    assert message in str(caught.value)
    assert caught.value.hint.startswith("write ")
    assert caught.value.code == "STMT_SYNTAX"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("create branch x as of", "AS OF needs a value, found the end"),
        ("create branch x as of lsn", "lsn needs a value"),
        ("restore to", "to needs a value, found the end"),
        ("restore to yesterday", "yesterday is no moment"),
        ("create branch fix-1", "the name that begins with fix holds -"),
        ("use branch feature/login", "the name that begins with feature holds /"),
    ],
)
def test_a_misspelt_moment_or_name_is_a_time_travel_error(sql: str, message: str) -> None:
    with pytest.raises(TimeTravelSyntaxError, match=message):
        classify(sql)


def bound(sql: str, parameters: Any) -> tuple[Command, tuple[Any, ...]]:
    command = classify(sql).command
    assert command is not None
    return bind_command(command, parameters)


def test_values_take_the_place_of_names() -> None:
    command, of_moment = bound("create branch ? from ?3 as of branch ?2 lsn :n", ("a", "b", "c", 4))
    assert isinstance(command, CreateBranch)
    assert (command.name, command.source) == ("a", "c")
    assert of_moment == ("b", 4)
    assert command.moment is not None
    assert len(command.moment.all_parameters) == len(of_moment)


def test_values_may_be_named() -> None:
    assert bound("alter branch :a rename to :b", {"a": "x", "b": "y", "c": 1}) == (
        RenameBranch("x", "y"),
        (),
    )
    assert bound("show log limit @n", {"n": 3}) == (ShowLog(3), ())


def test_a_command_without_parameters_takes_none() -> None:
    assert bound("use branch dev", None) == (UseBranch("dev"), ())
    with pytest.raises(ProgrammingError, match="uses 0, and there are 1"):
        bound("use branch dev", ("x",))


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(DataError, match="CreateBranch takes str for its name, found int"):
        bound("create branch ?", (5,))
    with pytest.raises(DataError, match="ShowLog takes int for its limit, found str"):
        bound("show log limit ?", ("5",))


def test_commands_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CreateBranch("x").name = "y"  # type: ignore[misc]
