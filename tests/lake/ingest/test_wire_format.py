"""A message comes out of its bytes as it went in, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("msgspec")

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dolake.changes import Column, RowChange, SchemaChange, TableSchema, Values
from dolake.errors import MalformedMessageError
from dolake.ingest.messages import BatchMessage, CopyBegin, CopyRows, Form, Heartbeat
from dolake.ingest.schema_messages import schema_message, table_schema
from dolake.ingest.wire_format import decode_message, encode_message

values = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.binary().map(lambda stored: stored.decode("utf-8", "surrogateescape"))
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def row_changes(draw: Any, lsn: int = 7) -> RowChange:
    columns = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    operation = draw(st.sampled_from(["insert", "update", "delete"]))
    image = {name: draw(values) for name in columns}
    after = None if operation == "delete" else image
    before = None if operation == "insert" else {name: draw(values) for name in columns}
    key = draw(
        st.sampled_from(
            [
                {columns[0]: (after or before or {})[columns[0]]},
                {"_rowid_": draw(st.integers(-5, 2**40))},
                {columns[-1]: draw(values)},
            ]
        )
    )
    return RowChange(
        lsn,
        draw(st.integers(0, 9)),
        draw(st.integers(0, 2**52)),
        operation,
        draw(names),
        key,
        before,
        after,
    )


def plain(change: Any) -> Any:
    """The fields with their types: what a decoded row is, whatever its class; 1 is not 1.0."""
    return repr(sorted((name, repr(getattr(change, name))) for name in change.__struct_fields__))


@pytest.mark.parametrize("form", Form)
@given(changes=st.lists(row_changes(), max_size=5))
def test_a_batch_comes_out_as_it_went_in(form: Form, changes: list[RowChange]) -> None:
    batch = BatchMessage(3, 6, 7, tuple(changes))
    decoded = decode_message(encode_message(batch, form), form)
    assert isinstance(decoded, BatchMessage)
    assert [plain(change) for change in decoded.changes] == [plain(change) for change in changes]
    assert (decoded.sequence, decoded.after_lsn, decoded.last_lsn) == (3, 6, 7)


@pytest.mark.parametrize("form", Form)
@given(default=values)
def test_a_schema_change_comes_out_as_it_went_in(form: Form, default: Any) -> None:
    schema = TableSchema("t", (Column("a", "int", True, 1, None), Column("b", "", default=default)))
    change = SchemaChange(7, 0, 1, "t", None, schema, {"x": "b"})
    decoded = decode_message(encode_message(BatchMessage(1, 6, 7, (change,)), form), form)
    assert isinstance(decoded, BatchMessage)
    assert decoded.changes == (change,)
    begin = CopyBegin(1, 7, (schema_message(schema),))
    decoded_begin = decode_message(encode_message(begin, form), form)
    assert isinstance(decoded_begin, CopyBegin)
    assert table_schema(decoded_begin.tables[0]) == schema


@pytest.mark.parametrize("form", Form)
@given(rows=st.lists(st.tuples(values, values), max_size=5))
def test_rows_of_a_copy_come_out_as_they_went_in(form: Form, rows: list[Any]) -> None:
    sent = CopyRows(1, "t", tuple(rows))
    assert repr(decode_message(encode_message(sent, form), form)) == repr(sent)


@pytest.mark.parametrize("form", Form)
@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(form: Form, raw: bytes) -> None:
    try:
        decode_message(raw, form)
    except MalformedMessageError as error:
        assert error.nack_reason == "invalid_format"


ROW = {
    "type": "row",
    "lsn": 1,
    "index": 0,
    "committed_at": 0,
    "operation": "insert",
    "table": "t",
    "key": {"a": 1},
    "after": {"a": 1},
}
BATCH = {"type": "batch", "sequence": 1, "after_lsn": 0, "last_lsn": 1, "changes": [ROW]}


@pytest.mark.parametrize(
    "changed",
    [
        {"after": {"a": True}},
        {"after": {"a": 2**63}},
        {"after": {"a": [1]}},
        {"after": {"a": {"base16": "0"}}},
        {"after": {"a": {"base16": "00", "real": "inf"}}},
        {"after": {"a": {"base16": "00", "text_base16": "00"}}},
        {"after": {"a": {"text_base16": "00", "real": "inf"}}},
        {"after": {"a": {"text_base16": "f"}}},
        {"after": {"a": {}}},
        {"after": {"a": {"real": "nan"}}},
        {"after": {"a": {"other": 1}}},
        {"operation": "upsert"},
        {"lsn": -1},
        {"lsn": 1.5},
        {"table": ""},
        {"key": None},
        {"type": "rows"},
    ],
)
def test_a_row_that_is_not_one_is_refused(changed: dict[str, Any]) -> None:
    raw = msgspec.json.encode({**BATCH, "changes": [{**ROW, **changed}]})
    with pytest.raises(MalformedMessageError):
        decode_message(raw, Form.JSON)
    decode_message(msgspec.json.encode(BATCH), Form.JSON)


@pytest.mark.parametrize(
    "row",
    [
        [0, 1, 0, 0, 0, 0, None, None, [1]],  # fewer values than columns
        [0, 1, 0, 0, 0, 1, None, None, [1, 2]],  # no such table
        [0, 1, 0, 0, 3, 0, None, None, [1, 2]],  # no such operation
        [0, 1, 0, 0, 0, 0, None, None, None],  # neither key nor image
        [0, 1, 0, 0, 0, 0, None, None, [1, [b"a", b"b"]]],  # no blob
        [0, 1, 0, 0, 0, 0, [1, 2, 3], None, [1, 2]],  # too long a key
        [2, 1, 0, 0, 0, 0, None, None, [1, 2]],  # no such kind of change
    ],
)
def test_a_compact_row_that_is_not_one_is_refused(row: list[Any]) -> None:
    batch = {**BATCH, "tables": [["t", ["a", "b"], ["a"]]], "changes": [row]}
    with pytest.raises(MalformedMessageError):
        decode_message(msgspec.msgpack.encode(batch), Form.MSGPACK)


def test_the_compact_form_is_a_third_of_the_size() -> None:
    image: Values = {"id": 1, "owner": "ann", "balance": 2.5, "note": "hello"}
    changes = tuple(
        RowChange(7, n, 1, "update", "account", {"id": 1}, image, image) for n in range(99)
    )
    batch = BatchMessage(1, 6, 7, changes)
    sizes = [len(encode_message(batch, form)) for form in (Form.MSGPACK, Form.JSON)]
    assert sizes[0] * 3 < sizes[1]


def test_deep_nesting_is_refused_and_kills_nobody() -> None:
    for raw, form in ((b"[" * 100_000, Form.JSON), (b"\x91" * 100_000, Form.MSGPACK)):
        with pytest.raises(MalformedMessageError):
            decode_message(raw, form)
    assert decode_message(b'{"type":"heartbeat"}', Form.JSON) == Heartbeat()
