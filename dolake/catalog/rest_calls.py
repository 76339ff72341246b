"""One request to the REST catalog, taken apart, and how the catalog is served."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dolake.catalog.identifiers import Namespace, TableIdentifier, levels_of
from dolake.catalog.json_fields import Json, object_of
from dolake.catalog.table_registry import TableRegistry


@dataclass(frozen=True, slots=True)
class RestOptions:
    """How a catalog is served.

    `tokens` are the bearer tokens that open it (None: it is open to all), `vends_credentials` says
    whether clients that ask get the warehouse's keys of the object store.
    """

    tokens: frozenset[str] | None = None
    vends_credentials: bool = False

    def lets_in(self, authorization: str) -> bool:
        """Whether a request with this header may be answered."""
        if self.tokens is None:
            return True
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode()
        # Every token is compared, each in constant time, so that none is told by how long it took.
        matches = [secrets.compare_digest(given, known.encode()) for known in self.tokens]
        return scheme.lower() == "bearer" and any(matches)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, taken apart. Shape: `body` is what was sent as JSON, None where nothing was."""

    registry: TableRegistry
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    options: RestOptions = field(default_factory=RestOptions)

    @property
    def namespace(self) -> Namespace:
        """The namespace that the path names."""
        return levels_of(self.path["namespace"])

    @property
    def table(self) -> TableIdentifier:
        """The table that the path names."""
        return (*self.namespace, self.path["table"])

    @property
    def view(self) -> TableIdentifier:
        """The view that the path names."""
        return (*self.namespace, self.path["view"])

    @property
    def json(self) -> Json:
        """The body, which must be a JSON object."""
        return object_of(self.body, "the request's body")

    @property
    def wants_credentials(self) -> bool:
        """Whether the client asks for keys and may have them."""
        asked = self.headers.get("x-iceberg-access-delegation", "")
        return self.options.vends_credentials and "vended-credentials" in asked
