"""Django on DoSQL: `ENGINE = "django_dosql"`, the past and branches in Django's own idiom."""

from __future__ import annotations

__all__: list[str] = []
