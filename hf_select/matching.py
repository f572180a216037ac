"""Find the rows of a Selection again: in a dataset that was reordered or thinned since, or in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.errors import SelectionError
from hf_select.rows import RowKey

__all__ = ["KeyFilter", "locate", "locate_in_source"]


def locate(source: pa.Array, kept: np.ndarray, there: pa.Array) -> np.ndarray:
    """Find the kept rows of a source in a dataset that may have been reordered or thinned since.

    Args:
        source: keys of all rows of the source.
        kept: positions of the kept rows in the source.
        there: keys of the rows of the dataset.

    Returns:
        The position in the dataset of every kept row, in the order of `kept`.

    Raises:
        SelectionError: a row of the dataset is unknown to the source, a kept row is not there, or a key stands for
            several rows that were treated differently. Never a wrong row.
    """
    if source.equals(there):
        return kept
    origin: dict[Any, list[int]] = {}
    for row, key in enumerate(source.to_pylist()):
        origin.setdefault(key, []).append(row)
    places: dict[Any, list[int]] = {}
    for row, key in enumerate(there.to_pylist()):
        places.setdefault(key, []).append(row)
    unknown = [key for key in places if key not in origin]
    if unknown:
        raise SelectionError(
            f"{sum(len(places[key]) for key in unknown)} of {len(there)} rows are unknown to this Selection (the first is "
            f"row {places[unknown[0]][0]}, key {unknown[0]!r}): it was made on another dataset or revision. Select again."
        )
    repeated = [key for key, rows in places.items() if len(rows) > len(origin[key])]
    if repeated:
        raise SelectionError(
            f"Row {places[repeated[0]][1]} repeats row {places[repeated[0]][0]} (key {repeated[0]!r}), and the source held "
            f"it {len(origin[repeated[0]])} time(s): apply the Selection before rows are repeated."
        )
    chosen = set(kept.tolist())
    keys = source.take(pa.array(kept)).to_pylist()
    missing = [key for key in keys if key not in places]
    if missing:
        raise SelectionError(
            f"{len(missing)} of {len(kept)} kept rows are not in this dataset (the first is key {missing[0]!r}): it was "
            f"made on a dataset of {len(source)} rows, and this one has {len(there)}."
        )
    found = np.empty(len(kept), dtype=np.int64)
    for index, key in enumerate(keys):
        rows = origin[key]
        if len(rows) > 1 and not (chosen.issuperset(rows) and len(places[key]) == len(rows)):
            raise SelectionError(
                f"Rows {rows[:3]} of the source share the key {key!r} and were not all kept, so they can't be told apart in "
                "a reordered dataset. Select with key= naming a column of unique ids."
            )
        found[index] = places[key][rows.index(int(kept[index])) if len(rows) > 1 else 0]
    return found


def locate_in_source(source: pa.Array, there: pa.Array) -> NDArray[np.int64]:
    """Return for each row of a dataset its row in the source, given the keys of both.

    Raises:
        SelectionError: keys are not unique, or a row is unknown to the source.
    """
    if source.equals(there):
        return np.arange(len(source))
    place = {key: row for row, key in enumerate(source.to_pylist())}
    if len(place) < len(source):
        raise SelectionError(
            "The rows can't be told apart by their keys: select with key= naming a column of unique ids."
        )
    keys = there.to_pylist()
    unknown = [key for key in keys if key not in place]
    if unknown:
        raise SelectionError(
            f"{len(unknown)} of {len(keys)} rows are unknown to this Selection (the first has key {unknown[0]!r})."
        )
    return np.array([place[key] for key in keys], dtype=np.int64)


class KeyFilter:
    """Keep the rows of a stream by key: an index means nothing there (it counts per shard and per worker)."""

    def __init__(self, row_key: RowKey, source: pa.Array, kept: NDArray[np.int64]) -> None:
        chosen = np.zeros(len(source), dtype=bool)
        chosen[kept] = True
        self.row_key = row_key
        self.kept: dict[Any, bool | None] = {}  # None: several rows share the key, and only some are kept
        for key, keep in zip(source.to_pylist(), chosen.tolist(), strict=True):
            self.kept[key] = keep if self.kept.get(key, keep) == keep else None

    def __call__(self, batch: Mapping[str, Any]) -> list[bool]:
        """Say which rows of a batch are kept; a row that is unknown, or can't be told apart, is a SelectionError."""
        keys = self.row_key.of_batch(batch)
        if keys is None:
            raise SelectionError(
                f"The stream lacks the column(s) {', '.join(self.row_key.columns)}, by which its rows are known."
            )
        unknown = [key for key in keys if key not in self.kept]
        if unknown:
            raise SelectionError(
                f"The stream holds a row that is unknown to this Selection (key {unknown[0]!r}): another dataset or revision."
            )
        unclear = [key for key in keys if self.kept[key] is None]
        if unclear:
            raise SelectionError(
                f"Several rows share the key {unclear[0]!r} and only some were kept: select with key= naming unique ids."
            )
        return [bool(self.kept[key]) for key in keys]
