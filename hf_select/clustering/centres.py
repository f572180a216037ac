"""Centres of clusters: the nearest one of each row, means, medians and medoids, and distances to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from hf_select.clustering.matrix import Matrix, block_rows

__all__ = ["GATHER_BYTES", "distances", "finder", "means", "medians", "medoids"]

GATHER_BYTES = 64 << 20  # rows of one cluster that are brought together at a time
_MEDOID_ROWS = 1024  # in a larger cluster the medoid is looked for among as many of its rows, evenly spaced

Rows = NDArray[np.float32]
Labels = NDArray[np.int32]


def finder(centres: Rows, metric: str) -> Callable[[Rows], NDArray[np.intp]]:
    """Return a function that finds the nearest centre of each row of a block; of equally near ones the first."""
    if metric == "manhattan":
        from sklearn.metrics import pairwise_distances_argmin

        return lambda block: pairwise_distances_argmin(block, centres, metric="manhattan")
    half = (np.einsum("ij,ij->i", centres, centres, dtype=np.float64) / 2).astype(np.float32)
    negative, buffer = -centres.T, np.empty((0, len(centres)), np.float32)

    def nearest(block: Rows) -> NDArray[np.intp]:
        nonlocal buffer
        if len(buffer) < len(block):
            buffer = np.empty((len(block), len(centres)), np.float32)
        # |x - c|^2 / 2 = |x|^2 / 2 - xc + |c|^2 / 2, the first of which is the same for all centres
        products = np.matmul(block, negative, out=buffer[: len(block)])
        products += half
        return products.argmin(axis=1)

    return nearest


def distances(matrix: Matrix, labels: Labels, centres: Rows, metric: str) -> NDArray[np.float64]:
    """Return the distance of each row to the centre of its cluster; for "cosine" of rows and centres of length 1."""
    found = np.empty(len(matrix))
    for start, block in matrix.blocks():
        apart = block - centres[labels[start : start + len(block)]]
        if metric == "manhattan":
            found[start : start + len(block)] = np.abs(apart, out=apart).sum(axis=1, dtype=np.float64)
            continue
        squares = np.einsum("ij,ij->i", apart, apart, dtype=np.float64)
        # of two unit vectors, half the square is 1 - cosine, without losing digits near 0
        found[start : start + len(block)] = squares / 2 if metric == "cosine" else np.sqrt(squares)
    return found


def means(matrix: Matrix, labels: Labels, clusters: int) -> NDArray[np.float64]:
    """Return the mean of each cluster, added up in the order of the rows: no thread changes the last digits."""
    sums = np.zeros((clusters, matrix.shape[1]))
    for start, block in matrix.blocks():
        own = labels[start : start + len(block)]
        order = np.argsort(own, kind="stable")
        found, first = np.unique(own[order], return_index=True)
        sums[found] += np.add.reduceat(block[order], first, axis=0, dtype=np.float64)
    return sums / np.maximum(np.bincount(labels, minlength=clusters), 1)[:, None]


def medians(matrix: Matrix, labels: Labels, centres: Rows) -> Rows:
    """Return the median of each cluster in each dimension: the centre with the smallest sum of Manhattan distances."""
    found = centres.copy()
    for cluster, rows in _members(labels):
        width = max(1, GATHER_BYTES // (4 * len(rows)))
        for left in range(0, matrix.shape[1], width):
            columns = _gather(matrix, rows, slice(left, left + width))
            found[cluster, left : left + width] = np.median(columns, axis=0, overwrite_input=True)
    return found


def medoids(matrix: Matrix, labels: Labels, centres: Rows, metric: str) -> Rows:
    """Return the row of each cluster with the smallest sum of distances to its rows.

    In a cluster of more than 1,024 rows both the candidates and the rows that are summed over are 1,024 of them, evenly
    spaced; the medoid so far stays unless one of them is better.
    """
    found = centres.copy()
    most = max(2, min(_MEDOID_ROWS, GATHER_BYTES // (4 * matrix.shape[1])))
    for cluster, rows in _members(labels):
        if len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]
        candidates = np.concatenate([centres[cluster : cluster + 1], matrix.take(rows)])
        found[cluster] = candidates[_sums_of_distances(candidates, candidates[1:], metric).argmin()]
    return found


def _sums_of_distances(rows: Rows, others: Rows, metric: str) -> NDArray[np.float64]:
    if metric == "cosine":
        return len(others) - rows.astype(np.float64) @ others.sum(axis=0, dtype=np.float64)
    from sklearn.metrics import pairwise_distances

    return np.asarray(pairwise_distances(rows, others, metric=metric).sum(axis=1, dtype=np.float64))


def _members(labels: Labels) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield (cluster, its rows in ascending order) for every cluster that has any."""
    order = np.argsort(labels, kind="stable")
    found, first = np.unique(labels[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=True)


def _gather(matrix: Matrix, rows: NDArray[np.int64], columns: slice) -> Rows:
    found = np.empty((len(rows), len(range(*columns.indices(matrix.shape[1])))), np.float32)
    step = block_rows(matrix.shape[1])
    for start in range(0, len(rows), step):
        found[start : start + step] = matrix.take(rows[start : start + step])[:, columns]
    return found
