"""Subgroup divergence: its summaries by hand and as published, and the whole way from predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from hf_select.errors import ArgumentError, HfSelectError
from hf_select.metrics import SubgroupDivergence, divergence_of_predictions, summarize_divergence
from hf_select.subgroups.find import find_subgroups

SHARED = Path(__file__).resolve().parents[3] / "shared"
NAMES = {  # golden name -> ours
    "delta_max": "worst",
    "delta_avg_10": "mean_worst_10",
    "delta_avg_20": "mean_worst_20",
    "delta_avg_50": "mean_worst_50",
    "mean_signed_incl_root": "mean_signed_incl_root",
    "mean_abs_excl_root": "mean_abs_excl_root",
}
BY = ["gender", "ageRange", "action", "object", "location"]
NUMBERS = [
    "total_silence",
    "total_duration",
    "trimmed_duration",
    "n_words",
    "speed_rate_word",
    "speed_rate_word_trimmed",
]


@pytest.fixture(scope="session", params=["wav2vec2-base", "hubert-base"])
def published(request):
    """One model's rows, and what the paper's code says of them; skipped where the shared data is absent."""
    table, golden = (
        SHARED / f"data/tables/FSC_for_DivExplorer_{request.param}.csv",
        SHARED / "golden/fsc_divergence.json",
    )
    if not (table.exists() and golden.exists()):
        pytest.skip(f"shared data is absent: {table.name} and {golden.name} beside the checkout")
    # Python's own parser rounds floats right in every version of pandas.
    rows = pd.read_csv(table, engine="python", keep_default_na=False)
    return rows, json.loads(golden.read_text())[request.param]


def as_published(found, golden, rounding):
    return all(abs(found[ours] - golden[theirs]) < rounding for theirs, ours in NAMES.items())


def test_all_attributes_as_published(published):
    rows, golden = published
    by = [*golden["constant_attributes"], *BY, *NUMBERS]
    groups = find_subgroups(
        Dataset.from_pandas(rows), by=by, outcome="prediction", min_support=0.03, keep_constant=True
    )
    found = summarize_divergence(groups.to_pandas()["divergence"].round(5))  # as their table holds them
    assert found["num_subgroups"] == golden["all_attributes"]["n_itemsets_excluding_root"]
    assert as_published(found, golden["all_attributes"]["unpruned"], rounding=5.1e-7)


def test_the_metric_as_published(published):
    rows, golden = published
    columns = {name: rows[name] for name in [*BY, *NUMBERS, *golden["constant_attributes"]]}
    metric = SubgroupDivergence()
    wrong = 1 - rows["prediction"]  # the table says which rows are right: let the true class be 0
    for start in range(0, len(rows), 1000):
        part = slice(start, start + 1000)
        metric.add_batch(predictions=wrong[part], references=np.zeros(len(wrong[part]), dtype=int))
    found = metric.compute(by=columns, min_support=0.03)
    golden = golden["without_constant_attributes"]
    assert found["num_subgroups"] == golden["n_itemsets_excluding_root"]
    assert as_published(found, golden["unpruned"], rounding=5.6e-6)
    pruned = metric.compute(
        predictions=wrong, references=[0] * len(wrong), by=columns, min_support=0.03, redundancy=0.02
    )
    worst = [subgroup["d_accuracy"] for subgroup in golden["th_0.02"]["worst10"]]
    assert pruned["worst"] == pytest.approx(worst[0], abs=1e-5)
    assert pruned["mean_worst_10"] == pytest.approx(np.mean(worst), abs=1e-5)
    assert pruned["num_worst"] == golden["th_0.02"]["kept_negative"]
    assert {name: pruned[name] for name in ("num_subgroups", "mean_signed_incl_root", "mean_abs_excl_root")} == {
        name: found[name] for name in ("num_subgroups", "mean_signed_incl_root", "mean_abs_excl_root")
    }


def test_summary_by_hand():
    numbers = [0.3, -0.1, -0.4, 0.2, -0.2]
    found = summarize_divergence(numbers, n_worst=[1, 2, 5, 6])
    assert found == {
        "num_subgroups": 5,
        "worst": -0.4,
        "mean_worst_1": -0.4,
        "mean_worst_2": pytest.approx(-0.3),
        "mean_worst_5": pytest.approx(-0.04),
        "mean_worst_6": None,
        "mean_signed_incl_root": pytest.approx(-0.2 / 6),
        "mean_abs_excl_root": pytest.approx(1.2 / 5),
    }
    higher = summarize_divergence(numbers, direction="higher", n_worst=[2])
    assert (higher["worst"], higher["mean_worst_2"]) == (0.3, pytest.approx(0.25))
    assert higher["mean_signed_incl_root"] == found["mean_signed_incl_root"]
    assert summarize_divergence([np.nan, -0.4, np.nan])["num_subgroups"] == 1
    assert list(summarize_divergence([-0.1])) == [
        "num_subgroups", "worst", "mean_worst_10", "mean_worst_20", "mean_worst_50",
        "mean_signed_incl_root", "mean_abs_excl_root",
    ]  # fmt: skip


def test_no_subgroup_at_all():
    found = summarize_divergence([])
    assert (found["num_subgroups"], found["mean_signed_incl_root"]) == (0, 0.0)
    assert {found[name] for name in ("worst", "mean_worst_10", "mean_abs_excl_root")} == {None}


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.integers(1, 60))
def test_summary_laws(numbers, n):
    lower = summarize_divergence(numbers, n_worst=[n])
    higher = summarize_divergence([-number for number in numbers], direction="higher", n_worst=[n])
    assert lower["worst"] == min(numbers) == -higher["worst"]
    if n <= len(numbers):
        assert lower[f"mean_worst_{n}"] == pytest.approx(-higher[f"mean_worst_{n}"])
        assert lower[f"mean_worst_{n}"] >= lower["worst"] - 1e-12
    assert abs(lower["mean_signed_incl_root"]) <= lower["mean_abs_excl_root"] + 1e-12
    assert summarize_divergence(sorted(numbers), n_worst=[n])["worst"] == lower["worst"]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([0.1], {"direction": "down"}, '"lower" or "higher"'),
        ([0.1], {"n_worst": [0]}, "at least 1; got 0"),
        ([0.1], {"n_worst": [True]}, "got True"),
        ([float("inf")], {}, "number 0 is infinite"),
        (["low"], {}, "one number per subgroup"),
        (3, {}, "one number per subgroup"),
        ([[0.1, 0.2]], {}, r"the shape \(1, 2\)"),
    ],
)
def test_summary_of_wrong_input(given, options, message):
    with pytest.raises(ArgumentError, match=message):
        summarize_divergence(given, **options)


def test_from_predictions_by_brute_force():
    rng = np.random.default_rng(3)
    columns = {"gender": rng.choice(["f", "m"], 300), "place": rng.choice(["home", "car", "street"], 300)}
    references = rng.choice(["yes", "no", "up"], 300)
    hard = (columns["gender"] == "f") & (columns["place"] == "car")
    predictions = np.where(rng.random(300) < np.where(hard, 0.6, 0.1), "no", references)
    right = predictions == references
    masks = [columns[name] == value for name in columns for value in set(columns[name])]
    masks += [(columns["gender"] == g) & (columns["place"] == p) for g in "fm" for p in ("home", "car", "street")]
    expected = [right[mask].mean() - right.mean() for mask in masks if mask.sum() >= 30]
    found = divergence_of_predictions(predictions, references, by=pd.DataFrame(columns), min_support=0.1)
    assert found == pytest.approx(summarize_divergence(expected), abs=1e-12)
    assert found["worst"] == pytest.approx(right[hard].mean() - right.mean())
    assert found["mean_worst_20"] is None
    turned = divergence_of_predictions(right, [True] * 300, by=columns, min_support=30)  # outcomes that are known
    assert turned == found
    few = divergence_of_predictions(predictions, references, by=columns, min_support=0.1, redundancy=0.05)
    assert few["worst"] == found["worst"]
    assert 1 <= few["num_worst"] < few["num_subgroups"] == found["num_subgroups"]
    whole = find_subgroups(Dataset.from_dict({**columns, "ok": right}), by=list(columns), outcome="ok", min_support=0.1)
    assert few["num_worst"] == len(whole.worst(redundancy=0.05))


@pytest.mark.parametrize("said", [0, 1])
def test_a_model_that_is_always_right_or_always_wrong_diverges_nowhere(said):
    columns = {"gender": ["f", "m"] * 20, "age": list(range(40))}
    found = divergence_of_predictions([said] * 40, [1] * 40, by=columns, min_support=0.1)
    mixed = divergence_of_predictions([0, 1, 1, 1] * 10, [1] * 40, by=columns, min_support=0.1)
    assert found["num_subgroups"] == mixed["num_subgroups"] > 5
    assert found["worst"] == found["mean_abs_excl_root"] == found["mean_signed_incl_root"] == 0
    pruned = divergence_of_predictions([said] * 40, [1] * 40, by=columns, min_support=0.1, redundancy=0.0)
    assert (pruned["num_worst"], pruned["worst"]) == (0, None)


def test_columns_with_gaps_numbers_edges_and_a_column_named_correct():
    columns = {
        "correct": ["a", "b", None, "a"] * 10,
        "snr_db": [float("nan"), 3.0, 12.0, 30.0] * 10,
        "is_native": [True, False, True, None] * 10,
    }
    predictions = [1, 1, 0, 1] * 10
    found = divergence_of_predictions(predictions, [1] * 40, by=columns, min_support=0.1, bins={"snr_db": [10.0]})
    assert found["worst"] == -0.75 + 0.0  # snr_db > 10 and is_native = True: never right
    assert found["num_subgroups"] > 4


@pytest.mark.parametrize(
    ("by", "options", "message"),
    [
        ({"gender": ["f"] * 3}, {}, "by['gender'] has 3 values, and there are 4 rows"),
        ({"gender": ["f", "m"] * 2, "age": [1] * 5}, {}, "by['age'] has 5 values, and there are 4 rows"),
        ({}, {}, "names no column"),
        (["gender"], {}, "by= maps the names of columns to their values"),
        ({"gender": "ffmm"}, {}, "by['gender']: a list or array"),
        ({"gender": ["f", 1, "m", 2]}, {}, "by['gender'] can't be a column"),
        ({"gender": ["f", "m"] * 2}, {"min_support": 0.0}, "min_support="),
        ({"gender": ["f", "m"] * 2}, {"redundancy": -1.0}, "redundancy="),
        ({"gender": ["f"] * 4}, {}, "tells rows apart"),
    ],
)
def test_wrong_input(by, options, message):
    metric = SubgroupDivergence()
    for measure in (
        lambda **given: divergence_of_predictions([0, 1, 0, 1], [0, 1, 1, 1], **given),
        lambda **given: metric.compute(predictions=[0, 1, 0, 1], references=[0, 1, 1, 1], **given),
    ):
        with pytest.raises(HfSelectError, match=re.escape(message)):
            measure(by=by, **options)


def test_text_against_numbers_is_refused():
    with pytest.raises(ArgumentError, match="text for both, or numbers"):
        divergence_of_predictions(["1", "0"], [1, 0], by={"gender": ["f", "m"]})
