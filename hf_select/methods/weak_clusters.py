"""Rows near the clusters of embeddings in which a model fails: the baseline of acquisition that needs no metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.choice import Choice
from hf_select.clustering.centres import distances, finder, means
from hf_select.clustering.lloyd import Fit, Kind, fit
from hf_select.clustering.matrix import Matrix
from hf_select.clustering.prepare import standardize as standardize_matrix
from hf_select.clustering.vectors import check_clusters, check_kind
from hf_select.errors import ArgumentError, ColumnError
from hf_select.readers import vector_blocks
from hf_select.rows import require_columns, require_dataset
from hf_select.selection import Selection
from hf_select.subgroups.conditions import ThinColumns
from hf_select.subgroups.outcomes import Outcome, OutcomeRecipe, read_outcome

__all__ = ["select_weak_clusters"]

_ROUNDING = 1e-12  # means that differ by less, as a share of the largest outcome, differ by how they were added up


def select_weak_clusters(
    pool: Any,
    validation: Any,
    *,
    n_clusters: int,
    k: int,
    outcome: str = "correct",
    direction: Literal["lower", "higher"] | None = None,
    column: str = "embedding",
    budget: Any = None,
    standardize: Literal["features", "rows"] | None = None,
    seed: int = 0,
    n_init: int = 1,
    per: str | None = None,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Acquire the rows of a pool whose nearest k-means cluster is one of those where the model is worst on validation rows.

    Reads:
        `column` of both: one vector per row, all of one length and from one model. Pool rows without a vector, or with NaN
        or infinity in it, can't be chosen; such validation rows are left out, with a warning.
        `outcome` of the validation set: 0/1, truth values or numbers; null = not judged.

    Args:
        pool: a map-style dataset to choose from.
        validation: a map-style dataset with outcomes, which the clusters are made on.
        n_clusters: from 2 to the number of validation rows; a single cluster is never worse than average. The paper uses 20
            for FSC and 10 for ITALIC.
        k: how many clusters to acquire for, the worst first: from 1 to `n_clusters`. Only clusters with a mean outcome worse
            than that of all rows count, so there may be fewer, with a warning. Of equally bad ones the larger goes first.
        outcome: the column of outcomes. Rows that are not judged help to make the clusters and count for no mean; a
            cluster without judged rows is never weak.
        direction: the bad side of the outcome: "lower" (accuracy) or "higher" (WER, a loss). None: lower for 0/1, higher
            for numbers.
        column: the column of vectors.
        budget: None: every row whose nearest cluster is weak, as in the paper. Else a share of the pool's rows (0.1, "10%"),
            rows (500) or audio ("1h"), see `hf_select.budget`: those nearest to their centre first, over all weak clusters
            together. Other rows are never taken: a larger budget takes all of these, with a warning.
        standardize: "features" gives every dimension mean 0 and deviation 1 over the validation rows, and does the same
            with the pool by the numbers found there (a dimension that is constant there counts for nothing); "rows"
            standardises every vector by itself; None leaves them as they are.
        seed: whole number of at least 0; starts k-means.
        n_init: as in scikit-learn's KMeans: the best of so many starts, 1 or more.
        per: the budget holds inside each group of this column of the pool.
        key, duration, status: columns, see `hf_select.choice.Choice`; `status` of both datasets.

    Returns:
        A Selection with the cluster of every row that can be chosen as its `group`, and as its `score` the Euclidean
        distance to the centre of the nearest cluster, with a minus sign. Facts list the weak clusters, worst first: rows
        (`count`), judged rows, mean and divergence of the validation set, rows of the pool, and rows taken. A smaller
        budget keeps a prefix.

    Raises:
        ArgumentError: no cluster is worse than average, more clusters than validation rows, and other values outside the
            ranges above.
        ColumnError: a column is missing or of the wrong kind, or the vectors of the two have different lengths.
        ConstantOutcomeError: all rows have the same outcome.

    Reference:
        The clustering baseline of Koudounas et al. 2024, "Prioritizing Data Acquisition for End-to-End Speech Model
        Improvement", section 4 (Baselines). It has no published code, and the text does not say which rows
        the clusters are made on (here those of the validation set, which have the outcomes), whether a cluster has to be
        worse than average, nor how it is cut to an equal budget ("the data points closest to those clusters" here: to
        their centres): these three are ours.

    Relations:
        `select_subgroups` acquires by metadata, and says in words what it is after. `select_kmeans` prunes by clusters of
        one dataset, without outcomes. `select_random` is the control.

    Example:
        >>> from datasets import Dataset
        >>> validation = Dataset.from_dict({"embedding": [[0.0], [1.0], [9.0], [10.0]], "correct": [1, 1, 0, 1]})
        >>> pool = Dataset.from_dict({"embedding": [[0.5], [12.0], [9.0], [1.5]]})
        >>> sel = select_weak_clusters(pool, validation, n_clusters=2, k=1)
        >>> sel.ranked.tolist(), sel.score[sel.ranked].tolist()
        ([2, 1], [-0.5, -2.5])
    """
    _check(n_clusters, k, direction, standardize)
    params = {"validation": _told(validation), "n_clusters": int(n_clusters), "k": int(k), "outcome": outcome}
    params |= {"direction": direction, "column": column, "standardize": standardize, "n_init": n_init}
    choice = Choice(
        pool,
        "select_weak_clusters",
        params,
        budget=1.0 if budget is None else budget,
        seed=seed,
        per=per,
        key=key,
        duration=duration,
        status=status,
    )
    kind = Kind(n_init=n_init)
    check_kind(kind)
    require_columns(pool, [column], "The pool")
    require_columns(validation, [column, outcome], "The validation set")
    outcomes = read_outcome(validation, ThinColumns(validation), OutcomeRecipe(outcome))

    clusters = _cluster(validation, column, int(n_clusters), standardize, kind, seed, status)
    weak, facts, warnings = _weak(clusters, outcomes, direction or outcomes.direction, k)
    if direction is None and outcomes.kind == "number":
        warnings.append(f"Higher {outcome} is taken as worse; pass direction='lower' if it is the other way round.")
    nearest, distance = _nearest(choice, column, clusters)
    choice.exclude(nearest < 0, f"no finite vector in {column}")
    choice.exclude(~np.isin(nearest, list(weak)), "in no weak cluster")
    warnings += _empty(nearest, list(weak))
    found = choice.close(-distance, group=nearest, warnings=warnings, facts=facts, everything=budget is None)
    found.facts["weak_clusters"] = [
        {"cluster": number, **told, "rows": int(own.sum()), "taken": int(own[found.indices].sum())}
        for (number, told), own in zip(weak.items(), nearest == np.array(list(weak))[:, None], strict=True)
    ]
    return found


