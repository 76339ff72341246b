"""Flushes that fail, conflict or are repeated lose nothing and put nothing in twice."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa

from dolake.errors import (
    FlushError,
    ForeignDeletesError,
    LakeSchemaMismatchError,
    ObjectStoreError,
    SnapshotNotFoundError,
)
from fixtures.lake_tables import Lake, SourceModel, in_order, source_rows

T = ("shop", "t")


def started(lake: Lake, **options: Any) -> tuple[SourceModel, Any]:
    source, tables = SourceModel(), lake.open(**options)
    source.create("t", "*id INTEGER", "v TEXT")
    source.create("u", "*k TEXT", "v TEXT")
    for number in range(20):
        source.put("t", {"id": number, "v": f"{number}"})
        source.put("u", {"k": f"k{number}", "v": f"{number}"})
    tables.stage(source.commit())
    tables.flush()
    return source, tables


def changed(source: SourceModel, tables: Any, value: str) -> None:
    source.put("t", {"id": 3, "v": value})
    source.put("u", {"k": "k3", "v": value})
    source.put("t", {"id": 100 + source.lsn, "v": value})
    source.delete("u", f"k{10 + source.lsn}")
    tables.stage(source.commit())


def assert_mirrored(lake: Lake, source: SourceModel, ref: str = "main") -> None:
    for table, rows in source.tables.items():
        newest = next(iter(lake.snapshot_ids(table, ref).values()))
        names = [c.name for c in source.schemas[table].columns]
        for read in (lake.read_with_duckdb, lake.read_with_pyiceberg):
            assert in_order(source_rows(read(table, newest), names)) == in_order(
                list(rows.values())
            ), (read.__name__, table)


@pytest.mark.parametrize("failing", ["parquet", "puffin", "avro", "metadata.json"])
def test_what_an_ailing_store_refused_is_committed_later(
    lake: Lake, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, tables = started(lake, has_change_log=True)
    changed(source, tables, "first")
    for method in ("write", "write_if_absent"):
        original = getattr(lake.warehouse, method)

        def ailing(name: str, data: bytes, original: Any = original) -> None:
            if name.endswith(failing):
                raise ObjectStoreError(f"{name}: the store is away")
            original(name, data)

        monkeypatch.setattr(lake.warehouse, method, ailing)
    for _ in range(2):
        with pytest.raises((FlushError, ObjectStoreError)):
            tables.flush()
    monkeypatch.undo()
    changed(source, tables, "second")
    assert tables.watermark == 1
    tables.flush()
    assert tables.watermark == 3
    assert_mirrored(lake, source)
    assert len(lake.read_with_pyiceberg("t__changes")) == 20 + 4


def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, tables = started(lake, has_change_log=True)
    changed(source, tables, "first")
    commit = lake.registry.commit

    def commit_and_lose_the_answer(changes: Any) -> Any:
        commit(changes)
        raise OSError("the connection was lost")

    monkeypatch.setattr(lake.registry, "commit", commit_and_lose_the_answer)
    with pytest.raises(FlushError):
        tables.flush()
    monkeypatch.undo()
    changed(source, tables, "second")
    assert tables.watermark == 2
    tables.flush()
    assert_mirrored(lake, source)
    assert len(lake.read_with_pyiceberg("t__changes")) == 20 + 4


def test_batches_that_come_again_are_passed_over_and_gaps_refused(lake: Lake) -> None:
    source, tables = SourceModel(), lake.open()
    source.create("t", "*id INTEGER", "v TEXT")
    source.put("t", {"id": 1, "v": "x"})
    first = source.commit()
    source.put("t", {"id": 1, "v": "y"})
    second = source.commit()
    source.put("t", {"id": 1, "v": "z"})
    third = source.commit()
    tables.stage(first)
    with pytest.raises(LakeSchemaMismatchError, match="after LSN 2; the one after 1 was expected"):
        tables.stage(third)
    tables.stage(second)
    tables.stage(first)
    tables.flush()
    tables = lake.open()
    assert tables.watermark == 2
    tables.stage(second)
    assert tables.staged_rows == 0
    tables.stage(third)
    tables.flush()
    assert_mirrored(lake, source)


def test_a_batch_with_a_change_that_does_not_fit_is_refused_whole(lake: Lake) -> None:
    source, tables = started(lake, has_change_log=True)
    source.put("t", {"id": 1, "v": "x"})
    batch = source.commit()
    (change,) = batch.changes
    wrong_key = type(change)(2, 0, 0, "update", "t", {"other": 1}, None, {"id": 1})
    wrong_table = type(change)(2, 0, 0, "update", "nowhere", {"id": 1}, None, {"id": 1})
    for wrong in (wrong_key, wrong_table):
        with pytest.raises(LakeSchemaMismatchError):
            tables.stage(type(batch)("shop", "main", 1, 2, (change, wrong)))
        assert tables.staged_rows == 0 and tables.staged_lsn == 1
    tables.stage(batch)
    tables.flush()
    assert_mirrored(lake, source)
    assert len(lake.read_with_pyiceberg("t__changes")) == 20 + 1


def test_a_table_that_is_dropped_unseen_is_passed_over(lake: Lake) -> None:
    source, tables = started(lake)
    source.create("gone", "*id INTEGER")
    source.put("gone", {"id": 1})
    unseen = source.commit()
    source.drop("gone")
    batch = source.commit()
    tables.stage(type(batch)("shop", "main", 1, 3, batch.changes))
    assert unseen.changes and tables.staged_lsn == 3 and "gone" not in tables.tables
    changed(source, tables, "later")
    tables.flush()
    assert_mirrored(lake, source)


def test_a_mirror_stays_right_whatever_others_commit_to_it(lake: Lake) -> None:
    """pyiceberg appends rows with known and new keys, overwrites, and deletes from the mirror."""
    source, tables = started(lake, format_version=2)
    changed(source, tables, "before")
    tables.flush()
    foreign = _pyiceberg_table(lake)
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())])
    rows = [{"id": 3, "v": "a second 3"}, {"id": 500, "v": "theirs"}]
    foreign.append(pa.Table.from_pylist(rows, schema=schema))
    foreign.delete("id = 7")
    assert len([r for r in lake.read_with_duckdb("t") if r["id"] == 3]) == 2
    changed(source, tables, "after")
    source.put("t", {"id": 500, "v": "ours"})
    source.put("t", {"id": 7, "v": "back"})
    tables.stage(source.commit())
    tables.flush()
    assert tables.mirror("t").foreign_commits == 1
    assert_mirrored(lake, source)
    assert lake.open(format_version=2).watermark == source.lsn


def _pyiceberg_table(lake: Lake) -> Any:
    """The mirror as pyiceberg's, whose commits go through our registry."""
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.io import load_file_io
    from pyiceberg.table import CommitTableResponse, Table
    from pyiceberg.table.metadata import TableMetadataUtil

    from dolake.catalog.table_registry import TableChange

    class RegistryCatalog(NoopCatalog):
        def commit_table(self, table: Any, requirements: Any, updates: Any) -> Any:
            change = TableChange(
                T,
                [r.model_dump(mode="json", by_alias=True) for r in requirements],
                [u.model_dump(mode="json", by_alias=True, exclude_none=True) for u in updates],
            )
            (loaded,) = lake.registry.commit([change])
            return CommitTableResponse.model_validate(
                {"metadata": loaded.metadata, "metadata-location": loaded.metadata_location}
            )

    loaded = lake.registry.load_table(T)
    return Table(
        T,
        TableMetadataUtil.parse_obj(loaded.metadata),
        loaded.metadata_location,
        load_file_io({}),
        RegistryCatalog("registry"),
    )


