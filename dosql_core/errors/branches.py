"""Branches and snapshots: names that are missing, taken, wrong or still needed."""

from __future__ import annotations

from dosql_core.errors.pep_249 import Category, OperationalError, ProgrammingError


class BranchNotFoundError(OperationalError):
    """No branch has that name."""

    code = "BRANCH_NOT_FOUND"
    category = Category.VALIDATION
    hint = "SHOW BRANCHES lists them"


class BranchExistsError(ProgrammingError):
    """A branch of that name is already there."""

    code = "BRANCH_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or CREATE BRANCH IF NOT EXISTS"


class InvalidBranchNameError(ProgrammingError):
    """The name breaks the rules for branch names."""

    code = "INVALID_BRANCH_NAME"
    hint = "1 to 255 characters; no '..', no '.lock' ending, no leading '.', '_' or 'refs/'"


class BranchProtectedError(OperationalError):
    """The branch is protected."""

    code = "BRANCH_PROTECTED"
    category = Category.CONFLICT
    hint = "ALTER BRANCH name UNPROTECT lifts the protection"


class BranchInUseError(OperationalError):
    """The branch is open, or others fork from it."""

    code = "CANNOT_DELETE_CURRENT"
    category = Category.CONFLICT
    hint = "close its connections, and drop the branches that fork from it first"


class UncommittedChangesError(OperationalError):
    """The connection has a transaction open that the operation would lose."""

    code = "UNCOMMITTED_CHANGES"
    category = Category.CONFLICT
    hint = "commit or roll back first"


class SnapshotExistsError(ProgrammingError):
    """A snapshot of that name is already there."""

    code = "TT_SNAPSHOT_EXISTS"
    category = Category.CONFLICT
    hint = "choose another name, or CREATE SNAPSHOT IF NOT EXISTS"