@dataclass(frozen=True)
class _Clusters:
    """Clusters of the validation set.

    Attributes:
        rows: of the validation set that were clustered. fitted: their clusters. wanted: how many were asked for.
        numbers: the clusters that have rows. centres: of these, in the space of `prepare`.
        prepare: does to other vectors, in place, what was done to these.
        notes: sentences for people.
    """

    rows: NDArray[np.int64]
    fitted: Fit
    wanted: int
    numbers: NDArray[np.int64]
    centres: NDArray[np.float32]
    prepare: Callable[[Matrix], None]
    notes: list[str]


def _told(validation: Any) -> str:
    """Say which validation set a choice rests on; the record can't hold it whole."""
    require_dataset(validation, "validation=")
    return f"{len(validation)} rows, fingerprint {validation._fingerprint}"


def _check(n_clusters: Any, k: Any, direction: Any, standardize: Any) -> None:
    check_clusters(n_clusters)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= n_clusters:
        raise ArgumentError(f"k is a whole number from 1 to n_clusters ({n_clusters}); got {k!r}.")
    if direction not in (None, "lower", "higher"):
        raise ArgumentError(
            f"direction= is the bad side of the outcome, 'lower' or 'higher', or None; got {direction!r}."
        )
    if standardize not in (None, "features", "rows"):
        raise ArgumentError(f"standardize is one of 'features', 'rows', None; got {standardize!r}.")


def _cluster(
    validation: Any, column: str, n_clusters: int, standardize: str | None, kind: Kind, seed: int, status: str | None
) -> _Clusters:
    """Cluster the rows of the validation set that have a vector."""
    choice = Choice(validation, "select_weak_clusters", {}, budget=1.0, seed=seed, status=status)
    matrix, rows = _read(choice, column)
    if n_clusters > len(rows):
        raise ArgumentError(
            f"n_clusters={n_clusters} is more than the {len(rows)} rows of the validation set that can be clustered: ask for "
            "fewer clusters."
        )
    matrix.keep(rows)
    prepare = _prepare(matrix, standardize)
    fitted = fit(matrix, n_clusters, kind, seed)
    numbers = np.unique(fitted.labels).astype(np.int64)  # of many equal rows clusters may be empty, without a centre
    centres = means(matrix, fitted.labels, n_clusters)[numbers].astype(np.float32)
    notes = list(fitted.notes)
    if left := len(validation) - len(rows):
        reasons = ", ".join(sorted({str(reason).split(":")[0] for reason in choice.reasons if reason is not None}))
        notes.append(f"{left} of {len(validation)} rows of the validation set are left out: {reasons}.")
    return _Clusters(rows, fitted, n_clusters, numbers, centres, prepare, notes)


def _read(choice: Choice, column: str) -> tuple[Matrix, NDArray[np.int64]]:
    """Return (the vectors of all rows, the rows that can be clustered)."""
    matrix, finite = None, np.zeros(len(choice.ds), dtype=bool)
    for places, block in vector_blocks(choice.ds, column):
        matrix = Matrix(len(choice.ds), block.shape[1]) if matrix is None else matrix
        matrix.put(places, block)
        finite[places] = np.isfinite(block).all(axis=1)
    if matrix is None:  # vector_blocks has raised
        raise ColumnError(f"Column {column!r} holds no vector.")
    choice.exclude(~finite, f"no finite vector in {column}")
    return matrix, choice.rows


