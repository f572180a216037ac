"""Look at the rows of a dataset without decoding anything: raw columns and the identity of rows.

The one place that knows how `datasets` stores a table (a base table, and maybe a list of indices over it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hf_select.errors import ColumnError, DatasetError

__all__ = [
    "RowKey",
    "audio_column",
    "audio_lengths",
    "base_column",
    "base_positions",
    "column_names",
    "plain",
    "raw_batch",
    "raw_column",
    "require_columns",
    "require_dataset",
    "rows_by_chunk",
    "take_rows",
]


def require_dataset(ds: Any, verb: str) -> None:
    """Refuse what is not one map-style `datasets.Dataset`, saying what to do instead."""
    kind = type(ds).__name__
    if kind in ("DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(repr(str(name)) for name in ds)
        raise DatasetError(
            f"{verb} works on one split, and got a {kind} with splits {splits}: pass one, such as ds[{next(iter(ds), 'train')!r}]."
        )
    if kind == "IterableDataset":
        raise DatasetError(
            f"{verb} needs a map-style Dataset and got an IterableDataset: load it without streaming=True."
        )
    if not (hasattr(ds, "data") and hasattr(ds, "features") and hasattr(ds, "column_names")):
        raise DatasetError(f"{verb} needs a datasets.Dataset and got {kind}.")


def column_names(ds: Any) -> list[str]:
    """Return the names of all columns, whatever the dataset's format shows."""
    return list(ds.column_names)


def require_columns(ds: Any, names: Sequence[str], purpose: str) -> None:
    """Raise a ColumnError that names the columns there are when one of `names` is missing."""
    missing = [name for name in names if name not in column_names(ds)]
    if missing:
        there = ", ".join(column_names(ds)) or "none"
        raise ColumnError(f"{purpose}: there is no column {missing[0]!r}. Columns there are: {there}.")


def audio_column(ds: Any) -> str | None:
    """Return the name of the first Audio column, or None."""
    for name, feature in (ds.features or {}).items():
        if type(feature).__name__ == "Audio":
            return str(name)
    return None


def base_positions(ds: Any) -> np.ndarray | None:
    """Return where each row of `ds` stands in the table below it; None when `ds` is that whole table."""
    return None if ds._indices is None else ds._indices.column(0).to_numpy()


def audio_lengths(ds: Any, name: str) -> np.ndarray:
    """Return the bytes that each row of an audio column holds, -1 where it holds a path alone; no audio is touched."""
    lengths = pc.binary_length(pc.struct_field(base_column(ds, name), "bytes"))
    numbers = pc.fill_null(lengths, -1).to_numpy().astype(np.int64)
    positions = base_positions(ds)
    return numbers if positions is None else numbers[positions]


def raw_column(ds: Any, name: str, field: str | None = None) -> pa.ChunkedArray:
    """Return a column as Arrow stores it, one value per row of `ds`, in its order; no feature is decoded.

    Of a struct column (such as audio), `field` picks one thin child before any row is copied.
    """
    column = base_column(ds, name)
    if field is not None:
        column = pc.struct_field(column, field)
    positions = base_positions(ds)
    return column if positions is None else take_rows(column, positions)


def base_column(ds: Any, name: str) -> pa.ChunkedArray:
    """Return a column of the whole table below `ds`, as it is stored; `base_positions` says which rows are in `ds`."""
    return plain(ds.data.table.select([name])).column(0)


def plain(table: pa.Table) -> pa.Table:
    """Replace extension columns (Array2D and its kin) by what they are stored as."""
    for index, kind in enumerate(table.schema.types):
        if isinstance(kind, pa.BaseExtensionType):
            storage = pa.chunked_array([chunk.storage for chunk in table.column(index).chunks], kind.storage_type)
            table = table.set_column(index, table.schema.names[index], storage)
    return table