def test_equality_deletes_of_others_stop_a_mirror_with_a_reason(lake: Lake) -> None:
    from dataclasses import replace

    from dolake.catalog.table_registry import TableChange
    from dolake.tables.lake_table import LakeTable
    from dolake.tables.manifests import Content
    from dolake.tables.snapshot_commit import SnapshotCommit
    from dolake.tables.snapshot_contents import current_schema

    source, tables = started(lake, format_version=2)
    table = LakeTable(lake.warehouse, lake.registry.load_table(T), "main")
    table.contents = table.load(lake.registry.load_table(T))
    (entry,) = table.contents.data_files().values()
    commit = SnapshotCommit(
        lake.warehouse, table.metadata, "main", table.contents, current_schema(table.metadata)
    )
    deletes = replace(entry.data_file, content=Content.EQUALITY_DELETES, equality_ids=(1,))
    commit.add([replace(deletes, file_path=f"{entry.data_file.file_path}.deletes")])
    made = commit.write("delete", {})
    lake.registry.commit([TableChange(T, made.requirements, made.updates)])
    changed(source, tables, "after")
    with pytest.raises(ForeignDeletesError, match="deletes rows by their values"):
        tables.flush()
    assert tables.staged_rows == 4


def test_a_branch_of_the_source_is_a_branch_of_its_tables(lake: Lake) -> None:
    source, tables = started(lake)
    changed(source, tables, "main 2")
    tables.flush()
    fork_lsn = source.lsn
    fork = SourceModel(branch="dev")
    fork.lsn, fork.schemas = fork_lsn, dict(source.schemas)
    fork.tables = {name: dict(rows) for name, rows in source.tables.items()}
    changed(source, tables, "main 3")
    tables.flush()

    dev = lake.open(branch="dev")
    assert dev.watermark == 0
    assert dev.fork_from("main", fork_lsn) == fork_lsn
    assert_mirrored(lake, fork, "dev")
    fork.alter("t", "*id INTEGER", "v TEXT", "extra INTEGER")
    fork.put("t", {"id": 1, "v": "on dev", "extra": 5})
    fork.alter("u", "*k TEXT", "w TEXT", renamed={"v": "w"})
    fork.create("n", "*id INTEGER", "v TEXT")
    fork.put("n", {"id": 1, "v": "only here"})
    dev.stage(fork.commit())
    dev.flush()
    dev = lake.open(branch="dev")
    assert dev.watermark == fork.lsn
    fork.delete("t", 2)
    dev.stage(fork.commit())
    dev.flush()
    assert_mirrored(lake, fork, "dev")
    changed(source, tables, "main 4")
    source.create("n", "*id INTEGER", "v TEXT", "more TEXT")
    source.put("n", {"id": 1, "v": "also here", "more": "main's own"})
    tables.stage(source.commit())
    tables.flush()
    assert_mirrored(lake, source)
    fork.put("t", {"id": 3, "v": "dev again", "extra": None})
    dev.stage(fork.commit())
    dev.flush()
    assert_mirrored(lake, fork, "dev")
    assert_mirrored(lake, source)


def test_a_fork_whose_moment_has_no_snapshot_needs_a_copy(lake: Lake) -> None:
    started(lake)
    with pytest.raises(SnapshotNotFoundError, match="as old as LSN 0"):
        lake.open(branch="dev").fork_from("main", 0)


def test_pending_rows_stand_in_for_committed_ones(lake: Lake) -> None:
    source, tables = started(lake)
    source.put("t", {"id": 3, "v": "new"})
    source.delete("t", 4)
    tables.stage(source.commit())
    rows, keys = tables.pending("t")
    assert rows.to_pylist() == [{"id": 3, "v": "new"}]
    assert keys == [{"id": 3}, {"id": 4}]
    tables.flush()
    assert tables.pending("t")[0].num_rows == 0 and tables.pending("t")[1] == []