def _prepare(matrix: Matrix, how: str | None) -> Callable[[Matrix], None]:
    """Standardise vectors and move their mean to 0, in place; return what does the same to others, by the same numbers."""
    if how == "rows":
        standardize_matrix(matrix, how)
    mean = means(matrix, np.zeros(len(matrix), dtype=np.int32), 1)[0]
    deviation = np.ones_like(mean)
    if how == "features":
        squares = sum(((block - mean) ** 2).sum(axis=0) for _, block in matrix.blocks())
        lowest = np.min([block.min(axis=0) for _, block in matrix.blocks()], axis=0)
        highest = np.max([block.max(axis=0) for _, block in matrix.blocks()], axis=0)
        # divided by infinity, what is constant here is 0 in the pool too, whatever it is there
        deviation = np.where(highest > lowest, np.sqrt(squares / len(matrix)), np.inf)

    def prepare(others: Matrix, how: str | None = how) -> None:
        if how == "rows":
            standardize_matrix(others, how)
        others.rewrite(lambda block: (block - mean) / deviation)

    prepare(matrix, None)  # its rows are standardised already
    return prepare


def _weak(
    clusters: _Clusters, outcomes: Outcome, bad: str, k: int
) -> tuple[dict[int, dict[str, Any]], dict[str, Any], list[str]]:
    """Return (weak cluster -> what is told of it, worst first; facts; warnings)."""
    labels, number = clusters.fitted.labels, clusters.wanted
    values = outcomes.values[clusters.rows]
    known = ~np.isnan(values)
    if not known.any():
        raise ArgumentError("No row of the validation set has both an outcome and a vector.")
    count, judged = np.bincount(labels, minlength=number), np.bincount(labels[known], minlength=number)
    sums = np.bincount(labels[known], values[known], number)
    overall = float(sums.sum() / judged.sum())
    mean = np.divide(sums, judged, out=np.full(number, np.nan), where=judged > 0)
    badness = overall - mean if bad == "lower" else mean - overall
    order = np.lexsort((-count, -badness))  # as find_subgroups orders; NaN last
    worse = order[badness[order] > _ROUNDING * np.abs(values[known]).max()]  # NaN never is
    if not len(worse):
        raise ArgumentError(
            f"No cluster of the validation set is worse than its average ({overall:g}): there is none to acquire rows of. "
            "Ask for more clusters, or check direction=."
        )
    told = {"count": count, "judged": judged, "mean": mean, "divergence": mean - overall}
    weak = {int(c): {name: array[c].item() for name, array in told.items()} for c in worse[:k]}
    warnings = list(clusters.notes)
    if len(worse) < k:
        warnings.append(f"{len(worse)} clusters are worse than average, and k={k} were asked for: no others are taken.")
    facts: dict[str, Any] = {"n_clusters": number, "inertia": clusters.fitted.inertia}
    facts |= {"iterations": clusters.fitted.iterations, "direction": bad, "overall": overall}
    facts |= {"validation_rows": len(labels), "validation_judged": int(judged.sum())}
    return weak, facts, warnings


def _nearest(choice: Choice, column: str, clusters: _Clusters) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (nearest cluster, -1 where there is no finite vector; distance to its centre) of each row of the pool."""
    number, distance = np.full(len(choice.ds), -1, dtype=np.int64), np.full(len(choice.ds), np.nan)
    nearest, wanted = finder(clusters.centres, "euclidean"), clusters.centres.shape[1]
    for places, block in vector_blocks(choice.ds, column):
        if block.shape[1] != wanted:
            raise ColumnError(
                f"Column {column!r} holds vectors of {block.shape[1]} numbers in the pool and of {wanted} in the validation set: "
                "make both with the same model."
            )
        finite = np.isfinite(block).all(axis=1)
        rows = Matrix(int(finite.sum()), wanted)  # a copy: the block may be the dataset's own memory
        rows.write(0, block[finite])
        clusters.prepare(rows)
        labels = np.concatenate([np.zeros(0, np.int32), *(nearest(part) for _, part in rows.blocks())]).astype(np.int32)
        number[places[finite]] = clusters.numbers[labels]
        distance[places[finite]] = distances(rows, labels, clusters.centres, "euclidean")
    return number, distance


def _empty(nearest: NDArray[np.int64], weak: list[int]) -> list[str]:
    """Warn of weak clusters without rows in the pool."""
    empty = [str(number) for number in weak if not (nearest == number).any()]
    if len(empty) == len(weak):
        return [f"No row of the pool is nearest to any of the {len(weak)} weak clusters."]
    return [f"{len(empty)} of {len(weak)} weak clusters have no row in the pool: {', '.join(empty)}."] if empty else []
