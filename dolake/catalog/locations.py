"""Where in the warehouse a table or view keeps its files, and where it must not."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dolake.catalog.json_fields import Json
from dolake.errors import LakeConfigurationError, TableMetadataError
from dolake.warehouse import Warehouse

METADATA_PATH = "write.metadata.path"
COMPRESSION = "write.metadata.compression-codec"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]|^\.")
_VERSION = re.compile(r"(\d+)-")


def free_location(
    warehouse: Warehouse, identifier: tuple[str, ...], is_taken: Callable[[str], bool]
) -> str:
    """A folder for a new table that nobody uses: `<namespace>/<name>` where that is free.

    The levels of a namespace share one folder name, so that no table lies inside another's folder.
    """
    namespace = ".".join(_UNSAFE.sub("_", level) for level in identifier[:-1])
    path = f"{namespace}/{_UNSAFE.sub('_', identifier[-1])}"
    url = warehouse.url_of(path)
    if is_taken(url) or any(True for _ in warehouse.list(path)):
        url = f"{url}-{uuid.uuid4().hex[:8]}"
    return url


def inside(warehouse: Warehouse, location: str, what: str) -> str:
    """The location as the warehouse writes it.

    Errors: TableMetadataError when it is not below the warehouse's own: the server would read or
            write elsewhere on somebody's word.
    """
    refused = TableMetadataError(
        f"{what} is {location!r}; a place inside the warehouse {warehouse.uri} was expected"
    )
    parts = urlsplit(location)
    if ".." in unquote(parts.path).split("/") or parts.query or parts.fragment:
        raise refused
    if warehouse.folder is not None and parts.scheme == "":
        location = Path(os.path.realpath(location)).as_uri() if location[:1] == "/" else ""
    try:
        path = warehouse.path_of(location).strip("/") if ":" in location else ""
    except LakeConfigurationError as error:
        raise refused from error
    if not path or path == ".":
        raise refused
    return warehouse.url_of(path)


def next_metadata_location(warehouse: Warehouse, metadata: Json, previous: str | None) -> str:
    """The URL of the file that the metadata, which follows on that at `previous`, is written to.

    Errors: TableMetadataError where the table wants it outside of the warehouse.
    """
    properties = metadata.get("properties", {})
    folder = properties.get(METADATA_PATH) or f"{metadata['location']}/metadata"
    found = _VERSION.match(previous.rpartition("/")[2]) if previous else None
    version = int(found[1]) + 1 if found else 0
    compressed = ".gz" if properties.get(COMPRESSION, "").lower() == "gzip" else ""
    folder = inside(warehouse, folder, METADATA_PATH)
    return f"{folder}/{version:05d}-{uuid.uuid4()}{compressed}.metadata.json"


def make_folders(warehouse: Warehouse, location: str) -> None:
    """Make the folders of a table in a local warehouse: not every engine makes them itself."""
    if warehouse.folder is not None:
        for name in ("metadata", "data"):
            folder = warehouse.folder / warehouse.path_of(location) / name
            folder.mkdir(parents=True, exist_ok=True)


def remove_files(warehouse: Warehouse, location: str) -> None:
    """Remove everything in the folder of a table."""
    path = warehouse.path_of(location)
    warehouse.delete([found.path for found in warehouse.list(path)])
    if warehouse.folder is not None:
        for folder, _, _ in os.walk(warehouse.folder / path, topdown=False):
            os.rmdir(folder)
