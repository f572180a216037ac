"""The sweep over numbers of clusters against `select_kmeans`, scikit-learn, and plain loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import Dataset
from sklearn.metrics import adjusted_rand_score

import hf_select as hs
from hf_select.clustering import vectors
from hf_select.errors import ArgumentError, ColumnError, OutputError
from hf_select.sweep import sweep_clusters


def dataset(rows=1500, dimensions=12, centres=9, **columns):
    rng = np.random.default_rng(0)
    middle = rng.normal(scale=2, size=(centres, dimensions))
    which = rng.integers(0, centres, rows)
    x = (middle[which] + rng.normal(size=(rows, dimensions))).astype(np.float32)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), dimensions)
    label = [("yes", "no", "stop")[i % 3] for i in which]
    return Dataset(pa.table({"embedding": flat, "label": label, "duration": 1 + rng.random(rows), **columns}))


def jaccard(a, b):
    return len(set(a) & set(b)) / len(set(a) | set(b))


@pytest.mark.parametrize(
    ("budget", "more"), [(0.6, {}), ("10min", {"metric": "cosine"}), (300, {"metric": "manhattan"})], ids=str
)
def test_every_figure_is_that_of_select_kmeans(budget, more):
    ds, seeds = dataset(), (0, 4, 9)
    table = sweep_clusters(ds, [12, 5, 12], budget=budget, label="label", seeds=seeds, **more).to_pandas()
    assert table["n_clusters"].tolist() == [5, 12]
    one = hs.select_kmeans(ds, budget=budget, n_clusters=1, **more).facts["inertia"]
    for line in table.to_dict("records"):
        number = int(line["n_clusters"])
        made = {
            drop: [hs.select_kmeans(ds, budget=budget, n_clusters=number, drop=drop, seed=s, **more) for s in seeds]
            for drop in ("simple", "hard")
        }
        inertia = [sel.facts["inertia"] for sel in made["simple"]]
        assert line["inertia"] == pytest.approx(np.mean(inertia))
        assert line["inertia_deviation"] == pytest.approx(np.std(inertia), abs=1e-9)
        assert line["explained"] == pytest.approx(1 - np.mean(inertia) / one)
        groups = [sel.group.tolist() for sel in made["simple"]]
        assert line["rand_index"] == pytest.approx(np.mean([adjusted_rand_score(*p) for p in combinations(groups, 2)]))
        for drop, found in made.items():
            kept = [sel.indices.tolist() for sel in found]
            assert line[f"overlap_{drop}"] == pytest.approx(np.mean([jaccard(*p) for p in combinations(kept, 2)]))
            labels = np.array(ds["label"])
            balances = [hs.balance(labels[rows], ["yes", "no", "stop"]) for rows in kept]
            assert line[f"balance_{drop}"] == pytest.approx(np.mean(balances))


def test_inertia_falls_and_the_suggestion_is_that_of_auto():
    ds = dataset()
    sweep = sweep_clusters(ds, budget=0.5, seeds=(0,))
    auto = hs.select_kmeans(ds, budget=0.5, n_clusters="auto")
    assert sweep.suggested == auto.facts["n_clusters"] and sweep.why == auto.facts["n_clusters_why"]
    table = sweep.to_pandas()
    assert table["n_clusters"].tolist() == sorted({max(2, round(sweep.suggested * t)) for t in (0.25, 0.5, 1, 2, 4)})
    assert (np.diff(table["inertia"]) < 0).all() and table["rand_index"].isna().all()
    assert f"Suggested: {sweep.suggested} clusters ({sweep.why})." in str(sweep) and "rand_index" not in str(sweep)


def test_the_matrix_is_read_once_also_on_disk(monkeypatch, tmp_path):
    calls = []
    read = vectors._read
    monkeypatch.setattr(vectors, "_read", lambda *a, **k: calls.append(a) or read(*a, **k))
    ds, arguments = dataset(20_000), {"budget": 0.5, "seeds": (0, 1), "label": "label", "max_iter": 5}
    memory = sweep_clusters(ds, [4, 8], **arguments)
    limit = memory.facts["peak_bytes_estimated"] - 1
    disk = sweep_clusters(ds, [4, 8], memory=limit, cache_dir=tmp_path, **arguments)
    assert len(calls) == 2 and disk.facts["matrix"] == "on disk"
    columns = [name for name in memory.to_pandas() if name != "seconds"]
    pd.testing.assert_frame_equal(memory.to_pandas()[columns], disk.to_pandas()[columns])


def test_saved_as_picture_and_tables(tmp_path):
    ds = dataset()
    sweep = sweep_clusters(ds, [3, 9], budget=0.5, label="label", column="embedding", seeds=(0, 1))
    home = sweep.save(tmp_path / "new" / "sweep")
    assert sorted(file.name for file in home.iterdir()) == ["sweep.csv", "sweep.md", "sweep.png"]
    pd.testing.assert_frame_equal(pd.read_csv(home / "sweep.csv"), sweep.to_pandas())
    page = (home / "sweep.md").read_text()
    lines = page.splitlines()
    assert lines[0].startswith("| n_clusters | inertia |") and lines[2].startswith("| 3 |") and "budget=0.5" in page
    assert f"Balance of all rows: {hs.balance(ds['label']):.5f}." in page
    assert (home / "sweep.png").stat().st_size > 10_000
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        sweep.save(tmp_path / "taken")


def test_the_picture_has_a_panel_for_all_there_is():
    ds = dataset()
    full = sweep_clusters(ds, [3, 9], budget=0.5, label="label", seeds=(0, 1)).plot()
    titles = [axes.get_title(loc="left") for axes in full.axes]
    assert titles == ["What clusters explain", "Balance of the kept rows", "Agreement between seeds"]
    bare = sweep_clusters(ds, [3, 9], budget=0.5, seeds=(0,)).plot()
    assert len(bare.axes) == 1
    np.testing.assert_array_equal(bare.axes[0].lines[0].get_xdata(), [3, 9])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"seeds": ()}, ArgumentError, "seeds are whole numbers"),
        ({"seeds": (0, -1)}, ArgumentError, "seeds are whole numbers"),
        ({"n_clusters": [2, "auto"]}, ArgumentError, "n_clusters is a whole number of at least 1; got 'auto'"),
        ({"n_clusters": [2, 5000]}, ArgumentError, "n_clusters=5000 is more than the 1500 rows"),
        ({"n_clusters": [2], "label": "word"}, ColumnError, "label=: there is no column 'word'"),
        ({"n_clusters": [2], "column": "label"}, ColumnError, "vectors are needed"),
        ({"n_clusters": [2], "metric": "hamming"}, ArgumentError, "metric is one of"),
    ],
)
def test_arguments_out_of_range(arguments, error, said):
    with pytest.raises(error, match=said):
        sweep_clusters(dataset(), **{"budget": 0.5, **arguments})
