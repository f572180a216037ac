"""Own iterations against scikit-learn's KMeans, and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from hf_select.clustering import lloyd
from hf_select.clustering.centres import distances, medians, medoids
from hf_select.clustering.lloyd import Kind, fit


def points(rows, dimensions, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, dimensions)) + rng.normal(scale=3, size=(9, dimensions))[rng.integers(0, 9, rows)]
    return (x - x.mean(axis=0)).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_as_scikit_learn_from_the_same_start(seed, as_matrix):
    x = points(2000, 7, seed)
    start = x[np.random.default_rng(seed).choice(len(x), 30, replace=False)]
    wanted = KMeans(30, init=start, n_init=1, max_iter=300, tol=0).fit(x)
    labels, centres, iterations, converged = lloyd._iterate(as_matrix(x), start, Kind(max_iter=300))
    assert converged and iterations == wanted.n_iter_
    np.testing.assert_array_equal(labels, wanted.labels_)
    np.testing.assert_allclose(centres, wanted.cluster_centers_, atol=1e-5)


@pytest.mark.parametrize("max_iter", [1, 2, 7])
def test_as_scikit_learn_when_stopped_early(max_iter, as_matrix):
    x = points(3000, 5, 1)
    start = x[:40]
    wanted = KMeans(40, init=start, n_init=1, max_iter=max_iter, tol=0).fit(x)
    labels, _, iterations, converged = lloyd._iterate(as_matrix(x), start, Kind(max_iter=max_iter))
    assert not converged and iterations == max_iter
    np.testing.assert_array_equal(labels, wanted.labels_)


@pytest.mark.parametrize("seed", range(4))
def test_empty_clusters_are_filled_as_by_scikit_learn(seed, as_matrix):
    x = points(500, 4, seed)
    start = np.concatenate([x[:6], np.repeat(x[:1], 3, axis=0), np.full((2, 4), 90, np.float32)])
    wanted = KMeans(11, init=start, n_init=1, max_iter=100, tol=0).fit(x)
    labels, *_ = lloyd._iterate(as_matrix(x), start, Kind())
    assert len(np.unique(labels)) == 11
    np.testing.assert_array_equal(np.sort(np.bincount(labels)), np.sort(np.bincount(wanted.labels_)))
    np.testing.assert_array_equal(labels, wanted.labels_)


def test_tolerance_as_scikit_learn(as_matrix):
    x = points(4000, 6, 3)
    wanted = KMeans(50, init=x[:50], n_init=1, max_iter=300, tol=1e-3).fit(x)
    labels, _, iterations, converged = lloyd._iterate(as_matrix(x), x[:50].copy(), Kind(max_iter=300, tol=1e-3))
    assert converged and iterations == wanted.n_iter_ < 60
    np.testing.assert_array_equal(labels, wanted.labels_)


def test_the_best_of_several_starts(as_matrix):
    x = points(600, 3, 5)
    runs = [fit(as_matrix(x), 20, Kind(n_init=n), 0).inertia for n in (1, 8)]
    wanted = KMeans(20, n_init=8, tol=0, max_iter=100, random_state=0).fit(x).inertia_
    assert runs[1] < runs[0] and runs[1] == pytest.approx(wanted, rel=1e-5)


def naive(x, centres, distance, update):
    """Alternate until no label changes."""
    labels = None
    for _ in range(100):
        new = np.array([np.argmin([distance(row, c) for c in centres]) for row in x])
        if labels is not None and (new == labels).all():
            return labels, centres
        labels = new
        centres = [update(x[labels == c], old) for c, old in enumerate(centres)]
    raise AssertionError("not converged")


def manhattan(a, b):
    return np.abs(a.astype(np.float64) - b).sum()


def euclidean(a, b):
    return np.sqrt(((a.astype(np.float64) - b) ** 2).sum())


def medoid_by(distance):
    def update(rows, old):
        sums = [sum(distance(a, b) for b in rows) for a in rows]
        now = sum(distance(old, b) for b in rows)
        return rows[int(np.argmin(sums))] if min(sums) < now else old

    return update


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("kind", "distance", "update"),
    [
        (Kind("manhattan"), manhattan, lambda rows, old: np.median(rows, axis=0).astype(np.float32)),
        (Kind("manhattan", medoids=True), manhattan, medoid_by(manhattan)),
        (Kind("euclidean", medoids=True), euclidean, medoid_by(euclidean)),
    ],
    ids=["medians", "manhattan medoids", "euclidean medoids"],
)
def test_medians_and_medoids_as_plain_loops(kind, distance, update, on_disk, tmp_path, as_matrix):
    x = points(150, 4, 2)
    wanted, centres = naive(x, list(x[:5]), distance, update)
    matrix = as_matrix(x, tmp_path if on_disk else None)
    labels, found, *_ = lloyd._iterate(matrix, x[:5].copy(), kind)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(found, np.array(centres), atol=1e-6)
    apart = [distance(row, centres[c]) for row, c in zip(x, wanted, strict=True)]
    np.testing.assert_allclose(distances(matrix, labels, found, kind.metric), apart, rtol=1e-5, atol=1e-6)
    if kind.medoids:
        assert {tuple(c) for c in found.tolist()} <= {tuple(row) for row in x.tolist()}


def test_cosine_medoids_by_hand(as_matrix):
    x = points(60, 3, 4)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.zeros(60, np.int32)
    found = medoids(as_matrix(x), labels, x[:1].copy(), "cosine")
    sums = (1 - x.astype(np.float64) @ x.T).sum(axis=1)
    np.testing.assert_array_equal(found[0], x[sums.argmin()])


def test_medians_of_a_cluster_too_large_to_bring_together_are_exact(monkeypatch, as_matrix):
    x = points(3000, 7, 1)
    labels = (np.arange(3000) % 3 == 0).astype(np.int32)
    monkeypatch.setattr("hf_select.clustering.centres.GATHER_BYTES", 4 * 2000 * 3)
    found = medians(as_matrix(x), labels, np.zeros((3, 7), np.float32))
    np.testing.assert_allclose(found[0], np.median(x[labels == 0], axis=0), atol=1e-6)
    np.testing.assert_allclose(found[1], np.median(x[labels == 1], axis=0), atol=1e-6)
    assert not found[2].any()  # an empty cluster keeps its centre


def test_the_medoid_of_a_large_cluster_is_nearly_the_best(as_matrix):
    x = points(5000, 3, 1)
    found = medoids(as_matrix(x), np.zeros(5000, np.int32), x[:1].copy(), "euclidean")
    sums = np.array([np.linalg.norm(x - row, axis=1).sum() for row in x[::7]])
    assert np.linalg.norm(x - found[0], axis=1).sum() < 1.01 * sums.min()


def test_kinds_of_equal_rows_end(as_matrix):
    x = np.ones((20, 3), np.float32)
    for kind in (Kind(), Kind("manhattan"), Kind(medoids=True), Kind("cosine", medoids=True)):
        found = fit(as_matrix(x), 4, kind, 0)
        assert found.inertia == pytest.approx(0, abs=1e-6) and "1 distinct clusters" in found.notes[0]
