"""Selections on disk: JSON and Parquet with checksums over every byte, never pickle."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_select.errors import OutputError, SelectionError

__all__ = ["fields_from_bytes", "load_fields", "save_selection", "selection_table", "to_bytes"]

FORMAT = 1  # raised when the files change so that an older version can't read them
_HOW_IT_WENT = ("seconds", "warnings", "versions", "facts")


def selection_table(selection: Any) -> pa.Table:
    """Return the table of a Selection, one row per row of the source.

    Columns: row, key, rank (null = dropped), score, group, segment_start, segment_end (seconds).
    """
    size = selection.num_rows
    rank = np.full(size, -1, dtype=np.int64)
    rank[selection.indices] = selection.order

    def per_source(values: Any) -> pa.Array:
        if values is None:
            return pa.nulls(size, pa.float64())
        spread = np.full(size, np.nan)
        spread[selection.indices] = values
        return pa.array(spread, mask=np.isnan(spread))

    return pa.table(
        {
            "row": pa.array(np.arange(size, dtype=np.int64)),
            "key": selection.key,
            "rank": pa.array(rank, mask=rank < 0),
            "score": pa.array(selection.score, mask=np.isnan(selection.score)),
            "group": pa.array(selection.group, pa.string()),
            "segment_start": per_source(selection.segment_start),
            "segment_end": per_source(selection.segment_end),
        }
    )


def save_selection(selection: Any, folder: Path, *, overwrite: bool) -> None:
    """Write `selection.json` and `selection.parquet` into a folder; see `Selection.save`."""
    note = folder / "selection.json"
    if note.exists() and not overwrite:
        raise OutputError(f"{note} is there already: pass overwrite=True, or another folder.")
    data = _parquet(selection)
    text = _dumps(_header(selection, hashlib.sha256(data).hexdigest(), everything=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("selection.parquet", data), ("selection.json", text.encode())):
            temporary = folder / f".{name}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.replace(folder / name)
    except OSError as error:
        raise OutputError(f"The Selection can't be written to {folder}: {error}.") from error


def load_fields(folder: Path) -> dict[str, Any]:
    """Read the fields of a Selection that `save_selection` wrote, checking every byte; see `Selection.load`."""
    folder = folder.parent if folder.name == "selection.json" else folder
    try:
        text = (folder / "selection.json").read_bytes()
        data = (folder / "selection.parquet").read_bytes()
    except OSError as error:
        raise SelectionError(f"There is no Selection in {folder}: {error}.") from error
    header = _checked_header(text, folder)
    if hashlib.sha256(data).hexdigest() != header["table_sha256"]:
        raise SelectionError(
            f"{folder / 'selection.parquet'} is damaged or does not belong to the selection.json beside it (checksum)."
        )
    return _fields(header, pq.read_table(io.BytesIO(data), page_checksum_verification=True))


def to_bytes(selection: Any) -> bytes:
    """Return what counts of a Selection as bytes, equal for equal Selections: its pickled state and cache fingerprint."""
    table = selection_table(selection)
    columns = [pa.array(column.to_pylist(), column.type) for column in table.columns]  # fresh buffers: equal bytes
    sink = pa.BufferOutputStream()
    header = json.dumps(_header(selection, "", everything=False), sort_keys=True)
    schema = table.schema.with_metadata({"selection": header})
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return sink.getvalue().to_pybytes()


def fields_from_bytes(data: bytes) -> dict[str, Any]:
    """Return the fields of the Selection of which `to_bytes` made these bytes."""
    table = pa.ipc.open_stream(data).read_all()
    return _fields(json.loads(table.schema.metadata[b"selection"]), table)


def _parquet(selection: Any) -> bytes:
    sink = io.BytesIO()
    table = selection_table(selection)
    encoding = {
        name: _encoding(kind)
        for name, kind in zip(table.column_names, table.schema.types, strict=True)
        if name != "group"
    }
    options = {"use_dictionary": ["group"], "column_encoding": encoding, "compression": "zstd"}
    pq.write_table(table, sink, write_page_checksum=True, **options)
    return sink.getvalue()


def _encoding(kind: pa.DataType) -> str:
    """Return what makes a column small whose values hardly repeat: of a million digests and scores, 17 MB instead of 21."""
    if pa.types.is_integer(kind):
        return "DELTA_BINARY_PACKED"
    return "BYTE_STREAM_SPLIT" if pa.types.is_floating(kind) else "DELTA_LENGTH_BYTE_ARRAY"


def _header(selection: Any, table_sha256: str, *, everything: bool) -> dict[str, Any]:
    header = {"format": FORMAT, **selection.record(), "table_sha256": table_sha256, "rows_kept": len(selection)}
    header["segments"] = selection.segment_start is not None
    if everything:
        header.update({name: getattr(selection, name) for name in _HOW_IT_WENT})
    return header


def _dumps(header: dict[str, Any]) -> str:
    """Write JSON that names its own checksum, in one fixed form."""
    body = json.dumps(header, indent=2, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**json.loads(body), "sha256": digest}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _checked_header(text: bytes, folder: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
        header.pop("sha256")
        intact = _dumps(header).encode() == text
    except (ValueError, KeyError, AttributeError, TypeError):
        intact = False
    if not intact:
        raise SelectionError(
            f"{folder / 'selection.json'} is damaged or was edited: its checksum does not fit. Select again."
        )
    if header["format"] > FORMAT:
        raise SelectionError(f"{folder} was written in format {header['format']} by a newer hf_select: upgrade it.")
    return dict(header)


def _fields(header: dict[str, Any], table: pa.Table) -> dict[str, Any]:
    def numbers(name: str) -> np.ndarray:
        return table.column(name).to_numpy().astype(np.float64)

    rank = table.column("rank").fill_null(-1).to_numpy().astype(np.int64)
    kept = np.flatnonzero(rank >= 0)
    segments = header["segments"]
    return {
        "indices": kept,
        "order": rank[kept],
        "key": table.column("key").combine_chunks(),
        "score": numbers("score"),
        "group": np.array(table.column("group").to_pylist(), dtype=object),
        **{name: header[name] for name in ("method", "params", "seed", "budget", "source")},
        "segment_start": numbers("segment_start")[kept] if segments else None,
        "segment_end": numbers("segment_end")[kept] if segments else None,
        "seconds": header.get("seconds", 0.0),
        "warnings": tuple(header.get("warnings", ())),
        "versions": header.get("versions", {}),
        "facts": header.get("facts", {}),
    }
