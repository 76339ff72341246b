"""The catalog: namespaces, tables, and commits that come one after another whoever makes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("obstore")

import dosql_dbapi
from dolake.catalog.table_registry import LoadedTable, TableChange, TableRegistry
from dolake.errors import (
    AlreadyExistsError,
    CatalogReadOnlyError,
    CommitConflictError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
    ObjectStoreError,
    TableMetadataError,
    TableNotFoundError,
)
from dolake.warehouse import Warehouse

ORDERS = ("shop", "orders")
SCHEMA: dict[str, Any] = {
    "type": "struct",
    "fields": [
        {"id": 5, "name": "id", "type": "long", "required": True},
        {"id": 7, "name": "at", "type": "timestamp", "required": False},
    ],
}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[TableRegistry]:
    with TableRegistry(tmp_path / "catalog.db", Warehouse(tmp_path / "lake")) as opened:
        opened.namespaces.create(("shop",))
        yield opened


def set_properties(table: tuple[str, ...], **properties: str) -> TableChange:
    return TableChange(table, [], [{"action": "set-properties", "updates": properties}])


VIEW = {"type": "sql", "sql": "select 1 as id, now() as at", "dialect": "duckdb"}


def set_property(name: str, value: str) -> dict[str, Any]:
    return {"action": "set-properties", "updates": {name: value}}


def metadata_files(registry: TableRegistry) -> set[str]:
    return {
        registry.warehouse.url_of(found.path)
        for found in registry.warehouse.list()
        if found.path.endswith(".metadata.json")
    }


def test_a_new_table_is_loaded_as_it_was_made(registry: TableRegistry) -> None:
    made = registry.create_table(ORDERS, SCHEMA, properties={"owner": "me"})
    assert registry.load_table(ORDERS) == made
    assert registry.list_tables(("shop",)) == [ORDERS]
    assert made.metadata["properties"] == {"owner": "me"}
    assert metadata_files(registry) == {made.metadata_location}
    folder = registry.warehouse.folder
    assert folder is not None and (folder / "shop" / "orders" / "data").is_dir()


def test_another_registry_of_the_same_files_sees_the_table(
    registry: TableRegistry, tmp_path: Path
) -> None:
    made = registry.create_table(ORDERS, SCHEMA)
    with TableRegistry(tmp_path / "catalog.db", Warehouse(tmp_path / "lake")) as other:
        assert other.load_table(ORDERS) == made


def test_namespaces_are_nested(registry: TableRegistry) -> None:
    registry.namespaces.create(("shop", "eu"), {"owner": "me"})
    registry.namespaces.create(("shop", "eu", "de"))
    registry.namespaces.create(("shop!",))  # sorts right behind "shop" and its separator
    assert registry.namespaces.below() == [("shop",), ("shop!",)]
    assert registry.namespaces.below(("shop",)) == [("shop", "eu")]
    assert registry.namespaces.below(("shop", "eu")) == [("shop", "eu", "de")]
    assert registry.namespaces.properties(("shop", "eu")) == {"owner": "me"}
    with pytest.raises(NamespaceNotFoundError):
        registry.namespaces.create(("zoo", "cats"))
    with pytest.raises(NamespaceNotFoundError):
        registry.namespaces.below(("zoo",))
    with pytest.raises(AlreadyExistsError):
        registry.namespaces.create(("shop", "eu"))
    registry.namespaces.create(("shop", "eu"), if_not_exists=True)


def test_a_namespace_that_holds_something_is_not_dropped(registry: TableRegistry) -> None:
    registry.namespaces.create(("shop", "eu"))
    with pytest.raises(NamespaceNotEmptyError):
        registry.namespaces.drop(("shop",))
    registry.namespaces.drop(("shop", "eu"))
    registry.create_table(ORDERS, SCHEMA)
    with pytest.raises(NamespaceNotEmptyError):
        registry.namespaces.drop(("shop",))
    registry.drop_table(ORDERS)
    registry.namespaces.drop(("shop",))
    assert registry.namespaces.below() == []


def test_a_name_is_taken_once(registry: TableRegistry) -> None:
    registry.create_table(ORDERS, SCHEMA)
    with pytest.raises(AlreadyExistsError):
        registry.create_table(ORDERS, SCHEMA)
    assert len(metadata_files(registry)) == 1  # the second one left nothing behind
    with pytest.raises(NamespaceNotFoundError):
        registry.create_table(("zoo", "cats"), SCHEMA)
    with pytest.raises(TableNotFoundError):
        registry.load_table(("shop", "nothing"))


def test_a_commit_to_several_tables_is_made_whole_or_not_at_all(registry: TableRegistry) -> None:
    tables = [registry.create_table(("shop", name), SCHEMA) for name in "abc"]
    before = metadata_files(registry)
    wrong = {"type": "assert-table-uuid", "uuid": tables[0].metadata["table-uuid"]}
    with pytest.raises(CommitConflictError, match="UUID"):
        registry.commit(
            [
                set_properties(("shop", "a"), seen="yes"),
                set_properties(("shop", "b"), seen="yes"),
                TableChange(("shop", "c"), [wrong], []),
            ]
        )
    assert [registry.load_table(table.identifier) for table in tables] == tables
    assert metadata_files(registry) == before
    made = registry.commit([set_properties(("shop", name), seen="yes") for name in "abc"])
    assert made == [registry.load_table(table.identifier) for table in tables]
    assert {table.metadata["properties"]["seen"] for table in made} == {"yes"}


def test_commits_of_many_threads_all_arrive(registry: TableRegistry, tmp_path: Path) -> None:
    registry.create_table(ORDERS, SCHEMA)
    registry.create_table(("shop", "items"), SCHEMA)
    failures: list[BaseException] = []

    def commit_some(writer: int) -> None:
        # Every other writer has a registry of its own, as another process would.
        own = TableRegistry(tmp_path / "catalog.db", Warehouse(tmp_path / "lake"))
        used = own if writer % 2 else registry
        try:
            for number in range(5):
                name = {f"{writer}.{number}": "made"}
                changes = [set_properties(ORDERS, **name)]
                if writer % 3 == 0:
                    changes.insert(0, set_properties(("shop", "items"), **name))
                used.commit(changes)
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=commit_some, args=(writer,)) for writer in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    orders = registry.load_table(ORDERS).metadata
    assert len(orders["properties"]) == 30
    assert len(registry.load_table(("shop", "items")).metadata["properties"]) == 10
    # Each commit followed on the one before; what lost a race left no file.
    files = [entry["metadata-file"] for entry in orders["metadata-log"]]
    assert len(set(files)) == 30
    assert len(metadata_files(registry)) == 31 + 11


class SlowWarehouse(Warehouse):
    """One that takes a moment to write, as a store far away does."""

    def write_if_absent(self, name: str, data: bytes | memoryview) -> None:
        time.sleep(0.1)
        super().write_if_absent(name, data)


def test_who_is_always_overtaken_has_a_turn_all_the_same(
    registry: TableRegistry, tmp_path: Path
) -> None:
    long_log = {"write.metadata.previous-versions-max": "1000000"}
    registry.create_table(ORDERS, SCHEMA, properties=long_log)
    view = {"default-namespace": ["shop"], "representations": [VIEW]}
    registry.views.create_view(("shop", "recent"), SCHEMA, view)
    is_over = threading.Event()
    overtakings = []

    def overtake() -> None:
        while not is_over.is_set():
            registry.commit([set_properties(ORDERS, of="the fast one")])
            registry.views.replace_view(("shop", "recent"), [], [set_property("of", "the fast")])
            overtakings.append(1)

    rival = threading.Thread(target=overtake)
    rival.start()
    try:
        with TableRegistry(tmp_path / "catalog.db", SlowWarehouse(tmp_path / "lake")) as slow:
            for number in range(5):
                slow.commit([set_properties(ORDERS, slow=str(number))])
                slow.views.replace_view(("shop", "recent"), [], [set_property("slow", str(number))])
    finally:
        is_over.set()
        rival.join()
    assert overtakings
    assert registry.views.load_view(("shop", "recent")).metadata["properties"]["slow"] == "4"
    orders = registry.load_table(ORDERS)
    assert orders.metadata["properties"]["slow"] == "4"
    made = {entry["metadata-file"] for entry in orders.metadata["metadata-log"]}
    made.add(orders.metadata_location)
    found = {file for file in metadata_files(registry) if "/orders/" in file}
    assert found == made  # what was overtaken left no file behind


def test_a_requirement_that_no_longer_holds_is_a_conflict(registry: TableRegistry) -> None:
    table = registry.create_table(ORDERS, SCHEMA)
    requirement = {"type": "assert-current-schema-id", "current-schema-id": 0}
    wider = {
        "type": "struct",
        "fields": [
            *table.metadata["schemas"][0]["fields"],
            {"id": 3, "name": "note", "type": "string", "required": False},
        ],
    }
    change = TableChange(
        ORDERS,
        [requirement],
        [
            {"action": "add-schema", "schema": wider},
            {"action": "set-current-schema", "schema-id": -1},
        ],
    )
    registry.commit([change])
    with pytest.raises(CommitConflictError, match="current-schema-id is 1; 0 was required"):
        registry.commit([change])


def test_a_staged_table_is_there_once_it_is_committed(registry: TableRegistry) -> None:
    staged = registry.stage_table(ORDERS, SCHEMA)
    assert registry.list_tables(("shop",)) == []
    updates = [
        {"action": "assign-uuid", "uuid": staged["table-uuid"]},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": staged["schemas"][0]},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "set-location", "location": staged["location"]},
    ]
    change = TableChange(ORDERS, [{"type": "assert-create"}], updates)
    [made] = registry.commit([change])
    assert made.metadata["table-uuid"] == staged["table-uuid"]
    assert made.metadata["location"] == staged["location"]
    with pytest.raises(AlreadyExistsError):
        registry.commit([change])


def test_a_renamed_table_keeps_its_files_and_frees_its_name(registry: TableRegistry) -> None:
    first = registry.create_table(ORDERS, SCHEMA)
    registry.namespaces.create(("archive",))
    registry.rename_table(ORDERS, ("archive", "orders"))
    assert registry.load_table(("archive", "orders")).metadata == first.metadata
    second = registry.create_table(ORDERS, SCHEMA)
    assert second.metadata["location"] != first.metadata["location"]
    registry.drop_table(ORDERS, purge=True)
    assert registry.load_table(("archive", "orders")).metadata == first.metadata
    assert metadata_files(registry) == {first.metadata_location}
    with pytest.raises(TableNotFoundError):
        registry.rename_table(ORDERS, ("archive", "more"))
    registry.create_table(ORDERS, SCHEMA)
    with pytest.raises(AlreadyExistsError):
        registry.rename_table(ORDERS, ("archive", "orders"))
    with pytest.raises(NamespaceNotFoundError):
        registry.rename_table(ORDERS, ("zoo", "orders"))


def test_a_dropped_table_can_be_registered_again(registry: TableRegistry) -> None:
    made = registry.create_table(ORDERS, SCHEMA)
    registry.drop_table(ORDERS)
    assert registry.register_table(ORDERS, made.metadata_location) == made
    with pytest.raises(AlreadyExistsError):
        registry.register_table(ORDERS, made.metadata_location)
    registry.register_table(ORDERS, made.metadata_location, overwrite=True)


def test_files_that_two_tables_share_are_not_purged(registry: TableRegistry) -> None:
    made = registry.create_table(ORDERS, SCHEMA)
    registry.register_table(("shop", "copy"), made.metadata_location)
    with pytest.raises(TableMetadataError, match=r"'shop\.copy' keeps files"):
        registry.drop_table(ORDERS, purge=True)
    registry.drop_table(("shop", "copy"))
    registry.commit([set_properties(ORDERS, **{"gc.enabled": "false"})])
    with pytest.raises(TableMetadataError, match=r"gc\.enabled=false"):
        registry.drop_table(ORDERS, purge=True)
    assert registry.load_table(ORDERS).metadata["table-uuid"] == made.metadata["table-uuid"]


@pytest.mark.parametrize("location", ["/etc", "file:///etc/x", "s3://other/x", "../x", ""])
def test_places_outside_of_the_warehouse_are_refused(
    registry: TableRegistry, location: str, tmp_path: Path
) -> None:
    for place in (location, f"{tmp_path}/lake/../secret", registry.warehouse.uri):
        with pytest.raises(TableMetadataError, match="inside the warehouse"):
            registry.create_table(ORDERS, SCHEMA, location=place)
        with pytest.raises(TableMetadataError, match="inside the warehouse"):
            registry.register_table(ORDERS, place)
    made = registry.create_table(ORDERS, SCHEMA)
    for update in (
        {"action": "set-location", "location": location or "x"},
        {"action": "set-properties", "updates": {"write.metadata.path": location or "x"}},
    ):
        with pytest.raises(TableMetadataError, match="inside the warehouse"):
            registry.commit([TableChange(ORDERS, [], [update])])
    assert registry.load_table(ORDERS) == made


def test_the_catalog_is_read_as_of_any_moment(registry: TableRegistry, tmp_path: Path) -> None:
    made = registry.create_table(ORDERS, SCHEMA)
    con = dosql_dbapi.connect(tmp_path / "catalog.db")
    moment = con.lsn
    con.close()
    registry.commit([set_properties(ORDERS, colour="red")])
    registry.create_table(("shop", "items"), SCHEMA)
    registry.drop_table(ORDERS)
    with registry.as_of(moment) as past:
        assert past.list_tables(("shop",)) == [ORDERS]
        assert past.load_table(ORDERS) == made
        with pytest.raises(CatalogReadOnlyError):
            past.drop_table(ORDERS)
    assert registry.list_tables(("shop",)) == [("shop", "items")]


def test_old_metadata_files_go_when_the_table_says_so(
    registry: TableRegistry, tmp_path: Path
) -> None:
    properties = {
        "write.metadata.previous-versions-max": "2",
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.compression-codec": "gzip",
    }
    registry.create_table(ORDERS, SCHEMA, properties=properties)
    made: list[LoadedTable] = []
    for number in range(5):
        made += registry.commit([set_properties(ORDERS, number=str(number))])
    assert metadata_files(registry) == {table.metadata_location for table in made[-3:]}
    with TableRegistry(tmp_path / "catalog.db", registry.warehouse) as other:  # reads the gzip
        assert other.load_table(ORDERS) == made[-1]


class StuckWarehouse(Warehouse):
    """A store that removes nothing for now."""

    def delete(self, names: Iterable[str]) -> None:
        raise ObjectStoreError("the store removes nothing for now")


def test_a_commit_is_made_though_an_outdated_file_cannot_go(tmp_path: Path) -> None:
    properties = {
        "write.metadata.previous-versions-max": "1",
        "write.metadata.delete-after-commit.enabled": "true",
    }
    with TableRegistry(tmp_path / "catalog.db", StuckWarehouse(tmp_path / "lake")) as registry:
        registry.namespaces.create(("shop",))
        registry.create_table(ORDERS, SCHEMA, properties=properties)
        for number in range(3):
            (made,) = registry.commit([set_properties(ORDERS, number=str(number))])
        assert registry.load_table(ORDERS) == made
        assert len(metadata_files(registry)) == 4


def test_metadata_of_a_view_is_compressed_when_it_says_so(registry: TableRegistry) -> None:
    version = {"representations": [VIEW], "timestamp-ms": 1, "summary": {}}
    properties = {"write.metadata.compression-codec": "gzip"}
    made = registry.views.create_view(("shop", "now"), SCHEMA, version, properties=properties)
    assert registry.warehouse.read(made.metadata_location)[:2] == b"\x1f\x8b"
    assert registry.views.load_view(("shop", "now")) == made
