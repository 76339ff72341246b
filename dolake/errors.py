"""The lake: its settings, its object store, what is sent to it, and its tables.

As in `dosql_core.errors`, the parent of a class says what the caller should do next.
"""

from __future__ import annotations

from typing import ClassVar

from dosql_core.errors import (
    Category,
    ChangeDecodeError,
    DataError,
    IntegrityError,
    InternalError,
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


# -- what is sent to the lake ----------------------------------------------------------------------


class RefusedError(OperationalError):
    """The lake does not take in what was sent; it says why, and nothing of it is lost.

    Shape: `nack_reason` is the word of the protocol (docs/lake_protocol.md). `expected_lsn` is
           the LSN after which the lake goes on, where that is what was wrong.
    """

    code = "LAKEHOUSE_REFUSED"
    hint = "the reason is in the message"
    nack_reason: ClassVar[str] = "internal_error"
    retry_after_seconds: float | None = None
    expected_lsn: int | None = None


class MalformedMessageError(RefusedError, ChangeDecodeError):
    """A message does not follow the protocol."""

    code = "CDC_DECODE_ERROR"
    category = Category.VALIDATION
    hint = "docs/lake_protocol.md describes every message"
    nack_reason = "invalid_format"


class SequenceError(RefusedError):
    """Changes are missing between what the lake has and what was sent."""

    code = "CDC_INVALID_SEQUENCE"
    category = Category.CONFLICT
    hint = "send again from the LSN that was expected"
    nack_reason = "invalid_sequence"

    def __init__(self, message: str, expected_lsn: int) -> None:
        super().__init__(message)
        self.expected_lsn = expected_lsn


class MessageTooLargeError(RefusedError):
    """A message, or one change in it, is larger than the lake takes."""

    code = "LAKEHOUSE_MESSAGE_TOO_LARGE"
    category = Category.VALIDATION
    hint = "send smaller batches, or serve with higher --message-bytes-max and --event-bytes-max"
    nack_reason = "too_large"


class ClockSkewError(RefusedError):
    """The sender's clock and ours are further apart than is allowed."""

    code = "CDC_CLOCK_SKEW"
    category = Category.VALIDATION
    hint = "set both clocks right, or serve with a higher --clock-skew-max"
    nack_reason = "clock_skew"


class UnauthorizedError(RefusedError):
    """The token is missing, unknown, or not for this source."""

    code = "HTTP_UNAUTHORIZED"
    category = Category.CONNECTION
    hint = "give the token the lake was started with: --token, or DOLAKE_TOKEN"
    nack_reason = "unauthorized"


class LakeBufferFullError(RefusedError):
    """The lake has as much unwritten as it may hold: wait until it has written some."""

    code = "LAKEHOUSE_BUFFER_OVERFLOW"
    category = Category.RESOURCE
    is_retryable = True
    hint = "try again after the delay it names; /status tells what holds the lake up"
    nack_reason = "buffer_full"
    retry_after_seconds = 1.0


class RateLimitedError(RefusedError):
    """More connections or messages a second than the lake takes from one source."""

    code = "RATE_LIMITED"
    category = Category.RESOURCE
    is_retryable = True
    hint = "wait for the delay it names, or send fewer and larger batches"
    nack_reason = "rate_limited"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SourceBusyError(RefusedError):
    """Another connection or process sends the changes of this source already."""

    code = "CDC_SOURCE_IN_USE"
    category = Category.CONFLICT
    is_retryable = True
    hint = "one sender a source: end the other one, or give this one another name"
    nack_reason = "source_in_use"
    retry_after_seconds = 1.0


class ShuttingDownError(RefusedError):
    """The lake is going down; what it acknowledged is kept."""

    code = "LAKEHOUSE_SHUTTING_DOWN"
    category = Category.CONNECTION
    is_retryable = True
    hint = "connect again; the lake tells from where to go on"
    nack_reason = "shutting_down"
    retry_after_seconds = 1.0


class SourceHaltedError(RefusedError):
    """A batch of this source could not be applied, and its tier lets nothing pass it."""

    code = "LAKEHOUSE_SOURCE_HALTED"
    category = Category.CONFLICT
    hint = (
        "at the lake `dolake dead-letters` shows the batch; its `retry` applies it again, its "
        "`discard` goes on without it"
    )
    nack_reason = "internal_error"


class DeadLetterNotFoundError(ProgrammingError):
    """There is no dead letter of that name."""

    code = "CDC_DEAD_LETTER_NOT_FOUND"
    hint = "`dolake dead-letters list` names those there are"


class DeadLetterPassedError(OperationalError):
    """The dead letter cannot be dealt with as was asked, where its source stands now."""

    code = "CDC_DEAD_LETTER_PASSED"
    category = Category.CONFLICT
    hint = "what a source went on without is mended by a new copy: `dolake push --copy`"


class ForeignSourceError(RefusedError):
    """The name of the source belongs to another database."""

    code = "CDC_SOURCE_MISMATCH"
    category = Category.CONFLICT
    hint = "give each database a name of its own: --name"
    nack_reason = "unauthorized"


class DamagedEventLogError(InternalError):
    """The lake's log of changes that are not yet in a snapshot is damaged."""

    code = "LAKEHOUSE_LOG_DAMAGED"
    hint = "copy the table anew from its source: `dolake sync --copy`, `dolake push --copy`"


class EventLogFailedError(OperationalError):
    """The disk failed to keep the log of changes: nothing is taken in until a restart."""

    code = "LAKEHOUSE_LOG_FAILED"
    category = Category.RESOURCE
    hint = "look at the disk, then start the lake again; sources send what was not acknowledged"


class LakeUnreachableError(OperationalError):
    """The lake does not answer, or ended the connection."""

    code = "LAKEHOUSE_CONNECTION_FAILED"
    category = Category.CONNECTION
    is_retryable = True
    hint = "see that `dolake serve` runs there and that the address is right"


# -- the lake: tables ------------------------------------------------------------------------------


class LakeCorruptError(InternalError):
    """A file of a table is not what its table says it is."""

    code = "LAKEHOUSE_CHUNK_CORRUPTED"
    category = Category.INTERNAL
    hint = "`dolake verify` tells which files are damaged; make the table's initial copy anew"


class SnapshotNotFoundError(OperationalError):
    """A snapshot that is named is not, or no longer, part of the table."""

    code = "LAKEHOUSE_SNAPSHOT_NOT_FOUND"
    category = Category.VALIDATION
    hint = "`dolake snapshots` lists those there are"


class ForeignDeletesError(OperationalError):
    """Another engine deleted from a mirror by values, which a mirror cannot go on from."""

    code = "LAKEHOUSE_FOREIGN_DELETES"
    category = Category.CONFLICT
    hint = "compact the table with that engine, or roll it back to the snapshot before"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} deletes rows by their values; a mirror has deletes by position only"


