"""Count rows and hours per value of a column, and say how balanced they are."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.readers import read_groups, read_seconds, read_values
from hf_select.rows import raw_column, require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["balance", "kept_by_value"]

_MANY = 12  # numbers with more values than this are counted in quarters


def balance(labels: Iterable[Any], classes: Iterable[Any] | None = None) -> float:
    """Return how evenly labels are spread: 1 = all classes equally frequent, 0 = one class only.

    balance = -sum_i p_i log p_i / log c, with 0 log 0 = 0.

    Args:
        labels: one label per row.
        classes: the classes of the ORIGINAL set; c is their number, so a class that was lost counts. None: those that occur.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, section 3.2 and table 1.

    Example:
        >>> balance(["yes", "no", "yes", "no"]), balance(["yes", "yes"], classes=["yes", "no"])
        (1.0, 0.0)
    """
    _, counts = np.unique(np.asarray([str(label) for label in labels], dtype=str), return_counts=True)
    number = len(counts) if classes is None else len({str(name) for name in classes})
    if number < 2 or not len(counts):
        return 1.0 if len(counts) else 0.0
    shares = counts / counts.sum()
    return float(max(0.0, -(shares * np.log(shares)).sum() / np.log(number)))


def kept_by_value(ds: Any, kept: NDArray[np.bool_], by: str | None, duration: str | None) -> pd.DataFrame:
    """Count kept and total rows (and hours) per value of `by`, the largest losers first; see `Selection.describe`."""
    import pandas as pd

    values = np.full(len(ds), "all rows", dtype=object) if by is None else _values(ds, by)
    rows = pd.DataFrame({"value": values, "kept": kept, "total": True})
    if duration is not None:
        hours = np.nan_to_num(read_seconds(ds, duration)) / 3600
        rows["kept_hours"], rows["total_hours"] = hours * kept, hours
    table = rows.groupby("value", sort=True).sum()
    table.insert(2, "kept_share", table["kept"] / table["total"])
    table.index.name = by
    return table.sort_values("kept_share", kind="stable")


def _values(ds: Any, by: str) -> NDArray[np.object_]:
    """Return the values of a column as text, many numbers cut into quarters of equal size."""
    import pyarrow as pa

    require_columns(ds, [by], "by=")
    kind = raw_column(ds, by).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or hasattr(ds.features[by], "int2str"):
        return read_groups(ds, by, "by=")
    numbers = read_values(ds, by, "by=")
    there = numbers[np.isfinite(numbers)]
    if len(np.unique(there)) <= _MANY:
        return read_groups(ds, by, "by=")
    edges = np.unique(np.quantile(there, [0, 0.25, 0.5, 0.75, 1]))
    names = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    bins = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(names) - 1)
    return np.array(
        [names[b] if np.isfinite(v) else "(none)" for b, v in zip(bins, numbers, strict=True)], dtype=object
    )
