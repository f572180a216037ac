"""Cluster pruning: k-means in the space of embeddings, then a share of every cluster by distance to its centre."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.choice import Choice
from hf_select.errors import ArgumentError
from hf_select.readers import read_vectors
from hf_select.selection import Selection

__all__ = ["select_kmeans"]

_BLOCK = 8192  # rows that are worked on at a time, so that no second matrix comes into being
_SEEDING_ROWS = 10_000  # k-means++ looks at no more rows than this: on all of many it takes longer than the clustering


def select_kmeans(
    ds: Any,
    *,
    budget: Any,
    n_clusters: int,
    column: str = "embedding",
    drop: Literal["simple", "hard"] = "simple",
    metric: Literal["euclidean", "cosine"] = "euclidean",
    pca: int | float | None = None,
    standardize: Literal["features", "rows"] | None = None,
    per: str | None = None,
    seed: int = 0,
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 0.0,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Keep a share of every k-means cluster: without its typical rows (simple pruning) or without its outliers (hard).

    Reads:
        `column`: one vector per row, all of one length: model embeddings, or `mfcc_stats` of `hs.MFCC(pool="stats")`.
        Rows without a vector, or with NaN or infinity in it, can't be chosen.

    Args:
        ds: a map-style dataset.
        budget: share of rows KEPT (0.7 is the paper's "30 % pruning"), rows, or audio; split over the clusters in
            proportion to their size by largest remainder, exact in total.
        n_clusters: from 1 (distance to the mean of all) to the number of rows. The paper uses 155 for 36 keywords.
        column: the column of vectors.
        drop: "simple" removes the rows closest to their centre, "hard" the farthest.
        metric: "euclidean" as the paper, or "cosine" (vectors are scaled to length 1; the distance is 1 - cosine).
        pca: reduce the vectors first: to this many components, or (a float below 1) to as many as explain that share of
            the variance. None: not at all.
        standardize: "features" gives every dimension mean 0 and deviation 1; "rows" every vector, as the authors' code
            does; None leaves them as they are. Done before `pca`.
        per: apply the budget inside each group of this column, over group x cluster.
        seed: whole number of at least 0.
        n_init, max_iter, tol: as in scikit-learn's KMeans, which starts from k-means++ (over 10,000 rows: on a sample of
            10,000, or of 4 a cluster). A tolerance above 0 costs it a second copy of the matrix.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection with the cluster of every row as its `group`, and as its `score` the distance to the mean of that
        cluster's rows (with a minus sign for "hard", since a higher score is kept first).

    Raises:
        ArgumentError: more clusters than rows, and other values outside the ranges above.
        ColumnError: a column of labels where vectors were meant, or vectors of different lengths.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, sections 3.1 and 3.2. The authors' code clusters
        unpooled features and floors per cluster; here the total is exact.

    Relations:
        `select_random` is the control; `select_by_score` ranks over all rows instead of inside clusters. In small
        subsets the paper finds simple pruning worse than random, in large ones better.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"embedding": [[0.0], [0.1], [0.5], [9.0], [9.1], [9.8]]})
        >>> sel = select_kmeans(ds, budget=2, n_clusters=2, drop="simple", seed=0)
        >>> sel.indices.tolist()
        [2, 5]
    """
    params = {"column": column, "n_clusters": n_clusters, "drop": drop, "metric": metric, "pca": pca}
    params |= {"standardize": standardize, "n_init": n_init, "max_iter": max_iter, "tol": tol}
    choice = Choice(
        ds, "select_kmeans", params, budget=budget, seed=seed, per=per, key=key, duration=duration, status=status
    )
    _check(n_clusters, drop, metric, pca, standardize)
    matrix = read_vectors(ds, column)
    choice.exclude(*_not_finite(matrix, column))
    if metric == "cosine":
        choice.exclude(_blockwise(matrix, lambda block: ~block.any(axis=1)), f"zero vector in {column}")
    rows = choice.rows
    if n_clusters > len(rows):
        raise ArgumentError(
            f"n_clusters={n_clusters} is more than the {len(rows)} rows that can be chosen: ask for fewer clusters."
        )

    matrix = _compact(matrix, rows)
    _standardize(matrix, standardize)
    matrix, facts = _reduce(matrix, pca, seed)
    if metric == "cosine":
        for block in _blocks(matrix):
            block /= np.linalg.norm(block, axis=1, keepdims=True)
    labels, distance, notes, of_fit = _cluster(matrix, n_clusters, metric, seed, n_init, max_iter, tol)

    clusters = np.full(len(ds), -1, dtype=np.int64)
    score = np.full(len(ds), np.nan)
    clusters[rows], score[rows] = labels, distance if drop == "simple" else -distance
    return choice.close(score, clusters=clusters, warnings=notes, facts={**facts, **of_fit})


def _check(n_clusters: Any, drop: str, metric: str, pca: Any, standardize: str | None) -> None:
    if isinstance(n_clusters, bool) or not isinstance(n_clusters, (int, np.integer)) or n_clusters < 1:
        raise ArgumentError(f"n_clusters is a whole number of at least 1; got {n_clusters!r}.")
    for name, value, legal in (
        ("drop", drop, ("simple", "hard")),
        ("metric", metric, ("euclidean", "cosine")),
        ("standardize", standardize, ("features", "rows", None)),
    ):
        if value not in legal:
            raise ArgumentError(f"{name} is one of {', '.join(map(repr, legal))}; got {value!r}.")
    whole = isinstance(pca, (int, np.integer)) and not isinstance(pca, bool) and pca >= 1
    if pca is not None and not whole and not (isinstance(pca, float) and 0 < pca < 1):
        raise ArgumentError(
            f"pca is a number of components, a share of variance between 0 and 1, or None; got {pca!r}."
        )


