"""Cluster pruning against scikit-learn called by hand, and against values worked out by hand."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, Features, List, Value
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import hf_select as hs
from hf_select.budget import largest_remainder
from hf_select.errors import ArgumentError, ColumnError, MissingPackageError


def dataset(x, **columns):
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(x, np.float32).reshape(-1)), len(x[0]))
    return Dataset(pa.table({"embedding": vectors, **columns}))


def blobs(rows, dimensions=8, centres=6, seed=0):
    rng = np.random.default_rng(seed)
    middle = rng.normal(scale=4, size=(centres, dimensions))
    return (middle[rng.integers(0, centres, rows)] + rng.normal(size=(rows, dimensions))).astype(np.float32)


def by_hand(x, n_clusters, share, drop, seed=0):
    """Prune as the paper says, with scikit-learn and plain loops: (kept rows, labels, distances)."""
    fitted = KMeans(n_clusters, n_init=1, max_iter=100, tol=0, random_state=seed, copy_x=True).fit(x)
    distance = np.linalg.norm(x.astype(np.float64) - fitted.cluster_centers_[fitted.labels_], axis=1)
    clusters = sorted(set(fitted.labels_.tolist()))
    sizes = [int((fitted.labels_ == c).sum()) for c in clusters]
    kept: list[int] = []
    for cluster, quota in zip(clusters, largest_remainder(int(share * len(x) + 1e-9), sizes), strict=True):
        rows = np.flatnonzero(fitted.labels_ == cluster)
        farthest_first = rows[np.argsort(-distance[rows], kind="stable")]
        kept += (farthest_first if drop == "simple" else farthest_first[::-1])[:quota].tolist()
    return sorted(kept), fitted.labels_, distance


def test_ten_points_by_hand():
    x = [[0.0], [1.0], [2.0], [3.0], [20.0], [21.0], [22.0], [23.0], [24.0], [100.0]]
    # clusters {0..3} around 1.5, {4..8} around 22, {9}; half = 5 rows: quotas 2, 2.5, 0.5 -> 2, 3, 0
    simple = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=3, drop="simple", seed=0)
    assert simple.indices.tolist() == [0, 3, 4, 5, 8] or simple.indices.tolist() == [0, 3, 4, 7, 8]
    assert np.abs(simple.score).round(4).tolist() == [1.5, 0.5, 0.5, 1.5, 2, 1, 0, 1, 2, 0]
    assert len(set(simple.group[:4])) == len(set(simple.group[4:9])) == 1 and len(set(simple.group)) == 3
    hard = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=3, drop="hard", seed=0)
    assert hard.indices.tolist() == [1, 2, 5, 6, 7]


@pytest.mark.parametrize("drop", ["simple", "hard"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_five_thousand_points_as_by_hand(drop, share):
    x = blobs(5000, 16, 12)
    kept, labels, distance = by_hand(x, 25, share, drop)
    found = hs.select_kmeans(dataset(x), budget=share, n_clusters=25, drop=drop, seed=0)
    assert found.indices.tolist() == kept
    assert found.group.astype(int).tolist() == labels.tolist()
    np.testing.assert_allclose(np.abs(found.score), distance, atol=1e-4)
    assert found.facts["inertia"] == pytest.approx(float((distance**2).sum()), rel=1e-4)


def test_the_small_cluster_is_not_deleted_whole():
    """The authors' slice `[:-0]` drops every cluster of which less than a row would go."""
    x = np.concatenate([np.zeros((2, 2)), np.full((30, 2), 50.0)]) + np.random.default_rng(0).normal(size=(32, 2))
    kept = hs.select_kmeans(dataset(x), budget=0.75, n_clusters=2, drop="hard", seed=0).indices
    assert len(kept) == 24 and (kept < 2).any()


