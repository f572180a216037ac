"""A matrix of float32 vectors in memory, or on disk behind one reused buffer: the same verbs for both."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import OutputError

__all__ = ["Matrix", "block_rows"]

_BLOCK_ROWS = 8192
_BLOCK_BYTES = 16 << 20

Block = NDArray[np.float32]


def block_rows(dimensions: int) -> int:
    """Return how many vectors are worked on at a time, so that no second matrix comes into being."""
    return max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // (4 * dimensions)))


class Matrix:
    """Rows x dimensions of float32, in memory or in a temporary file without a name.

    The file vanishes with the process, however that ends. It is read and written by plain calls into one buffer, not
    mapped: a mapped file would count as memory of the process while there is room.

    Args:
        rows, dimensions: the shape.
        folder: where the file goes; None: the matrix is held in memory.

    Raises:
        OutputError: the folder can't be written, or has not enough room.

    Example:
        >>> matrix = Matrix(3, 2)
        >>> matrix.put(np.array([2, 0]), np.array([[5.0, 6.0], [1.0, 2.0]], np.float32))
        >>> matrix.keep(np.array([0, 2]))
        >>> [(start, block.tolist()) for start, block in matrix.blocks()]
        [(0, [[1.0, 2.0], [5.0, 6.0]])]
    """

    def __init__(self, rows: int, dimensions: int, folder: str | os.PathLike[str] | None = None) -> None:
        self.shape = (rows, dimensions)
        self.folder = folder
        self._array: Block | None = None
        self._file: IO[bytes] | None = None
        if folder is None:
            self._array = np.empty(self.shape, np.float32)
        else:
            self._file = _temporary_file(Path(folder), rows * dimensions * 4)
            self._buffer = np.empty((min(rows, block_rows(dimensions)), dimensions), np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def on_disk(self) -> bool:
        """Whether the rows are in a file."""
        return self._file is not None

    def close(self) -> None:
        """Let go of the memory or the file."""
        self._array = None
        if self._file is not None:
            self._file.close()

    def blocks(self) -> Iterator[tuple[int, Block]]:
        """Yield (first row, rows) in order. A block holds until the next one is asked for; change it through `write`."""
        for start in range(0, len(self), block_rows(self.shape[1])):
            stop = min(len(self), start + block_rows(self.shape[1]))
            if self._array is not None:
                yield start, self._array[start:stop]
            else:
                yield start, self._read(start, self._buffer[: stop - start])

    def write(self, start: int, rows: NDArray[np.floating[Any]]) -> None:
        """Put rows in place of those from `start` on."""
        if self._array is not None:
            self._array[start : start + len(rows)] = rows
            return
        data = memoryview(np.ascontiguousarray(rows, dtype=np.float32).data).cast("B")
        try:
            self._seek(start)
            while len(data):
                data = data[self._opened.write(data) :]
        except OSError as error:
            raise OutputError(
                f"Writing vectors to {self.folder} failed: {error}. Make room, or pass cache_dir= naming another folder."
            ) from error

    def put(self, places: NDArray[np.int64], rows: Block) -> None:
        """Put rows at any places."""
        runs = list(_runs(places))
        if self._array is not None and len(runs) > 1:
            self._array[places] = rows
            return
        for run in runs:
            self.write(int(places[run.start]), rows[run])

    def take(self, rows: NDArray[np.int64]) -> Block:
        """Return a copy of some rows."""
        if self._array is not None:
            return self._array[rows]
        taken = np.empty((len(rows), self.shape[1]), np.float32)
        for run in _runs(rows):
            self._read(int(rows[run.start]), taken[run])
        return taken

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Keep only these rows, given in ascending order: they move forward in place."""
        if len(rows) < len(self):
            step = block_rows(self.shape[1])
            for start in range(0, len(rows), step):
                self.write(start, self.take(rows[start : start + step]))
            self.shape = (len(rows), self.shape[1])
            self._array = None if self._array is None else self._array[: len(rows)]

    def rewrite(self, function: Callable[[Block], NDArray[np.floating[Any]]]) -> None:
        """Replace every block by what the function makes of it."""
        for start, block in self.blocks():
            self.write(start, function(block))

    def whole(self) -> Block:
        """Return all rows as one array: of a file, a read-only map."""
        if self._array is not None:
            return self._array
        return np.memmap(self._opened, dtype=np.float32, mode="r", shape=self.shape)  # type: ignore[call-overload, no-any-return]

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None or self._file.closed:
            raise ValueError("This matrix is closed.")
        return self._file

    def _seek(self, row: int) -> None:
        self._opened.seek(row * self.shape[1] * 4)

    def _read(self, start: int, into: Block) -> Block:
        view = memoryview(into.data).cast("B")
        self._seek(start)
        while len(view):
            count = self._opened.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise OutputError(f"The temporary file of vectors in {self.folder} ended too early: was it cut?")
            view = view[count:]
        return into


def _runs(places: NDArray[np.int64]) -> Iterator[slice]:
    """Yield the stretches in which places follow each other."""
    ends = np.flatnonzero(np.diff(places) != 1) + 1
    yield from (slice(a, b) for a, b in pairwise([0, *ends.tolist(), len(places)]) if a < b)


def _temporary_file(folder: Path, size: int) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise OutputError(
                f"The vectors need {size / 1e9:.2f} GB on disk, and {free / 1e9:.2f} GB are free in {folder}. "
                "Pass cache_dir= naming a folder with more room, or a larger memory=."
            )
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 (closed by Matrix.close)
        os.truncate(file.fileno(), size)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"Can't write to {folder}: {error}. Pass cache_dir= naming a folder you may write to."
        ) from error
    return file
