"""Creating a branch: the same time whatever the size, against copying the file.

Each branch is made after a fresh commit on its parent, which must reach history first. 10 MB and
1 GB (`--quick`: 10 MB and 50 MB).
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import contenders
import filled_database
from measure import Settings, Table, directory_bytes, finish, percentiles, run_alone, settings

MEGABYTE = 1_000_000
AIM_MS = 10.0


def prepare(path: str, stored_bytes: int) -> int:
    connection = contenders.open_dosql(Path(path), "off")
    row_count = filled_database.fill(connection, stored_bytes)
    connection.close()
    return row_count


def create_branches(path: str, row_count: int, count: int) -> list[list[float]]:
    """Seconds to create each branch; then to open it and read; then for its first commit."""
    head = contenders.open_dosql(Path(path))
    creating, opening, writing = [], [], []
    for n, key in enumerate(filled_database.keys(row_count, count)):
        head.execute("update item set k = k + 1 where id = ?", (key,))
        began = time.perf_counter()
        head.execute(f"create branch b{n}")
        created = time.perf_counter()
        branch = contenders.open_dosql(Path(path), branch=f"b{n}")
        branch.execute(filled_database.POINT_READ, (key,)).fetchone()
        opened = time.perf_counter()
        branch.execute("update item set k = -1 where id = ?", (key,))
        written = time.perf_counter()
        branch.close()
        creating.append(created - began)
        opening.append(opened - created)
        writing.append(written - opened)
    head.close()
    return [creating, opening, writing]


def compare(how: Settings, megabytes: int, table: Table) -> None:
    path = how.scratch / f"branches-{megabytes}.db"
    row_count = run_alone(prepare, str(path), megabytes * MEGABYTE).value
    beside = path.with_name(path.name + "-dosql")
    bytes_before = directory_bytes(beside, allocated=True)
    count = how.scaled(50, 10)
    began = time.perf_counter()
    shutil.copyfile(path, how.scratch / "copy.db")
    copied = time.perf_counter() - began
    (how.scratch / "copy.db").unlink()
    told = run_alone(create_branches, str(path), row_count, count)
    creating, opening, writing = (percentiles(seconds) for seconds in told.value)
    table.add(
        f"dosql {megabytes:,} MB",
        creating.p50 / 1000,
        creating.p99 / 1000,
        "yes" if creating.p99 / 1000 < AIM_MS else "no",
        opening.p50 / 1000,
        writing.p50 / 1000,
        (directory_bytes(beside, allocated=True) - bytes_before) // count,
        copied * 1000,
    )


def main() -> None:
    with settings(__doc__) as how:
        table = Table(
            "CREATE BRANCH after a commit on its parent",
            (
                "database",
                "create p50 ms",
                "create p99 ms",
                "< 10 ms",
                "open and read p50 ms",
                "first commit p50 ms",
                "bytes a branch, one commit in it",
                "copying the file ms",
            ),
        )
        for megabytes in (10, how.scaled(1000, 50)):
            compare(how, megabytes, table)
        finish("branch_creation", "Creating branches", [table], how)


if __name__ == "__main__":
    main()
