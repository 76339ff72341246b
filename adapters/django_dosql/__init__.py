"""Django on DoSQL: `ENGINE = "django_dosql"`, the past and branches in Django's own idiom."""

from __future__ import annotations

from django_dosql.commits import describe_commit
from django_dosql.switching import as_of, branch

__all__ = ["as_of", "branch", "describe_commit"]
