"""The data files of a mirror's snapshot, by number, and the index of the keys in them.

What other writers did to the table is found by comparing the files of two snapshots; only files
that are new are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from pyroaring import BitMap

from dolake.tables.data_file import LINEAGE_FIELDS, read_columns
from dolake.tables.key_coding import HashedKeys, IntegerKeys, Key, NotAnIntegerKeyError
from dolake.tables.key_index import (
    ABSENT,
    FileNumbers,
    Integers,
    KeyIndex,
    files_of,
    locations_of,
    positions_of,
)
from dolake.tables.manifests import ManifestEntry
from dolake.tables.row_tables import key_fields, keys_of_table
from dolake.tables.schema_mapping import Layout
from dolake.tables.snapshot_contents import SnapshotContents, load_deletes
from dolake.warehouse import Warehouse

_READERS = 4


@dataclass(slots=True)
class MirroredFile:
    """A data file of the mirror, what is deleted from it, and the entries that say so."""

    entry: ManifestEntry
    deleted: BitMap = field(default_factory=BitMap)
    deletes: list[ManifestEntry] = field(default_factory=list)
    row_ids: Integers | None = None  # read when the first of its rows moves

    @property
    def path(self) -> str:
        return self.entry.data_file.file_path

    @property
    def row_count(self) -> int:
        return self.entry.data_file.record_count

    def replaceable_deletes(self) -> list[str]:
        """Paths of the files of deletes that tell of this data file alone."""
        return [
            entry.data_file.file_path
            for entry in self.deletes
            if entry.data_file.referenced_data_file is not None
        ]


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a commit of ours did to the files. Shape: new files follow each other by number."""

    added: Sequence[MirroredFile]
    deleted: Mapping[int, tuple[BitMap, list[ManifestEntry]]]
    removed: Sequence[int]


