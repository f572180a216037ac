"""MelTrim's coarse step: dense clusters of MFCC in two dimensions, noise left out, and the rows nearest to each centroid."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.choice import Choice
from hf_select.clustering.density import Dense, dbscan, neighbour_distances, to_centroid
from hf_select.clustering.lloyd import Kind, fit
from hf_select.clustering.matrix import Matrix
from hf_select.clustering.plane import Neighbours, pca, tsne, umap
from hf_select.clustering.vectors import check_clusters
from hf_select.errors import ArgumentError
from hf_select.readers import frame_counts, is_framed, read_frames, read_vectors
from hf_select.rows import require_columns
from hf_select.selection import Selection

__all__ = ["select_meltrim"]

_REDUCERS, _CLUSTERERS = ("umap", "pca", "tsne", None), ("dbscan", "kmeans", "knn")
_LONG = 90  # percent of the clips are not cut by frames="auto"


def select_meltrim(
    ds: Any,
    *,
    budget: Any,
    column: str = "mfcc",
    frames: int | Literal["auto"] = "auto",
    reducer: Literal["umap", "pca", "tsne"] | None = "umap",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    init: Literal["pca", "spectral", "random"] = "pca",
    deterministic: bool = True,
    clusterer: Literal["dbscan", "kmeans", "knn"] = "dbscan",
    eps: float | Literal["auto"] = "auto",
    min_samples: int = 4,
    n_clusters: int | None = None,
    per: str | None = None,
    seed: int = 0,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Keep of every dense cluster its share of the budget, the rows nearest to its centroid first: step 1 of MelTrim.

    Reads:
        `column`: MFCC frames as `hs.MFCC(n_mfcc=20)` writes them (any number of frames in each row), which are padded
        with zeros or cut to `frames`, and flattened coefficient by coefficient; or one vector per row, which is taken as
        it is: embeddings, or `mfcc_stats` of `hs.MFCC(pool="stats")`, in which a clip's length does not weigh (with padded
        frames it is the first thing that two clips differ in). Rows without them, or with NaN or infinity, can't be
        chosen.

    Args:
        ds: a map-style dataset.
        budget: what is kept, see `hf_select.budget`; split over the clusters in proportion to their rows, by largest
            remainder: exact in total (the paper's floors lose up to a row a cluster). A cluster whose share is below half
            a row may have none.
        frames: to how many frames rows are padded or cut (the paper's L_fix); "auto": so many that nine in ten clips are
            not cut (the 90th percentile).
        reducer: to two dimensions by "umap" as in the paper, "pca" or "tsne"; None clusters the vectors themselves.
        n_neighbors, min_dist: of UMAP, at its own defaults; n_neighbors at least 2, min_dist from 0 to 1.
        init: where UMAP starts: "pca" here, since its own default, "spectral", differs from run to run; or "random".
        deterministic: False lets UMAP use several threads: faster, and other rows each time.
        clusterer: "dbscan"; "kmeans"; "knn" makes no clusters: the rows with the nearest neighbours are kept first.
        eps: radius of DBSCAN, above 0; "auto": the knee of the sorted distances to neighbour `min_samples` - 1 (the point
            farthest below the line between the curve's ends).
        min_samples: rows within eps, with itself, that make a row a core, at least 2; also the neighbour of "knn". 4 is
            twice the dimensions.
        n_clusters: for "kmeans" alone, and needed there.
        per: the budget holds inside each group of this column, over group x cluster. Clusters are those of all rows.
        seed: whole number of at least 0; of UMAP, t-SNE and k-means.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection with the cluster of each row as its `group` ("noise" is a reason not to be chosen) and as its `score`
        the distance to the centroid in two dimensions, with a minus sign. Facts hold what was chosen by a rule: frames and
        how many clips they cut, eps, clusters, noise.

    Raises:
        ArgumentError: DBSCAN calls all rows noise; fewer than 5 rows for UMAP or t-SNE; values outside the ranges above.
        ColumnError: the column is missing or holds no numbers. MissingPackageError: UMAP without umap-learn.

    Reference:
        Wang et al., "MelTrim: Coarse-to-Fine Data Pruning for Speech Classification", section 2.2. It gives 20
        coefficients, UMAP to two dimensions, DBSCAN, proportional shares, nearest to the centroid first. It does not give
        L_fix, eps, min_samples, n_neighbors or min_dist: the values and rules here are ours. Tables 11 and 12: reducers
        and clusterers.

    Relations:
        `meltrim` goes on to segments. `select_kmeans` prunes clusters of the vectors themselves, far rows first if wanted.

    Example:
        >>> from datasets import Dataset
        >>> rows = [[0.0, 0], [0, 1], [0, 2], [9, 9], [9, 8], [9, 7], [9, 6], [50, 50]]
        >>> ds = Dataset.from_dict({"embedding": rows})
        >>> sel = select_meltrim(ds, budget=3, column="embedding", reducer=None, min_samples=2)
        >>> sel.indices.tolist(), sel.facts["noise"]
        ([1, 4, 5], 1)
    """
    _check(frames, reducer, clusterer, eps, min_samples, n_clusters)
    how = Neighbours(n_neighbors, min_dist, init, deterministic)
    params: dict[str, Any] = {"column": column, "frames": frames, "reducer": reducer}
    if reducer == "umap":
        params |= {"n_neighbors": n_neighbors, "min_dist": min_dist, "init": init, "deterministic": deterministic}
    params |= {"clusterer": clusterer}
    params |= {"n_clusters": n_clusters} if clusterer == "kmeans" else {"min_samples": min_samples}
    params |= {"eps": eps} if clusterer == "dbscan" else {}
    choice = Choice(
        ds, "select_meltrim", params, budget=budget, seed=seed, per=per, key=key, duration=duration, status=status
    )
    require_columns(ds, [column], "The dataset")
    vectors, facts = _flattened(choice, column, frames)
    rows = choice.rows
    points = _reduced(vectors, reducer, seed, how)
    score, clusters = np.full(len(ds), np.nan), None
    if clusterer == "knn":
        score[rows] = -neighbour_distances(points, min_samples - 1)
    else:
        labels = _labels(points, clusterer, None if eps == "auto" else float(eps), min_samples, n_clusters, seed, facts)
        score[rows] = -to_centroid(points, labels)
        clusters = np.full(len(ds), -1, dtype=np.int64)
        clusters[rows] = labels
        choice.exclude(clusters < 0, "noise")
    return choice.close(score, clusters=clusters, facts=facts)


