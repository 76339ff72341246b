"""Who made a commit and why: kept with it, shown by `manage.py dosql log`."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import TransactionManagementError


def describe_commit(
    *, author: str | None = None, message: str | None = None, using: str = DEFAULT_DB_ALIAS
) -> None:
    """Give the commit of the present `atomic()` block an author and a message.

    Errors: TransactionManagementError outside of such a block.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        raise TransactionManagementError(
            "describe_commit() describes the commit of an atomic block, and none is open"
        )
    with connection.cursor() as cursor:
        if author is not None:
            cursor.execute("SET COMMIT AUTHOR %s", [author])
        if message is not None:
            cursor.execute("SET COMMIT MESSAGE %s", [message])
