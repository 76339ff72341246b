"""Which database has a name in the lake, so that two never write one's tables."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from dolake.errors import ForeignSourceError
from dolake.ingest.durable_file import write_durably


def check_identity(state: Path, source: str, database_id: str | None) -> None:
    """See that the source is the database that has sent under this name before.

    Errors: ForeignSourceError.
    """
    if database_id is None:
        return
    path = state / "sources" / f"{quote(source, safe='')}.id"
    try:
        known = path.read_text("utf-8")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, database_id.encode())
        return
    if known != database_id:
        raise ForeignSourceError(
            f"{source!r} is the database {known}, and {database_id} sends under its name"
        )
