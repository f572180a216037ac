"""Join thin columns to a dataset without rewriting what is there: the one place that builds a `Dataset` by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.errors import ColumnError
from hf_select.parts import spread
from hf_select.rows import base_positions, require_dataset

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["append_columns", "join", "to_arrow"]


def append_columns(ds: Dataset, table: pa.Table, features: Mapping[str, Any] | None = None) -> Dataset:
    """Join a table of thin columns, one row per row of `ds`, to a dataset without rewriting what is there.

    A column of the same name is replaced; for `features` see `join`. Used by `Selection.mark`; for computed columns see `with_columns`.
    """
    from datasets.fingerprint import Hasher
    from datasets.table import InMemoryTable

    require_dataset(ds, "append_columns")
    if table.num_rows != len(ds):
        raise ColumnError(
            f"The table holds {table.num_rows} rows and the dataset {len(ds)}: one row for each is needed."
        )
    fingerprint = Hasher.hash([ds._fingerprint, _digest(table)])
    positions = base_positions(ds)
    table = table.replace_schema_metadata()
    whole = table if positions is None else spread(table, positions, ds.data.num_rows)
    return join(ds, InMemoryTable(whole), fingerprint, features)


def to_arrow(values: Any, kind: pa.DataType | None = None) -> pa.Array:
    """Return the values of a column as Arrow stores them: a list, an array, or Arrow already."""
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values if kind is None else values.cast(kind)
    if isinstance(values, np.ndarray) and values.ndim > 1:
        values = list(values)
    if kind is not None and pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type):
        return _matrices(values, kind)
    return pa.array(values, kind)


def _matrices(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return matrices of one width and any number of rows (or None) as lists of fixed-size lists, without a Python loop
    over their numbers.
    """
    width, number = kind.value_type.list_size, kind.value_type.value_type
    matrices = [np.empty((0, width)) if value is None else np.asarray(value) for value in values]
    flat = np.concatenate([matrix.reshape(-1) for matrix in matrices])
    offsets = np.concatenate([[0], np.cumsum([len(matrix) for matrix in matrices])]).astype(np.int32)
    inner = pa.FixedSizeListArray.from_arrays(pa.array(flat).cast(number), type=kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), inner, type=kind, mask=pa.array([v is None for v in values]))


def join(ds: Dataset, table: Any, fingerprint: str, features: Mapping[str, Any] | None = None) -> Dataset:
    """Join a `datasets` table of base length to the base table of `ds`, keeping its row order, format and split.

    `features` names the types of the new columns where their storage does not tell (a ClassLabel is stored as a number).
    """
    from datasets import Dataset, Features
    from datasets.table import concat_tables

    kept = [name for name in ds.column_names if name not in table.column_names]
    info = ds.info.copy()
    made = {**Features.from_arrow_schema(table.schema), **(features or {})}
    info.features = Features({**{name: ds.features[name] for name in kept}, **made})
    joined = concat_tables([ds.data.select(kept), table], axis=1) if kept else table
    new = Dataset(joined, info=info, split=ds.split, indices_table=ds._indices, fingerprint=fingerprint)
    new._format_type, new._format_kwargs = ds._format_type, dict(ds._format_kwargs)
    new._output_all_columns = ds._output_all_columns
    shown = ds._format_columns
    new._format_columns = None if shown is None else list(dict.fromkeys([*shown, *table.column_names]))
    return new


def _digest(table: pa.Table) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()
