"""Cluster pruning: k-means in the space of embeddings, then a share of every cluster by distance to its centre."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from hf_select.choice import Choice
from hf_select.clustering.lloyd import Kind, fit
from hf_select.clustering.vectors import Recipe, backend_facts, check_clusters, check_kind, open_vectors
from hf_select.errors import ArgumentError
from hf_select.selection import Selection

__all__ = ["select_kmeans"]


def select_kmeans(
    ds: Any,
    *,
    budget: Any,
    n_clusters: int | Literal["auto"],
    column: str = "embedding",
    drop: Literal["simple", "hard"] = "simple",
    metric: Literal["euclidean", "cosine", "manhattan"] = "euclidean",
    medoids: bool = False,
    pca: int | float | None = None,
    standardize: Literal["features", "rows"] | None = None,
    per: str | None = None,
    seed: int = 0,
    n_init: int = 1,
    max_iter: int = 100,
    tol: float = 0.0,
    explained_variance: float = 0.8,
    backend: Literal["sklearn", "faiss"] = "sklearn",
    memory: int | str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Keep a share of every k-means cluster: without its typical rows (simple pruning) or without its outliers (hard).

    Reads:
        `column`: one vector per row, all of one length: model embeddings, or `mfcc_stats` of `hs.MFCC(pool="stats")`.
        Frames that were not pooled (frames x dimensions, as many frames in every row) are taken as one long vector.
        Rows without a vector, or with NaN or infinity in it, can't be chosen.

    Args:
        ds: a map-style dataset.
        budget: share of rows KEPT (0.7 is the paper's "30 % pruning"), rows, or audio; split over the clusters in
            proportion to their size by largest remainder, exact in total.
        n_clusters: from 1 (distance to the mean of all) to the number of rows. The paper uses 155 for 36 keywords.
            "auto": as many as principal components are needed to explain `explained_variance` of the variance, which is
            how the paper came to 155; from 2 to a tenth of the rows (that bound is ours). A rule of thumb, which can't
            give more clusters than there are dimensions.
        column: the column of vectors.
        drop: "simple" removes the rows closest to their centre, "hard" the farthest.
        metric: "euclidean" as the paper; "cosine" (vectors are scaled to length 1; the distance is 1 - cosine); or
            "manhattan" (sum of absolute differences; centres are medians, which is k-medians). The latter takes up to 30
            times as long.
        medoids: the centre of a cluster is that of its rows with the smallest sum of distances to the others
            (k-medoids, by alternating), instead of the mean or median. Over 1,024 rows in a cluster, both the candidates
            and the rows summed over are 1,024 evenly spaced ones.
        pca: reduce the vectors first: to this many components, or (a float below 1) to as many as explain that share of
            the variance. None: not at all. Over 4,096 dimensions, components are found on 4,096 rows by chance.
        standardize: "features" gives every dimension mean 0 and deviation 1; "rows" every vector, as the authors' code
            does; None leaves them as they are. Done before `pca`.
        per: apply the budget inside each group of this column, over group x cluster.
        seed: whole number of at least 0.
        n_init, max_iter, tol: as in scikit-learn's KMeans, which starts from k-means++ (over 10,000 rows, or 256 MB of
            them: on a sample of that size, or of 4 rows a cluster).
        explained_variance: share of the variance for `n_clusters="auto"`, above 0 and below 1.
        backend: "sklearn" clusters as scikit-learn's KMeans does (its start, its rules for empty clusters and
            convergence), by own iterations that go through the rows block by block and give the same rows for any number
            of threads. "faiss" leaves the iterations to faiss, from the same start, on all rows; it always does all
            `max_iter` of them.
        memory: the most memory that this call may take of its own, in bytes or as "2GB"; None: as much as the vectors
            need. If they don't fit, they go to a temporary file and are read in blocks; the rows chosen are the same.
            What is counted is anonymous memory; pages of the mapped dataset, which the kernel can take back, are let go of
            as they have been read (with `backend="faiss"` the temporary file is mapped too).
        cache_dir: folder of that file; by default beside the caches of `datasets`.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection with the cluster of every row as its `group`, and as its `score` the distance to the centre of that
        cluster: the mean (median, medoid) of its rows (with a minus sign for "hard", since a higher score is kept first).

    Raises:
        ArgumentError: more clusters than rows, too little memory, and other values outside the ranges above.
        ColumnError: a column of labels where vectors were meant, or vectors of different lengths.
        MissingPackageError: `backend="faiss"` without faiss.
        OutputError: no room on disk for the temporary file.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, sections 3.1 and 3.2, which asks for the
        comparison of metrics. The authors' code clusters unpooled features and floors per cluster; here the total is
        exact. Their setting: unpooled frames, `standardize="rows"`, `n_clusters=155`.

    Relations:
        `sweep_clusters` shows what the number of clusters does. `select_random` is the control; `select_by_score` ranks
        over all rows instead of inside clusters. In small subsets the paper finds simple pruning worse than random, in
        large ones better.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"embedding": [[0.0], [0.1], [0.5], [9.0], [9.1], [9.8]]})
        >>> sel = select_kmeans(ds, budget=2, n_clusters=2, drop="simple", seed=0)
        >>> sel.indices.tolist()
        [2, 5]
    """
    params = {
        "column": column,
        "n_clusters": n_clusters,
        "drop": drop,
        "metric": metric,
        "medoids": medoids,
        "pca": pca,
    }
    params |= {"standardize": standardize, "n_init": n_init, "max_iter": max_iter, "tol": tol, "backend": backend}
    auto = n_clusters == "auto"
    if auto:
        params["explained_variance"] = explained_variance
    choice = Choice(
        ds, "select_kmeans", params, budget=budget, seed=seed, per=per, key=key, duration=duration, status=status
    )
    check_clusters(n_clusters, "auto")
    if drop not in ("simple", "hard"):
        raise ArgumentError(f"drop is one of 'simple', 'hard'; got {drop!r}.")
    kind = Kind(metric, medoids, backend, n_init, max_iter, tol)
    check_kind(kind)
    recipe = Recipe(column, standardize, pca, explained_variance, memory, cache_dir)

    with open_vectors(choice, recipe, kind, clusters=None if auto else int(n_clusters), suggest=auto) as vectors:
        rows, facts = vectors.rows, vectors.facts
        if auto:
            number, facts["n_clusters_why"] = vectors.suggest(explained_variance)
        else:
            number = int(n_clusters)
        found = fit(vectors.matrix, number, kind, seed)

    clusters = np.full(len(ds), -1, dtype=np.int64)
    score = np.full(len(ds), np.nan)
    clusters[rows], score[rows] = found.labels, found.distance if drop == "simple" else -found.distance
    facts |= {"n_clusters": number, **backend_facts(kind), "inertia": found.inertia, "iterations": found.iterations}
    return choice.close(score, clusters=clusters, warnings=found.notes, facts=facts)