def test_cosine_by_hand():
    x = np.array([[1, 0], [10, 0.1], [3, 0.9], [0, 1], [0.1, 10], [0.9, 3]], np.float32)
    found = hs.select_kmeans(dataset(x), budget=2, n_clusters=2, metric="cosine", seed=0)
    assert len(set(found.group[:3])) == len(set(found.group[3:])) == 1  # by direction, not by length
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    centre = unit[:3].mean(axis=0)
    wanted = 1 - unit[:3] @ centre / np.linalg.norm(centre)
    np.testing.assert_allclose(found.score[:3], wanted, atol=1e-6)
    assert found.indices.tolist() == [2, 5]
    scaled = hs.select_kmeans(
        dataset(x * np.array([[1], [7], [0.1], [2], [5], [1]])), budget=2, n_clusters=2, metric="cosine"
    )
    assert scaled.indices.tolist() == [2, 5]


def test_cosine_sets_zero_vectors_aside():
    x = np.ones((6, 2), np.float32) * np.arange(6)[:, None]
    found = hs.select_kmeans(dataset(x), budget=1.0, n_clusters=1, metric="cosine")
    assert found.excluded == {"zero vector in embedding": 1} and 0 not in found.indices


def test_pca_before_kmeans_as_by_hand():
    x = blobs(600, 20)
    reduced = PCA(4, svd_solver="covariance_eigh").fit(x).transform(x).astype(np.float32)
    kept, _, _ = by_hand(reduced, 8, 0.5, "simple")
    found = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=8, pca=4, seed=0)
    assert found.indices.tolist() == kept
    assert found.facts["pca_components"] == 4
    share = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=8, pca=0.8, seed=0)
    assert share.facts["pca_explained_variance"] >= 0.8
    assert share.facts["pca_components"] == PCA(0.8, svd_solver="covariance_eigh").fit(x).n_components_


def test_standardised_features_and_rows_as_by_hand():
    x = blobs(500, 6) * np.array([1, 10, 100, 1, 1, 1], np.float32) + 3
    for how, axis in (("features", 0), ("rows", 1)):
        z = ((x - x.mean(axis, keepdims=True)) / x.std(axis, keepdims=True)).astype(np.float32)
        kept, _, _ = by_hand(z, 5, 0.4, "simple")
        assert hs.select_kmeans(dataset(x), budget=0.4, n_clusters=5, standardize=how, seed=0).indices.tolist() == kept


def test_constant_features_survive_standardising():
    x = np.concatenate([blobs(50, 2), np.full((50, 1), 7.0)], axis=1)
    assert len(hs.select_kmeans(dataset(x), budget=0.5, n_clusters=3, standardize="features")) == 25


def test_per_goes_over_group_and_cluster():
    x = blobs(120, 4)
    label = ["a"] * 80 + ["b"] * 40
    found = hs.select_kmeans(dataset(x, label=label), budget=0.25, n_clusters=4, per="label", seed=0)
    labels = np.array(label)[found.indices]
    assert (labels == "a").sum() == 20 and (labels == "b").sum() == 10
    for name in "ab":
        inside = np.array(label) == name
        sizes = [int((inside & (found.group == c)).sum()) for c in map(str, range(4))]
        kept = [int((found.group[found.indices[labels == name]] == c).sum()) for c in map(str, range(4))]
        assert kept == largest_remainder({"a": 20, "b": 10}[name], sizes).tolist()


def test_bad_vectors_are_set_aside_and_do_not_move_the_others():
    x = blobs(300, 4)
    clean = hs.select_kmeans(dataset(x), budget=100, n_clusters=5, seed=0)
    spoilt = np.insert(x, [10, 200], [[np.nan] * 4, [np.inf] * 4], axis=0)
    found = hs.select_kmeans(dataset(spoilt), budget=100, n_clusters=5, seed=0)
    back = np.delete(np.arange(302), [10, 201])
    assert np.searchsorted(back, found.indices).tolist() == clean.indices.tolist()
    assert found.excluded == {"no finite vector in embedding": 2}


def test_equal_rows_are_one_cluster_and_said():
    found = hs.select_kmeans(dataset(np.ones((20, 3))), budget=0.5, n_clusters=4, seed=0)
    assert len(found) == 10 and any("distinct clusters" in w for w in found.warnings)


