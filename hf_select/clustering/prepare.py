"""What is done to vectors before they are clustered, block by block: scale, principal components, unit length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.clustering.matrix import Matrix
from hf_select.errors import ArgumentError

__all__ = [
    "SPECTRUM_ROWS",
    "Spectrum",
    "centre",
    "number_of_clusters",
    "reduce",
    "spectrum",
    "standardize",
    "unit_length",
]

SPECTRUM_ROWS = 4096  # beyond as many dimensions, principal components are found on as many rows instead of all
_ROWS_PER_CLUSTER = 10  # on average, at least, where the number of clusters is found and not given


def standardize(matrix: Matrix, how: str | None) -> None:
    """Give every feature, or every row, mean 0 and deviation 1; what is constant becomes 0."""
    if how == "features":
        mean = _mean(matrix)
        variance = sum(((block - mean) ** 2).sum(axis=0) for _, block in matrix.blocks()) / len(matrix)
        deviation = np.sqrt(np.where(variance > 0, variance, 1.0))
        matrix.rewrite(lambda block: (block - mean) / deviation)
    elif how == "rows":
        matrix.rewrite(_standardized_rows)


def unit_length(matrix: Matrix) -> None:
    """Scale every row to length 1."""
    matrix.rewrite(lambda block: block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-30))


def centre(matrix: Matrix) -> None:
    """Move the mean of all rows to 0: products of vectors far from 0 lose digits."""
    mean = _mean(matrix).astype(np.float32)
    matrix.rewrite(lambda block: block - mean)


@dataclass(frozen=True)
class Spectrum:
    """How the variance spreads over principal components, and the first of these.

    Attributes:
        shares: share of the variance of each component, the largest first.
        rows: how many rows they were found on.
        mean: what is subtracted before. basis: dimensions x the components that were asked for.
    """

    shares: NDArray[np.float64]
    rows: int
    mean: NDArray[np.float64]
    basis: NDArray[np.float32]

    def components_for(self, share: float) -> int:
        """Return how many components explain more than this share of the variance."""
        return _components_for(self.shares, share)


def spectrum(matrix: Matrix, pca: int | float | None = None) -> Spectrum:
    """Find principal components: of the covariance over all rows, or, in very many dimensions, of a sample of rows.

    Args:
        matrix: the rows.
        pca: how many components are wanted, or the share of variance they are to explain; None: the shares alone.
    """
    found = _of_covariance if matrix.shape[1] <= SPECTRUM_ROWS else _of_sample
    return found(matrix, pca)


def _of_covariance(matrix: Matrix, pca: int | float | None) -> Spectrum:
    mean = _mean(matrix)
    covariance = np.zeros((matrix.shape[1], matrix.shape[1]))
    for _, block in matrix.blocks():
        apart = (block - mean).astype(np.float32)
        covariance += apart.T @ apart
    if pca is None:
        return Spectrum(
            _shares(np.linalg.eigvalsh(covariance)), len(matrix), mean, np.zeros((len(mean), 0), np.float32)
        )
    variance, basis = np.linalg.eigh(covariance)
    shares = _shares(variance)
    number = _wanted(pca, shares, matrix)
    return Spectrum(shares, len(matrix), mean, basis[:, ::-1][:, :number].astype(np.float32))


def _of_sample(matrix: Matrix, pca: int | float | None) -> Spectrum:
    """Go through the products of rows with rows: there are as many components as rows, and fewer rows than dimensions."""
    some = np.arange(len(matrix))
    if len(matrix) > SPECTRUM_ROWS:
        some = np.sort(np.random.default_rng(0).choice(len(matrix), SPECTRUM_ROWS, replace=False))
    sample = matrix.take(some)
    mean = sample.mean(axis=0, dtype=np.float64)
    sample -= mean.astype(np.float32)
    variance, left = np.linalg.eigh((sample @ sample.T).astype(np.float64))
    shares = _shares(variance)
    number = 0 if pca is None else _wanted(pca, shares, matrix)
    basis = sample.T @ left[:, ::-1][:, :number].astype(np.float32)
    return Spectrum(shares, len(some), mean, basis / np.maximum(np.linalg.norm(basis, axis=0), 1e-12))


def reduce(matrix: Matrix, found: Spectrum) -> tuple[Matrix, dict[str, Any]]:
    """Return (the rows in principal components, facts) and close the matrix that came in."""
    number = found.basis.shape[1]
    reduced = Matrix(len(matrix), number, matrix.folder)
    try:
        for start, block in matrix.blocks():
            reduced.write(start, (block - found.mean).astype(np.float32) @ found.basis)
    except BaseException:
        reduced.close()
        raise
    matrix.close()
    facts = {"pca_components": number, "pca_explained_variance": round(float(found.shares[:number].sum()), 6)}
    return reduced, facts | ({"pca_rows": found.rows} if found.rows < len(matrix) else {})


def number_of_clusters(found: Spectrum, share: float, rows: int) -> tuple[int, str]:
    """Return (how many clusters, why): as many as principal components are needed for a share of the variance."""
    needed = found.components_for(share)
    most = max(2, rows // _ROWS_PER_CLUSTER)
    number = min(max(needed, 2), most, rows)
    why = f"{needed} principal components explain {share:.0%} of the variance"
    if found.rows < rows:
        why += f" (of a sample of {found.rows:,} rows)"
    if number < needed:
        why += f"; {number} is the most for {rows:,} rows, at {_ROWS_PER_CLUSTER} rows a cluster"
    elif number > needed:
        why += f"; {number} is the least"
    return number, why


def _mean(matrix: Matrix) -> NDArray[np.float64]:
    total = np.zeros(matrix.shape[1])
    for _, block in matrix.blocks():
        total += block.sum(axis=0, dtype=np.float64)
    return total / len(matrix)


def _standardized_rows(block: NDArray[np.float32]) -> NDArray[Any]:
    deviation = block.std(axis=1, keepdims=True, dtype=np.float64)
    return (block - block.mean(axis=1, keepdims=True, dtype=np.float64)) / np.where(deviation > 0, deviation, 1)


def _shares(variance: NDArray[Any]) -> NDArray[np.float64]:
    variance = np.maximum(variance[::-1].astype(np.float64), 0.0)
    return variance / max(float(variance.sum()), np.finfo(float).tiny)


def _components_for(shares: NDArray[np.float64], share: float) -> int:
    if not shares.any():  # all rows are equal
        return 1
    return min(len(shares), int(np.searchsorted(np.cumsum(shares), share, side="right")) + 1)


def _wanted(pca: int | float, shares: NDArray[np.float64], matrix: Matrix) -> int:
    if isinstance(pca, float):
        return _components_for(shares, pca)
    most = min(*matrix.shape, len(shares))
    if pca > most:
        raise ArgumentError(
            f"pca={pca} components of {len(matrix)} rows x {matrix.shape[1]} dimensions: {most} at most."
        )
    return int(pca)
