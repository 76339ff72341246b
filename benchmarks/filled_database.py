"""Databases of a given size, for the benchmarks that ask what size does.

One table, `item`, with an index: about 430 bytes a row, half of it incompressible, so that history
cannot profit from text that no application would store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

STORED_BYTES_PER_ROW = 455  # with its share of the index, measured
ROWS_PER_COMMIT = 100_000
CREATE = """
    create table item(id integer primary key, k integer not null, body text not null)
"""
CREATE_INDEX = "create index item_k on item(k)"
FILL = """
    with recursive n(i) as (select ? union all select i + 1 from n where i < ?)
    insert into item(id, k, body) select i, i * 7919 % 1000003, hex(randomblob(200)) from n
"""
POINT_READ = "select k, body from item where id = ?"


def row_count_for(stored_bytes: int) -> int:
    return max(1, stored_bytes // STORED_BYTES_PER_ROW)


def fill(connection: Any, stored_bytes: int) -> int:
    """Make the table and fill it to about `stored_bytes`; returns how many rows it has."""
    row_count = row_count_for(stored_bytes)
    connection.execute(CREATE)
    connection.execute(CREATE_INDEX)
    for first in range(1, row_count + 1, ROWS_PER_COMMIT):
        last = min(first + ROWS_PER_COMMIT - 1, row_count)
        connection.execute(FILL, (first, last)).fetchall()
    return row_count


def update_rows(connection: Any, row_count: int, commits: int, seed: int = 7) -> None:
    """So many single-row commits, spread over the whole table."""
    chance = random.Random(seed)
    for _ in range(commits):
        connection.execute(
            "update item set k = k + 1 where id = ?", (chance.randint(1, row_count),)
        )


def keys(row_count: int, count: int, seed: int = 11) -> Iterator[int]:
    chance = random.Random(seed)
    return (chance.randint(1, row_count) for _ in range(count))


def point_reader(
    connection: Any, asked: list[int], sql: str = POINT_READ, *moment: object
) -> Callable[[], None]:
    """Reads each of the keys once when called. `moment` stands before the key in the parameters."""
    execute = connection.execute

    def work() -> None:
        for key in asked:
            execute(sql, (*moment, key)).fetchone()

    return work
