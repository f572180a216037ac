"""The published numbers: subgroups, divergences, t, redundancy and bins of the acquisition paper's own code."""

from __future__ import annotations

import json

import numpy as np
import pytest

import hf_select as hs

from ..conftest import shared_pack

LANGUAGES = [
    "Self-reported fluency level ",
    "First Language spoken",
    "Current language used for work/school",
]
FSC = [
    *("gender", "ageRange", "action", "object", "location", "total_silence", "total_duration"),
    *("trimmed_duration", "n_words", "speed_rate_word", "speed_rate_word_trimmed"),
]
THRESHOLDS = [0.0, 0.01, 0.02, 0.04, 0.15]
MODELS = ["wav2vec2-base", "hubert-base"]


def golden(name: str):
    return json.loads(shared_pack(f"golden/{name}.json").read_text())


def table(name: str):
    import pandas as pd
    from datasets import Dataset

    exact = {} if int(pd.__version__.split(".")[0]) >= 3 else {"float_precision": "round_trip"}  # 3 reads so by itself
    frame = pd.read_csv(shared_pack(f"data/tables/{name}.csv"), **exact)
    return Dataset.from_pandas(frame, preserve_index=False)


@pytest.fixture(scope="module", params=[(model, keep) for model in MODELS for keep in (False, True)], ids=str)
def fsc(request: pytest.FixtureRequest):
    model, keep = request.param
    ds = table(f"FSC_for_DivExplorer_{model}")
    groups = hs.find_subgroups(ds, LANGUAGES + FSC, "prediction", min_support=0.03, keep_constant=keep)
    expected = golden("fsc_divergence")[model]
    return groups, expected, expected["all_attributes" if keep else "without_constant_attributes"]


def itemset(subgroup: hs.Subgroup) -> list[str]:
    return sorted(f"{name}={value}" for name, value in subgroup.pattern.items())


def test_bins(fsc):
    groups, expected, _ = fsc
    edges = {a.name: list(a.edges) for a in groups.attributes if a.edges is not None}
    assert edges == expected["edges"]


def test_number_of_subgroups_and_the_whole(fsc):
    groups, expected, found = fsc
    assert len(groups) == found["n_itemsets_excluding_root"]
    assert groups.overall == pytest.approx(expected["accuracy"], abs=1e-6)
    assert groups.num_rows == expected["n"]
    constant = {*LANGUAGES} & {a.name for a in groups.attributes}
    assert constant in (set(), {*LANGUAGES})
    assert len([note for note in groups.notes if "same in all rows" in note]) == 3 - len(constant)


def test_divergence_summaries(fsc):
    groups, _, found = fsc
    divergence = groups.to_pandas()["divergence"].to_numpy()
    worst = np.sort(divergence)
    unpruned = found["unpruned"]
    assert worst[0] == pytest.approx(unpruned["delta_max"], abs=5e-6)
    for n in (10, 20, 50):
        assert worst[:n].mean() == pytest.approx(unpruned[f"delta_avg_{n}"], abs=5e-6)
    assert np.append(divergence, 0.0).mean() == pytest.approx(unpruned["mean_signed_incl_root"], abs=1e-6)
    assert np.abs(divergence).mean() == pytest.approx(unpruned["mean_abs_excl_root"], abs=1e-6)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.filterwarnings("ignore:worst")  # hubert-base has 2 subgroups at 0.04, and no model any at 0.15
def test_redundancy_and_the_ten_worst(fsc, threshold):
    groups, _, found = fsc
    expected = found[f"th_{threshold}"]
    redundant = groups._lattice.redundant(groups.columns["divergence"], threshold)
    assert int((~redundant).sum()) == expected["kept"]
    assert len(groups.worst(redundancy=threshold)) == expected["kept_negative"]
    worst = groups.worst(10, redundancy=threshold)
    assert [itemset(g) for g in worst] == [row["itemset"] for row in expected["worst10"]]
    for subgroup, row in zip(worst, expected["worst10"], strict=True):
        assert subgroup.count == row["support_count"]
        assert round(subgroup.mean * subgroup.count) == row["corrects"]
        assert subgroup.mean == pytest.approx(row["accuracy"], abs=6e-6)
        assert subgroup.divergence == pytest.approx(row["d_accuracy"], abs=6e-6)
        assert subgroup.t == pytest.approx(row["t_value"], abs=0.051)


def test_librispeech_wer():
    expected = golden("librispeech_wer")["wav2vec2-base"]
    ds = table("LibriSpeech_for_DivExplorer_wav2vec2-base")
    groups = hs.find_subgroups(ds, ["gender", *expected["edges"]], "WER", min_support=expected["min_support"])
    assert {a.name: list(a.edges) for a in groups.attributes if a.edges} == expected["edges"]
    assert len(groups) + 1 == expected["n_itemsets_incl_root"]
    assert groups.overall == pytest.approx(expected["mean_utterance_WER"], abs=1e-12)
    assert groups.direction == "higher"
    redundant = groups._lattice.redundant(groups.columns["divergence"], 0.0)
    assert int((~redundant).sum()) + 1 == expected["kept_th0"]
    worst = groups.worst(10, redundancy=0.0)
    assert [itemset(g) for g in worst] == [row["itemset"] for row in expected["worst10"]]
    for subgroup, row in zip(worst, expected["worst10"], strict=True):
        assert subgroup.count == row["support_count"]
        assert subgroup.mean == pytest.approx(row["WER"], abs=6e-6)
        assert subgroup.divergence == pytest.approx(row["d_WER"], abs=6e-6)
        assert subgroup.t == pytest.approx(row["t_value"], abs=0.006)


@pytest.mark.parametrize(("rate", "name"), [("accuracy", "accuracy"), ("false_positive_rate", "fpr")])
def test_compas(rate, name):
    expected = golden("compas")
    ds = table("compas_discretized")
    positive = "1" if rate != "accuracy" else None
    groups = hs.find_subgroups(
        ds, expected["attributes"], rate, min_support=0.1, predicted="predicted", label="class", positive=positive
    )
    rows = {tuple(sorted(row["itemset"])): row for row in expected["patterns"] if row["itemset"]}
    assert {tuple(itemset(g)) for g in groups} == rows.keys()
    for subgroup in groups:
        row = rows[tuple(itemset(subgroup))]
        assert subgroup.count == row["support_count"]
        judged = row["fp"] + row["tn"] if name == "fpr" else row["support_count"]
        assert subgroup.judged == judged
        assert subgroup.divergence == pytest.approx(row[f"d_{name}"], abs=1e-12)
        assert subgroup.t == pytest.approx(row[f"t_{name}"], abs=1e-9)


@pytest.mark.parametrize("threshold", [0.02, 0.04])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_acquisition(threshold, k):
    expected = golden("fsc_acquisition")
    ds = table("FSC_for_DivExplorer_wav2vec2-base")
    validation, pool = ds.select(range(0, len(ds), 2)), ds.select(range(1, len(ds), 2))
    groups = hs.find_subgroups(validation, LANGUAGES + FSC, "prediction", min_support=0.03)
    assert {a.name: list(a.edges) for a in groups.attributes if a.edges} == expected["validation_edges"]
    run = expected["runs"][f"th{threshold}_K{k}"]
    worst = groups.worst(k, redundancy=threshold)
    assert [itemset(g) for g in worst] == run["itemsets"]
    chosen = hs.select_subgroups(pool, worst, key="path", seed=0)
    assert sorted(chosen.apply(pool)["path"]) == sorted(run["paths_validation_bins"])
