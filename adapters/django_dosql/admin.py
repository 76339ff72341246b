"""The admin's history view, with what the database itself remembers of an object."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import unquote
from django.db import NotSupportedError, router

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
        last = request.GET.get("last", "")
        context = {
            "row_changes": [],
            "row_changes_next": None,
            **(extra_context or {}),
        }
        model: Any = self.model  # type: ignore[attr-defined]
        try:
            context["row_changes"], context["row_changes_next"] = changes_of_row(
                model,
                unquote(object_id),
                router.db_for_read(model),
                last=int(last) if last.isdecimal() else None,
                hidden=self.row_history_hidden,
            )
        except NotSupportedError:  # this database keeps no history
            context["row_changes"] = None
        return super().history_view(request, object_id, context)  # type: ignore[misc]
