"""Read thin columns whole: vectors as one float32 matrix, scores as float64, groups as text. Nothing is decoded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_select.errors import ColumnError
from hf_select.mapped import MappedFiles
from hf_select.rows import base_column, base_positions, raw_column, require_columns, rows_by_chunk

_BLOCK_ROWS = 8192
_BLOCK_BYTES = 32 << 20  # wide rows, such as frames that were not pooled, are read fewer at a time

__all__ = [
    "NO_VALUE",
    "frame_counts",
    "is_framed",
    "read_frames",
    "read_groups",
    "read_seconds",
    "read_values",
    "read_vectors",
    "vector_blocks",
]

NO_VALUE = "(none)"  # the name of the group of rows that have none


def read_vectors(ds: Any, column: str, *, memmap: str | os.PathLike[str] | None = None) -> NDArray[np.float32]:
    """Read a column of vectors as one float32 matrix (rows x dimensions).

    Reads:
        `column`: lists of numbers, all of one length (fixed-size, nested or Array2D columns are flattened row by row).

    Args:
        ds: a map-style dataset.
        column: its name.
        memmap: a `.npy` file to hold the matrix instead of memory.

    Returns:
        The matrix, filled chunk by chunk; a row without a vector is all NaN.

    Raises:
        ColumnError: no such column, one number or a text per row instead of a vector, or vectors of several lengths.
    """
    blocks = vector_blocks(ds, column)
    first = next(blocks)
    matrix = _allocate(len(ds), first[1].shape[1], memmap)
    empty = np.ones(len(ds), dtype=bool)
    for places, vectors in chain([first], blocks):
        matrix[places], empty[places] = vectors, False
    matrix[empty] = np.nan
    return matrix


def vector_blocks(
    ds: Any, column: str, *, release: bool = False
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield (rows of `ds`, their vectors) block by block, in the order of the stored table; see `read_vectors`.

    A block is a view of the stored table where that holds float32. Rows without a vector are left out. With `release`,
    pages of a mapped table are let go of once they have been read.

    Raises:
        ColumnError: as `read_vectors`.
    """
    if column not in ds.column_names:
        raise ColumnError(
            f"Vectors: there is no column {column!r}. {_vector_columns(ds)} Columns there are: {', '.join(ds.column_names)}."
        )
    column_type = base_column(ds, column).type
    if not _is_list(column_type):
        what = "text" if pa.types.is_string(column_type) or pa.types.is_large_string(column_type) else f"{column_type}"
        raise ColumnError(
            f"Column {column!r} holds {what}, one value per row, and vectors are needed. {_vector_columns(ds)}"
        )
    dimensions = None
    mapped = MappedFiles() if release else None
    for places, vectors in _blocks(ds, column, mapped):
        dimensions = vectors.shape[1] if dimensions is None else dimensions
        if vectors.shape[1] != dimensions:
            raise _ragged(column, *sorted((vectors.shape[1], dimensions)))
        yield places, vectors
    if dimensions is None:
        raise ColumnError(f"Column {column!r} holds no vector in any of {len(ds)} rows.")


def is_framed(ds: Any, column: str) -> bool:
    """Return whether a column holds frames: lists of lists."""
    kind = base_column(ds, column).type
    return _is_list(kind) and _is_list(kind.value_type)


def frame_counts(ds: Any, column: str) -> NDArray[np.int64]:
    """Return how many frames each row has; 0 for a row without any.

    Example:
        >>> from datasets import Dataset
        >>> frame_counts(Dataset.from_dict({"mfcc": [[[1.0, 2.0]], None, [[1.0, 2.0], [3.0, 4.0]]]}), "mfcc").tolist()
        [1, 0, 2]
    """
    counts = [_sizes(chunk, keep_null=True) for chunk in base_column(ds, column).chunks]
    whole = np.concatenate([np.zeros(0, np.int64), *counts])
    positions = base_positions(ds)
    return whole if positions is None else whole[positions]


def read_frames(ds: Any, column: str, frames: int) -> NDArray[np.float32]:
    """Read frames as one vector per row, filled with zeros or cut to one number of frames.

    Args:
        ds: a dataset with `column`, lists of frames that have one width.
        frames: how many each row gets.

    Returns:
        float32 (rows, width x frames): all frames of the first coefficient, then of the second, ...; NaN for a row without
        frames.

    Raises:
        ColumnError: frames of different widths, or not of numbers.

    Example:
        >>> from datasets import Dataset
        >>> read_frames(Dataset.from_dict({"mfcc": [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]]}), "mfcc", 2).tolist()
        [[1.0, 0.0, 2.0, 0.0], [3.0, 5.0, 4.0, 6.0]]
    """
    positions = base_positions(ds)
    base = base_column(ds, column)
    order = np.arange(len(base)) if positions is None else np.argsort(positions, kind="stable")
    wanted = order if positions is None else positions[order]
    found, done = None, 0
    for chunk, start, rows in rows_by_chunk(base, wanted):
        sizes = _sizes(chunk, keep_null=True)
        values = _vectors(chunk.flatten(), column) if sizes.any() else np.zeros((0, 1), np.float32)
        ends = np.cumsum(sizes)
        if found is None and len(values):
            found = np.full((len(wanted), values.shape[1], frames), np.nan, np.float32)
        for place, row in zip(order[done : done + len(rows)], rows - start, strict=True):
            own = values[ends[row] - sizes[row] : ends[row]][:frames]
            if len(own) and found is not None:
                if own.shape[1] != found.shape[1]:
                    raise _ragged(column, *sorted((own.shape[1], found.shape[1])))
                found[place, :, : len(own)] = own.T
                found[place, :, len(own) :] = 0
        done += len(rows)
    if found is None:
        raise ColumnError(f"Column {column!r} holds no frames in any of {len(ds)} rows.")
    return found.reshape(len(wanted), -1)