def _blocks(matrix: NDArray[np.float32]) -> Any:
    return (matrix[start : start + _BLOCK] for start in range(0, len(matrix), _BLOCK))


def _blockwise(matrix: NDArray[np.float32], function: Any) -> NDArray[Any]:
    return np.concatenate([function(block) for block in _blocks(matrix)])


def _not_finite(matrix: NDArray[np.float32], column: str) -> tuple[NDArray[np.bool_], str]:
    return _blockwise(matrix, lambda block: ~np.isfinite(block).all(axis=1)), f"no finite vector in {column}"


def _compact(matrix: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Move the wanted rows to the front, in place; they only ever move forward."""
    if len(rows) < len(matrix):
        for start in range(0, len(rows), _BLOCK):
            wanted = rows[start : start + _BLOCK]
            matrix[start : start + len(wanted)] = matrix[wanted]
    return matrix[: len(rows)]


def _standardize(matrix: NDArray[np.float32], how: str | None) -> None:
    if how == "features":
        mean = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(matrix)) / len(matrix)
        variance = sum(((block - mean) ** 2).sum(axis=0) for block in _blocks(matrix)) / len(matrix)
        deviation = np.sqrt(np.where(variance > 0, variance, 1.0))
        for block in _blocks(matrix):
            block[:] = (block - mean) / deviation
    elif how == "rows":
        for block in _blocks(matrix):
            deviation = block.std(axis=1, keepdims=True, dtype=np.float64)
            block[:] = (block - block.mean(axis=1, keepdims=True, dtype=np.float64)) / np.where(
                deviation > 0, deviation, 1
            )


def _reduce(
    matrix: NDArray[np.float32], pca: int | float | None, seed: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    if pca is None:
        return matrix, {}
    from sklearn.decomposition import PCA

    most = min(matrix.shape)
    if isinstance(pca, (int, np.integer)) and pca > most:
        raise ArgumentError(
            f"pca={pca} components of {matrix.shape[0]} rows x {matrix.shape[1]} dimensions: {most} at most."
        )
    solver = "covariance_eigh" if matrix.shape[0] >= matrix.shape[1] else "full"
    fitted = PCA(n_components=pca, svd_solver=solver, random_state=seed, copy=True).fit(matrix)
    reduced = _blockwise(matrix, fitted.transform).astype(np.float32, copy=False)
    explained = float(fitted.explained_variance_ratio_.sum())
    return reduced, {"pca_components": int(fitted.n_components_), "pca_explained_variance": round(explained, 6)}


def _cluster(
    matrix: NDArray[np.float32], n_clusters: int, metric: str, seed: int, n_init: int, max_iter: int, tol: float
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str], dict[str, Any]]:
    """Return (cluster of each row, distance to its centre, notes, facts). May centre the matrix in place."""
    from sklearn.cluster import KMeans

    init = "k-means++" if len(matrix) <= _SEEDING_ROWS else _seed_on_a_sample
    kmeans = KMeans(n_clusters, init=init, n_init=n_init, max_iter=max_iter, tol=tol, random_state=seed, copy_x=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kmeans.fit(matrix)
    notes = [f"k-means: {warning.message}" for warning in caught]
    if kmeans.n_iter_ >= max_iter > 1:
        notes.append(f"k-means stopped after max_iter={max_iter} iterations, before it had converged.")
    centres = _means(matrix, kmeans.labels_, n_clusters).astype(np.float32)
    if metric == "cosine":
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    distance = np.empty(len(matrix))
    for start in range(0, len(matrix), _BLOCK):
        block, own = matrix[start : start + _BLOCK], centres[kmeans.labels_[start : start + _BLOCK]]
        apart = block - own  # of two unit vectors: half its square is 1 - cosine, without losing digits near 0
        squares = np.einsum("ij,ij->i", apart, apart, dtype=np.float64)
        distance[start : start + _BLOCK] = squares / 2 if metric == "cosine" else np.sqrt(squares)
    facts = {"inertia": float(kmeans.inertia_), "iterations": int(kmeans.n_iter_)}
    return kmeans.labels_.astype(np.int64), distance, notes, facts


def _means(matrix: NDArray[np.float32], labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.float64]:
    """Return the mean of each cluster, added up in the order of the rows.

    scikit-learn adds up its own centres per thread, so that their last digits change with the number of threads.
    """
    sums = np.zeros((n_clusters, matrix.shape[1]))
    for start in range(0, len(matrix), _BLOCK):
        block, own = matrix[start : start + _BLOCK], labels[start : start + _BLOCK]
        order = np.argsort(own, kind="stable")
        found, first = np.unique(own[order], return_index=True)
        sums[found] += np.add.reduceat(block[order], first, axis=0, dtype=np.float64)
    return sums / np.maximum(np.bincount(labels, minlength=n_clusters), 1)[:, None]


def _seed_on_a_sample(matrix: NDArray[np.float32], n_clusters: int, random_state: Any) -> NDArray[np.float32]:
    from sklearn.cluster import kmeans_plusplus

    sample = np.sort(random_state.choice(len(matrix), max(_SEEDING_ROWS, 4 * n_clusters), replace=False))
    return kmeans_plusplus(matrix[sample], n_clusters, random_state=random_state)[0]
