"""What happens to a message whatever way it came: its checks in their order, and its answer."""

from __future__ import annotations

import time

from opentelemetry import trace

from dolake.errors import MessageTooLargeError, RefusedError
from dolake.ingest.deduplication import check_batch, check_clock, check_sizes
from dolake.ingest.ingest_service import IngestService
from dolake.ingest.messages import BatchMessage, Connect, Form, Nack, SourceMessage
from dolake.ingest.source_pipeline import Accepted, SourcePipeline
from dolake.ingest.wire_format import decode_message
from dosql_core.errors import Error

_tracer = trace.get_tracer("dolake")


def read_message(service: IngestService, raw: bytes | str, form: Form) -> SourceMessage:
    """A message within its size, decoded.

    Errors: MessageTooLargeError, MalformedMessageError.
    """
    limit = service.settings.limits.message_bytes_max
    if len(raw) > limit:
        raise MessageTooLargeError(f"the message has {len(raw)} bytes, more than {limit}")
    return decode_message(raw, form)


def take_batch(
    service: IngestService, pipeline: SourcePipeline, batch: BatchMessage, raw: bytes, form: Form
) -> Accepted:
    """Check a batch and take it in.

    Errors: those of RefusedError's kinds that concern batches.
    """
    with _tracer.start_as_current_span(
        "dolake.batch",
        attributes={
            "dolake.source": str(pipeline.key),
            "dolake.last_lsn": batch.last_lsn,
            "dolake.changes": len(batch.changes),
        },
    ):
        limits = service.settings.limits
        check_batch(batch)
        check_sizes(batch, len(raw), limits)
        if batch.changes:
            check_clock(
                (batch.changes[0].committed_at, batch.changes[-1].committed_at),
                time.time_ns() // 1000,
                limits,
            )
        return pipeline.accept(batch, raw, form)


def check_connect(service: IngestService, connect: Connect) -> None:
    """See that the sender's clock and ours agree about now. Errors: ClockSkewError."""
    if connect.sent_at is not None:
        now = time.time_ns() // 1000
        # Told apart in the message only by its sign: a clock that is behind is as wrong.
        check_clock((now + abs(connect.sent_at - now),), now, service.settings.limits)


def refusal(
    service: IngestService, error: Exception, sequence: int | None, expected_lsn: int | None
) -> Nack:
    """The nack that tells an error; one that is none of ours tells nothing of our insides."""
    if isinstance(error, RefusedError):
        reason, code, message = error.nack_reason, error.code, str(error)
        retry_after, expected = error.retry_after_seconds, error.expected_lsn
    elif isinstance(error, Error):
        reason, code, message = "internal_error", error.code, str(error)
        retry_after, expected = (1.0 if error.is_retryable else None), None
    else:
        reason, code = "internal_error", "DB_INTERNAL"
        message = f"the lake failed: {type(error).__name__}"
        retry_after, expected = None, None
    service.metrics.nacks.labels(reason).inc()
    return Nack(
        sequence,
        reason,
        code,
        message,
        expected_lsn if expected is None else expected,
        retry_after,
    )