def _vector_columns(ds: Any) -> str:
    there = [name for name in ds.column_names if _is_list(base_column(ds, name).type)]
    if there:
        return f"Columns of vectors: {', '.join(there)}; name one with column=."
    return "There is no column of vectors: hs.with_columns(ds, hs.MFCC(pool='stats')) adds mfcc_stats."


def _allocate(rows: int, dimensions: int, memmap: str | os.PathLike[str] | None) -> NDArray[np.float32]:
    shape = (rows, dimensions)
    if memmap is not None:
        return np.lib.format.open_memmap(memmap, "w+", np.float32, shape)
    return np.empty(shape, np.float32)


def _blocks(
    ds: Any, column: str, mapped: MappedFiles | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Yield (rows of `ds`, their vectors), going once through the base table in its order, a few MB at a time."""
    positions = base_positions(ds)
    base = base_column(ds, column)
    order = np.arange(len(base)) if positions is None else np.argsort(positions, kind="stable")
    wanted = order if positions is None else positions[order]
    done = 0
    for chunk, start, rows in rows_by_chunk(base, wanted):
        step = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES * len(chunk) // max(chunk.nbytes, 1)))
        for a in range(0, len(rows), step):
            block = rows[a : a + step] - start
            first, last = int(block[0]), int(block[-1])
            window = chunk.slice(first, last - first + 1)
            taken = window if len(block) == len(window) else window.take(pa.array(block - first))
            places = order[done : done + len(block)]
            done += len(block)
            filled = taken.is_valid().to_numpy(zero_copy_only=False)
            if filled.any():
                vectors = _vectors(taken, column)
                yield places[filled], vectors
                if mapped is not None:
                    mapped.release(vectors.ctypes.data, vectors.nbytes)
        if mapped is not None:
            mapped.release_array(chunk)


def _vectors(chunk: pa.Array, column: str) -> NDArray[np.float32]:
    """Return the vectors of the rows of a chunk that have one, in order."""
    flat, sizes = chunk.flatten(), _sizes(chunk)
    while _is_list(flat.type):  # lists of lists: a row is as long as all its inner lists together
        ends = np.concatenate([[0], np.cumsum(_sizes(flat, keep_null=True))])
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        sizes, flat = np.diff(ends[bounds]), flat.flatten()
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type)):
        raise ColumnError(f"Column {column!r} holds lists of {flat.type}, and vectors of numbers are needed.")
    shortest, longest = int(sizes.min()), int(sizes.max())
    if shortest != longest:
        raise _ragged(column, shortest, longest)
    if longest == 0:
        raise ColumnError(f"Column {column!r} holds empty vectors.")
    return flat.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False).reshape(-1, longest)


def _sizes(lists: pa.Array, *, keep_null: bool = False) -> NDArray[np.int64]:
    sizes = pc.list_value_length(lists)
    return (sizes.fill_null(0) if keep_null else sizes.drop_null()).to_numpy(zero_copy_only=False).astype(np.int64)


def _ragged(column: str, shortest: int, longest: int) -> ColumnError:
    return ColumnError(
        f"Column {column!r} holds vectors of different lengths ({shortest} to {longest} numbers), and k-means and "
        "its kin need one length. For MFCC frames use hs.MFCC(pool='stats'), which gives one vector per clip."
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def read_values(ds: Any, column: str, purpose: str = "Scores") -> NDArray[np.float64]:
    """Read a column of one number (or truth value) per row as float64; a row without one is NaN.

    Raises:
        ColumnError: no such column, or it holds text or lists.
    """
    require_columns(ds, [column], purpose)
    values = raw_column(ds, column)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type) or pa.types.is_boolean(values.type)):
        there = [
            n for n in ds.column_names if pa.types.is_integer(t := base_column(ds, n).type) or pa.types.is_floating(t)
        ]
        raise ColumnError(
            f"{purpose}: column {column!r} holds {values.type}, and numbers are needed. Columns of numbers: {', '.join(there) or 'none'}."
        )
    return values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=True)


def read_seconds(ds: Any, column: str) -> NDArray[np.float64]:
    """Read durations in seconds; a row without one is NaN.

    Raises:
        ColumnError: no such column, not numbers, or a negative or infinite duration.
    """
    if column not in ds.column_names:
        raise ColumnError(
            f"Durations: there is no column {column!r}. Add decoded seconds with hs.with_columns(ds, hs.Duration()), or name "
            f"the column with duration=. Columns there are: {', '.join(ds.column_names)}."
        )
    seconds = read_values(ds, column, "Durations")
    wrong = np.flatnonzero((seconds < 0) | np.isinf(seconds))
    if len(wrong):
        raise ColumnError(
            f"Durations: row {wrong[0]} of column {column!r} lasts {seconds[wrong[0]]} s. Recompute them with hs.Duration()."
        )
    return seconds


def read_groups(ds: Any, column: str, purpose: str = "per=") -> NDArray[np.object_]:
    """Read a column as the names of groups: class names of a ClassLabel, else the value as text; null is `"(none)"`.

    Raises:
        ColumnError: no such column, or it holds lists or structs.
    """
    require_columns(ds, [column], purpose)
    values = raw_column(ds, column)
    if pa.types.is_nested(values.type):
        raise ColumnError(f"{purpose}: column {column!r} holds {values.type}, and one value per row is needed.")
    feature = ds.features[column]
    if hasattr(feature, "int2str"):
        names = dict(enumerate(feature.names))
        return np.array([names.get(v, NO_VALUE) for v in values.to_pylist()], dtype=object)
    return np.array([NO_VALUE if v is None else str(v) for v in values.to_pylist()], dtype=object)
