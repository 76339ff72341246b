"""The grammar of the statements that merge, revert, pick and rebase."""

from __future__ import annotations

from dosql_core.language.commands import Command, Name
from dosql_core.language.merge_commands import (
    AbortMerge,
    CherryPick,
    CommitMerge,
    MergeBranch,
    MergeOptions,
    MergeUsing,
    Number,
    RebaseBranch,
    ResolveConflicts,
    Revert,
)
from dosql_core.language.statement_reader import Forms, StatementReader

_MERGING = (MergeUsing.OURS, MergeUsing.THEIRS, MergeUsing.NEWEST, MergeUsing.ABORT)
_RESOLVING = (MergeUsing.OURS, MergeUsing.THEIRS, MergeUsing.BASE, MergeUsing.NEWEST)
_REBASING = (MergeUsing.OURS, MergeUsing.THEIRS, MergeUsing.ABORT)
_USING = "[USING OURS | THEIRS | NEWEST | ABORT]"


def _merge_branch(statement: StatementReader) -> Command:
    source = statement.name("the branch to merge")
    target = _named(statement, "INTO", "the branch to merge it into")
    return MergeBranch(source, target, _options(statement, _MERGING, may_squash=True))


def _commit_merge(statement: StatementReader) -> Command:
    return CommitMerge(_named(statement, "INTO", "the branch that is merged into"))


def _abort_merge(statement: StatementReader) -> Command:
    return AbortMerge(_named(statement, "INTO", "the branch that is merged into"))


def _resolve_conflict(statement: StatementReader) -> Command:
    number = _number(statement)
    target = _named(statement, "INTO", "the branch that is merged into")
    return ResolveConflicts(_using(statement, _RESOLVING), first=number, target=target)


def _resolve_conflicts(statement: StatementReader) -> Command:
    table = _named(statement, "ON", "a table")
    target = _named(statement, "INTO", "the branch that is merged into")
    return ResolveConflicts(_using(statement, _RESOLVING), table, target=target)


def _revert(statement: StatementReader) -> Command:
    first, last = _range(statement)
    target = None
    if statement.cursor.take("ON"):
        statement.expect("BRANCH")
        target = statement.name("a branch")
    return Revert(first, last, target, _options(statement, _MERGING))


def _cherry_pick(statement: StatementReader) -> Command:
    first, last = _range(statement)
    statement.expect("FROM", "BRANCH")
    source = statement.name("the branch to pick from")
    target = _named(statement, "INTO", "the branch that gets it")
    return CherryPick(first, last, source, target, _options(statement, _MERGING))


def _rebase_branch(statement: StatementReader) -> Command:
    name = statement.name("the branch to rebase")
    onto = _named(statement, "ONTO", "the branch to begin at")
    options = _options(statement, _REBASING, may_squash=True)
    if options.is_dry_run or options.is_fast_forward_only:
        raise statement.error("USING or SQUASH")
    return RebaseBranch(name, onto, options)


def _named(statement: StatementReader, word: str, of_what: str) -> Name | None:
    return statement.name(of_what) if statement.cursor.take(word) else None


def _range(statement: StatementReader) -> tuple[Number, Number | None]:
    first = _number(statement)
    return first, _number(statement) if statement.cursor.take("TO") else None


def _number(statement: StatementReader) -> Number:
    number = statement.number()
    if number is None:
        raise statement.error("a whole number")
    return number


def _using(statement: StatementReader, ways: tuple[MergeUsing, ...]) -> MergeUsing:
    statement.expect("USING")
    found = next((way for way in ways if statement.cursor.take(way.value)), None)
    if found is None:
        names = [way.value for way in ways]
        raise statement.error(f"{', '.join(names[:-1])} or {names[-1]}")
    return found


def _options(
    statement: StatementReader, ways: tuple[MergeUsing, ...], *, may_squash: bool = False
) -> MergeOptions:
    """USING, FAST FORWARD ONLY, SQUASH and DRY RUN, in any order."""
    cursor = statement.cursor
    using: MergeUsing | None = None
    is_dry_run = is_squash = is_forward = False
    while True:
        if using is None and cursor.is_at("USING"):
            using = _using(statement, ways)
        elif cursor.take("DRY", "RUN"):
            is_dry_run = True
        elif may_squash and cursor.take("SQUASH"):
            is_squash = True
        elif may_squash and cursor.take("FAST", "FORWARD", "ONLY"):
            is_forward = True
        else:
            return MergeOptions(using, is_dry_run, is_squash, is_forward)


MERGE_FORMS: Forms = {
    "MERGE": (
        (
            ("MERGE", "BRANCH"),
            _merge_branch,
            f"MERGE BRANCH name [INTO branch] {_USING} [FAST FORWARD ONLY] [SQUASH] [DRY RUN]",
        ),
    ),
    "COMMIT": ((("COMMIT", "MERGE"), _commit_merge, "COMMIT MERGE [INTO branch]"),),
    "ABORT": ((("ABORT", "MERGE"), _abort_merge, "ABORT MERGE [INTO branch]"),),
    "RESOLVE": (
        (
            ("RESOLVE", "CONFLICTS"),
            _resolve_conflicts,
            "RESOLVE CONFLICTS [ON table] [INTO branch] USING OURS | THEIRS | BASE | NEWEST",
        ),
        (
            ("RESOLVE", "CONFLICT"),
            _resolve_conflict,
            "RESOLVE CONFLICT number [INTO branch] USING OURS | THEIRS | BASE | NEWEST",
        ),
    ),
    "REVERT": (
        (
            ("REVERT", "LSN"),
            _revert,
            f"REVERT LSN number [TO number] [ON BRANCH name] {_USING} [DRY RUN]",
        ),
    ),
    "CHERRY": (
        (
            ("CHERRY", "PICK", "LSN"),
            _cherry_pick,
            f"CHERRY PICK LSN number [TO number] FROM BRANCH name [INTO branch] {_USING} [DRY RUN]",
        ),
    ),
    "REBASE": (
        (
            ("REBASE", "BRANCH"),
            _rebase_branch,
            "REBASE BRANCH name [ONTO branch] [USING OURS | THEIRS | ABORT] [SQUASH]",
        ),
    ),
}