class LakeSchemaMismatchError(DataError):
    """A change is not of the table as its schema was told."""

    code = "LAKEHOUSE_SCHEMA_MISMATCH"
    hint = "send the table's schema change first; a new initial copy sets right what went wrong"


class FlushError(OperationalError):
    """What was staged could not be committed; it is still staged."""

    code = "LAKEHOUSE_FLUSH_ERROR"
    is_retryable = True
    hint = "flush again; the cause says what happened"


class MaintenanceFailedError(OperationalError):
    """The process that maintains tables ended before it was done; the tables are valid."""

    code = "COMPACTION_CLEANUP_FAILED"
    is_retryable = True
    hint = "run it again; `dolake verify` tells whether anything is amiss"


# -- queries ---------------------------------------------------------------------------------------


class LakeQueryError(ProgrammingError):
    """The query is not one that the lake can answer."""

    code = "LAKEHOUSE_QUERY_ERROR"
    hint = "docs/lake_catalog.md tells what a query may be"


class LakeQueryTimeoutError(OperationalError):
    """The query took longer than it may."""

    code = "LAKEHOUSE_QUERY_TIMEOUT"
    category = Category.TIMEOUT
    hint = "ask for less, or allow it more time"


class LsnNotInLakeError(OperationalError):
    """The lake has no state of the table as of exactly that LSN."""

    code = "LAKEHOUSE_LSN_NOT_AVAILABLE"
    hint = "ask for one of the LSNs named, or ask the database itself"
