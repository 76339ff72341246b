"""`database.changes`: where users begin to read changes."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dosql_core.changes.change_event import ChangeEvent
from dosql_core.changes.slots import Slots
from dosql_core.changes.subscription import (
    ChangingDatabase,
    Subscription,
    change_filter,
    require_changes,
)
from dosql_core.identifiers import MAIN_BRANCH


class ChangeStreams:
    """The row changes of a database, on any of its branches."""

    def __init__(self, database: ChangingDatabase) -> None:
        self._database = database
        self.slots = Slots(database)

    def subscribe(
        self,
        from_lsn: int | None = None,
        branch: str = MAIN_BRANCH,
        *,
        tables: Collection[str] | None = None,
        operations: Collection[str] | None = None,
        where: Callable[[ChangeEvent], bool] | str | None = None,
        markers: bool = False,
        follow: bool = False,
        up_to: int | None = None,
    ) -> Subscription:
        """Every change after `from_lsn` (by default: after the present), in commit order.

        With `follow` it goes on with what is committed meanwhile, in any process, and ends when it
        is closed; without, it ends at `up_to` or the present.

        Shape:  `operations` are of insert, update, delete, schema, gap. `where` is a function of an
                event, or an expression of SQL over the columns of the row (`RowCondition`).
        Errors: BranchNotFoundError; ChangesNotKeptError when history does not go back so far;
                ChangesTurnedOffError.
        """
        require_changes(self._database)
        wanted = change_filter(tables, operations, where, markers=markers)
        branch_ref = self._database.refs().branch(branch)
        return Subscription(
            self._database, branch_ref, from_lsn, wanted, follow=follow, up_to=up_to
        )
