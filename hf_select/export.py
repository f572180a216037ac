"""Write a dataset as a folder of parquet files with its audio inside, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hf_select.audio import load_embedded
from hf_select.errors import AudioError, OutputError
from hf_select.mapped import MappedFiles
from hf_select.rows import audio_column, base_positions, plain, take_rows
from hf_select.sound.own_files import own_name

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["check_output", "folder_page", "new_folder", "parquet_shards", "write_parquet"]

_BATCH_ROWS, _BATCH_BYTES = 256, 32_000_000  # at most, and about
_SHARD_BYTES = 500_000_000


def check_output(folder: Path, *, overwrite: bool, mark: str = "selection.json") -> None:
    """Raise an OutputError now, before long work, if the folder is taken or can't be written.

    `overwrite` replaces only what hf_select wrote (a folder with the file `mark` in it) or an empty folder.
    """
    if folder.exists():
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file, and a folder is to be written there: choose another --out.")
        if not overwrite:
            raise OutputError(f"{folder} exists: choose another --out, or pass --overwrite to replace it.")
        if any(folder.iterdir()) and not (folder / mark).exists():
            raise OutputError(
                f"{folder} holds no {mark}, so hf_select did not write it and won't replace it: choose another --out."
            )
    above = folder.parent
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK):
        raise OutputError(f"{above} can't be written to: choose another --out.")


@contextmanager
def new_folder(folder: Path, *, overwrite: bool = False, mark: str = "selection.json") -> Iterator[Path]:
    """Give a folder to write into that takes its final name only when the block ends well.

    On an error or Ctrl-C what was written is removed, and a folder that was to be replaced stays as it was.
    """
    check_output(folder, overwrite=overwrite, mark=mark)
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
            folder.rename(old)
            unfinished.rename(folder)
            shutil.rmtree(old)
        else:
            unfinished.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder} could not be written: {error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_parquet(ds: Dataset, folder: Path, *, split: str = "train", audio_root: str | None = None) -> list[Path]:
    """Write a dataset as `data/<split>-*.parquet` with its audio embedded; `load_dataset(folder)` reads it back.

    Returns:
        The files written; see `parquet_shards`.
    """
    (folder / "data").mkdir(exist_ok=True)
    written = parquet_shards(ds, folder / "data", split=split, audio_root=audio_root, shard_bytes=_SHARD_BYTES)
    files = list(written)
    return [file.rename(file.with_name(f"{split}-{i:05d}-of-{len(files):05d}.parquet")) for i, file in enumerate(files)]


def folder_page(about: str) -> str:
    """Return a README.md that tells `load_dataset` which files of such a folder are the data."""
    return (
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*.parquet\n---\n\n"
        f"{about}\n\n```python\nfrom datasets import load_dataset\n\n"
        'ds = load_dataset(".", split="train")  # the path of this folder\n```\n'
    )


def parquet_shards(
    ds: Dataset,
    folder: Path,
    *,
    split: str = "train",
    audio_root: str | None = None,
    shard_bytes: int = _SHARD_BYTES,
) -> Iterator[Path]:
    """Write a dataset as `<split>-00000.parquet` and so on, and yield each file once it is whole.

    Rows are copied as they are stored, a few hundred at a time; sound that lies in files is read from inside `audio_root`
    (or the Hub's cache) and from nowhere else. Every page carries a checksum. A caller that removes each file before the
    next never has more than one on disk.

    Args:
        ds: the dataset. folder: an existing folder. split: name of the split. audio_root: see `hf_select.audio`.
        shard_bytes: about as large as a file may become, before compression.

    Raises:
        AudioError: a row names a file that must not be read, or can't be.
    """
    from datasets import Audio
    from datasets.utils import tqdm

    name = audio_column(ds)
    if name is not None:
        feature = ds.features[name]
        ds = ds.cast_column(name, Audio(sampling_rate=feature.sampling_rate))
    schema = ds.features.arrow_schema
    schema = schema.with_metadata({b"huggingface": json.dumps({"info": {"features": ds.features.to_dict()}}).encode()})
    media = [field.name for field in schema if _is_media(field.type)]  # sound; pictures too, where there are some
    writer: pq.ParquetWriter | None = None
    number = size = done = 0
    file = folder / f"{split}-00000.parquet"
    try:
        with tqdm(total=len(ds), unit=" rows", desc="writing") as bar:
            for table in _tables(ds, media, audio_root):
                if writer is not None and size > shard_bytes:
                    writer.close()
                    writer = None
                    yield file
                    number, size = number + 1, 0
                    file = folder / f"{split}-{number:05d}.parquet"
                if writer is None:
                    writer = _writer(file, schema)
                writer.write_table(table.cast(schema))
                size += table.nbytes
                done += table.num_rows
                bar.update(table.num_rows)
        writer = writer or _writer(file, schema)
    finally:
        if writer is not None:
            writer.close()
    yield file


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path, schema, write_page_checksum=True, write_page_index=True, use_content_defined_chunking=True
    )


def _tables(ds: Any, media: list[str], audio_root: str | None) -> Iterator[pa.Table]:
    """Yield the rows with their sound in them, as many at a time as the size of those before lets expect to fit."""
    positions = base_positions(ds)
    table = plain(ds.data.table)
    mapped, sounds = MappedFiles(), [table.column(name) for name in media]
    start, count = 0, min(16, _BATCH_ROWS)
    while start < len(ds):
        stop = min(start + count, len(ds))
        if positions is None:
            batch = table.slice(start, stop - start)
            first, last = start, stop - 1
        else:
            rows = positions[start:stop]
            batch = pa.table({name: take_rows(table.column(name), rows) for name in table.column_names})
            first, last = int(rows.min()), int(rows.max())
        for name in media:
            batch = _embed(batch, name, audio_root, start)
        yield batch
        count = max(1, min(_BATCH_ROWS, 2 * count, _BATCH_BYTES * batch.num_rows // max(batch.nbytes, 1)))
        start = stop
        for column in sounds:
            for chunk in column.slice(first, last - first + 1).chunks:
                mapped.release_array(chunk)


def _is_media(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}


def _embed(table: pa.Table, name: str, audio_root: str | None, start: int) -> pa.Table:
    """Read the bytes of rows that hold a path alone, and cut every path down to its file name."""
    column = table.column(name).combine_chunks()
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if column.field("bytes").null_count:
        values = [_embedded(value, name, start + row, audio_root) for row, value in enumerate(column.to_pylist())]
        column = pa.array(values, column.type)
    else:
        names = pa.array([own_name(path) for path in column.field("path").to_pylist()], column.type.field("path").type)
        parts = [names if field.name == "path" else column.field(field.name) for field in column.type]
        column = pa.StructArray.from_arrays(parts, fields=list(column.type), mask=column.is_null())
    return table.set_column(table.column_names.index(name), name, column)


def _embedded(value: Any, name: str, row: int, audio_root: str | None) -> dict[str, Any] | None:
    try:
        return load_embedded(value, audio_root) if value else None
    except AudioError as error:
        raise type(error)(f"row {row} of the rows to write, column {name!r}: {error}") from error