def test_one_cluster_is_the_distance_to_the_mean():
    x = blobs(50, 3)
    found = hs.select_kmeans(dataset(x), budget=1, n_clusters=1, seed=0)
    assert found.indices[0] == np.linalg.norm(x - x.mean(0), axis=1).argmax()
    assert len(hs.select_kmeans(dataset(x[:1]), budget=1, n_clusters=1)) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_clusters": 51}, "n_clusters=51 is more than the 50 rows"),
        ({"n_clusters": 0}, "n_clusters is a whole number"),
        ({"n_clusters": 2.5}, "n_clusters is a whole number"),
        ({"n_clusters": True}, "n_clusters is a whole number"),
        ({"n_clusters": 2, "drop": "easy"}, "drop is one of 'simple', 'hard'"),
        ({"n_clusters": "many"}, "n_clusters is a whole number of at least 1, or 'auto'"),
        ({"n_clusters": 2, "metric": "hamming"}, "metric is one of"),
        ({"n_clusters": 2, "backend": "torch"}, "backend is one of"),
        ({"n_clusters": 2, "backend": "faiss", "metric": "manhattan"}, "faiss.*means alone"),
        ({"n_clusters": 2, "backend": "faiss", "medoids": True}, "faiss.*means alone"),
        ({"n_clusters": 2, "medoids": "yes"}, "medoids is one of"),
        ({"n_clusters": 2, "n_init": 0}, "n_init is a whole number"),
        ({"n_clusters": 2, "max_iter": 0}, "max_iter is a whole number"),
        ({"n_clusters": 2, "tol": -1.0}, "tol is a number"),
        ({"n_clusters": "auto", "explained_variance": 1.0}, "explained_variance is a share"),
        ({"n_clusters": 2, "memory": "2 gigs"}, "memory is a number of bytes"),
        ({"n_clusters": 2, "memory": 0}, "memory is a number of bytes"),
        ({"n_clusters": 2, "memory": "1MB"}, "memory=0.001 GB is too little.*need about 0.1"),
        ({"n_clusters": 2, "pca": 0}, "pca is a number"),
        ({"n_clusters": 2, "pca": 1.0}, "pca is a number"),
        ({"n_clusters": 2, "pca": 9}, "pca=9 components of 50 rows x 3 dimensions"),
        ({"n_clusters": 2, "standardize": "all"}, "standardize is one of"),
    ],
)
def test_arguments_out_of_range(arguments, said):
    with pytest.raises(ArgumentError, match=said):
        hs.select_kmeans(dataset(blobs(50, 3)), budget=0.5, **{"n_clusters": 2, **arguments})


def test_a_label_column_is_no_vector():
    with pytest.raises(ColumnError, match="Columns of vectors: embedding"):
        hs.select_kmeans(dataset(blobs(9, 2), label=["a"] * 9), budget=0.5, n_clusters=2, column="label")


def test_stops_early_and_says_so():
    found = hs.select_kmeans(dataset(blobs(2000, 8, 3)), budget=0.5, n_clusters=40, max_iter=2, seed=0)
    assert any("max_iter=2" in w for w in found.warnings)


def test_many_rows_are_seeded_on_a_sample(monkeypatch):
    monkeypatch.setattr("hf_select.clustering.lloyd._SEEDING_ROWS", 200)
    x = blobs(3000, 4)
    found = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=6, seed=0)
    assert found == hs.select_kmeans(dataset(x), budget=0.5, n_clusters=6, seed=0)
    best = KMeans(6, n_init=5, random_state=0).fit(x).inertia_
    assert found.facts["inertia"] < 1.5 * best and len(found) == 1500


def test_dataset_matrix_is_not_touched():
    x = blobs(100, 4)
    ds = dataset(x)
    hs.select_kmeans(ds, budget=0.5, n_clusters=3, standardize="features", metric="cosine")
    np.testing.assert_array_equal(np.array(ds["embedding"], np.float32), x)


