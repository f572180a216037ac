"""What clusters stand for: rank correlations between being in a cluster and the metadata of a row."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, ColumnError
from hf_select.matching import locate, locate_in_source
from hf_select.rows import RowKey, raw_column, require_columns, require_dataset
from hf_select.selection import EXCLUDED, Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["cluster_correlations", "natural", "outcome", "strongest"]


def outcome(ds: Any, selection: Selection) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.object_]]:
    """Return for each row of `ds`, matched by key: whether it is kept, whether it could be chosen, and its group."""
    require_dataset(ds, "A report on a Selection")
    key = selection.source["key"]
    there = RowKey(key["kind"], tuple(key["columns"])).of(ds)
    kept = np.zeros(len(ds), dtype=bool)
    kept[locate(selection.key, selection.indices, there)] = True
    group = selection.group[locate_in_source(selection.key, there)]
    eligible = np.array([name is None or not name.startswith(EXCLUDED) for name in group], dtype=bool)
    return kept, eligible, group


def cluster_correlations(
    ds: Any, selection: Selection, columns: Sequence[str] | None = None, *, max_categories: int = 12
) -> pd.DataFrame:
    """Correlate being in each cluster (0 or 1) with metadata columns, by Spearman's rank correlation.

    Reads:
        `columns`: one value per row, of any kind. Numbers and truth values are ranked (ties share their mean rank); a
        ClassLabel or a text becomes one 0/1 column per value, named `gender=female`. A row without a value (null, NaN)
        is left out of that column's figures only (pairwise complete). Rows that could not be chosen are left out.

    Args:
        ds: the dataset that was selected from, in any order of rows.
        selection: one with a group per row, such as the clusters of `select_kmeans`.
        columns: names; None: every column of one value per row but the row's key and ids (texts or whole numbers that
            differ in every row; durations and other real numbers stay).
        max_categories: a text or ClassLabel column with more values than this is left out.

    Returns:
        A table of clusters x features, each value in [-1, 1]; NaN where it is not defined (a cluster that holds all rows
        with a value, or none of them). `table.attrs["skipped"]` says which columns were left out, and why;
        `table.attrs["rows"]` how many rows each cluster holds, `table.attrs["columns"]` the column of each feature.

        A small cluster can't reach 1: with a share p of the rows, |rho| with a column without ties is at most
        sqrt(3 p (1 - p)), which is 0.14 for one of 155 clusters.

    Raises:
        ArgumentError: the Selection has no groups.
        ColumnError: no such column, or one of lists or sound.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, section 3.2, propose it. How is ours.

    Example:
        >>> from datasets import Dataset
        >>> import hf_select as hs
        >>> ds = Dataset.from_dict({"x": [[0.0], [0.1], [9.0], [9.1]], "hertz": [90, 95, 210, 210]})
        >>> sel = hs.select_kmeans(ds, budget=2, n_clusters=2, column="x", seed=0)
        >>> cluster_correlations(ds, sel).abs().round(2)["hertz"].tolist()
        [0.94, 0.94]
    """
    import pandas as pd

    _, eligible, group = outcome(ds, selection)
    inside = eligible & (group != None)  # noqa: E711 (an array of objects)
    if not inside.any():
        raise ArgumentError(
            f"{selection.method} gave its rows no clusters, so there is nothing to correlate with: use hs.select_kmeans."
        )
    names = sorted(set(group[inside]), key=natural)
    number = {name: code for code, name in enumerate(names)}
    cluster = np.array([number[name] for name in group[inside]], dtype=np.int64)
    require_columns(ds, columns or [], "Correlations")
    rho: dict[str, NDArray[np.float64]] = {}
    origin: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for column in ds.column_names if columns is None else columns:
        values = raw_column(ds, column).filter(pa.array(inside))
        if pa.types.is_nested(values.type) or pa.types.is_null(values.type):
            if columns is not None:
                raise ColumnError(f"Correlations: column {column!r} holds {values.type}; one value per row is needed.")
            continue
        reason = _unfit(column, values, ds.features[column], max_categories, selection, chosen=columns is not None)
        if reason:
            skipped[column] = reason
            continue
        for feature, numbers in _features(column, values, ds.features[column]):
            while feature in rho:  # a column that is itself called "gender=female"
                feature += "'"
            rho[feature], origin[feature] = _rank_correlation(numbers, cluster, len(names)), column
    table = pd.DataFrame(rho, index=pd.Index(names, name="cluster"))
    sizes = np.bincount(cluster, minlength=len(names)).tolist()
    table.attrs = {"skipped": skipped, "columns": origin, "rows": dict(zip(names, sizes, strict=True))}
    return table


def strongest(table: pd.DataFrame, number: int, per_column: int = 2) -> list[tuple[str, str, float]]:
    """Return the (cluster, feature, rho) with the largest |rho|, at most `per_column` of one metadata column.

    Of two features that mirror each other, such as the two values of `gender`, the first is given.
    """
    rho = table.to_numpy(dtype=np.float64)
    size = np.nan_to_num(np.abs(rho), nan=-1.0).ravel()
    found: list[tuple[str, str, float]] = []
    taken: dict[str, list[float]] = defaultdict(list)
    for place in np.argsort(-size, kind="stable").tolist():
        row, column = divmod(place, rho.shape[1])
        cluster, feature = str(table.index[row]), str(table.columns[column])
        origin = table.attrs["columns"][feature]
        if size[place] < 0 or len(found) == number:
            break
        if len(taken[origin]) < per_column and not np.isclose(taken[origin], size[place], rtol=0, atol=1e-9).any():
            taken[origin].append(size[place])
            found.append((cluster, feature, float(rho[row, column])))
    return found


def natural(text: str) -> list[tuple[int, float, str]]:
    """Sort key under which "2" stands before "10"."""
    parts = re.findall(r"\d{1,300}|\D+", str(text))
    return [(0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts]


def _is_number(values: pa.ChunkedArray, feature: Any) -> bool:
    kind = values.type
    plain = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return plain and not hasattr(feature, "int2str")


def _unfit(
    column: str, values: pa.ChunkedArray, feature: Any, max_categories: int, selection: Selection, *, chosen: bool
) -> str | None:
    """Say why a column can't be correlated, or None."""
    key = selection.source["key"]
    if not chosen and key["kind"] == "column" and column in key["columns"]:
        return "the key of the rows"
    there = values.filter(pc.fill_null(pc.is_finite(values), False)) if pa.types.is_floating(values.type) else values
    distinct = pc.count_distinct(there).as_py()
    number = _is_number(values, feature)
    if distinct < 2:
        return "one value only" if distinct else "no values"
    if not chosen and not pa.types.is_floating(values.type) and distinct == len(values):
        return "another value in every row (an id)"
    if not number and distinct > max_categories:
        return f"{distinct} values, more than {max_categories}"
    return None


