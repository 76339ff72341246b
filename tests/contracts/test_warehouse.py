"""What every place for a warehouse promises: a local folder, and a bucket of a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("obstore")

from dolake.errors import (
    LakeConfigurationError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectStoreAccessError,
    ObjectStoreError,
)
from dolake.warehouse import Warehouse


@pytest.fixture(params=["folder", "s3"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    if request.param == "folder":
        return Warehouse(tmp_path / "a lake")
    server = request.getfixturevalue("s3_server")
    return Warehouse(server.new_uri(), **server.options)


def test_what_is_written_is_read_back_under_its_path_and_its_url(warehouse: Warehouse) -> None:
    warehouse.write("shop/orders/1.parquet", b"0123456789")
    url = warehouse.url_of("shop/orders/1.parquet")
    assert warehouse.read("shop/orders/1.parquet") == warehouse.read(url) == b"0123456789"
    assert warehouse.read_range(url, 2, 3) == b"234"
    assert warehouse.size_of(url) == 10


def test_a_path_with_strange_characters_is_the_same_path_in_a_list(warehouse: Warehouse) -> None:
    path = "shop/day=2026-01-01 10:00/größe%2F100% a+b.parquet"
    warehouse.write(path, b"x")
    assert warehouse.read(path) == b"x"
    assert [found.path for found in warehouse.list("shop")] == [path]
    assert warehouse.path_of(warehouse.url_of(path)) == path


def test_a_write_takes_the_place_of_what_was_there(warehouse: Warehouse) -> None:
    warehouse.write("a", b"old and long")
    warehouse.write("a", b"new")
    assert warehouse.read("a") == b"new"


def test_a_large_object_is_whole(warehouse: Warehouse) -> None:
    data = bytes(range(256)) * 40_000  # over the size from which it is sent in parts
    warehouse.write("large", data)
    assert warehouse.read("large") == data
    warehouse.write_if_absent("large too", data)
    assert warehouse.size_of("large too") == len(data)


def test_only_the_first_write_to_a_free_name_succeeds(warehouse: Warehouse) -> None:
    warehouse.write_if_absent("a", b"first")
    warehouse.write_if_absent("a", b"first")  # as after an answer that was lost
    with pytest.raises(ObjectExistsError):
        warehouse.write_if_absent("a", b"second")
    assert warehouse.read("a") == b"first"


def test_a_missing_object_is_said_to_be_missing(warehouse: Warehouse) -> None:
    for read in (
        warehouse.read,
        warehouse.size_of,
        lambda name: warehouse.read_range(name, 0, 1),
    ):
        with pytest.raises(ObjectNotFoundError):
            read("nothing")
    assert not warehouse.exists("nothing")


def test_a_list_holds_a_folder_and_not_its_namesakes(warehouse: Warehouse) -> None:
    for path in ("a/1", "a/b/2", "ab/3"):
        warehouse.write(path, b"123")
    assert sorted(found.path for found in warehouse.list("a")) == ["a/1", "a/b/2"]
    assert {found.size_bytes for found in warehouse.list()} == {3}
    assert list(warehouse.list("c")) == []


def test_deleting_leaves_the_others_and_forgives_the_missing(warehouse: Warehouse) -> None:
    for path in ("a", "b", "c"):
        warehouse.write(path, b"")
    warehouse.delete(["nothing", warehouse.url_of("a"), "b"])
    assert [found.path for found in warehouse.list()] == ["c"]
    warehouse.delete([])


def test_a_url_of_another_place_is_refused(warehouse: Warehouse) -> None:
    for url in ("s3://elsewhere/a", "file:///elsewhere/a", warehouse.uri + "x/a"):
        with pytest.raises(LakeConfigurationError):
            warehouse.read(url)


def test_other_kinds_of_places_are_refused() -> None:
    with pytest.raises(LakeConfigurationError, match="ftp://example/a"):
        Warehouse("ftp://example/a")


def test_a_file_url_may_be_written_in_either_way(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.write("a/b", b"x")
    assert warehouse.read(f"file:{tmp_path}/a/b") == b"x"
    assert Warehouse(f"file://{tmp_path}").read("a/b") == b"x"


def test_a_store_that_is_away_is_worth_trying_again() -> None:
    warehouse = Warehouse("s3://lake/x", endpoint="http://127.0.0.1:1", skip_signature=True)
    with pytest.raises(ObjectStoreError) as raised:
        warehouse.read("a")
    assert raised.value.is_retryable


def test_a_wrong_secret_is_not_worth_trying_again(s3_server) -> None:
    options = {**s3_server.options, "secret_access_key": "wrong"}
    with pytest.raises(ObjectStoreAccessError) as raised:
        Warehouse(s3_server.new_uri(), **options).write("a", b"")
    assert not raised.value.is_retryable