def test_real_digits_prune_to_the_same_rows_twice(digits):
    some = digits.select(range(0, 3000, 10))
    ds = hs.with_columns(some, hs.MFCC(sampling_rate=8000, pool="stats"))
    arguments = {"budget": 0.7, "n_clusters": 15, "column": "mfcc_stats", "standardize": "features", "seed": 0}
    first, second = hs.select_kmeans(ds, **arguments), hs.select_kmeans(ds, **arguments)
    assert first == second and len(first) == 210


def test_number_of_threads_does_not_change_the_rows():
    from threadpoolctl import threadpool_limits

    ds = dataset(blobs(4000, 12, 9))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(hs.select_kmeans(ds, budget=0.6, n_clusters=30, seed=0).indices.tolist())
    assert found[0] == found[1]


def test_number_of_threads_does_not_change_a_digit():
    from threadpoolctl import threadpool_limits

    ds = dataset(blobs(4000, 12, 9))
    found = []
    for threads in (1, 2, 1):
        with threadpool_limits(threads):
            found.append(hs.select_kmeans(ds, budget=0.6, n_clusters=30, seed=0))
    assert found[0] == found[1] == found[2]


# -- vectors on disk


def on_both_roads(ds, tmp_path, **arguments):
    """Select with the matrix in memory, and again with a limit that is a byte below what that took."""
    arguments = {"budget": 0.6, "n_clusters": 20, "seed": 3, "cache_dir": tmp_path} | arguments
    memory = hs.select_kmeans(ds, **arguments)
    limit = memory.facts["peak_bytes_estimated"] - 1
    disk = hs.select_kmeans(ds, memory=limit, **arguments)
    assert memory.facts["matrix"] == "in memory" and disk.facts["matrix"] == "on disk"
    assert disk.facts["peak_bytes_estimated"] <= limit
    assert list(tmp_path.iterdir()) == []
    return memory, disk


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"metric": "cosine", "drop": "hard"},
        {"standardize": "features", "pca": 5},
        {"standardize": "rows", "n_clusters": "auto", "pca": 0.9},
        {"metric": "manhattan", "max_iter": 8},
        {"medoids": True},
        {"backend": "faiss", "max_iter": 15},
    ],
    ids=str,
)
def test_memory_and_disk_choose_the_same_rows(arguments, tmp_path):
    if arguments.get("backend") == "faiss":
        pytest.importorskip("faiss")
    memory, disk = on_both_roads(dataset(blobs(20_000, 24, 15)), tmp_path, **arguments)
    assert disk.indices.tolist() == memory.indices.tolist() and (disk.group == memory.group).all()
    np.testing.assert_allclose(disk.score, memory.score, rtol=1e-12)
    assert disk == memory


def test_a_shuffled_dataset_with_rows_set_aside_on_disk(tmp_path):
    x = blobs(20_000, 24, 15)
    x[::7] = np.nan
    memory, disk = on_both_roads(dataset(x).shuffle(seed=1).select(range(15_000)), tmp_path, n_clusters=30)
    assert disk == memory and 2000 < disk.excluded["no finite vector in embedding"] < 2300


