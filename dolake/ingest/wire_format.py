"""Messages as bytes and back, in either form; no I/O.

Source: docs/lake_protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from dolake.errors import MalformedMessageError
from dolake.ingest.json_form import decode_json, encode_json
from dolake.ingest.messages import Form, LakeMessage, SourceMessage
from dolake.ingest.packed_form import decode_packed, encode_packed

_decode_json_answer: Callable[[str], LakeMessage] = msgspec.json.Decoder(LakeMessage).decode
_decode_packed_answer: Callable[[bytes], LakeMessage] = msgspec.msgpack.Decoder(LakeMessage).decode


def decode_message(raw: bytes | str, form: Form) -> SourceMessage:
    """What a source sent.

    Errors: MalformedMessageError.
    """
    try:
        if form is Form.JSON:
            return decode_json(raw)
        assert isinstance(raw, bytes)
        return decode_packed(raw)
    except (msgspec.MsgspecError, ValueError, IndexError, RecursionError, TypeError) as error:
        raise MalformedMessageError(f"the message makes no sense: {error}") from error


def decode_answer(raw: bytes | str) -> LakeMessage:
    """What the lake answered: text is JSON, bytes are msgpack. Errors: MalformedMessageError."""
    try:
        if isinstance(raw, str):
            return _decode_json_answer(raw)
        return _decode_packed_answer(raw)
    except msgspec.MsgspecError as error:
        raise MalformedMessageError(f"the lake's answer makes no sense: {error}") from error


def encode_message(message: SourceMessage | LakeMessage, form: Form) -> bytes:
    """A message as it is sent; what a Form.JSON socket sends is the text of these bytes."""
    return encode_json(message) if form is Form.JSON else encode_packed(message)
