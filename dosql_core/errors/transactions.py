"""Transactions: locks that others hold, and what ran too long."""

from __future__ import annotations

from dosql_core.errors.pep_249 import Category, OperationalError


class DatabaseLockedError(OperationalError):
    """Somebody else kept the write lock longer than the timeout."""

    code = "TXN_LOCK_TIMEOUT"
    category = Category.TIMEOUT
    is_retryable = True
    hint = "try again, or raise `timeout`"
    sqlite_errorcode = 5  # the queue of writers raises it, too, where SQLite never got to
    sqlite_errorname = "SQLITE_BUSY"


class SerializationFailure(OperationalError):
    """A transaction that began by reading cannot write: somebody committed since it read."""

    code = "TXN_SERIALIZATION_FAILURE"
    category = Category.CONFLICT
    is_retryable = True
    hint = "roll back and run the transaction again; BEGIN IMMEDIATE avoids it"


class TransactionTimeoutError(OperationalError):
    """The transaction ran longer than it was given and was rolled back."""

    code = "TXN_TIMEOUT"
    category = Category.TIMEOUT
    is_retryable = True
    hint = "give the transaction more time, or do less in it"
