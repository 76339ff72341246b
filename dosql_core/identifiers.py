"""Names for the numbers and words that must not be mixed up; no behaviour lives here."""

from __future__ import annotations

from typing import NewType

Lsn = NewType("Lsn", int)
"""Number of a commit on its branch: dense, monotonic, continuing from the fork point; 0 is the
empty database before its first commit."""

PageNumber = NewType("PageNumber", int)
"""Number of a page in a SQLite file; SQLite counts from 1."""

Microseconds = NewType("Microseconds", int)
"""A moment: microseconds since 1970-01-01 00:00:00 UTC."""

BranchName = NewType("BranchName", str)
"""What users call a branch; it may be renamed."""

BranchId = NewType("BranchId", str)
"""What the directory of a branch is called; it never changes."""

SqlValue = None | int | float | str | bytes
"""What SQLite stores, as Python sees it."""

MAIN_BRANCH = BranchName("main")
MAIN_BRANCH_ID = BranchId("main")

SQLITE_HEADER_BYTES = 100
EMPTY_LSN = Lsn(0)
