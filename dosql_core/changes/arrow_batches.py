"""Events as Arrow record batches, a table's together; needs pyarrow, the extra `columnar`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dosql_core.changes.change_event import ChangeEvent
from dosql_core.errors import ChangeDecodeError, MissingExtraError
from dosql_core.rows.row_change import NamedValues
from dosql_core.rows.table_layout import TableLayout

if TYPE_CHECKING:
    import pyarrow

LSN, INDEX, COMMITTED_AT, OPERATION = (
    "_dosql_lsn", "_dosql_index", "_dosql_committed_at", "_dosql_operation",
)  # fmt: skip
BEFORE = "_dosql_before"


class TableBatch(NamedTuple):
    """Changes of one table.

    Shape: the columns of `batch` are `_dosql_lsn`, `_dosql_index`, `_dosql_committed_at` and
           `_dosql_operation`, then those of the table: what the row holds, or held when it was
           deleted; and when they were asked for, `_dosql_before`, a struct of what it held.
    """

    table: str
    batch: pyarrow.RecordBatch


def pyarrow_module() -> Any:
    """pyarrow. Errors: MissingExtraError."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingExtraError("pyarrow", "columnar") from error
    return pyarrow


class BatchBuilder:
    """Gathers the row events of a stretch of the stream in which no table was altered."""

    def __init__(self, types: Mapping[str, Any] | None, *, before: bool) -> None:
        self._arrow = pyarrow_module()
        self._types = {name.casefold(): kind for name, kind in (types or {}).items()}
        self._before = before
        self._events: dict[str, list[ChangeEvent]] = {}
        self.count = 0

    def add(self, event: ChangeEvent) -> None:
        """Keep a row event."""
        assert event.table is not None
        self._events.setdefault(event.table, []).append(event)
        self.count += 1

    def take(self, layouts: Mapping[str, TableLayout]) -> Iterator[TableBatch]:
        """What was gathered, table by table; nothing is left.

        Errors: ChangeDecodeError for a column whose values have no one type of Arrow.
        """
        gathered, self._events, self.count = self._events, {}, 0
        for table, events in gathered.items():
            # A change of the schema is a commit's first event, and its rows may have either shape.
            for part in _of_one_shape(events):
                yield TableBatch(table, self._batch(table, part, layouts.get(table)))

    def _batch(
        self, table: str, events: Sequence[ChangeEvent], layout: TableLayout | None
    ) -> pyarrow.RecordBatch:
        arrow = self._arrow
        rows = [_row(event) for event in events]
        arrays = [
            arrow.array([event.lsn for event in events], arrow.int64()),
            arrow.array([event.index for event in events], arrow.int32()),
            arrow.array([event.committed_at for event in events], arrow.timestamp("us", "UTC")),
            arrow.array([event.operation.value for event in events], arrow.string()),
        ]
        names = [LSN, INDEX, COMMITTED_AT, OPERATION]
        columns = list(rows[0])
        kinds = {name: self._type(table, name, layout) for name in columns}
        for name in columns:
            arrays.append(self._array(table, name, [row[name] for row in rows], kinds[name]))
            names.append(name)
        if self._before:
            children = [
                self._array(
                    table,
                    name,
                    [None if e.before is None else e.before.get(name) for e in events],
                    kinds[name] or arrays[4 + place].type,
                )
                for place, name in enumerate(columns)
            ]
            missing = arrow.array([event.before is None for event in events])
            arrays.append(arrow.StructArray.from_arrays(children, columns, mask=missing))
            names.append(BEFORE)
        return arrow.RecordBatch.from_arrays(arrays, names)

    def _type(self, table: str, column: str, layout: TableLayout | None) -> Any:
        for name in (f"{table}.{column}", column):
            chosen = self._types.get(name.casefold())
            if chosen is not None:
                return chosen
        if layout is None or column not in layout.columns:
            return None
        declared = layout.declared_types[layout.columns.index(column)].upper()
        arrow = self._arrow
        if "INT" in declared:
            return arrow.int64()
        if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
            return arrow.string()
        if any(word in declared for word in ("REAL", "FLOA", "DOUB")):
            return arrow.float64()
        return None  # by what is in it

    def _array(self, table: str, column: str, values: list[Any], kind: Any) -> Any:
        arrow = self._arrow
        try:
            if kind is not None and arrow.types.is_string(kind):
                values = [_text(value) for value in values]
            return arrow.array(values, kind)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError, UnicodeEncodeError, OverflowError) as e:
            raise ChangeDecodeError(
                f"column {column!r} of table {table!r} holds values that are not all "
                f"{kind or 'of one type'}: {e}",
                hint=f'name a type for it: types={{"{table}.{column}": pyarrow.string()}}',
            ) from e


def _text(value: Any) -> str | None:
    """A value where text is wanted: numbers as they are written, a blob in base 16."""
    if value is None or isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _row(event: ChangeEvent) -> NamedValues:
    row = event.before if event.after is None else event.after
    assert row is not None
    return row


def _of_one_shape(events: Sequence[ChangeEvent]) -> Iterator[Sequence[ChangeEvent]]:
    begin = 0
    for place in range(1, len(events) + 1):
        if place == len(events) or _row(events[place]).keys() != _row(events[begin]).keys():
            yield events[begin:place]
            begin = place
