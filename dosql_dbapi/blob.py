"""Blob: incremental reading and writing of one stored value, as in the standard library."""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from dosql_core.errors import ProgrammingError
from dosql_core.kernel.error_translation import KernelClosedErrors, KernelError, translate

if TYPE_CHECKING:
    from dosql_dbapi.connection import Connection


_OFFSET_MAX = 0x7FFFFFFF  # SQLite addresses blobs with 32 bits


class Blob:
    """A stored value opened like a file of fixed size. `Connection.blobopen()` makes them."""

    __slots__ = ("_blob", "_connection", "_offset", "_size")

    _blob: Any
    _connection: Connection
    _offset: int
    _size: int

    def __new__(cls, *_arguments: Any, **_options: Any) -> Blob:
        raise TypeError(f"cannot create '{cls.__module__}.{cls.__qualname__}' instances")

    @classmethod
    def _opened(cls, connection: Connection, kernel_blob: Any) -> Blob:
        blob = object.__new__(cls)
        blob._blob = kernel_blob
        blob._connection = connection
        blob._offset = 0
        blob._size = kernel_blob.length()
        return blob

    def read(self, length: int = -1, /) -> bytes:
        """The next `length` bytes, fewer at the end; all that is left when it is negative."""
        self._check_open()
        left = self._size - self._offset
        length = left if length < 0 else min(length, left)
        data = self._read_at(self._offset, length)
        self._offset += len(data)
        return data

    def write(self, data: Any, /) -> None:
        """Overwrite bytes from the current position on.

        Errors: ValueError when they would reach beyond the end, which cannot move.
        """
        self._check_open()
        view = memoryview(data)
        if view.nbytes > self._size - self._offset:
            raise ValueError("data longer than blob")
        self._write_at(self._offset, view)
        self._offset += view.nbytes

    def seek(self, offset: int, origin: int = os.SEEK_SET, /) -> None:
        """Move the current position.

        Errors: ValueError when it would lie outside of the blob.
        """
        self._check_open()
        if origin == os.SEEK_SET:
            base = 0
        elif origin == os.SEEK_CUR:
            base = self._offset
        elif origin == os.SEEK_END:
            base = self._size
        else:
            raise ValueError("'origin' should be os.SEEK_SET, os.SEEK_CUR, or os.SEEK_END")
        if origin != os.SEEK_SET and base + offset > _OFFSET_MAX:
            raise OverflowError("seek offset results in overflow")
        if not 0 <= base + offset <= self._size:
            raise ValueError("offset out of blob range")
        self._offset = base + offset

    def tell(self) -> int:
        """The current position."""
        self._check_open()
        return self._offset

    def close(self) -> None:
        """Close the blob; nothing happens the second time."""
        self._connection._check_usable()
        if self._blob is not None:
            blob, self._blob = self._blob, None
            with suppress(KernelError):  # closing repeats what the last read or write raised
                blob.close()

    def __enter__(self) -> Blob:
        self._check_open()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> Literal[False]:
        self._check_open()
        self.close()
        return False

    def __len__(self) -> int:
        self._check_open()
        return self._size

    def __getitem__(self, key: int | slice) -> int | bytes:
        self._check_open()
        if isinstance(key, slice):
            start, stop, step = key.indices(self._size)
            if step == 1:
                return self._read_at(start, max(0, stop - start))
            return self._read_at(0, self._size)[key]
        return self._read_at(self._index(key), 1)[0]

    def __setitem__(self, key: int | slice, value: Any) -> None:
        self._check_open()
        if isinstance(key, slice):
            self._set_slice(key, value)
            return
        index = self._index(key)
        if not isinstance(value, int):
            raise TypeError(f"'{type(value).__name__}' object cannot be interpreted as an integer")
        if not 0 <= value < 256:
            raise ValueError("byte must be in range(0, 256)")
        self._write_at(index, bytes((value,)))

    def __delitem__(self, key: int | slice) -> None:
        self._check_open()
        if isinstance(key, slice):
            raise TypeError("Blob doesn't support slice deletion")
        raise TypeError("Blob doesn't support item deletion")

    def __contains__(self, value: object) -> bool:
        raise TypeError("argument of type 'Blob' is not iterable")

    def __iter__(self) -> Any:
        raise TypeError("'Blob' object is not iterable")

    def _set_slice(self, key: slice, value: Any) -> None:
        view = memoryview(value)
        if not view.c_contiguous:
            raise BufferError("memoryview: underlying buffer is not C-contiguous")
        view = view.cast("B")
        indexes = range(*key.indices(self._size))
        if len(view) != len(indexes):
            raise IndexError("Blob slice assignment is wrong size")
        if not indexes:
            return
        if indexes.step == 1:
            self._write_at(indexes.start, view)
            return
        first, last = min(indexes), max(indexes)
        changed = bytearray(self._read_at(first, last - first + 1))
        for position, byte in zip(indexes, view, strict=True):
            changed[position - first] = byte
        self._write_at(first, changed)

    def _index(self, key: Any) -> int:
        try:
            index: int = key.__index__()
        except AttributeError:
            raise TypeError("Blob indices must be integers") from None
        if abs(index) >= 1 << 63:
            raise IndexError("cannot fit 'int' into an index-sized integer")
        if index < 0:
            index += self._size
        if not 0 <= index < self._size:
            raise IndexError("Blob index out of range")
        return index

    def _read_at(self, offset: int, length: int) -> bytes:
        try:
            self._blob.seek(offset)
            return self._blob.read(length) if length else b""
        except (KernelError, ValueError) as error:
            self._refuse(error)

    def _write_at(self, offset: int, data: Any) -> None:
        try:
            self._blob.seek(offset)
            if len(data):
                self._blob.write(data)
        except (KernelError, ValueError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> NoReturn:
        if isinstance(error, KernelError) and not isinstance(error, KernelClosedErrors):
            raise translate(error) from error
        self._connection._check_usable()
        raise ProgrammingError("Cannot operate on a closed blob.") from None

    def _check_open(self) -> None:
        self._connection._check_usable()
        if self._blob is None:
            raise ProgrammingError("Cannot operate on a closed blob.")
