"""The coarse step against scikit-learn and umap-learn called by hand, shares worked by hand, and data that has no clusters."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Audio, Dataset
from sklearn.cluster import DBSCAN
from sklearn.neighbors import NearestNeighbors

import hf_select as hs
from hf_select.audio import wave_bytes
from hf_select.budget import largest_remainder
from hf_select.clustering.density import dbscan, knee, neighbour_distances
from hf_select.clustering.plane import Neighbours, tsne, umap
from hf_select.errors import ArgumentError, ColumnError
from hf_select.readers import frame_counts, read_frames


def heaps(*sizes: int, noise: int = 0, seed: int = 0) -> Dataset:
    """Heaps of points in two dimensions, far apart, and points alone; the label is the heap."""
    rng = np.random.default_rng(seed)
    points = [rng.normal((30 * number, 0), 1, (size, 2)) for number, size in enumerate(sizes)]
    alone = np.column_stack([1000 * np.arange(noise) + 500, np.full(noise, 900)])
    labels = [str(number) for number, size in enumerate(sizes) for _ in range(size)] + ["alone"] * noise
    return Dataset.from_dict({"embedding": np.concatenate([*points, alone]).tolist(), "label": labels})


def frames_of(lengths, width=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.normal(number % 3, 1, (length, width)).astype(np.float32) for number, length in enumerate(lengths)]
    return rows, Dataset.from_dict({"mfcc": [row.tolist() for row in rows]})


PLAIN = {"column": "embedding", "reducer": None}


def test_flattened_as_the_paper_says():
    """Eq. 3 and 4: zero-padded or cut to L_fix, then all frames of a coefficient after those of the one before."""
    rows, ds = frames_of([3, 7, 5])
    expected = []
    for row in rows:
        padded = np.zeros((4, 5), np.float32)
        padded[:, : min(5, len(row))] = row.T[:, :5]
        expected.append(padded.flatten())
    assert np.array_equal(read_frames(ds, "mfcc", 5), expected)
    turned = ds.select([2, 0, 1, 0])
    assert np.array_equal(read_frames(turned, "mfcc", 5), [expected[row] for row in (2, 0, 1, 0)])
    assert frame_counts(turned, "mfcc").tolist() == [5, 3, 7, 3]


def test_frames_from_the_durations():
    _, ds = frames_of(range(1, 101))
    facts = hs.select_meltrim(ds, budget=0.1, reducer="pca", eps=100.0).facts
    assert (facts["frames"], facts["clips_cut"], facts["clips_padded"]) == (
        91,
        9,
        90,
    )  # the 90th percentile, rounded up
    facts = hs.select_meltrim(ds, budget=0.1, reducer="pca", eps=100.0, frames=20).facts
    assert (facts["frames"], facts["clips_cut"], facts["clips_padded"]) == (20, 80, 19)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Tensorflow not installed:ImportWarning")
def test_by_hand_with_umap_learn():
    from umap import UMAP

    _, ds = frames_of(np.random.default_rng(1).integers(5, 40, 60), width=20)
    sel = hs.select_meltrim(ds, budget=0.5, n_neighbors=8, min_dist=0.2, seed=3, frames=30)
    matrix = read_frames(ds, "mfcc", 30)
    assert matrix.shape == (60, 600)
    points = UMAP(n_neighbors=8, min_dist=0.2, init="pca", random_state=3, n_jobs=1).fit_transform(matrix).astype(float)
    distances = np.sort(NearestNeighbors(n_neighbors=4).fit(points).kneighbors(points)[0][:, 3])
    chord = np.linspace(0, 1, 60) - (distances - distances[0]) / (distances[-1] - distances[0])
    assert sel.facts["eps"] == pytest.approx(distances[chord.argmax()])
    labels = DBSCAN(eps=sel.facts["eps"], min_samples=4).fit_predict(points)
    assert sel.facts["noise"] == (labels == -1).sum() and sel.facts["n_clusters"] == labels.max() + 1
    kept, sizes = [], np.bincount(labels[labels >= 0])
    for cluster, share in enumerate(largest_remainder(min(30, sizes.sum()), sizes)):
        own = np.flatnonzero(labels == cluster)
        near = own[np.argsort(np.linalg.norm(points[own] - points[own].mean(axis=0), axis=1), kind="stable")]
        kept += near[:share].tolist()
    assert sel.indices.tolist() == sorted(kept)
    assert hs.select_meltrim(ds, budget=0.5, n_neighbors=8, min_dist=0.2, seed=3, frames=30) == sel
    fast = hs.select_meltrim(ds, budget=0.5, n_neighbors=8, frames=30, deterministic=False)
    assert len(fast) == min(30, 60 - fast.facts["noise"])


@pytest.mark.parametrize(
    ("sizes", "budget", "shares"),
    [
        ((10, 20, 30), 12, (2, 4, 6)),
        ((10, 20, 30), 7, (1, 2, 4)),  # 1.17, 2.33, 3.5: floors leave one row, which the largest remainder gets
        ((40, 5, 5), 5, (4, 1, 0)),  # 4, 0.5, 0.5: of two equal remainders the first
        ((40, 4, 4), 4, (4, 0, 0)),  # 3.33, 0.33, 0.33: clusters whose share is small have none
        ((6, 7), 13, (6, 7)),
    ],
)
def test_shares_worked_by_hand(sizes, budget, shares):
    ds = heaps(*sizes)
    sel = hs.select_meltrim(ds, budget=budget, eps=5.0, **PLAIN)
    kept = [ds[int(row)]["label"] for row in sel.indices]
    assert tuple(kept.count(str(number)) for number in range(len(sizes))) == shares
    points = np.array(ds["embedding"])
    for number, size in enumerate(sizes):
        own = np.flatnonzero(np.array(ds["label"]) == str(number))
        near = own[np.argsort(np.linalg.norm(points[own] - points[own].mean(axis=0), axis=1))]
        assert set(sel.indices) & set(own) == set(near[: shares[number]]), size
    assert np.allclose(-sel.score[own], np.linalg.norm(points[own] - points[own].mean(axis=0), axis=1))


def test_noise_is_dropped_counted_and_named():
    ds = heaps(20, 20, noise=5)
    sel = hs.select_meltrim(ds, budget=0.5, **PLAIN)
    assert (sel.facts["noise"], sel.facts["n_clusters"]) == (5, 2) and sel.facts["eps_why"].startswith("knee")
    assert sel.group[40:].tolist() == ["excluded: noise"] * 5 and len(sel) == 22
    with_all = hs.select_meltrim(ds, budget=1.0, **PLAIN)
    assert len(with_all) == 40 and any("40 of 45 can be chosen" in text for text in with_all.warnings)


def test_per_class():
    ds = heaps(20, 30).add_column("class", ["ab"[row % 2] for row in range(50)])
    sel = hs.select_meltrim(ds, budget=5, per="class", eps=5.0, **PLAIN)
    kept = ds.select(sel.indices)
    assert [kept["class"][:].count(name) for name in "ab"] == [5, 5]
    assert [kept["label"][:].count(name) for name in "01"] == [4, 6]


def test_no_cluster_at_all_and_only_one():
    with pytest.raises(ArgumentError, match=r"all 20 rows noise \(eps 1e-06, given; min_samples 4\): raise eps"):
        hs.select_meltrim(heaps(20), budget=5, eps=1e-6, **PLAIN)
    sel = hs.select_meltrim(heaps(20), budget=5, eps=1e6, **PLAIN)
    assert sel.facts["n_clusters"] == 1 and len(sel) == 5
    same = Dataset.from_dict({"embedding": [[1.0, 2.0]] * 12})
    for reducer in ("umap", "pca", "tsne", None):
        assert hs.select_meltrim(same, budget=3, column="embedding", reducer=reducer).indices.tolist() == [0, 1, 2]


def test_few_rows():
    few = Dataset.from_dict({"embedding": [[1.0, 2.0], [2.0, 1.0], [0.0, 1.0]]})
    for reducer in ("umap", "tsne"):
        with pytest.raises(ArgumentError, match="at least 5 rows, and there are 3: use PCA"):
            hs.select_meltrim(few, budget=1, column="embedding", reducer=reducer)
    assert len(hs.select_meltrim(few, budget=1, column="embedding", reducer="pca", eps=10.0, min_samples=2)) == 1
    with pytest.raises(ArgumentError, match="all 1 rows noise"):
        hs.select_meltrim(few.select([0]), budget=1, column="embedding", reducer="pca")


@pytest.mark.parametrize("reducer", ["pca", "tsne", None])
def test_other_reducers_find_the_heaps(reducer):
    sel = hs.select_meltrim(heaps(30, 30, 30), budget=9, column="embedding", reducer=reducer, seed=1)
    assert sel.facts["n_clusters"] >= 3 and len(sel) == 9
    assert [heaps(30, 30, 30)[int(row)]["label"] for row in sel.indices] == ["0"] * 3 + ["1"] * 3 + ["2"] * 3


def test_other_clusterers():
    ds = heaps(30, 20, noise=1)
    by_means = hs.select_meltrim(ds, budget=10, clusterer="kmeans", n_clusters=3, seed=0, **PLAIN)
    assert len(by_means) == 10 and len(set(by_means.group)) == 3
    by_neighbours = hs.select_meltrim(ds, budget=10, clusterer="knn", min_samples=5, **PLAIN)
    points = np.array(ds["embedding"])
    fourth = np.sort(np.linalg.norm(points[:, None] - points, axis=2), axis=1)[:, 4]
    assert set(by_neighbours.indices) == set(np.argsort(fourth)[:10]) and np.allclose(-by_neighbours.score, fourth)


def test_rows_without_frames_and_clips_of_real_length():
    clips = [{"bytes": wave_bytes(np.sin(np.arange(800 * n) / (2 + n % 3)).astype(np.float32), 16000), "path": f"{n}.wav"}
             for n in range(1, 25)]  # fmt: skip
    clips[3]["bytes"] = b"no sound"
    ds = hs.with_columns(
        Dataset.from_dict({"audio": clips}).cast_column("audio", Audio(decode=False)), hs.MFCC(n_mfcc=20)
    )
    sel = hs.select_meltrim(ds, budget=0.25, reducer="pca", seed=0)
    assert len(sel) == 6 and 3 not in sel.indices and sel.group[3].startswith("excluded: unreadable")
    assert sel.facts["frames"] == int(np.ceil(np.percentile([1 + 5 * n for n in range(1, 25) if n != 4], 90)))
    bare = ds.remove_columns("audio_status")
    assert hs.select_meltrim(bare, budget=6, reducer="pca", seed=0).group[3] == "excluded: no finite vector in mfcc"


def test_a_radius_from_any_curve():
    assert knee(np.ones(9)) == 1 and knee(np.zeros(9)) > 0 and knee(np.arange(5.0)) == 4
    assert knee(np.array([0, 0, 0, 0, 7.0])) > 0
    assert neighbour_distances(np.zeros((1, 2)), 3).tolist() == [0.0]
    assert dbscan(np.zeros((5, 2)), None, 4).labels.tolist() == [0] * 5
    assert (
        umap(np.ones((6, 3), np.float32), 0).tolist() == tsne(np.ones((6, 3), np.float32), 0).tolist() == [[0, 0]] * 6
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"frames": 0}, "frames is a whole number of at least 1, or 'auto'; got 0"),
        ({"reducer": "lda"}, "reducer is one of 'umap'"),
        ({"clusterer": "optics"}, "and clusterer one of"),
        ({"eps": 0}, "eps is a radius above 0"),
        ({"eps": "big"}, "eps is a radius above 0"),
        ({"min_samples": 1}, "min_samples is a whole number of at least 2"),
        ({"n_clusters": 3}, "n_clusters belongs to clusterer='kmeans'"),
        ({"clusterer": "kmeans"}, "and is needed there"),
        ({"n_neighbors": 1}, "n_neighbors is a whole number of at least 2"),
        ({"min_dist": 2}, "min_dist is from 0 to 1"),
        ({"init": "best"}, "init is 'pca'"),
    ],
    ids=str,
)
def test_arguments(given, says):
    with pytest.raises(ArgumentError, match=says):
        hs.select_meltrim(heaps(6), budget=2, column="embedding", **given)


def test_columns():
    with pytest.raises(ColumnError, match="no column 'mfcc'"):
        hs.select_meltrim(heaps(6), budget=2)
    with pytest.raises(ColumnError, match="Column 'label' holds text"):
        hs.select_meltrim(heaps(6), budget=2, column="label")
    with pytest.raises(ColumnError, match="different lengths"):
        hs.select_meltrim(Dataset.from_dict({"mfcc": [[[1.0, 2.0]], [[1.0, 2.0, 3.0]]]}), budget=1)


def test_settings_are_checked_by_themselves():
    assert Neighbours(5, 0.0).n_neighbors == 5
    with pytest.raises(ArgumentError):
        Neighbours(True)
