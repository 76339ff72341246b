"""What SQLAlchemy's dialect suite may ask of DoSQL when a dialect is tested on its own.

The full run (tests/suites) uses the requirements of SQLAlchemy's own checkout instead, which knows
the dialect by its name, "sqlite".
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.testing import exclusions
from sqlalchemy.testing.requirements import SuiteRequirements


class Requirements(SuiteRequirements):
    """The suite's requirements, where SQLite differs from their defaults."""

    @property
    def independent_connections(self) -> Any:
        """An in-memory database belongs to one connection."""
        return exclusions.closed()

    @property
    def savepoints(self) -> Any:
        return exclusions.open()

    @property
    def json_type(self) -> Any:
        return exclusions.open()
