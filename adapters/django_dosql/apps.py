"""The application, for INSTALLED_APPS: the `dosql` command and the admin's history view."""

from __future__ import annotations

from django.apps import AppConfig

from django_dosql.switching import install


class DosqlConfig(AppConfig):
    """Teaches Django about branches and moments from the start of the process.

    Without it they are taught with the first use, which is too late for an object of the past that
    was pickled by another process.
    """

    name = "django_dosql"
    verbose_name = "DoSQL"

    def ready(self) -> None:
        install()