class RawBatch(Mapping[str, list[Any]]):
    """A batch of rows as Python values, column by column, decoding nothing."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __getitem__(self, name: str) -> list[Any]:
        return self.table.column(name).to_pylist()  # type: ignore[no-any-return]

    def __iter__(self) -> Any:
        return iter(self.table.column_names)

    def __len__(self) -> int:
        return self.table.num_columns


def raw_batch(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a view of what `Dataset.map(..., batched=True)` hands over that never decodes audio.

    A lazy batch of `datasets` decodes an Audio column when it is touched, which needs torchcodec and ffmpeg;
    the table inside it holds the bytes and the path. Any other mapping is returned as it is.
    """
    table = getattr(batch, "pa_table", None)
    return batch if table is None else RawBatch(table)


@dataclass(frozen=True)
class RowKey:
    """How the rows of a dataset are told apart, so that a row is found again after a shuffle or a reload.

    Attributes:
        kind: `"column"` (the values of an id column), `"audio"` (a digest of file name, byte length and a few hundred
            of the bytes; a row that holds a path alone is known by its file name and folder), or `"content"` (a digest
            of the whole row, for a dataset without audio).
        columns: the columns that are read for it.
    """

    kind: str
    columns: tuple[str, ...]

    @classmethod
    def choose(cls, ds: Any, key: str | None) -> RowKey:
        """Choose how to tell the rows of `ds` apart: by the column `key`, else by audio, else by content."""
        if key is not None:
            require_columns(ds, [key], "key=")
            return cls("column", (key,))
        audio = audio_column(ds)
        return cls("audio", (audio,)) if audio else cls("content", tuple(column_names(ds)))

    def of(self, ds: Any) -> pa.Array:
        """Return the key of every row (strings, or integers of an id column), decoding nothing.

        Raises:
            ColumnError: a column is missing; an id column holds nulls or is neither text nor integers.
        """
        require_columns(ds, self.columns, "Row keys")
        if self.kind == "column":
            return self._ids(raw_column(ds, self.columns[0]))
        if self.kind == "audio":
            return _audio_keys(base_column(ds, self.columns[0]), base_positions(ds))
        return _content_keys(ds, self.columns)

    def of_batch(self, batch: Mapping[str, Any]) -> list[Any] | None:
        """Return the keys of a batch of rows as `map`, `filter` or a stream hand them over; None if it lacks the columns."""
        rows = raw_batch(batch)
        if self.kind == "content" or any(name not in rows for name in self.columns):
            return None
        values = rows[self.columns[0]]
        if self.kind == "column":
            return list(values)
        if not all(value is None or (isinstance(value, Mapping) and "bytes" in value) for value in values):
            return None  # decoded sound: its bytes are no longer at hand
        return [audio_key((value or {}).get("path"), (value or {}).get("bytes")) for value in values]

    def _ids(self, column: pa.ChunkedArray) -> pa.Array:
        name = self.columns[0]
        if column.null_count:
            raise ColumnError(
                f"key={name!r}: {column.null_count} of {len(column)} rows have no value there. Every row needs an id."
            )
        if pa.types.is_integer(column.type):
            return column.cast(pa.int64()).combine_chunks()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return column.cast(pa.string()).combine_chunks()
        raise ColumnError(f"key={name!r}: an id column holds text or whole numbers, and this one holds {column.type}.")


_SAMPLE = 256  # bytes looked at in the middle and at the end: same-named files of one length differ there


def audio_key(path: str | None, data: bytes | memoryview | None) -> str:
    """Return the identity of an audio row: 16 hex digits that depend on this row alone.

    >>> audio_key("a/yes.wav", b"RIFF...") == audio_key("yes.wav", b"RIFF...")   # embedding drops the folder
    True
    """
    parts = (path or "").replace("\\", "/").split("/")
    digest = hashlib.blake2b(digest_size=8)
    if data is None:
        digest.update("/".join(parts[-2:]).encode("utf-8", "surrogatepass"))
    else:
        length, middle = len(data), len(data) // 2
        digest.update(f"{parts[-1]}\0{length}\0".encode("utf-8", "surrogatepass"))
        digest.update(data[middle : middle + _SAMPLE])
        digest.update(data[-_SAMPLE:])
    return digest.hexdigest()