def _features(column: str, values: pa.ChunkedArray, feature: Any) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield (name, one number per row, NaN where there is none)."""
    if _is_number(values, feature):
        yield column, values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
        return
    codes = values.combine_chunks().dictionary_encode()
    code = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names = codes.dictionary.to_pylist()
    if hasattr(feature, "int2str"):  # a label outside the names, such as -1, is no label
        classes = dict(enumerate(feature.names))
        code = np.where(np.array([name in classes for name in names], dtype=bool)[code], code, -1)
        names = [classes.get(name) for name in names]
    for place in sorted(range(len(names)), key=lambda place: natural(str(names[place]))):
        if names[place] is not None:
            yield f"{column}={names[place]}", np.where(code < 0, np.nan, (code == place).astype(np.float64))


def _rank_correlation(values: NDArray[np.float64], cluster: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    """Return Spearman's rho of a column with membership in each cluster.

    The ranks of a 0/1 column are a straight line in it, so rho is Pearson's r of membership and the ranks: all that is
    needed per cluster is its sum of centred ranks. No table of rows x clusters comes into being.
    """
    from scipy.stats import rankdata

    there = ~np.isnan(values)
    rows = int(there.sum())
    ranks = rankdata(values[there])
    centred = ranks - (rows + 1) / 2
    members = np.bincount(cluster[there], minlength=number)
    sums = np.bincount(cluster[there], weights=centred, minlength=number)
    scale = np.sqrt((centred**2).sum() * members * (1 - members / max(rows, 1)))
    return np.clip(np.divide(sums, scale, out=np.full(number, np.nan), where=scale > 0), -1, 1)
