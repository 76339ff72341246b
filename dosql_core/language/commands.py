"""DoSQL's own statements as records, and the values bound to their parameters put in place."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any, TypeVar

from dosql_core.errors import DataError
from dosql_core.language.moments import MomentClause
from dosql_core.language.parameters import (
    Parameter,
    Parameters,
    count_parameters,
    values_of,
)

_NUMBERS = frozenset(("limit", "first", "last"))

Name = str | Parameter
"""A name in a command: as written, or the parameter that will say it."""


class IfMissing(enum.Enum):
    """What a checkout does about a branch that is not there."""

    REFUSE = "refuse"
    CREATE = "create"
    ALWAYS_CREATE = "the branch must be new"


class IsolationLevel(enum.Enum):
    """The names SET TRANSACTION ISOLATION LEVEL knows."""

    READ_UNCOMMITTED = "READ UNCOMMITTED"
    READ_COMMITTED = "READ COMMITTED"
    REPEATABLE_READ = "REPEATABLE READ"
    SNAPSHOT = "SNAPSHOT"
    SERIALIZABLE = "SERIALIZABLE"


@dataclass(frozen=True, slots=True)
class Command:
    """One of our own statements; each kind is a subclass."""


@dataclass(frozen=True, slots=True)
class CreateBranch(Command):
    """CREATE BRANCH; without `source` from the current branch, without `moment` from its head."""

    name: Name
    if_not_exists: bool = False
    source: Name | None = None
    moment: MomentClause | None = None


@dataclass(frozen=True, slots=True)
class DropBranch(Command):
    """DROP BRANCH; `force` also drops the snapshots on it."""

    name: Name
    if_exists: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class RenameBranch(Command):
    """ALTER BRANCH ... RENAME TO."""

    name: Name
    new_name: Name


@dataclass(frozen=True, slots=True)
class ProtectBranch(Command):
    """ALTER BRANCH ... PROTECT or UNPROTECT."""

    name: Name
    is_protected: bool


@dataclass(frozen=True, slots=True)
class UseBranch(Command):
    """USE BRANCH or CHECKOUT BRANCH: the connection goes on with another branch."""

    name: Name
    if_missing: IfMissing = IfMissing.REFUSE


@dataclass(frozen=True, slots=True)
class ShowBranches(Command):
    """SHOW BRANCHES; `pattern` as in LIKE."""

    pattern: Name | None = None


@dataclass(frozen=True, slots=True)
class HydrateBranch(Command):
    """HYDRATE BRANCH: turn a fork's head into a stock SQLite file."""

    name: Name


@dataclass(frozen=True, slots=True)
class CreateSnapshot(Command):
    """CREATE SNAPSHOT; without `moment` of the present."""

    name: Name
    if_not_exists: bool = False
    moment: MomentClause | None = None


@dataclass(frozen=True, slots=True)
class DropSnapshot(Command):
    """DROP SNAPSHOT."""

    name: Name
    if_exists: bool = False


@dataclass(frozen=True, slots=True)
class ShowSnapshots(Command):
    """SHOW SNAPSHOTS; `pattern` as in LIKE."""

    pattern: Name | None = None


@dataclass(frozen=True, slots=True)
class ShowLog(Command):
    """SHOW LOG or BRANCH LOG: the newest commits first, `limit` of them at most."""

    limit: int | Parameter | None = None


@dataclass(frozen=True, slots=True)
class Restore(Command):
    """RESTORE: a whole branch back to a moment; `branch` is None for the current one."""

    moment: MomentClause
    branch: Name | None = None


@dataclass(frozen=True, slots=True)
class RestoreTable(Command):
    """RESTORE TABLE: one table back to a moment, or its past beside it under `new_name`."""

    table: Name
    moment: MomentClause
    new_name: Name | None = None


@dataclass(frozen=True, slots=True)
class Compact(Command):
    """COMPACT HISTORY: drop what retention no longer keeps."""


@dataclass(frozen=True, slots=True)
class SetTransaction(Command):
    """SET TRANSACTION; None where the statement does not say."""

    isolation: IsolationLevel | None = None
    read_only: bool | None = None


@dataclass(frozen=True, slots=True)
class SetCommitAuthor(Command):
    """SET COMMIT AUTHOR, for the next commit of the connection; None takes it back."""

    author: Name | None


@dataclass(frozen=True, slots=True)
class SetCommitMessage(Command):
    """SET COMMIT MESSAGE, for the next commit of the connection; None takes it back."""

    message: Name | None


AnyCommand = TypeVar("AnyCommand", bound=Command)


def bind_command(
    command: AnyCommand, parameters: Parameters | None
) -> tuple[AnyCommand, tuple[Any, ...]]:
    """The command with its names filled in, and the values of its moment.

    Shape: the values are in the order of the moment's `all_parameters`; () without a moment.
    Errors: ProgrammingError when values are missing or too many, DataError for one of a wrong type.
    """
    fields = {f.name: getattr(command, f.name) for f in dataclasses.fields(command)}
    moment = fields.get("moment")
    of_moment = moment.all_parameters if isinstance(moment, MomentClause) else ()
    named = {name: value for name, value in fields.items() if isinstance(value, Parameter)}
    count = count_parameters((*of_moment, *named.values()))
    values = values_of(named.values(), parameters, count)
    for name, value in zip(named, values, strict=True):
        wanted = int if name in _NUMBERS else str
        if not isinstance(value, wanted):
            raise DataError(
                f"{type(command).__name__} takes {wanted.__name__} for its {name}, "
                f"found {type(value).__name__}"
            )
    bound = dataclasses.replace(command, **dict(zip(named, values, strict=True)))
    return bound, values_of(of_moment, parameters, count)
