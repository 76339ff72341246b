"""The metadata files of tables and views: each is written once, under a name of its own."""

from __future__ import annotations

import gzip
import threading
from collections import OrderedDict

import orjson

from dolake.catalog.json_fields import Json
from dolake.catalog.table_metadata import checked_metadata
from dolake.warehouse import Warehouse

_TABLES_KEPT_MAX = 256


def write_metadata(warehouse: Warehouse, place: str, metadata: Json) -> None:
    """Store metadata in a new file, compressed where the file's name says so."""
    raw = orjson.dumps(metadata)
    if place.endswith(".gz.metadata.json"):
        raw = gzip.compress(raw)
    warehouse.write_if_absent(place, raw)


class TableMetadataFiles:
    """The metadata of tables, by its file; what was read or written last is kept in memory.

    Threads: any number.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._kept: OrderedDict[str, Json] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, place: str) -> Json:
        """The metadata in a file, which is shared: whoever changes it changes a copy."""
        with self._lock:
            metadata = self._kept.get(place)
            if metadata is not None:
                self._kept.move_to_end(place)
                return metadata
        metadata = checked_metadata(self._warehouse.read(place))
        self.keep(place, metadata)
        return metadata

    def keep(self, place: str, metadata: Json) -> None:
        """Have metadata at hand that was just written."""
        with self._lock:
            self._kept[place] = metadata
            while len(self._kept) > _TABLES_KEPT_MAX:
                self._kept.popitem(last=False)
