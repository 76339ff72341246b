"""What of a message is new, by its LSNs alone: no window of time, no memory of messages."""

from __future__ import annotations

from collections.abc import Sequence

from dolake.changes import Change
from dolake.errors import (
    ClockSkewError,
    MalformedMessageError,
    MessageTooLargeError,
    SequenceError,
)
from dolake.ingest.messages import BatchMessage
from dolake.settings import IngestLimits


def is_new(after_lsn: int, last_lsn: int, accepted_lsn: int) -> bool:
    """Whether commits up to `last_lsn` go beyond what is accepted; False for a duplicate.

    Errors: SequenceError when commits between the two are missing.
    """
    if last_lsn <= accepted_lsn:
        return False
    if after_lsn > accepted_lsn:
        raise SequenceError(
            f"commits {accepted_lsn + 1} to {after_lsn} are missing: the batch begins after LSN "
            f"{after_lsn}, and the lake has everything up to {accepted_lsn}",
            accepted_lsn,
        )
    return True


def beyond(changes: Sequence[Change], lsn: int) -> tuple[Change, ...]:
    """The changes of commits after `lsn`; they are in order."""
    if not changes or changes[0].lsn > lsn:
        return tuple(changes)
    return tuple(change for change in changes if change.lsn > lsn)


def check_batch(batch: BatchMessage) -> None:
    """See that a batch is what it says: commits after `after_lsn`, in order, each change once.

    Errors: MalformedMessageError.
    """
    if batch.last_lsn < batch.after_lsn:
        raise MalformedMessageError(
            f"a batch goes from after LSN {batch.after_lsn} back to {batch.last_lsn}"
        )
    lsn, index = batch.after_lsn, 1 << 63
    for change in batch.changes:
        if change.lsn == lsn:
            if change.index <= index:
                raise MalformedMessageError(
                    f"change {change.index} of LSN {lsn} comes after change {index}"
                    if lsn > batch.after_lsn
                    else f"LSN {lsn} is before the batch, which begins after it"
                )
        elif change.lsn < lsn:
            raise MalformedMessageError(f"LSN {change.lsn} comes after LSN {lsn}")
        lsn, index = change.lsn, change.index
    if lsn > batch.last_lsn:
        raise MalformedMessageError(
            f"LSN {lsn} is beyond the batch, which ends at {batch.last_lsn}"
        )
    if (batch.more or batch.part) and batch.last_lsn != batch.after_lsn + 1:
        raise MalformedMessageError(
            "only a single commit goes over several messages, and this one spans "
            f"LSNs {batch.after_lsn + 1} to {batch.last_lsn}"
        )
    _check_images(batch.changes)


def _check_images(changes: Sequence[Change]) -> None:
    for change in changes:
        operation = getattr(change, "operation", None)
        if operation is None:
            if change.before is None and change.after is None:
                raise MalformedMessageError(f"a schema change of {change.table!r} changes nothing")
        elif not change.key:  # type: ignore[union-attr]
            raise MalformedMessageError(f"a row of {change.table!r} has no key")
        elif operation != "delete" and change.after is None:
            raise MalformedMessageError(f"an {operation} of {change.table!r} has no image after it")


def check_sizes(batch: BatchMessage, message_bytes: int, limits: IngestLimits) -> None:
    """See that no change is larger than allowed.

    Errors: MessageTooLargeError.
    """
    if message_bytes <= limits.event_bytes_max:
        return  # what is in it is no larger than it
    for change in batch.changes:
        size = _bytes_of(getattr(change, "before", None)) + _bytes_of(change.after)
        if size > limits.event_bytes_max:
            raise MessageTooLargeError(
                f"change {change.index} of LSN {change.lsn} has about {size} bytes, more than "
                f"{limits.event_bytes_max}"
            )


def check_clock(times: Sequence[int], now_microseconds: int, limits: IngestLimits) -> None:
    """See that nothing comes from the future, beyond what clocks may differ.

    Units:  `times` are microseconds since 1970.
    Errors: ClockSkewError.
    """
    ahead = (max(times, default=0) - now_microseconds) / 1e6
    if ahead > limits.clock_skew_seconds_max:
        raise ClockSkewError(
            f"the sender's clock is {ahead:.0f} s ahead of the lake's, "
            f"more than {limits.clock_skew_seconds_max:.0f} s"
        )


def _bytes_of(image: object) -> int:
    if not isinstance(image, dict):
        return 0
    return sum(
        len(value) if isinstance(value, str | bytes) else 9 for value in image.values()
    ) + sum(map(len, image))
