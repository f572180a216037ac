"""Principal components and the number of clusters against scikit-learn's PCA."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from hf_select.clustering import prepare
from hf_select.clustering.prepare import number_of_clusters, reduce, spectrum


def spread(rows, dimensions, seed=0):
    """Rows whose variance falls off over directions, far from 0."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.arange(1, dimensions + 1) ** 0.5
    turn = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    return ((rng.normal(size=(rows, dimensions)) * scale) @ turn + 5).astype(np.float32)


@pytest.mark.parametrize(("rows", "dimensions"), [(9000, 40), (30, 40)])
def test_shares_and_components_as_scikit_learn(rows, dimensions, tmp_path, as_matrix):
    x = spread(rows, dimensions)
    wanted = PCA(10, svd_solver="full").fit(x.astype(np.float64))
    found = spectrum(as_matrix(x, tmp_path), 10)
    np.testing.assert_allclose(found.shares[:10], wanted.explained_variance_ratio_, rtol=1e-4)
    np.testing.assert_allclose(np.abs((found.basis * wanted.components_.T).sum(axis=0)), 1, atol=1e-3)
    for share in (0.3, 0.8, 0.95):
        count = PCA(share, svd_solver="full").fit(x.astype(np.float64)).n_components_
        assert found.components_for(share) == count
    reduced, facts = reduce(as_matrix(x), found)
    np.testing.assert_allclose(np.abs(reduced.whole()), np.abs(wanted.transform(x)), atol=2e-2)
    assert facts["pca_components"] == 10 and "pca_rows" not in facts


def test_very_many_dimensions_go_through_rows(monkeypatch, as_matrix):
    x = spread(60, 200)
    whole = spectrum(as_matrix(x), 20)
    monkeypatch.setattr(prepare, "SPECTRUM_ROWS", 100)
    by_rows = spectrum(as_matrix(x), 20)
    np.testing.assert_allclose(by_rows.shares[:59], whole.shares[:59], rtol=1e-3)
    np.testing.assert_allclose(np.abs((by_rows.basis * whole.basis).sum(axis=0)), 1, atol=1e-3)
    monkeypatch.setattr(prepare, "SPECTRUM_ROWS", 50)
    sampled = spectrum(as_matrix(x), 5)
    assert sampled.rows == 50 and sampled.basis.shape == (200, 5)
    assert reduce(as_matrix(x), sampled)[1]["pca_rows"] == 50
    assert "a sample of 50 rows" in number_of_clusters(sampled, 0.5, 60)[1]


def test_number_of_clusters_and_its_bounds(as_matrix):
    found = spectrum(as_matrix(spread(2000, 50)))
    needed = found.components_for(0.8)
    assert number_of_clusters(found, 0.8, 2000) == (
        needed,
        f"{needed} principal components explain 80% of the variance",
    )
    number, why = number_of_clusters(found, 0.8, 100)
    assert number == 10 and "at 10 rows a cluster" in why
    assert number_of_clusters(found, 0.8, 3)[0] == 2 and number_of_clusters(found, 0.8, 1)[0] == 1
    equal = spectrum(as_matrix(np.ones((50, 4), np.float32)))
    assert number_of_clusters(equal, 0.8, 50)[0] == 2
