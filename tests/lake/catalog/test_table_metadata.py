"""Table metadata follows the specification, as pyiceberg understands it."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

pytest.importorskip("orjson")

from dolake.catalog.requirements import check_requirements
from dolake.catalog.table_metadata import (
    apply_updates,
    checked_metadata,
    current_snapshot,
    metadata_from_updates,
    new_table_metadata,
)
from dolake.errors import CommitConflictError, TableMetadataError

LOCATION = "file:///lake/shop/orders"
PRIMITIVES = ["boolean", "int", "long", "float", "double", "date", "time", "timestamp", "string"]
PRIMITIVES += ["timestamptz", "uuid", "binary", "fixed[4]", "decimal(9,2)"]
NOW = 1_800_000_000_000


def schema(*columns: str) -> dict[str, Any]:
    fields = [
        {"id": number, "name": name, "type": kind or "long", "required": False}
        for number, (name, _, kind) in enumerate((text.partition(" ") for text in columns), 1)
    ]
    return {"type": "struct", "schema-id": 0, "fields": fields}


def table(version: int = 2, *columns: str) -> dict[str, Any]:
    properties = {"format-version": str(version)}
    made = schema(*(columns or ("id", "name string")))
    return new_table_metadata(made, location=LOCATION, properties=properties, now_ms=NOW)


def changed(metadata: dict[str, Any], *updates: dict[str, Any], now: int = NOW) -> dict[str, Any]:
    before = orjson.dumps(metadata)
    after = apply_updates(metadata, updates, metadata_location="old.json", now_ms=now)
    assert orjson.dumps(metadata) == before  # what it was made from stays as it is
    assert checked_metadata(orjson.dumps(after)) == after
    return after


def snapshot(number: int, version: int = 2, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "snapshot-id": number,
        "timestamp-ms": NOW + number,
        "manifest-list": f"{LOCATION}/metadata/{number}.avro",
        "summary": {"operation": "append"},
    }
    if number > 1:
        told["parent-snapshot-id"] = number - 1
    if version > 1:
        told["sequence-number"] = number
    if version > 2:
        told |= {"first-row-id": (number - 1) * 10, "added-rows": 10}
    return {"action": "add-snapshot", "snapshot": {**told, **more}}


def ref(name: str, number: int, kind: Any = "branch", **more: Any) -> dict[str, Any]:
    told = {"action": "set-snapshot-ref", "ref-name": name, "type": kind, "snapshot-id": number}
    return {**told, **more}


def random_type(chance: random.Random, ids: Any, depth: int = 0) -> Any:
    if depth < 3 and chance.random() < 0.4:
        if chance.random() < 0.5:
            return random_struct(chance, ids, depth + 1)
        if chance.random() < 0.5:
            return {
                "type": "list",
                "element-id": next(ids),
                "element": random_type(chance, ids, depth + 1),
                "element-required": True,
            }
        return {
            "type": "map",
            "key-id": next(ids),
            "key": "string",
            "value-id": next(ids),
            "value": random_type(chance, ids, depth + 1),
            "value-required": False,
        }
    return chance.choice(PRIMITIVES)


def random_struct(chance: random.Random, ids: Any, depth: int = 0) -> dict[str, Any]:
    fields = [
        {
            "id": next(ids),
            "name": f"f{number}",
            "type": random_type(chance, ids, depth),
            "required": chance.random() < 0.5,
        }
        for number in range(chance.randrange(1, 5))
    ]
    return {"type": "struct", "fields": fields}


def test_fields_are_numbered_afresh_as_pyiceberg_does(seeded_random: random.Random) -> None:
    pyiceberg_schema = pytest.importorskip("pyiceberg.schema")
    for _ in range(50):
        numbers = list(range(1, 400))
        seeded_random.shuffle(numbers)
        given = random_struct(seeded_random, iter(numbers))
        made = new_table_metadata(given, location=LOCATION)
        theirs = pyiceberg_schema.assign_fresh_schema_ids(
            pyiceberg_schema.Schema.model_validate(given)
        )
        ours = pyiceberg_schema.Schema.model_validate(made["schemas"][0])
        assert ours.as_struct() == theirs.as_struct()
        assert made["last-column-id"] == theirs.highest_field_id


def test_specs_and_orders_follow_their_columns_to_the_new_ids() -> None:
    given = schema("a", "b timestamp", "c string")
    for field in given["fields"]:
        field["id"] += 40
    made = new_table_metadata(
        {**given, "identifier-field-ids": [43]},
        location=LOCATION,
        partition_spec={
            "fields": [{"source-id": 42, "transform": "day", "name": "d", "field-id": 7}]
        },
        sort_order={
            "fields": [
                {
                    "source-id": 43,
                    "transform": "identity",
                    "direction": "asc",
                    "null-order": "nulls-last",
                }
            ]
        },
    )
    assert made["schemas"][0]["identifier-field-ids"] == [3]
    [spec] = made["partition-specs"]
    assert spec["fields"] == [{"source-id": 2, "transform": "day", "name": "d", "field-id": 1000}]
    assert made["last-partition-id"] == 1000
    assert made["sort-orders"][0]["fields"][0]["source-id"] == 3
    assert made["default-sort-order-id"] == 1


@pytest.mark.parametrize("version", [1, 2, 3])
def test_pyiceberg_reads_every_version_and_takes_updates_as_we_do(version: int) -> None:
    metadata_module = pytest.importorskip("pyiceberg.table.metadata")
    from pydantic import TypeAdapter
    from pyiceberg.table.update import TableUpdate, update_table_metadata

    wider = schema("id", "name string", "at timestamp")
    spec = {"spec-id": 1, "fields": [{"source-id": 3, "transform": "month", "name": "m"}]}
    spec["fields"][0]["field-id"] = 1000  # type: ignore[index]
    steps: list[list[dict[str, Any]]] = [
        [{"action": "set-properties", "updates": {"a": "1", "b": "2"}}],
        [{"action": "remove-properties", "removals": ["a"]}],
        [
            {"action": "add-schema", "schema": {**wider, "schema-id": 1}, "last-column-id": 3},
            {"action": "set-current-schema", "schema-id": -1},
        ],
        [{"action": "add-spec", "spec": spec}, {"action": "set-default-spec", "spec-id": -1}],
        [snapshot(1, version), ref("main", 1)],
        [snapshot(2, version), ref("main", 2), ref("v1", 1, "tag", **{"max-ref-age-ms": 5})],
        [snapshot(3, version), ref("dev", 3, **{"min-snapshots-to-keep": 2})],
        [{"action": "remove-snapshot-ref", "ref-name": "v1"}],
        [ref("main", 3)],
        [{"action": "remove-snapshots", "snapshot-ids": [1]}],
        [{"action": "set-location", "location": f"{LOCATION}2"}],
    ]
    ours = table(version)
    theirs = metadata_module.TableMetadataUtil.parse_obj(ours)
    updates = TypeAdapter(TableUpdate)
    compared = [
        *("format_version", "table_uuid", "location", "last_column_id", "current_schema_id"),
        *("partition_specs", "default_spec_id", "last_partition_id", "properties", "refs"),
        *("current_snapshot_id", "sort_orders", "schemas"),
    ]
    for step in steps:
        ours = changed(ours, *step)
        if version < 3 or not any(update["action"] == "add-snapshot" for update in step):
            theirs = update_table_metadata(
                theirs, tuple(updates.validate_python(update) for update in step)
            )
        else:  # it cannot add snapshots of version 3
            theirs = metadata_module.TableMetadataUtil.parse_obj(ours)
        parsed = metadata_module.TableMetadataUtil.parse_obj(ours)
        for name in compared:
            assert getattr(parsed, name) == getattr(theirs, name), (step, name)
        assert [item.snapshot_id for item in parsed.snapshots] == [
            item.snapshot_id for item in theirs.snapshots
        ]


def test_the_snapshot_log_tells_what_was_current_and_has_no_holes() -> None:
    made = changed(table(), snapshot(1), ref("main", 1))
    # The second was replaced within its own commit: it was never current.
    made = changed(made, snapshot(2), ref("main", 2), snapshot(3), ref("main", 3))
    made = changed(made, ref("main", 1), now=NOW + 50)
    assert [entry["snapshot-id"] for entry in made["snapshot-log"]] == [1, 3, 1]
    assert made["snapshot-log"][-1]["timestamp-ms"] == NOW + 50 == made["last-updated-ms"]
    made = changed(made, {"action": "remove-snapshots", "snapshot-ids": [3]})
    assert [entry["snapshot-id"] for entry in made["snapshot-log"]] == [1]
    found = current_snapshot(made)
    assert found is not None and found["snapshot-id"] == 1


def test_the_metadata_log_keeps_as_many_files_as_the_table_says() -> None:
    made = table()
    for number in range(5):
        update = {"action": "set-properties", "updates": {"n": str(number)}}
        made = apply_updates(made, [update], metadata_location=f"{number}.json", now_ms=NOW)
    assert [entry["metadata-file"] for entry in made["metadata-log"]] == [
        f"{number}.json" for number in range(5)
    ]
    kept = {"write.metadata.previous-versions-max": "2"}
    made = apply_updates(
        made,
        [{"action": "set-properties", "updates": kept}],
        metadata_location="5.json",
        now_ms=NOW,
    )
    assert [entry["metadata-file"] for entry in made["metadata-log"]] == ["4.json", "5.json"]


def test_row_ids_of_version_3_are_given_once() -> None:
    made = changed(table(3), snapshot(1, 3), ref("main", 1))
    assert made["next-row-id"] == 10
    with pytest.raises(CommitConflictError, match="next-row-id is 10"):
        changed(made, snapshot(2, 3, **{"first-row-id": 9}))
    made = changed(made, snapshot(2, 3, **{"first-row-id": 12}), ref("main", 2))
    assert made["next-row-id"] == 22
    upgraded = changed(table(2), {"action": "upgrade-format-version", "format-version": 3})
    assert upgraded["next-row-id"] == 0
    with pytest.raises(TableMetadataError, match="first-row-id"):
        changed(upgraded, snapshot(1, 2))


def test_what_is_there_already_is_used_again() -> None:
    made = table()
    again = {**schema("id", "name string"), "schema-id": 9}
    made = changed(
        made,
        {"action": "add-schema", "schema": again},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"spec-id": 7, "fields": []}},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": {"order-id": 3, "fields": []}},
        {"action": "set-default-sort-order", "sort-order-id": -1},
    )
    assert (made["current-schema-id"], made["default-spec-id"], len(made["schemas"])) == (0, 0, 1)
    assert made["default-sort-order-id"] == 0
    wider = {"action": "add-schema", "schema": schema("id", "name string", "at date")}
    made = changed(made, wider, {"action": "set-current-schema", "schema-id": -1})
    assert (made["current-schema-id"], made["last-column-id"]) == (1, 3)
    spec = {"source-id": 3, "transform": "year", "name": "y"}
    made = changed(made, {"action": "add-spec", "spec": {"fields": [spec]}})
    other = {"source-id": 1, "transform": "bucket[4]", "name": "b"}
    made = changed(made, {"action": "add-spec", "spec": {"fields": [other, spec]}})
    ids = [[field["field-id"] for field in spec["fields"]] for spec in made["partition-specs"]]
    assert ids == [[], [1000], [1001, 1000]]  # the same field keeps its id
    made = changed(made, {"action": "remove-partition-specs", "spec-ids": [1, 2]})
    made = changed(made, {"action": "remove-schemas", "schema-ids": [0]})
    assert [item["schema-id"] for item in made["schemas"]] == [1]


def test_statistics_and_keys_are_replaced_and_removed() -> None:
    made = changed(table(3), snapshot(1, 3), ref("main", 1))
    statistics = {
        "snapshot-id": 1,
        "statistics-path": "a",
        "file-size-in-bytes": 1,
        "file-footer-size-in-bytes": 1,
        "blob-metadata": [],
    }
    set_them = {"action": "set-statistics", "statistics": statistics}
    made = changed(
        made, set_them, {**set_them, "statistics": {**statistics, "statistics-path": "b"}}
    )
    assert [item["statistics-path"] for item in made["statistics"]] == ["b"]
    partition = {"snapshot-id": 1, "statistics-path": "p", "file-size-in-bytes": 1}
    made = changed(made, {"action": "set-partition-statistics", "partition-statistics": partition})
    assert made["partition-statistics"] == [partition]
    made = changed(
        made,
        {"action": "remove-statistics", "snapshot-id": 1},
        {"action": "remove-partition-statistics", "snapshot-id": 1},
    )
    assert made["statistics"] == made["partition-statistics"] == []
    key = {"key-id": "k", "encrypted-key-metadata": "AA=="}
    made = changed(made, {"action": "add-encryption-key", "encryption-key": key})
    assert made["encryption-keys"] == [key]
    made = changed(made, {"action": "remove-encryption-key", "key-id": "k"})
    assert made["encryption-keys"] == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"action": "assign-uuid", "uuid": "00000000-0000-0000-0000-000000000001"}, "has the UUID"),
    ({"action": "upgrade-format-version", "format-version": 1}, "cannot go back"),
    ({"action": "upgrade-format-version", "format-version": 4}, "is not known"),
    ({"action": "set-current-schema", "schema-id": 5}, "no schema 5"),
    ({"action": "set-current-schema", "schema-id": -1}, "adds none"),
    ({"action": "set-default-spec", "spec-id": 5}, "no partition spec 5"),
    ({"action": "set-default-sort-order", "sort-order-id": 5}, "no sort order 5"),
    ({"action": "add-schema", "schema": schema("a variant")}, "needs format version 3"),
    ({"action": "add-schema", "schema": schema("a decimal(3,9)")}, "Iceberg type"),
    ({"action": "add-schema", "schema": schema("a", "a")}, "two fields named 'a'"),
    ({"action": "remove-schemas", "schema-ids": [0]}, "it stays"),
    ({"action": "remove-partition-specs", "spec-ids": [0]}, "it stays"),
    ({"action": "remove-snapshots", "snapshot-ids": [1]}, "it stays"),
    (ref("main", 1, "tag"), "cannot become a tag"),
    (ref("dev", 9), "which the table has not"),
    (ref("t", 1, "tag", **{"min-snapshots-to-keep": 1}), "is for branches"),
    (snapshot(1), "has a snapshot 1 already"),
    (snapshot(2, **{"timestamp-ms": NOW - 100_000}), "more than a minute"),
    (snapshot(2, **{"schema-id": 7}), "no schema 7"),
    ({"action": "add-encryption-key", "encryption-key": {}}, "need format version 3"),
]


@pytest.mark.parametrize(("update", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_the_specification_forbids_is_refused(update: dict[str, Any], reason: str) -> None:
    made = changed(table(), snapshot(1), ref("main", 1))
    with pytest.raises(TableMetadataError, match=reason):
        changed(made, update)


@pytest.mark.parametrize(
    ("column", "transform"),
    [
        *[("string", "day"), ("date", "hour"), ("boolean", "bucket[2]"), ("double", "truncate[2]")],
        *[("long", "bucket"), ("long", "identity[3]"), ("long", "bucket[0]"), ("long", "quarter")],
    ],
)
def test_a_transform_must_suit_its_column(column: str, transform: str) -> None:
    field = {"source-id": 1, "transform": transform, "name": "p"}
    update = {"action": "add-spec", "spec": {"fields": [field]}}
    with pytest.raises(TableMetadataError):
        changed(table(2, f"a {column}"), update)


def test_each_requirement_holds_or_is_a_conflict() -> None:
    made = changed(table(), snapshot(1), ref("main", 1))
    held: list[dict[str, Any]] = [
        {"type": "assert-table-uuid", "uuid": made["table-uuid"].upper()},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1},
        {"type": "assert-ref-snapshot-id", "ref": "dev", "snapshot-id": None},
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 2},
        {"type": "assert-current-schema-id", "current-schema-id": 0},
        {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 999},
        {"type": "assert-default-spec-id", "default-spec-id": 0},
        {"type": "assert-default-sort-order-id", "default-sort-order-id": 0},
    ]
    check_requirements(made, held)
    broken: list[dict[str, Any]] = [
        {"type": "assert-create"},
        {"type": "assert-table-uuid", "uuid": "x"},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 2},
        {"type": "assert-ref-snapshot-id", "ref": "dev", "snapshot-id": 1},
        *({**item, list(item)[1]: 77} for item in held[3:]),
    ]
    for requirement in broken:
        with pytest.raises(CommitConflictError):
            check_requirements(made, [requirement])
    check_requirements(None, [{"type": "assert-create"}])
    with pytest.raises(CommitConflictError, match="not there"):
        check_requirements(None, held[:1])


def test_a_table_of_version_1_is_read_as_older_writers_left_it() -> None:
    old = {
        "format-version": 1,
        "location": LOCATION,
        "last-updated-ms": NOW,
        "last-column-id": 1,
        "schema": {"type": "struct", "fields": schema("id")["fields"]},
        "partition-spec": [{"source-id": 1, "transform": "identity", "name": "id"}],
        "current-snapshot-id": -1,
    }
    read = checked_metadata(old)
    assert read["schemas"][0]["schema-id"] == read["current-schema-id"] == 0
    assert read["partition-specs"][0]["fields"][0]["field-id"] == 1000
    assert current_snapshot(read) is None
    upgraded = changed(read, {"action": "upgrade-format-version", "format-version": 2})
    assert upgraded["last-sequence-number"] == 0
    assert "schema" not in upgraded and "partition-spec" not in upgraded


def test_a_commit_that_creates_must_give_a_schema() -> None:
    with pytest.raises(TableMetadataError, match="no current schema"):
        metadata_from_updates([], default_location=LOCATION)
