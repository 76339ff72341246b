"""Processes commit to the same tables of a catalog and are killed; what was acknowledged is there.

Every commit sets one property in both of two tables, so that a commit made by half would show, and
every metadata file that a pointer names must be there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")

from dolake.catalog.table_registry import TableRegistry
from dolake.warehouse import Warehouse

SCHEMA: dict[str, Any] = {
    "type": "struct",
    "fields": [{"id": 1, "name": "id", "type": "long", "required": True}],
}
PROGRAM = """
import itertools, os, pathlib, sys
from dolake.catalog.table_registry import TableChange, TableRegistry
from dolake.warehouse import Warehouse

database = pathlib.Path(sys.argv[1])
registry = TableRegistry(database, Warehouse(database.parent / "lake"))
for number in itertools.count():
    name = f"{os.getpid()}.{number}"
    update = {"action": "set-properties", "updates": {name: "made"}}
    registry.commit([TableChange(("shop", table), [], [update]) for table in ("b", "a")])
    acknowledge(name)
"""


def test_commits_of_killed_processes_are_whole_and_kept(
    crash: Any, tmp_path: Path, is_long_run: bool
) -> None:
    database = tmp_path / "catalog.db"
    with TableRegistry(database, Warehouse(tmp_path / "lake")) as registry:
        registry.namespaces.create(("shop",))
        for table in ("a", "b"):
            registry.create_table(("shop", table), SCHEMA)
    acknowledged: set[str] = set()
    for _ in range(20 if is_long_run else 2):
        with ThreadPoolExecutor() as threads:
            children = [threads.submit(crash, PROGRAM, database, seconds_max=1.5) for _ in range(2)]
        for child in children:  # one that failed by itself is told of here
            acknowledged |= set(child.result().acknowledgements)
        with TableRegistry(database, Warehouse(tmp_path / "lake")) as registry:
            a, b = registry.load_tables([("shop", "a"), ("shop", "b")])
            assert a.metadata["properties"] == b.metadata["properties"]
            assert acknowledged <= a.metadata["properties"].keys()
            # Each file was made from the one before it: nobody's commit was overwritten.
            log = [entry["metadata-file"] for entry in a.metadata["metadata-log"]]
            assert len(set(log)) == len(log)
            version = int(a.metadata_location.rpartition("/")[2].partition("-")[0])
            assert version == len(a.metadata["properties"])
            registry.drop_table(("shop", "b"))
            registry.register_table(("shop", "b"), b.metadata_location)
    assert acknowledged