def _check(frames: Any, reducer: Any, clusterer: Any, eps: Any, min_samples: Any, n_clusters: Any) -> None:
    if frames != "auto" and (isinstance(frames, bool) or not isinstance(frames, int) or frames < 1):
        raise ArgumentError(f"frames is a whole number of at least 1, or 'auto'; got {frames!r}.")
    if reducer not in _REDUCERS or clusterer not in _CLUSTERERS:
        raise ArgumentError(
            f"reducer is one of 'umap', 'pca', 'tsne', None, and clusterer one of 'dbscan', 'kmeans', 'knn'; got {reducer!r} "
            f"and {clusterer!r}."
        )
    if eps != "auto" and (isinstance(eps, (bool, str)) or not 0 < eps < math.inf):
        raise ArgumentError(f"eps is a radius above 0, or 'auto'; got {eps!r}.")
    if isinstance(min_samples, bool) or not isinstance(min_samples, int) or min_samples < 2:
        raise ArgumentError(f"min_samples is a whole number of at least 2; got {min_samples!r}.")
    if (n_clusters is not None) != (clusterer == "kmeans"):
        raise ArgumentError(
            f"n_clusters belongs to clusterer='kmeans' and is needed there; got {n_clusters!r}, {clusterer!r}."
        )
    if n_clusters is not None:
        check_clusters(n_clusters)


def _flattened(choice: Choice, column: str, frames: int | str) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Return (one vector for each row that can be chosen, facts); rows without one can't be chosen from here on."""
    facts: dict[str, Any] = {}
    if is_framed(choice.ds, column):
        own = frame_counts(choice.ds, column)[choice.rows]
        own = own[own > 0]
        length = int(frames) if frames != "auto" else math.ceil(np.percentile(own, _LONG)) if len(own) else 1
        matrix = read_frames(choice.ds, column, length)
        facts = {"frames": length, "clips_cut": int((own > length).sum()), "clips_padded": int((own < length).sum())}
    else:
        matrix = read_vectors(choice.ds, column)
    choice.exclude(~np.isfinite(matrix).all(axis=1), f"no finite vector in {column}")
    return matrix[choice.rows], facts


def _reduced(vectors: NDArray[np.float32], reducer: str | None, seed: int, how: Neighbours) -> NDArray[np.float64]:
    if reducer == "umap":
        return umap(vectors, seed, how)
    if reducer == "tsne":
        return tsne(vectors, seed)
    return pca(vectors, seed)[0] if reducer == "pca" else np.asarray(vectors, dtype=np.float64)


def _labels(
    points: NDArray[np.float64], clusterer: str, eps: float | None, min_samples: int, n_clusters: int | None, seed: int,
    facts: dict[str, Any],
) -> NDArray[np.int64]:  # fmt: skip
    if clusterer == "kmeans":
        matrix = Matrix(*points.shape)
        matrix.write(0, points.astype(np.float32))
        return fit(matrix, int(n_clusters or 1), Kind(), seed).labels.astype(np.int64)
    found = (
        dbscan(points, eps, min_samples) if len(points) else Dense(np.zeros(0, np.int64), 0.0, min_samples, "no rows")
    )
    noise = int((found.labels < 0).sum())
    if noise == len(points) and noise:
        raise ArgumentError(
            f"DBSCAN calls all {noise} rows noise (eps {found.eps:g}, {found.why}; min_samples {min_samples}): raise eps, or lower "
            "min_samples."
        )
    facts |= {
        "eps": found.eps,
        "eps_why": found.why,
        "n_clusters": int(found.labels.max(initial=-1)) + 1,
        "noise": noise,
    }
    return found.labels
