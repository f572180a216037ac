"""K-means and its kin by exact Lloyd iterations over all rows, for a matrix in memory and on disk alike.

Start, empty clusters and convergence are as in scikit-learn's KMeans, so that a matrix that fits into memory gets the
clusters that it would give, and one that does not gets the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.clustering.centres import distances, finder, means, medians, medoids
from hf_select.clustering.faiss_backend import centres_by_faiss
from hf_select.clustering.matrix import Matrix

__all__ = ["Fit", "Kind", "fit", "seeding_rows"]

_SEEDING_ROWS = 10_000  # k-means++ looks at no more rows than this: on all of many it takes longer than the clustering
_SEEDING_BYTES = 256 << 20


@dataclass(frozen=True)
class Kind:
    """Which clustering: the metric, and what the centre of a cluster is.

    Attributes:
        metric: "euclidean", "cosine" (rows have length 1) or "manhattan".
        medoids: the centre is a row, instead of the mean (or, for "manhattan", the median in each dimension).
        backend: "sklearn" or "faiss".
        n_init, max_iter, tol: as in scikit-learn's KMeans.
    """

    metric: str = "euclidean"
    medoids: bool = False
    backend: str = "sklearn"
    n_init: int = 1
    max_iter: int = 100
    tol: float = 0.0

    @property
    def means(self) -> bool:
        """Whether centres are means."""
        return not self.medoids and self.metric != "manhattan"


@dataclass(frozen=True)
class Fit:
    """A clustering.

    Attributes:
        labels: cluster of each row. distance: of each row to the centre of its cluster.
        inertia: what the clustering makes small: the sum of squared distances to means, else the sum of distances.
        iterations: how many. notes: sentences for people.
    """

    labels: NDArray[np.int32]
    distance: NDArray[np.float64]
    inertia: float
    iterations: int
    notes: tuple[str, ...]


def seeding_rows(dimensions: int, clusters: int) -> int:
    """Return how many rows k-means++ looks at, at most."""
    return max(4 * clusters, min(_SEEDING_ROWS, _SEEDING_BYTES // (4 * dimensions)))


def fit(matrix: Matrix, clusters: int, kind: Kind, seed: int) -> Fit:
    """Cluster the rows `n_init` times and return the run of least inertia."""
    from sklearn.utils import check_random_state

    random_state = check_random_state(seed % 2**32)
    runs = (_run(matrix, _plus_plus(matrix, clusters, random_state), kind, seed) for _ in range(kind.n_init))
    return min(runs, key=lambda run: run.inertia)


def _run(matrix: Matrix, start: NDArray[np.float32], kind: Kind, seed: int) -> Fit:
    if kind.backend != "faiss":
        return _finish(matrix, *_iterate(matrix, start, kind), kind)
    centres = centres_by_faiss(matrix, start, kind.max_iter, seed)
    labels = np.full(len(matrix), -1, dtype=np.int32)
    _assign(matrix, centres, labels, kind.metric, None)
    return _finish(matrix, labels, centres, kind.max_iter, True, kind)


def _plus_plus(matrix: Matrix, clusters: int, random_state: Any) -> NDArray[np.float32]:
    """Choose rows to start from by k-means++, which draws them in proportion to squared Euclidean distance."""
    from sklearn.cluster import kmeans_plusplus

    most = seeding_rows(matrix.shape[1], clusters)
    some = np.arange(len(matrix))
    if len(matrix) > most:
        some = np.sort(random_state.choice(len(matrix), most, replace=False))
    return np.asarray(kmeans_plusplus(matrix.take(some), clusters, random_state=random_state)[0])


def _iterate(
    matrix: Matrix, centres: NDArray[np.float32], kind: Kind
) -> tuple[NDArray[np.int32], NDArray[np.float32], int, bool]:
    """Return (labels, centres they are nearest to, iterations, whether it converged)."""
    labels = np.full(len(matrix), -1, dtype=np.int32)
    sums = np.zeros(centres.shape) if kind.means else None
    tolerance = kind.tol * _variance(matrix) if kind.tol > 0 else 0.0
    for iteration in range(1, kind.max_iter + 1):
        if not _assign(matrix, centres, labels, kind.metric, sums):
            return labels, centres, iteration, True
        new = _update(matrix, labels, centres, kind, sums)
        shift = float(((new - centres).astype(np.float64) ** 2).sum())
        centres = new
        if shift <= tolerance:
            break
    converged = not _assign(matrix, centres, labels, kind.metric, None) or shift <= tolerance
    return labels, centres, iteration, converged


def _assign(
    matrix: Matrix,
    centres: NDArray[np.float32],
    labels: NDArray[np.int32],
    metric: str,
    sums: NDArray[np.float64] | None,
) -> int:
    """Give each row the label of its nearest centre, in place, move it between the sums, and return how many changed.

    A row that stays costs no addition. The sums lose digits only in the seventh place of a block: centres on the way
    don't need more, and the last ones are computed afresh.
    """
    from scipy.sparse import csr_matrix

    nearest, changes = finder(centres, metric), 0
    for start, block in matrix.blocks():
        old, new = labels[start : start + len(block)], nearest(block).astype(np.int32)
        moved = np.flatnonzero(new != old)
        changes += len(moved)
        if sums is not None and len(moved):
            left = moved[old[moved] >= 0]
            signs = np.repeat(np.array([1, -1], np.float32), [len(moved), len(left)])
            touched, row = np.unique(np.concatenate([new[moved], old[left]]), return_inverse=True)
            where = (row, np.concatenate([moved, left]))
            sums[touched] += csr_matrix((signs, where), shape=(len(touched), len(block))) @ block
        old[:] = new
    return changes


def _update(
    matrix: Matrix,
    labels: NDArray[np.int32],
    centres: NDArray[np.float32],
    kind: Kind,
    sums: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """Return the centres of the clusters as they are now; an empty one gets one of the rows farthest from theirs."""
    counts = np.bincount(labels, minlength=len(centres))
    empty = np.flatnonzero(counts == 0)
    far, rows = np.zeros(0, np.int64), np.zeros((0, matrix.shape[1]), np.float32)
    if len(empty):
        apart = distances(matrix, labels, centres, "euclidean" if kind.means else kind.metric)
        far = np.argsort(-apart, kind="stable")[: len(empty)]
        far = far[apart[far] > 0]  # fewer distinct rows than clusters: the others stay empty
        rows = matrix.take(far)
    if sums is None:
        new = medoids(matrix, labels, centres, kind.metric) if kind.medoids else medians(matrix, labels, centres)
    else:
        sums, counts = sums.copy(), counts.copy()
        np.subtract.at(sums, labels[far], rows)
        np.subtract.at(counts, labels[far], 1)
        new = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
    new[empty[: len(far)]] = rows
    return new


def _finish(
    matrix: Matrix,
    labels: NDArray[np.int32],
    centres: NDArray[np.float32],
    iterations: int,
    converged: bool,
    kind: Kind,
) -> Fit:
    """Take the centres of the clusters as they have become, and the distances to them."""
    clusters, notes = len(centres), []
    if kind.means:
        exact = means(matrix, labels, clusters)
        centres = exact.astype(np.float32)
        if kind.metric == "cosine":
            centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12)
    elif not converged:
        centres = medoids(matrix, labels, centres, kind.metric) if kind.medoids else medians(matrix, labels, centres)
    distance = distances(matrix, labels, centres, kind.metric)
    if kind.means:  # the two rows of a cluster of two are equally far from their mean: rounding must not choose
        pairs = np.flatnonzero((sizes := np.bincount(labels, minlength=clusters))[labels] == 2)
        distance[pairs] = np.bincount(labels, distance, clusters)[labels[pairs]] / 2
    if not kind.means:
        inertia = float(distance.sum())
    elif kind.metric == "cosine":  # of unit vectors: squared lengths of 1, less those of the means
        inertia = float(max(0.0, len(matrix) - (sizes * (exact**2).sum(axis=1)).sum()))
    else:
        inertia = float((distance**2).sum())
    found = len(np.unique(labels))
    if found < clusters:
        notes.append(f"k-means: {found} distinct clusters were found, and {clusters} asked for: are many rows equal?")
    if not converged and kind.max_iter > 1:
        notes.append(f"k-means stopped after max_iter={kind.max_iter} iterations, before it had converged.")
    return Fit(labels, distance, inertia, iterations, tuple(notes))


def _variance(matrix: Matrix) -> float:
    """Return the variance of the features, on average."""
    total = sum(float(np.einsum("ij,ij->", block, block, dtype=np.float64)) for _, block in matrix.blocks())
    mean = sum(block.sum(axis=0, dtype=np.float64) for _, block in matrix.blocks()) / len(matrix)
    return (total / len(matrix) - float((mean**2).sum())) / matrix.shape[1]
