"""The lake: its settings, its object store, what is sent to it, and its tables.

As in `dosql_core.errors`, the parent of a class says what the caller should do next.
"""

from __future__ import annotations

from dosql_core.errors import (
    Category,
    DataError,
    IntegrityError,
    NotSupportedError,
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


# -- the catalog -----------------------------------------------------------------------------------


class TableMetadataError(DataError):
    """What was sent is not what the Iceberg specification allows there."""

    code = "LAKEHOUSE_ICEBERG_ERROR"
    hint = "the message says what was found and what was expected: correct the request"


class NamespaceNotFoundError(ProgrammingError):
    """The catalog has no such namespace."""

    code = "LAKEHOUSE_NAMESPACE_NOT_FOUND"
    hint = "`dolake tables` lists what there is"


class TableNotFoundError(ProgrammingError):
    """The catalog has no such table."""

    code = "LAKEHOUSE_TABLE_NOT_FOUND"
    hint = "`dolake tables` lists what there is"


class LakeViewNotFoundError(ProgrammingError):
    """The catalog has no such view."""

    code = "LAKEHOUSE_VIEW_NOT_FOUND"
    hint = "`dolake tables` lists what there is"


class AlreadyExistsError(IntegrityError):
    """The catalog has a namespace, a table or a view of that name already."""

    code = "LAKEHOUSE_ALREADY_EXISTS"
    hint = "choose another name, or use what is there"


class NamespaceNotEmptyError(IntegrityError):
    """A namespace that still holds something cannot be dropped."""

    code = "LAKEHOUSE_NAMESPACE_NOT_EMPTY"
    hint = "drop its tables, views and namespaces first"


class CommitConflictError(OperationalError):
    """Somebody else's commit came first, and a requirement of this one no longer holds."""

    code = "LAKEHOUSE_MANIFEST_CONFLICT"
    category = Category.CONFLICT
    is_retryable = True
    hint = "load the table again and make the change anew on what it is now"


class CommitStateUnknownError(OperationalError):
    """Whether the commit was made could not be told: its files must not be removed."""

    code = "LAKEHOUSE_COMMIT_UNKNOWN"
    category = Category.CONNECTION
    hint = "load the table and look before trying again; remove none of the commit's files"


class CatalogReadOnlyError(NotSupportedError):
    """The catalog as of a past moment takes no changes."""

    code = "LAKEHOUSE_READ_ONLY"
    hint = "leave the moment out to work on the present"
