"""A batch as messages of limited size: at commits where it can be, within one where it must."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dolake.changes import Batch, Change
from dolake.errors import MessageTooLargeError
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.wire_format import encode_message


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """A message ready to be sent. Shape: `ends_commit` is False while a commit goes on."""

    sequence: int
    raw: bytes
    last_lsn: int
    ends_commit: bool


class MessageSplitter:
    """Numbers and encodes the messages of one connection."""

    def __init__(self, form: Form, message_bytes_max: int) -> None:
        self._form = form
        self._bytes_max = message_bytes_max
        self._sequence = 0

    def next_sequence(self) -> int:
        """The number of the next message."""
        self._sequence += 1
        return self._sequence

    def messages(self, batch: Batch) -> Iterator[EncodedBatch]:
        """The messages that carry a batch.

        Errors: MessageTooLargeError when one change alone is too large.
        """
        message = BatchMessage(self.next_sequence(), batch.after_lsn, batch.last_lsn, batch.changes)
        raw = encode_message(message, self._form)
        if len(raw) <= self._bytes_max:
            yield EncodedBatch(message.sequence, raw, batch.last_lsn, True)
            return
        self._sequence -= 1
        middle = _commit_boundary(batch.changes)
        if middle is not None:
            lsn = batch.changes[middle - 1].lsn
            yield from self.messages(_part(batch, batch.after_lsn, lsn, batch.changes[:middle]))
            yield from self.messages(_part(batch, lsn, batch.last_lsn, batch.changes[middle:]))
            return
        yield from self._within_a_commit(batch)

    def _within_a_commit(self, batch: Batch) -> Iterator[EncodedBatch]:
        lsn = batch.changes[0].lsn
        if batch.after_lsn < lsn - 1:  # commits without changes come before it
            yield from self.messages(_part(batch, batch.after_lsn, lsn - 1, ()))
        groups = list(self._groups(batch.changes))
        for part, changes in enumerate(groups):
            is_last = part == len(groups) - 1
            message = BatchMessage(
                self.next_sequence(), lsn - 1, lsn, changes, more=not is_last, part=part
            )
            yield EncodedBatch(message.sequence, encode_message(message, self._form), lsn, is_last)
        if batch.last_lsn > lsn:
            yield from self.messages(_part(batch, lsn, batch.last_lsn, ()))

    def _groups(self, changes: tuple[Change, ...]) -> Iterator[tuple[Change, ...]]:
        """Runs of changes that each fit into a message."""
        size = len(encode_message(BatchMessage(1 << 40, 0, 1, changes, True, 1 << 20), self._form))
        if size <= self._bytes_max:
            yield changes
            return
        if len(changes) == 1:
            raise MessageTooLargeError(
                f"change {changes[0].index} of LSN {changes[0].lsn} alone takes {size} bytes, and "
                f"the lake takes messages of {self._bytes_max}"
            )
        middle = len(changes) // 2
        yield from self._groups(changes[:middle])
        yield from self._groups(changes[middle:])


def _commit_boundary(changes: tuple[Change, ...]) -> int | None:
    """The place nearest the middle where a commit ends; None when there is one commit only."""
    if not changes or changes[0].lsn == changes[-1].lsn:
        return None
    middle = len(changes) // 2
    for distance in range(len(changes)):
        for place in (middle - distance, middle + distance):
            if 0 < place < len(changes) and changes[place - 1].lsn != changes[place].lsn:
                return place
    return None


def _part(batch: Batch, after: int, last: int, changes: tuple[Change, ...]) -> Batch:
    return Batch(batch.source, batch.branch, after, last, changes)