def test_nothing_is_left_on_disk_after_an_error(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    ds = dataset(blobs(20_000, 24, 15))
    monkeypatch.setattr("hf_select.methods.kmeans.fit", interrupted)
    limit = 4 * 20_000 * 24 + (150 << 20)
    with pytest.raises(KeyboardInterrupt):
        hs.select_kmeans(ds, budget=0.5, n_clusters=5, memory=limit, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_road_is_logged(caplog):
    with caplog.at_level("INFO", logger="hf_select"):
        hs.select_kmeans(dataset(blobs(50, 3)), budget=0.5, n_clusters=2, memory="2GB")
    assert "50 rows x 3 numbers (0.00 GB) in memory: about 0.1" in caplog.text


# -- other centres and backends


def test_manhattan_is_k_medians():
    x = blobs(400, 5)
    found = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=6, metric="manhattan", seed=0)
    for cluster in map(str, range(6)):
        rows = np.flatnonzero(found.group == cluster)
        apart = np.abs(x[rows] - np.median(x[rows], axis=0)).sum(axis=1)
        np.testing.assert_allclose(found.score[rows], apart, atol=1e-4)
    assert found.facts["inertia"] == pytest.approx(float(found.score.sum()))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_medoids_are_rows_with_distance_0(metric):
    found = hs.select_kmeans(
        dataset(blobs(400, 5)), budget=0.5, n_clusters=6, metric=metric, medoids=True, drop="hard", seed=0
    )
    zero = np.abs(found.score) < 1e-6
    assert zero.sum() == 6 and len(set(found.group[zero])) == 6 and zero[found.indices].sum() == 6


def test_faiss_and_scikit_learn_find_the_same_clusters_from_the_same_start():
    faiss = pytest.importorskip("faiss")
    ds = dataset(blobs(12_000, 16, 12))
    ours = hs.select_kmeans(ds, budget=0.5, n_clusters=12, seed=1)
    theirs = hs.select_kmeans(ds, budget=0.5, n_clusters=12, seed=1, backend="faiss", max_iter=60)
    assert ours.facts["iterations"] < 60 == theirs.facts["iterations"]
    assert (ours.group == theirs.group).mean() > 0.999
    assert theirs.facts["inertia"] == pytest.approx(ours.facts["inertia"], rel=1e-5)
    assert theirs.params["backend"] == "faiss" and theirs.facts["faiss"] == faiss.__version__


def test_faiss_looks_at_all_rows():
    """By default it would look at 256 rows a cluster: here, at one of the two far groups only by luck."""
    pytest.importorskip("faiss")
    x = np.concatenate([blobs(9000, 4, 1), blobs(20, 4, 1) + 500])
    found = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=2, backend="faiss", max_iter=20)
    assert sorted(np.unique(found.group, return_counts=True)[1].tolist()) == [20, 9000]


def test_without_faiss_the_install_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match=r'pip install "hf-select\[faiss\]"'):
        hs.select_kmeans(dataset(blobs(50, 3)), budget=0.5, n_clusters=2, backend="faiss")


# -- how many clusters; frames that were not pooled


def test_auto_is_the_number_of_components_for_a_share_of_the_variance():
    x = blobs(3000, 30, 20)
    for share in (0.5, 0.8):
        wanted = PCA(share, svd_solver="covariance_eigh").fit(x).n_components_
        found = hs.select_kmeans(dataset(x), budget=0.5, n_clusters="auto", explained_variance=share, seed=0)
        assert found.facts["n_clusters"] == wanted == len(set(found.group))
        assert found.facts["n_clusters_why"] == f"{wanted} principal components explain {share:.0%} of the variance"
        same = hs.select_kmeans(dataset(x), budget=0.5, n_clusters=wanted, seed=0)
        assert same.indices.tolist() == found.indices.tolist()


@pytest.mark.parametrize("fixed", [False, True])
def test_unpooled_frames_by_the_authors_recipe(fixed, tmp_path):
    """Frames x dimensions of a row are one long vector, standardised row by row; in blocks where memory is short."""
    rng = np.random.default_rng(0)
    middle = rng.normal(size=(40, 49, 24))
    x = (middle[rng.integers(0, 40, 1000)] + rng.normal(size=(1000, 49, 24))).astype(np.float32)
    frame = List(Value("float32"), length=24 if fixed else -1)
    ds = Dataset.from_dict({"frames": list(x)}, Features({"frames": List(frame)}))
    flat = x.reshape(1000, -1)
    z = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    kept, _, _ = by_hand(z, 155, 0.8, "simple", seed=3)
    recipe = {"column": "frames", "standardize": "rows", "n_clusters": 155, "budget": 0.8}
    memory, disk = on_both_roads(ds, tmp_path, **recipe)
    assert memory.indices.tolist() == disk.indices.tolist() == kept


def test_unpooled_frames_of_unequal_number_are_refused():
    ds = Dataset.from_dict({"frames": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]]})
    with pytest.raises(ColumnError, match="different lengths"):
        hs.select_kmeans(ds, budget=0.5, n_clusters=1, column="frames")
