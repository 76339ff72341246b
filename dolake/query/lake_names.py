"""What the names in a query mean: tables and views of the catalog."""

from __future__ import annotations

from collections.abc import Iterator

from dolake.catalog.identifiers import Kind, TableIdentifier
from dolake.catalog.pointers import Pointer
from dolake.catalog.table_registry import TableRegistry
from dolake.errors import LakeQueryError, TableNotFoundError
from dolake.query.query_text import ViewText


class LakeNames:
    """Names of one catalog: in two parts or more, or of one where there is one namespace."""

    def __init__(self, registry: TableRegistry) -> None:
        self._registry = registry

    def table(self, levels: tuple[str, ...]) -> TableIdentifier:
        """The table of that name. Errors: TableNotFoundError, LakeQueryError."""
        found = self._find(levels, "table")
        if found is not None:
            return found.identifier
        if len(levels) == 1 and len(namespaces := self._registry.namespaces.below()) != 1:
            raise LakeQueryError(
                f"{levels[0]!r} names no namespace, and the lake has {len(namespaces)} of them",
                hint="write namespace.table",
            )
        raise TableNotFoundError(f"there is no table {'.'.join(levels)!r}")

    def view(self, levels: tuple[str, ...]) -> ViewText | None:
        """What the view of that name says, None where there is none."""
        pointer = self._find(levels, "view")
        if pointer is None:
            return None
        metadata = self._registry.views.load_view(pointer.identifier).metadata
        current = metadata["current-version-id"]
        version = next(v for v in metadata["versions"] if v["version-id"] == current)
        schema = next(s for s in metadata["schemas"] if s["schema-id"] == version["schema-id"])
        return ViewText(
            pointer.identifier,
            tuple(
                (told["dialect"], told["sql"])
                for told in version["representations"]
                if told.get("type") == "sql"
            ),
            tuple(version.get("default-namespace") or pointer.identifier[:-1]),
            version.get("default-catalog") or "",
            tuple(item["name"] for item in schema["fields"]),
        )

    def _find(self, levels: tuple[str, ...], kind: Kind) -> Pointer | None:
        for candidate in self._candidates(levels):
            pointer = self._registry.pointers.find(candidate)
            if pointer is not None and pointer.kind == kind:
                return pointer
        return None

    def _candidates(self, levels: tuple[str, ...]) -> Iterator[TableIdentifier]:
        """The identifiers a name may stand for: dots in a part may be levels of a namespace."""
        if len(levels) == 1:
            namespaces = self._registry.namespaces.below()
            if len(namespaces) != 1:
                return
            levels = (*namespaces[0], *levels)
        yield levels
        yield (*(part for level in levels[:-1] for part in level.split(".")), levels[-1])