def _audio_keys(column: pa.ChunkedArray, positions: np.ndarray | None) -> pa.Array:
    wanted = np.arange(len(column)) if positions is None else np.unique(positions)
    keys = []
    for chunk, start, rows in rows_by_chunk(column, wanted):
        paths = chunk.field("path").take(pa.array(rows - start)).to_pylist()
        data, offsets, valid = _binary_buffers(chunk)
        for path, row in zip(paths, (rows - start).tolist(), strict=True):
            keys.append(audio_key(path, data[offsets[row] : offsets[row + 1]] if valid[row] else None))
    found = pa.array(keys, pa.string())
    return found if positions is None else found.take(pa.array(np.searchsorted(wanted, positions)))


def rows_by_chunk(column: pa.ChunkedArray, wanted: np.ndarray) -> Iterator[tuple[pa.Array, int, np.ndarray]]:
    """Yield (chunk, its first row, the sorted `wanted` rows that stand in it)."""
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    first = np.searchsorted(ends, wanted, side="right")  # the chunk that each row stands in
    for number in np.unique(first):
        chunk = column.chunk(int(number))
        yield chunk, int(ends[number]) - len(chunk), wanted[first == number]


def take_rows(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    """Return some rows of a column, in the order asked for, copying nothing but these.

    `ChunkedArray.take` of Arrow first copies all chunks into one, which for audio is the whole dataset.
    """
    order = np.argsort(rows, kind="stable")
    taken = [chunk.take(pa.array(own - start)) for chunk, start, own in rows_by_chunk(column, rows[order])]
    joined = pa.chunked_array(taken, column.type).combine_chunks()
    back = np.empty(len(rows), dtype=np.int64)
    back[order] = np.arange(len(rows))
    found = joined if (np.diff(order) > 0).all() else joined.take(pa.array(back))
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found], column.type)


def _binary_buffers(chunk: pa.StructArray) -> tuple[memoryview, list[int], list[bool]]:
    """Return (all bytes, offsets, which rows have bytes) of the `bytes` child of an audio column: nothing is copied."""
    child = chunk.field("bytes")
    valid = pc.and_(pc.is_valid(chunk), pc.is_valid(child)).to_pylist()
    _, offsets, data = child.buffers()[:3]
    wide = pa.types.is_large_binary(child.type)
    numbers = np.frombuffer(offsets, dtype=np.int64 if wide else np.int32)[child.offset : child.offset + len(child) + 1]
    return memoryview(data) if data is not None else memoryview(b""), numbers.tolist(), valid


def _content_keys(ds: Any, columns: Sequence[str]) -> pa.Array:
    table = plain(ds.data.table.select(list(columns)))
    positions = base_positions(ds)
    keys = []
    for start in range(0, len(ds), 1024):
        if positions is None:
            batch = table.slice(start, 1024).columns
        else:
            batch = [take_rows(column, positions[start : start + 1024]) for column in table.columns]
        parts = [_row_bytes(column.combine_chunks()) for column in batch]
        for row in zip(*parts, strict=True):
            digest = hashlib.blake2b(digest_size=8)
            for value in row:
                digest.update(len(value).to_bytes(8, "little"))
                digest.update(value)
            keys.append(digest.hexdigest())
    return pa.array(keys, pa.string())


def _row_bytes(column: pa.Array) -> list[bytes | memoryview]:
    """Return each row of a column as bytes: equal bytes for equal values, in whatever chunks they are stored."""
    kind = column.type
    flat_lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (flat_lists and pa.types.is_floating(kind.value_type)) or column.flatten().null_count:
        return [repr(value).encode("utf-8", "surrogatepass") for value in column.to_pylist()]
    numbers = memoryview(np.ascontiguousarray(column.flatten().to_numpy()).view(np.uint8).data)
    width = kind.value_type.bit_width // 8
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    ends = np.cumsum(sizes * width).tolist()
    valid = column.is_valid().to_pylist()
    return [numbers[a:b] if there else b"none" for a, b, there in zip([0, *ends[:-1]], ends, valid, strict=True)]
