"""Rows on disk that are read like a list's: Arrow maps the file into memory, where it takes no memory of the process's own."""

import pickle
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

Row = TypeVar("Row")
BATCH = 1000  # rows that are written at a time
DIGEST = 16  # bytes


class Stored(Sequence[Row]):
    """Rows on disk, all or some of them, in any order.

    A row is pickled: lists, numbers and texts as they are, which Arrow's own types would not all keep. Nobody else's file is
    ever opened so: it lies in the cache of the user who made it.

    Args:
        table: Has the rows in its column `row`, and hashes of each of `DIGEST` bytes in the others.
        numbers: Which rows these are; all if not given.
    """

    def __init__(self, table: Any, numbers: np.ndarray | None = None):
        self.table = table
        self.numbers = np.arange(len(table)) if numbers is None else numbers
        self.chunks = table.column("row").chunks
        self.ends = list(accumulate(map(len, self.chunks)))

    def __len__(self) -> int:
        return len(self.numbers)

    def _row(self, number: int) -> Row:
        chunk = bisect_right(self.ends, number)
        place = number - (self.ends[chunk - 1] if chunk else 0)
        return pickle.loads(self.chunks[chunk][place].as_buffer())

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Stored[Row]": ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Stored(self.table, self.numbers[place])
        return self._row(int(self.numbers[place]))

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, map(int, self.numbers))

    def digests(self, name: str) -> np.ndarray | None:
        """Returns the hashes in a column, of shape (rows, 2) and as numbers in the order of the bytes; None without it."""
        if name not in self.table.column_names:
            return None
        whole = self.table.column(name).combine_chunks().buffers()[1]
        return np.frombuffer(whole, ">u8", 2 * len(self.table)).reshape(-1, 2)[self.numbers]


def write(rows: Iterable[tuple[bytes, ...]], names: Sequence[str], path: Path) -> None:
    """Writes rows into a file, for `read`.

    Args:
        rows: Of each the pickled row and its hashes.
        names: The names of the hashes.
        path: The file.
    """
    import pyarrow as pa

    schema = pa.schema([("row", pa.large_binary()), *((name, pa.binary(DIGEST)) for name in names)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        rows = iter(rows)
        while batch := list(islice(rows, BATCH)):
            columns = [pa.array(column, field.type) for column, field in zip(zip(*batch, strict=True), schema, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def read(path: Path) -> Stored:
    """Returns the rows in a file that `write` wrote; raises ValueError or OSError for a damaged one."""
    import pyarrow as pa

    return Stored(pa.ipc.open_file(pa.memory_map(str(path))).read_all())


# --- Rows of either kind ------------------------------------------------------------------------------------------------


def select(rows: Sequence[Row], numbers: Iterable[int]) -> Sequence[Row]:
    """Returns some of the rows, in the order of their numbers, where they are: on disk or in memory."""
    if isinstance(rows, Stored):
        return Stored(rows.table, rows.numbers[np.fromiter(numbers, np.int64)])
    return [rows[number] for number in numbers]


def where(condition: Callable[[Row], Any], rows: Iterable[Row]) -> np.ndarray:
    """Returns the numbers of the rows for which a condition holds."""
    return np.flatnonzero(np.fromiter((bool(condition(row)) for row in rows), bool))


def join(*parts: Sequence[Row]) -> Sequence[Row]:
    """Returns the rows of several sequences as those of one, on disk if one of them is."""
    parts = tuple(part for part in parts if len(part)) or parts[:1]
    if len(parts) == 1:
        return parts[0]
    stored = [part if isinstance(part, Stored) else None for part in parts]
    if not any(part is not None for part in stored):
        return list(chain.from_iterable(parts))
    return _concatenate([part if isinstance(part, Stored) else in_table(part) for part in parts])


def in_table(rows: Sequence[Row]) -> Stored[Row]:
    """Returns rows as `Stored` ones, though in memory: few beside those on disk."""
    import pyarrow as pa

    return Stored(pa.table({"row": pa.array(list(map(pickle.dumps, rows)), pa.large_binary())}))


def _concatenate(parts: Sequence[Stored[Row]]) -> Stored[Row]:
    import pyarrow as pa

    common = [name for name in parts[0].table.column_names if all(name in part.table.column_names for part in parts)]
    begins = [0, *accumulate(len(part.table) for part in parts)]
    numbers = np.concatenate([part.numbers + begin for part, begin in zip(parts, begins, strict=False)])
    return Stored(pa.concat_tables([part.table.select(common) for part in parts]), numbers)
