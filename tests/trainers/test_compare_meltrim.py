"""The comparison of MelTrim: every set is what its name says, is trained once, and its numbers are those of its records."""

from __future__ import annotations

import json
import sys

import datasets
import numpy as np
import pandas as pd
import pytest
from scripts import load_script

from hf_select.tasks import parse_arguments

QUICK = {
    "model_name_or_path": "lenet-tiny", "max_length_seconds": 0.6, "budgets": [3], "seeds": [0, 1], "max_steps": 12,
    "judge_epochs": 2, "per_device_train_batch_size": 16, "learning_rate": 0.005, "n_clusters": 3, "report_to": "none",
    "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False, "logging_strategy": "no", "reducer": "pca",
    "ratio": 0.5, "coarse_budget": "0.6",
}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    return load_script("compare_meltrim")


@pytest.fixture(autouse=True)
def same_cache(own_cache, folder, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")


def call(script, people, out, patch, **changes):
    file = out.parent / f"{out.name}.json"
    file.write_text(json.dumps({**QUICK, "dataset_name": str(people), "output_dir": str(out), **changes}))
    patch.setattr(sys, "argv", ["compare_meltrim.py", str(file)])
    script.main()


@pytest.fixture(scope="module")
def compared(script, people, folder):
    out, sets = folder / "meltrim", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        fit = script.fit
        patch.setattr(script, "fit", lambda one, rows, *more: sets.append(len(rows)) or fit(one, rows, *more))
        call(script, people, out, patch)
    return out, sets


def test_every_set_is_there_once(script, compared):
    out, sets = compared
    table = pd.read_csv(out / "results.csv")
    assert len(table) == 2 * (len(script.METHODS) + 1) and len(sets) == len(table) + 2  # and a judge for each seed
    own = table[table["budget"] == "3"]
    assert set(own.loc[own["method"] != "random (seconds)", "rows"]) == {9}
    seconds = own.groupby("method")["seconds"].mean()
    assert seconds["meltrim"] == pytest.approx(seconds["meltrim (clips)"] / 2, rel=0.01)
    assert seconds["random segments"] == pytest.approx(seconds["random"] / 2, rel=0.01)
    assert seconds["random (seconds)"] <= seconds["meltrim"] + 1e-6
    assert table["wa"].between(0, 100).all() and table["f1"].notna().all()
    page = (out / "results.md").read_text()
    assert "always saying the most frequent class is right in" in page and "meltrim minus each other method" in page


def test_nothing_is_trained_twice(script, compared, people, folder, monkeypatch):
    out, _ = compared
    before = (out / "results.csv").read_text()
    monkeypatch.setattr(script, "fit", None)
    call(script, people, out, monkeypatch)
    assert (out / "results.csv").read_text() == before


def test_a_set_of_segments_holds_segments(script, people, folder):
    classes = (
        script.ModelArguments,
        script.DataTrainingArguments,
        script.ComparisonArguments,
        script.TrainingArguments,
    )
    file = folder / "one.json"
    file.write_text(json.dumps({**QUICK, "dataset_name": str(people), "output_dir": str(folder / "meltrim")}))
    model, data, asked, args = parse_arguments(classes, [str(file)])
    task = script.open_seed(model, data, asked, args, folder / "meltrim", 0)
    sets = {(cell["method"], cell["budget"]): rows for cell, rows, _ in script.choose(task, 0, asked)}
    cut = script.cropped(sets["meltrim", 3], task.source)
    spans = np.array(sets["meltrim", 3]["segment_end"]) - np.array(sets["meltrim", 3]["segment_start"])
    assert np.allclose(cut["decoded_seconds"], spans, atol=1e-3) and len(cut) == 9
    assert sorted(sets["meltrim (clips)", 3]["speaker"]) == sorted(cut["speaker"])
    for method in ("entropy", "el2n"):
        kept = sets[method, 3]
        for label in set(kept["label"]):
            best = sorted(
                (v for v, own in zip(task.train[method], task.train["label"], strict=True) if own == label),
                reverse=True,
            )
            assert (
                sorted((v for v, own in zip(kept[method], kept["label"], strict=True) if own == label), reverse=True)
                == best[:3]
            )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"budgets": [2, 2]}, "budgets is a list of different values"),
        ({"methods": ["magic"]}, "methods are some of meltrim"),
    ],
    ids=str,
)
def test_wrong_arguments(script, people, tmp_path, monkeypatch, changes, says):
    with pytest.raises(SystemExit, match=says):
        call(script, people, tmp_path / "out", monkeypatch, **changes)
