"""What a program may rely on, whichever adapter it speaks to DoSQL through.

The same stories, told through the driver, Peewee, SQLAlchemy and Django: the shops of
tests/fixtures/adapters.py.
"""

from __future__ import annotations

import datetime
import threading
import tracemalloc
from decimal import Decimal

import pytest

from fixtures.adapters import Item, Shop

ROWS_STREAMED = 30_000
ROWS_STREAMED_LONG = 1_000_000
STREAMING_BYTES_MAX = 3_000_000
WRITERS, INCREMENTS = 4, 10


def test_rows_are_made_read_changed_and_removed(shop: Shop) -> None:
    lamp, chair = shop.add(Item("lamp")), shop.add(Item("chair"))
    shop.rename(lamp, "bright lamp")
    assert shop.names() == ["bright lamp", "chair"]
    shop.remove(chair)
    assert shop.names() == ["bright lamp"]


@pytest.mark.parametrize(
    "item",
    [
        Item("decimal", price=Decimal("1234567.89")),
        Item("date", made=datetime.date(1999, 12, 31)),
        Item("json", traits={"sizes": [1, 2.5], "tags": {"deep": None}, "naïve": True}),
        Item("bytes", picture=bytes(range(256))),
        Item("naïve ☃ 𝄞 'quoted' \"twice\""),
    ],
    ids=lambda item: item.name[:7],
)
def test_values_come_back_as_they_went(shop: Shop, item: Item) -> None:
    assert shop.get(shop.add(item)) == item


def test_a_unique_violation_has_its_class_and_code(shop: Shop) -> None:
    shop.add(Item("lamp"))
    with pytest.raises(shop.integrity_error) as raised:
        shop.add(Item("lamp"))
    assert shop.code_of(raised.value) == "DB_CONSTRAINT"
    assert shop.names() == ["lamp"]


def test_a_check_violation_has_its_class(shop: Shop) -> None:
    with pytest.raises(shop.integrity_error):
        shop.add(Item("debt", price=Decimal("-1.00")))


def test_a_missing_value_has_its_class(shop: Shop) -> None:
    with pytest.raises(shop.integrity_error):
        shop.add(Item(None))  # type: ignore[arg-type]


def test_a_statement_sqlite_does_not_understand_has_its_class(shop: Shop) -> None:
    with pytest.raises(shop.operational_error, match="no such table: nowhere"):
        shop.run("select * from nowhere")


def test_a_failed_transaction_leaves_nothing(shop: Shop) -> None:
    shop.add(Item("lamp"))
    with pytest.raises(ZeroDivisionError), shop.transaction():
        shop.add(Item("chair"))
        raise ZeroDivisionError
    assert shop.names() == ["lamp"]


def test_a_transaction_is_one_commit(shop: Shop) -> None:
    before = shop.lsn()
    with shop.transaction():
        shop.add(Item("lamp"))
        shop.add(Item("chair"))
    assert shop.lsn() == before + 1


def test_a_failed_savepoint_leaves_the_transaction(shop: Shop) -> None:
    with shop.transaction():
        shop.add(Item("lamp"))
        with pytest.raises(shop.integrity_error), shop.transaction():
            shop.add(Item("chair"))
            shop.add(Item("lamp"))
        shop.add(Item("table"))
    assert shop.names() == ["lamp", "table"]


def test_a_commit_has_an_lsn_and_the_past_can_be_read_by_it(shop: Shop) -> None:
    lamp = shop.add(Item("lamp"))
    before = shop.lsn()
    shop.rename(lamp, "bright lamp")
    assert shop.lsn() == before + 1
    assert (shop.names_as_of(before), shop.names()) == (["lamp"], ["bright lamp"])


@pytest.mark.parametrize(
    "moment",
    ["snapshot:opening", -1, "lsn:{lsn}", "version:{lsn}", "branch:main@{lsn}", "branch:kept"],
)
def test_a_moment_can_have_other_names(shop: Shop, moment: int | str) -> None:
    lamp = shop.add(Item("lamp"))
    shop.run("CREATE SNAPSHOT opening")
    shop.run("CREATE BRANCH kept")
    asked = moment.format(lsn=shop.lsn()) if isinstance(moment, str) else moment
    shop.rename(lamp, "bright lamp")
    assert shop.names_as_of(asked) == ["lamp"]


def test_one_statement_joins_two_moments(shop: Shop) -> None:
    lamp = shop.add(Item("lamp"))
    shop.add(Item("chair"))
    before = shop.lsn()
    shop.rename(lamp, "bright lamp")
    assert shop.renamed_since(before) == [("lamp", "bright lamp")]


def test_a_moment_that_never_was_tells_its_code(shop: Shop) -> None:
    with pytest.raises(shop.operational_error) as raised:
        shop.names_as_of(1_000_000)
    assert shop.code_of(raised.value) == "TT_LSN_NOT_AVAILABLE"


def test_a_branch_is_written_alone(shop: Shop) -> None:
    shop.add(Item("lamp"))
    shop.run("CREATE BRANCH sale")
    with shop.on_branch("sale"):
        shop.add(Item("cheap lamp"))
        assert shop.names() == ["lamp", "cheap lamp"]
    shop.add(Item("chair"))
    assert shop.names() == ["lamp", "chair"]
    assert shop.names_as_of("branch:sale") == ["lamp", "cheap lamp"]


def test_writers_in_threads_queue_and_lose_nothing(shop: Shop) -> None:
    key = shop.add(Item("lamp"))
    failures: list[BaseException] = []
    prices: list[Decimal] = []

    def write() -> None:
        try:
            with shop.visit():
                for _ in range(INCREMENTS):
                    with shop.transaction():
                        shop.raise_price(key)
                        prices.append(shop.get(key).price)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(prices) == [Decimal(n) for n in range(1, WRITERS * INCREMENTS + 1)]


def test_many_rows_are_streamed_in_constant_memory(shop: Shop, is_long_run: bool) -> None:
    rows = ROWS_STREAMED_LONG if is_long_run else ROWS_STREAMED
    shop.run(
        "insert into item (name, price, made, picture) with recursive n(i) as"
        f" (select 1 union all select i + 1 from n where i < {rows})"
        " select printf('item %0100d', i), 0, '2026-01-01', x'' from n"
    )
    # The past is read from history alone: the rows are captured by now, not while we measure.
    assert shop.names_as_of(-1) == []
    # What the head's thread does about a commit of that size may come late, and counts: but once.
    assert min(bytes_to_stream(shop, rows) for _ in range(3)) < STREAMING_BYTES_MAX


def bytes_to_stream(shop: Shop, rows: int) -> int:
    """The most memory that Python had at any moment, beyond what it had before."""
    tracemalloc.start()
    try:
        assert sum(len(name) == 105 for name in shop.stream()) == rows
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
