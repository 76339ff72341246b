"""What a commit requires of the table it changes: the REST specification's requirements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dolake.catalog.json_fields import Json, integer, object_of, shown, text
from dolake.errors import CommitConflictError, TableMetadataError

MAIN = "main"

# The field of the metadata, and what clients look for in the message.
_NUMBERED = {
    "assert-last-assigned-field-id": ("last-column-id", "last assigned field id"),
    "assert-current-schema-id": ("current-schema-id", "current schema"),
    "assert-last-assigned-partition-id": ("last-partition-id", "last assigned partition id"),
    "assert-default-spec-id": ("default-spec-id", "default partition spec"),
    "assert-default-sort-order-id": ("default-sort-order-id", "default sort order"),
}


def creates_table(requirements: Iterable[Json]) -> bool:
    """Whether a commit is to make the table: it requires that there is none."""
    return any(
        isinstance(requirement, dict) and requirement.get("type") == "assert-create"
        for requirement in requirements
    )


def check_requirements(metadata: Json | None, requirements: Iterable[Any]) -> None:
    """Make sure that a table (None where there is none) is what a commit takes it to be.

    Errors: CommitConflictError when it is not; TableMetadataError for a requirement that is none.
    """
    for requirement in requirements:
        requirement = object_of(requirement, "a requirement")
        kind = requirement.get("type")
        if kind == "assert-create":
            if metadata is not None:
                raise CommitConflictError(
                    "the table was to be created, but it exists", hint="load it instead"
                )
            continue
        check = _CHECKS.get(kind) if isinstance(kind, str) else None
        if check is None:
            raise TableMetadataError(
                f"the type of a requirement is {shown(kind)}; one of "
                f"{', '.join(('assert-create', *_CHECKS))} was expected"
            )
        if metadata is None:
            raise CommitConflictError(f"{kind} was required of a table that is not there")
        check(metadata, requirement)


def _check_uuid(metadata: Json, requirement: Json) -> None:
    wanted = text(requirement, "uuid", "assert-table-uuid")
    found = str(metadata.get("table-uuid"))
    if found.lower() != wanted.lower():
        raise CommitConflictError(f"the table's UUID is {found}; {wanted} was required")


def _check_ref(metadata: Json, requirement: Json) -> None:
    name = text(requirement, "ref", "assert-ref-snapshot-id")
    wanted = integer(requirement, "snapshot-id", "assert-ref-snapshot-id", default=None)
    ref = metadata.get("refs", {}).get(name)
    found = None if ref is None else ref["snapshot-id"]
    if found == wanted:
        return
    if found is None:
        raise CommitConflictError(f"{name!r} is gone; it was required to be at snapshot {wanted}")
    if wanted is None:
        raise CommitConflictError(f"{name!r} was created meanwhile, at snapshot {found}")
    raise CommitConflictError(f"{name!r} is at snapshot {found}; {wanted} was required")


def _numbered(kind: str, key: str, subject: str) -> Callable[[Json, Json], None]:
    def check(metadata: Json, requirement: Json) -> None:
        wanted = integer(requirement, kind.removeprefix("assert-"), kind)
        if metadata.get(key) != wanted:
            raise CommitConflictError(
                f"{subject} changed: the table's {key} is {metadata.get(key)}; "
                f"{wanted} was required"
            )

    return check


_CHECKS: dict[str, Callable[[Json, Json], None]] = {
    "assert-table-uuid": _check_uuid,
    "assert-ref-snapshot-id": _check_ref,
    **{kind: _numbered(kind, *told) for kind, told in _NUMBERED.items()},
}
