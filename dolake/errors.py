"""The lake: its settings, its object store, what is sent to it, and its tables.

As in `dosql_core.errors`, the parent of a class says what the caller should do next.
"""

from __future__ import annotations

from dosql_core.errors import (
    Category,
    OperationalError,
    ProgrammingError,
)

# -- settings and the object store -----------------------------------------------------------------


class LakeConfigurationError(ProgrammingError):
    """A setting of the lake has a value that means nothing here."""

    code = "LAKEHOUSE_CONFIG_ERROR"
    hint = "docs/lake.md tells the settings and their values"


class ObjectStoreError(OperationalError):
    """The object store did not answer, or answered that it cannot do it now."""

    code = "LAKEHOUSE_R2_ERROR"
    category = Category.CONNECTION
    is_retryable = True
    hint = "try again; see that the store runs and can be reached from here"


class ObjectNotFoundError(OperationalError):
    """The object store has no object of that name."""

    code = "R2_NOT_FOUND"
    category = Category.VALIDATION
    hint = "`dolake verify` tells which files tables need and which of them are missing"


class ObjectExistsError(OperationalError):
    """An object of that name, with other content, is there already."""

    code = "R2_CONFLICT"
    category = Category.CONFLICT
    hint = "somebody else wrote it first: look at what is there before trying again"


class ObjectStoreAccessError(OperationalError):
    """The object store does not let us: the credentials or the rights are wrong."""

    code = "R2_PERMISSION_DENIED"
    category = Category.CONNECTION
    hint = "check the access key, the secret and what the bucket's policy allows"
