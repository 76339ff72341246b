"""The admin's history view, with what the database itself remembers of an object."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import unquote
from django.db import connections, router

from django_dosql.row_history import changes_of_row


class HistoryAdmin:
    """Mixin for a ModelAdmin: every version of an object's row, whoever or whatever wrote it.

    Below the admin's own log of what was done in the admin. Reads the object's own table; of a
    model that inherits from another one, what the parent's table holds is in the parent's history.
    """

    object_history_template = "django_dosql/object_history.html"
    row_history_hidden: tuple[str, ...] = ("password",)  # columns nobody needs to see again

    def history_view(self, request: Any, object_id: str, extra_context: Any = None) -> Any:
        """The page; the parameter `last` is the LSN from which it reads backwards."""
        context = {"row_changes": None, "row_changes_next": None, **(extra_context or {})}
        model: Any = self.model  # type: ignore[attr-defined]
        database = router.db_for_read(model)
        if getattr(connections[database], "branch", None) is not None:  # else it has no history
            last = request.GET.get("last", "")
            context["row_changes"], context["row_changes_next"] = changes_of_row(
                model,
                unquote(object_id),
                database,
                last=int(last) if last.isdecimal() else None,
                hidden=self.row_history_hidden,
            )
        return super().history_view(request, object_id, context)  # type: ignore[misc]
