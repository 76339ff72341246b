"""Managers and querysets that read the past: `Model.objects.as_of(moment)`."""

from __future__ import annotations

from typing import Any, Self

from django.db import models

from django_dosql.switching import Moment, past_of


class AsOfQuerySet(models.QuerySet):
    """A queryset that can be asked of the past.

    Objects read from there keep their moment as their database: what they refer to is read at the
    same moment, and saving one is refused unless `using=` says where.
    """

    def as_of(self, moment: Moment) -> Self:
        """The same query at a moment: an LSN, a datetime, `"-1 hour"`, `"snapshot:name"`..."""
        return self.using(past_of(self.db, moment).alias)  # type: ignore[no-any-return]


AsOfManager: Any = models.Manager.from_queryset(AsOfQuerySet, class_name="AsOfManager")


class TimeTravel(models.Model):
    """Mixin: gives a model `objects.as_of(moment)`."""

    objects = AsOfManager()

    class Meta:
        abstract = True
