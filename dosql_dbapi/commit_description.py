"""SET COMMIT outside of a transaction: what is said there goes with the next commit that follows.

The description is a row of the transaction that it describes (docs/decisions/0008). So it waits in
the session, every write of the connection is sent here instead of down its fast path, and the first
one that changes something takes it along. A write that would be a transaction of its own becomes
one that is begun and committed around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dosql_core.language.classify import Statement, StatementKind
from dosql_dbapi.plans import PlanBook, begins_implicitly

if TYPE_CHECKING:
    from dosql_dbapi.connection_transactions import ConnectionTransactions

_DESCRIBABLE = frozenset((StatementKind.DML, StatementKind.DDL))


def is_describable(kind: StatementKind) -> bool:
    """Whether a statement of this kind may be what is committed next."""
    return kind in _DESCRIBABLE


def follow_session(connection: ConnectionTransactions) -> None:
    """Have writes look for a description exactly while the session holds one."""
    is_waiting = connection._session.waiting_description is not None
    if connection._plans.describes_commit != is_waiting:
        connection._plans = PlanBook(connection._plans.looks_at_parameters, is_waiting)


@contextmanager
def carrying_description(
    connection: ConnectionTransactions, statement: Statement
) -> Iterator[None]:
    """A block that runs one write, which takes the waiting description along if it changes a thing.

    Where it fails or changes nothing, the description waits on.
    """
    session = connection._session
    begins = (
        connection._begin_sql is not None
        and statement.kind is StatementKind.DML
        and begins_implicitly(statement)
    )
    is_own_transaction = connection._in_autocommit() and not begins
    connection._plans = PlanBook(connection._plans.looks_at_parameters)
    if is_own_transaction:
        connection._begin("BEGIN IMMEDIATE", "immediate")
    before = session.content_mark()
    try:
        yield
        if session.content_mark() != before:
            session.carry_description()
        if is_own_transaction:
            connection._end("COMMIT")
    except BaseException:
        if is_own_transaction and not connection._in_autocommit():
            connection._end("ROLLBACK")
        raise
    finally:
        follow_session(connection)
