"""The statements that merge, revert, pick and rebase, as records."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dosql_core.language.commands import Command, Name
from dosql_core.language.parameters import Parameter

Number = int | Parameter


class MergeUsing(enum.Enum):
    """What decides a row that both sides changed; BASE only for conflicts that were kept."""

    ABORT = "ABORT"
    OURS = "OURS"
    THEIRS = "THEIRS"
    NEWEST = "NEWEST"
    BASE = "BASE"


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """What may follow: without `using` conflicts are kept, to be resolved."""

    using: MergeUsing | None = None
    is_dry_run: bool = False
    is_squash: bool = False
    is_fast_forward_only: bool = False


@dataclass(frozen=True, slots=True)
class MergeBranch(Command):
    """MERGE BRANCH; into the connection's own branch unless `target` names another."""

    source: Name
    target: Name | None = None
    options: MergeOptions = MergeOptions()


@dataclass(frozen=True, slots=True)
class CommitMerge(Command):
    """COMMIT MERGE: the pending one, as its conflicts were resolved."""

    target: Name | None = None


@dataclass(frozen=True, slots=True)
class AbortMerge(Command):
    """ABORT MERGE: the pending one is forgotten."""

    target: Name | None = None


@dataclass(frozen=True, slots=True)
class ResolveConflicts(Command):
    """RESOLVE CONFLICTS: all, those of a table, or the one of a number."""

    using: MergeUsing
    table: Name | None = None
    first: Number | None = None
    target: Name | None = None


@dataclass(frozen=True, slots=True)
class Revert(Command):
    """REVERT LSN: a commit of the branch taken back, or those from `first` to `last`."""

    first: Number
    last: Number | None = None
    target: Name | None = None
    options: MergeOptions = MergeOptions()


@dataclass(frozen=True, slots=True)
class CherryPick(Command):
    """CHERRY PICK LSN: a commit of another branch, or those from `first` to `last`."""

    first: Number
    last: Number | None
    source: Name
    target: Name | None = None
    options: MergeOptions = MergeOptions()


@dataclass(frozen=True, slots=True)
class RebaseBranch(Command):
    """REBASE BRANCH: onto its parent unless `onto` names another branch."""

    name: Name
    onto: Name | None = None
    options: MergeOptions = MergeOptions()
