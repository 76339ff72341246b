"""What ingest needs of the tables of one source; `dolake.tables.SourceTables` is it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from dolake.changes import Batch, SourceCommit, TableSchema


class SourceKey(NamedTuple):
    """A branch of a source: what has a watermark of its own."""

    source: str
    branch: str

    def __str__(self) -> str:
        return f"{self.source}@{self.branch}"

    @classmethod
    def parse(cls, text: str) -> SourceKey:
        """The key that `str` gave."""
        source, _, branch = text.rpartition("@")
        return cls(source, branch)


class Flushed(Protocol):
    """What a flush did."""

    @property
    def tables(self) -> Sequence[Any]:
        """Those that got a snapshot; none where no table was touched, and then the watermark is
        not in any snapshot either."""


class LakeTables(Protocol):
    """The mirror tables of one source. Used by one thread at a time.

    Durability: what `flush` and `initial_copy` returned from is in a snapshot, with the watermark
                in it. A failed one changed nothing, and what was staged is still staged.
    """

    @property
    def watermark(self) -> int:
        """The last LSN that is in a snapshot; 0 when none is."""

    @property
    def last_commit(self) -> SourceCommit | None:
        """The last commit that changed something, as far as it is known."""

    @property
    def staged_rows(self) -> int:
        """How many changes are staged."""

    @property
    def staged_bytes(self) -> int:
        """About how much memory they take."""

    def initial_copy(
        self,
        lsn: int,
        tables: Iterable[tuple[TableSchema, Iterable[pa.RecordBatch]]],
        *,
        keeps_others: bool = False,
        committed_at: int | None = None,
    ) -> Any:
        """Put the tables as of an LSN in the place of what is there; empty others, or keep them."""

    def stage(self, batch: Batch) -> None:
        """Take in a batch that follows the one before."""

    def flush(self) -> Flushed:
        """Put what is staged into a snapshot."""


OpenTables = Callable[[SourceKey], LakeTables]
