"""The comparison: every set is what its name says, its numbers are those of its records, and nothing is trained twice."""

from __future__ import annotations

import json
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from scripts import load_script
from transformers import Trainer

import hf_select as hs
from hf_select.metrics.divergence import summarize_divergence
from hf_select.tasks import parse_arguments

QUICK = {
    "model_name_or_path": "lenet-tiny", "max_length_seconds": 0.6, "by": ["gender", "noisy"], "k": [1, 2],
    "min_support": 0.1, "max_steps": 12, "per_device_train_batch_size": 16, "learning_rate": 0.005, "n_clusters": [4],
    "report_to": "none", "use_cpu": True, "disable_tqdm": True, "pool_share": 0.4, "redundancy": None,
    "dataloader_pin_memory": False, "seeds": [0, 1], "logging_strategy": "no",
}  # fmt: skip
SETS = [
    "ours",
    "random (= ours)",
    "random (= ours, hours)",
    "clustering-4",
    "clustering-4 (= ours)",
    "random (= clustering-4)",
]


@pytest.fixture(scope="module")
def script():
    return load_script("compare_acquisition")


@pytest.fixture(autouse=True)
def same_cache(own_cache, folder, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")


def call(script, folder, people, monkeypatch, **changes):
    file = folder / "arguments.json"
    file.write_text(json.dumps({**QUICK, "dataset_name": str(people), "output_dir": str(folder / "out"), **changes}))
    monkeypatch.setattr(sys, "argv", ["compare_acquisition.py", str(file)])
    script.main()


@pytest.fixture(scope="module")
def compared(script, people, tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("compared")
    trained = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        fit = script.fit
        patch.setattr(script, "fit", lambda now, rows, *more: trained.append((more[1], *rows)) or fit(now, rows, *more))
        call(script, out, people, patch)
    return out / "out", pd.read_csv(out / "out" / "results.csv"), trained


def test_every_set_is_there_and_none_is_trained_twice(compared):
    _, cells, trained = compared
    for seed in (0, 1):
        own = cells[cells["seed"] == seed]
        assert own["approach"].tolist() == ["original", *SETS, *SETS, "all data"]
        assert own["k"].astype(str).tolist() == ["-", *["1"] * 6, *["2"] * 6, "-"]
    assert len(set(trained)) == len(trained) <= 28


def test_sets_hold_as_many_rows_as_they_say(compared):
    _, cells, _ = compared
    for _, own in cells[cells["k"] != "-"].groupby(["seed", "k"]):
        rows, hours = (dict(zip(own["approach"], own[name], strict=True)) for name in ("rows", "hours"))
        assert rows["ours"] == rows["random (= ours)"] == rows["clustering-4 (= ours)"] > 0
        assert rows["clustering-4"] == rows["random (= clustering-4)"]
        assert hours["random (= ours, hours)"] <= hours["ours"] + 1e-9
    assert (cells[cells["approach"] == "original"]["rows"] == 0).all()
    one, two = (cells[(cells["approach"] == "ours") & (cells["k"] == k)]["rows"].to_numpy() for k in ("1", "2"))
    assert (two >= one).all()


def test_a_set_done_again_by_hand(script, compared, people, tmp_path, monkeypatch):
    """Train the original model and ours of K = 2 with the Trainer's own calls, and compute the table's numbers from it."""
    _, cells, _ = compared
    arguments = {**QUICK, "dataset_name": str(people), "output_dir": str(tmp_path)}
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps(arguments))
    classes = (
        script.ModelArguments,
        script.DataTrainingArguments,
        script.ComparisonArguments,
        script.TrainingArguments,
    )
    model, data, asked, args = parse_arguments(classes, [str(file)])
    splits, classifier = script.open_task(model, data, asked.by, tmp_path, 0)
    rows = classifier.rows(datasets.concatenate_datasets([splits.train, splits.pool]))
    args.remove_unused_columns, args.seed = False, 1

    def train(acquired):
        places = [*range(len(splits.train)), *(len(splits.train) + np.sort(acquired))]
        network = classifier.new(1)
        trainer = Trainer(network, args, train_dataset=rows.select(places), data_collator=classifier.collate)
        trainer.train()
        return lambda ds: trainer.predict(classifier.rows(ds)).predictions.argmax(-1)

    def right(predict, ds):
        labels = np.array([classifier.labels.index(name) for name in ds["label"]])
        return (predict(ds) == labels).astype(int)

    before = train(np.zeros(0, int))
    groups = hs.find_subgroups(
        splits.validation.add_column("correct", right(before, splits.validation)), by=asked.by, outcome="correct", min_support=0.1
    )  # fmt: skip
    ours = hs.select_subgroups(splits.pool, groups.worst()[:2], seed=1)
    for approach, k, acquired in (("original", "-", np.zeros(0, int)), ("ours", "2", ours.indices)):
        found = right(train(acquired), splits.test)
        there = groups.measure(splits.test.add_column("correct", found))
        held = there.columns["divergence"][there.columns["count"] >= 0.1 * len(splits.test)]
        cell = cells[(cells["approach"] == approach) & (cells["k"] == k) & (cells["seed"] == 1)].iloc[0]
        assert cell["rows"] == len(acquired)
        assert cell["accuracy"] == pytest.approx(100 * found.mean())
        assert cell["worst"] == pytest.approx(100 * held.min())
        hit = np.any([group.mask(splits.test) for group in groups.worst()[:2]], axis=0)
        assert approach == "original" or cell["targeted"] == pytest.approx(100 * found[hit].mean())
        assert cell["abs_mean"] == pytest.approx(100 * summarize_divergence(held)["mean_abs_excl_root"])


def test_the_page_says_what_the_cells_say(compared):
    out, cells, _ = compared
    page = (out / "results.md").read_text()
    ours = cells[(cells["approach"] == "ours") & (cells["k"] == "2")]
    assert f"{ours['accuracy'].mean():.2f}" in page and "At equal rows or hours" in page and "Holm" in page
    table = pd.read_csv(out / "differences-equal.csv")
    found = (table["against"] == "random (= ours)") & (table["measure"] == "accuracy") & (table["k"].astype(str) == "2")
    line = table[found].iloc[0]
    other = cells[(cells["approach"] == "random (= ours)") & (cells["k"] == "2")]
    assert line["mean"] == pytest.approx((ours["accuracy"].to_numpy() - other["accuracy"].to_numpy()).mean())
    assert (out / "comparison.png").stat().st_size > 10_000


def test_finished_trainings_are_not_run_again(script, compared, people, tmp_path, monkeypatch):
    out, cells, _ = compared

    def never(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(script, "fit", never)
    call(script, out.parent, people, monkeypatch)
    assert pd.read_csv(out / "results.csv").equals(cells)
    call(script, out.parent, people, monkeypatch, seeds=[1])  # fewer seeds, fewer lines
    assert set(pd.read_csv(out / "results.csv")["seed"]) == {1}


def test_a_run_that_was_stopped_goes_on(script, people, tmp_path, monkeypatch):
    count = []

    def three(*arguments):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return fit(*arguments)

    fit = script.fit
    monkeypatch.setattr(script, "fit", three)
    with pytest.raises(SystemExit, match="Finished trainings are kept"):
        call(script, tmp_path, people, monkeypatch, seeds=[0], k=[1])
    call(script, tmp_path, people, monkeypatch, seeds=[0], k=[1])
    cells = pd.read_csv(tmp_path / "out" / "results.csv")
    assert len(cells) == 8 and len(count) - 1 <= 8


def test_initial_weights_depend_on_the_seed_alone(script, people, tmp_path):
    model, data = script.ModelArguments("lenet-tiny"), script.DataTrainingArguments(dataset_name=str(people))
    _, classifier = script.open_task(model, data, ["gender"], tmp_path, 0)
    one = classifier.new(3)
    torch.rand(5)
    two, other = classifier.new(3), classifier.new(4)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same) and not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_splits_share_no_speaker_and_no_sound(script, people, tmp_path):
    data = script.DataTrainingArguments(dataset_name=str(people))
    splits, _ = script.open_task(script.ModelArguments("lenet-tiny"), data, ["gender"], tmp_path, 0)
    parts = [splits.train, splits.pool, splits.validation, splits.test]
    speakers = [set(part["speaker"]) for part in parts]
    assert all(not a & b for i, a in enumerate(speakers) for b in speakers[:i])
    assert sum(map(len, parts)) == 240


def test_mistakes_are_told_in_a_sentence(script, people, tmp_path, monkeypatch):
    for changes, text in (
        ({"by": []}, "Name with --by the columns"),
        ({"k": [2, 2]}, "k is a list of different values"),
        ({"min_support": 300}, "No subgroup has 300"),
        ({"max_q": 2}, "max_q"),
    ):
        with pytest.raises(SystemExit, match=text):
            call(script, tmp_path, people, monkeypatch, **changes)
