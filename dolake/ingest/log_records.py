"""What a record of the event log is: a message of a source, or the name of a whole copy."""

from __future__ import annotations

from pathlib import Path

from dolake.ingest.event_log import LogRecord
from dolake.ingest.lake_tables import SourceKey
from dolake.ingest.messages import BatchMessage, Form
from dolake.ingest.wire_format import decode_message

# `kind` of a record: the form of its payload, and what the payload is.
_FORM_BITS = 0x03
_MORE = 0x04
_CONTINUED = 0x08
_COPY = 0x10


def batch_record(key: SourceKey, message: BatchMessage, raw: bytes, form: Form) -> LogRecord:
    """The record of a batch, or of a part of one, as it was sent."""
    kind = form | (_MORE if message.more else 0) | (_CONTINUED if message.part else 0)
    return LogRecord(str(key), kind, message.after_lsn, message.last_lsn, raw)


def copy_record(key: SourceKey, after_lsn: int, lsn: int, file: Path) -> LogRecord:
    """The record of a copy whose messages are in a file of their own."""
    return LogRecord(str(key), _COPY, after_lsn, lsn, file.name.encode())


def copied_file(record: LogRecord) -> str | None:
    """The name of the file of a copy; None for a batch."""
    return record.payload.decode() if record.kind & _COPY else None


def is_first_part(record: LogRecord) -> bool:
    """Whether a batch begins here."""
    return not record.kind & _CONTINUED


def is_last_part(record: LogRecord) -> bool:
    """Whether a batch ends here."""
    return not record.kind & _MORE


def logged_message(record: LogRecord) -> BatchMessage:
    """The batch, or the part of one, that a record holds. Errors: MalformedMessageError."""
    message = decode_message(record.payload, Form(record.kind & _FORM_BITS))
    assert isinstance(message, BatchMessage)
    return message
