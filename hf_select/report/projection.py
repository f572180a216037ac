"""Vectors in two dimensions, for a picture of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hf_select.clustering.plane import pca, umap
from hf_select.selection import Selection

__all__ = ["as_clustered", "embed"]


def as_clustered(vectors: NDArray[np.float32], selection: Selection, column: str) -> NDArray[np.float32]:
    """Scale vectors as the Selection's method did, if it looked at them."""
    params = selection.params if selection.params.get("column") == column else {}
    axis = {"features": 0, "rows": 1}.get(str(params.get("standardize")))
    if axis is not None:
        deviation = vectors.std(axis=axis, keepdims=True, dtype=np.float64)
        vectors = (vectors - vectors.mean(axis=axis, keepdims=True, dtype=np.float64)) / np.where(
            deviation > 0, deviation, 1
        )
    if params.get("metric") == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors, dtype=np.float32)


def embed(vectors: NDArray[np.float32], method: str, seed: int) -> tuple[NDArray[np.float64], tuple[str, str]]:
    """Return (points in two dimensions, names of the axes)."""
    if method == "umap":
        return umap(vectors, seed), ("UMAP 1", "UMAP 2")
    points, shares = pca(vectors, seed)
    return points, (f"PC 1 ({shares[0]:.0%} of variance)", f"PC 2 ({shares[1]:.0%})")