class MirroredFiles:
    """Files and keys of one mirror. Shape: the index is built when it is first asked for."""

    def __init__(self, warehouse: Warehouse, layout: Layout) -> None:
        self._warehouse = warehouse
        self.layout = layout
        self._files: list[MirroredFile | None] = []
        self._number_of: dict[str, int] = {}
        self._index: KeyIndex | None = None
        self._coder: IntegerKeys | HashedKeys = _coder_for(layout)
        self.surplus: Integers = np.empty(0, dtype=np.int64)
        """Locations of rows whose key another row has, too: somebody else put them in."""

    def __len__(self) -> int:
        return len(self._number_of)

    @property
    def next_number(self) -> int:
        return len(self._files)

    @property
    def index_bytes(self) -> int:
        """Memory of the index. Units: bytes."""
        return 0 if self._index is None else self._index.nbytes

    @property
    def row_count(self) -> int:
        return sum(f.row_count - len(f.deleted) for _, f in self.live())

    def live(self) -> Iterator[tuple[int, MirroredFile]]:
        for number in self._number_of.values():
            yield number, self.file(number)

    def file(self, number: int) -> MirroredFile:
        found = self._files[number]
        assert found is not None
        return found

    # -- following a snapshot ----------------------------------------------------------------------

    def follow(self, contents: SnapshotContents) -> None:
        """Hold the files of this snapshot from now on.

        Errors: ForeignDeletesError when the snapshot has equality deletes.
        """
        known = {
            entry.data_file.file_path: {file.path: file.deleted}
            for _, file in self.live()
            for entry in file.deletes
            if len(file.deletes) == 1 and entry.data_file.referenced_data_file == file.path
        }
        deletes = load_deletes(self._warehouse, contents, known)
        entries = contents.data_files()
        gone = [number for path, number in self._number_of.items() if path not in entries]
        added: list[int] = []
        vanished: list[Integers] = []
        for path, entry in entries.items():
            told = deletes.get(path)
            positions = told.positions if told is not None else BitMap()
            number = self._number_of.get(path)
            if number is not None and not (self.file(number).deleted - positions):
                file = self.file(number)
                newly = positions - file.deleted
                if newly:
                    vanished.append(locations_of(number, _as_array(newly)))
                file.entry, file.deleted = entry, positions
                file.deletes = told.entries if told is not None else []
                continue
            if number is not None:  # rows came back: a rollback, or another engine's doing
                gone.append(number)
            fresh = MirroredFile(entry, positions, told.entries if told is not None else [])
            self._files.append(fresh)
            added.append(len(self._files) - 1)
        live_before = sum(f.row_count - len(f.deleted) for f in map(self.file, gone))
        for number in gone:
            self._drop(number)
        for number in added:
            self._number_of[self.file(number).path] = number
        if self._index is None:
            self.surplus = self.surplus[:0]  # told anew when the index is built
            return
        if vanished:
            taken = np.concatenate(vanished)
            self._index.take_out(taken)
            self.surplus = self.surplus[~np.isin(self.surplus, taken)]
        gone_files = FileNumbers(gone)
        self.surplus = self.surplus[~gone_files.hold(self.surplus)]
        if 2 * live_before > self.row_count:  # to sort them anew is less than to look for each
            self._index.take_out_files(gone_files)
            self._index_or_none(added, FileNumbers())
        elif self._index_or_none(added, gone_files) < live_before:
            # Else all their rows are elsewhere now, as after a compaction: none is left behind.
            self._index.take_out_files(gone_files)

    def _drop(self, number: int) -> None:
        file = self.file(number)
        if self._number_of.get(file.path) == number:
            del self._number_of[file.path]
        self._files[number] = None

    def apply(self, changes: FileChanges, keys: Integers, locations: Integers) -> None:
        """Hold what a commit of ours made: its files, and where the rows of these keys are now."""
        for file in changes.added:
            self._files.append(file)
            self._number_of[file.path] = len(self._files) - 1
        for number, (deleted, entries) in changes.deleted.items():
            file = self.file(number)
            file.deleted, file.deletes = deleted, entries
        for number in changes.removed:
            self._drop(number)
        self.surplus = self.surplus[:0]
        if self._index is not None and len(keys):
            self._index.put(keys, locations)

    def reset(self, layout: Layout, files: Sequence[MirroredFile]) -> None:
        """Hold these files and no others; the index is built anew when it is asked for."""
        for number in list(self._number_of.values()):
            self._drop(number)
        for file in files:
            self._files.append(file)
            self._number_of[file.path] = len(self._files) - 1
        self.layout = layout
        self._index = None
        self._coder = _coder_for(layout)
        self.surplus = self.surplus[:0]

    # -- keys --------------------------------------------------------------------------------------

    def find(self, keys: Sequence[Key], is_new: Callable[[Key], bool]) -> tuple[Integers, Integers]:
        """The number of each key in the index, and the location of its row or ABSENT.

        Shape: `is_new` says of a key that no row is expected to have it; where one is found all the
               same, its key is looked at.
        """
        try:
            index = self._built()
            codes = self._coder.codes(keys)
        except NotAnIntegerKeyError:
            self._coder, self._index = HashedKeys(), None
            return self.find(keys, is_new)
        locations = index.find(codes)
        if isinstance(self._coder, HashedKeys):
            self._tell_apart(keys, codes, locations, is_new, self._coder)
        return codes, locations

    def _tell_apart(
        self,
        keys: Sequence[Key],
        codes: Integers,
        locations: Integers,
        is_new: Callable[[Key], bool],
        coder: HashedKeys,
    ) -> None:
        """Give keys whose hash is that of another row's key, or of one another, their own code."""
        doubtful = [n for n in np.flatnonzero(locations != ABSENT).tolist() if is_new(keys[n])]
        collided = [
            n
            for n, key in zip(doubtful, self._keys_at(locations[doubtful]), strict=True)
            if key != keys[n]
        ]
        if len(np.unique(codes)) != len(codes):
            order = np.argsort(codes, kind="stable")
            same = np.flatnonzero(codes[order][1:] == codes[order][:-1])
            collided += [n for n in order[same + 1].tolist() if n not in collided]
        index = self._built()
        taken = set(codes.tolist())
        for n in collided:
            codes[n] = coder.set_apart(
                keys[n],
                lambda code: code in taken or bool(index.find(np.array([code]))[0] != ABSENT),
            )
            taken.add(int(codes[n]))
            locations[n] = ABSENT

    def _keys_at(self, locations: Integers) -> list[Key]:
        """The keys of the rows at these locations, read from their files."""
        found: list[Key] = [None] * len(locations)
        numbers = files_of(locations)
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            rows = read_columns(self._warehouse, self.file(number).path, key_fields(self.layout))
            chosen = rows.take(pa.array(positions_of(locations[at])))
            for place, key in zip(at.tolist(), keys_of_table(chosen, self.layout), strict=True):
                found[place] = key
        return found

    def build_index(self) -> None:
        """Read the keys of all rows now, not when the first change comes."""
        try:
            self._built()
        except NotAnIntegerKeyError:
            self._coder, self._index = HashedKeys(), None
            self._built()

    def _built(self) -> KeyIndex:
        if self._index is None:
            self._index = KeyIndex()
            self._index_or_none(list(self._number_of.values()), FileNumbers())
        return self._index

    def _index_or_none(self, numbers: Sequence[int], gone: FileNumbers) -> int:
        """Enter the rows of these files, or have no index: half of one would say rows are new."""
        try:
            return self._index_more(numbers, gone)
        except BaseException:
            self._index = None
            raise

    def _index_more(self, numbers: Sequence[int], gone: FileNumbers) -> int:
        """Enter the rows of these files; those whose key has a row already are surplus.

        Shape: how many of the keys had a row in a file that is gone.
        """
        assert self._index is not None
        if not numbers:
            return 0
        # Of two rows with one key that of the older file is the source's: it would have removed
        # the other, had that been there.
        numbers = sorted(numbers, key=lambda n: self.file(n).entry.sequence_number or 0)
        with ThreadPoolExecutor(_READERS) as readers:
            read = list(readers.map(self._codes_of, numbers))
        codes = np.concatenate([codes for codes, _, _ in read])
        locations = np.concatenate([locations for _, locations, _ in read])
        if isinstance(self._coder, HashedKeys):
            keys = [key for _, _, more in read for key in more]
            self._set_collisions_apart(keys, codes, self._coder)
        moved = 0
        if self._index.is_empty:
            self._index, surplus = KeyIndex.build(codes, locations)
        else:
            surplus, moved = self._index.put_where_free(codes, locations, gone)
        if len(surplus):
            self.surplus = np.concatenate((self.surplus, surplus))
        return moved

    def _set_collisions_apart(
        self, keys: Sequence[Key], codes: Integers, coder: HashedKeys
    ) -> None:
        """As `_tell_apart`, of keys read from files, where one key may well stand twice."""
        order = np.argsort(codes, kind="stable")
        ordered = codes[order]
        same = np.flatnonzero(ordered[1:] == ordered[:-1])
        for place in same.tolist():
            one, other = order[place], order[place + 1]
            if keys[one] != keys[other]:
                codes[other] = coder.set_apart(keys[other], set(codes.tolist()).__contains__)

    def _codes_of(self, number: int) -> tuple[Integers, Integers, list[Key]]:
        """Codes and locations of the live rows of a file and, where hashed, their keys."""
        file = self.file(number)
        rows = read_columns(self._warehouse, file.path, key_fields(self.layout))
        positions = np.arange(rows.num_rows, dtype=np.int64)
        if file.deleted:
            is_live = np.ones(rows.num_rows, dtype=np.bool_)
            is_live[_as_array(file.deleted)] = False
            positions = positions[is_live]
            rows = rows.filter(pa.array(is_live))
        locations = locations_of(number, positions)
        if isinstance(self._coder, IntegerKeys):
            return _integer_codes(rows, self.layout), locations, []
        keys = keys_of_table(rows, self.layout)
        return self._coder.codes(keys), locations, keys

    # -- lineage -----------------------------------------------------------------------------------

    def row_ids_at(self, locations: Integers) -> Integers:
        """The row id of each location, ABSENT for ABSENT."""
        found = np.full(len(locations), ABSENT, dtype=np.int64)
        numbers = files_of(locations)
        for number in np.unique(numbers[locations != ABSENT]).tolist():
            at = numbers == number
            found[at] = self.row_ids_of(number)[positions_of(locations[at])]
        return found

    def row_ids_of(self, number: int) -> Integers:
        """The row ids of a file: those it tells, else those it inherits."""
        file = self.file(number)
        if file.row_ids is None:
            told = read_columns(self._warehouse, file.path, LINEAGE_FIELDS[:1]).column(0)
            file.row_ids = resolved_row_ids(told, file.entry.data_file.first_row_id)
        return file.row_ids


def resolved_row_ids(told: pa.ChunkedArray, first_row_id: int | None) -> Integers:
    """The row ids of a file's rows: stored, or by the file's first one. ABSENT for neither."""
    inherited = np.arange(len(told), dtype=np.int64)
    inherited = inherited + first_row_id if first_row_id is not None else inherited * 0 + ABSENT
    if told.null_count == len(told):
        return inherited
    stored = told.fill_null(ABSENT).to_numpy()
    return np.where(stored == ABSENT, inherited, stored)


def _coder_for(layout: Layout) -> IntegerKeys | HashedKeys:
    return IntegerKeys() if layout.is_keyed_by_integers else HashedKeys()


def _integer_codes(rows: pa.Table, layout: Layout) -> Integers:
    """Errors: NotAnIntegerKeyError when a key is none: NULL here, and a misfit or a rowid."""
    column = rows.column(0)
    if column.null_count:
        raise NotAnIntegerKeyError
    codes: Integers = column.to_numpy()
    return codes


def _as_array(positions: BitMap) -> Integers:
    return np.frombuffer(positions.to_array(), dtype=np.uint32).astype(np.int64)
