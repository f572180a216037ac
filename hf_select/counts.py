"""Count rows and hours per value of a column, and say how balanced they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError
from hf_select.readers import read_groups, read_seconds, read_values
from hf_select.rows import raw_column, require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["balance", "kept_by_value", "named_values"]

_MANY = 12  # numbers with more values than this are counted in quarters


def balance(labels: Iterable[Any], classes: Iterable[Any] | None = None) -> float:
    """Return how evenly labels are spread: 1 = all classes equally frequent, 0 = one class only.

    balance = -sum_i p_i log p_i / log c, with 0 log 0 = 0.

    Args:
        labels: one label per row.
        classes: the classes of the ORIGINAL set; c is their number, so a class that was lost counts. None: those that occur.

    Returns:
        A number from 0 to 1. Where there is one class in all (c = 1) nothing can be uneven: 1; without any label: 0.

    Raises:
        ArgumentError: a label is none of the classes.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, section 3.2 and table 1.

    Example:
        >>> balance(["yes", "no", "yes", "no"]), balance(["yes", "yes"], classes=["yes", "no"])
        (1.0, 0.0)
    """
    found = Counter(str(label) for label in labels)
    names = set(found) if classes is None else {str(name) for name in classes}
    if strange := sorted(found.keys() - names):
        raise ArgumentError(f"balance: {strange[0]!r} is none of the {len(names)} classes of the original set.")
    if len(names) < 2 or not found:
        return 1.0 if found else 0.0
    shares = np.array(list(found.values())) / found.total()
    return max(0.0, min(1.0, float(-(shares * np.log(shares)).sum() / np.log(len(names)))))


def kept_by_value(ds: Any, kept: NDArray[np.bool_], by: str | None, duration: str | None) -> pd.DataFrame:
    """Count kept and total rows (and hours) per value of `by`, the largest losers first; see `Selection.describe`."""
    import pandas as pd

    values = np.full(len(ds), "all rows", dtype=object) if by is None else named_values(ds, by)
    rows = pd.DataFrame({"value": values, "kept": kept, "total": True})
    if duration is not None:
        hours = np.nan_to_num(read_seconds(ds, duration)) / 3600
        rows["kept_hours"], rows["total_hours"] = hours * kept, hours
    table = rows.groupby("value", sort=True).sum()
    table.insert(2, "kept_share", table["kept"] / table["total"])
    table.index.name = by
    return table.sort_values("kept_share", kind="stable")


def named_values(ds: Any, by: str) -> NDArray[np.object_]:
    """Return the values of a column as text; numbers of more than 12 values are cut into quarters of equal size.

    A quarter "2 to 5" holds 2 and not 5, the last one both its ends. Numbers without a value are "(none)".
    """
    import pyarrow as pa

    require_columns(ds, [by], "by=")
    kind = raw_column(ds, by).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)) or hasattr(ds.features[by], "int2str"):
        return read_groups(ds, by, "by=")
    numbers = read_values(ds, by, "by=")
    values = np.unique(numbers[np.isfinite(numbers)])
    if len(values) <= _MANY and pa.types.is_integer(kind):
        return read_groups(ds, by, "by=")
    if len(values) > _MANY:
        edges = np.unique(np.quantile(numbers[np.isfinite(numbers)], [0, 0.25, 0.5, 0.75, 1]))
        names = [f"{low} to {high}" for low, high in pairwise(_written(edges))]
        place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(names) - 1)
    else:
        names, place = _written(values), np.searchsorted(values, numbers)
    other = {True: "(none)", False: "(infinite)"}
    finite = np.isfinite(numbers)
    return np.array(
        [names[p] if f else other[bool(np.isnan(v))] for p, f, v in zip(place, finite, numbers, strict=True)],
        dtype=object,
    )


def _written(numbers: NDArray[np.float64]) -> list[str]:
    """Write different numbers so that they stay different, with as few digits as that takes (4 at least)."""
    if all(number.is_integer() and abs(number) < 1e15 for number in numbers.tolist()):
        return [str(int(number)) for number in numbers]
    written = ([f"{number:.{digits}g}" for number in numbers] for digits in range(4, 18))
    return next(names for names in written if len(set(names)) == len(names))
