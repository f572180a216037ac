"""The script from its arguments to its Selection: on a pack made here, again after a crash, in two processes."""

from __future__ import annotations

import json
import sys

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from launch import torchrun
from scripts import TRAINERS, load_script

import hf_select as hs

QUICK = {
    "model_name_or_path": "lenet-tiny", "max_length_seconds": 0.6, "by": ["gender", "noisy"], "k": 2, "budget": 8,
    "min_support": 0.1, "num_train_epochs": 4, "per_device_train_batch_size": 8, "learning_rate": 0.005,
    "save_strategy": "epoch", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "pool_share": 0.4,
    "dataloader_pin_memory": False, "logging_strategy": "epoch",
}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    return load_script("acquire_and_train")


@pytest.fixture(autouse=True)
def same_cache(own_cache, folder, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")


def call(script, monkeypatch, capsys, folder, **changes) -> str:
    file = folder / "arguments.json"
    file.write_text(json.dumps({**QUICK, **changes}))
    monkeypatch.setattr(sys, "argv", ["acquire_and_train.py", str(file), "--seed", "3"])
    script.main()
    return capsys.readouterr().out


def test_from_rows_to_a_selection(script, monkeypatch, capsys, tmp_path, people):
    out = tmp_path / "run"
    printed = call(script, monkeypatch, capsys, tmp_path, dataset_name=str(people), output_dir=str(out), dynamics=True)
    sel = hs.Selection.load(out / "acquired")
    rounds = sel.facts["rounds"]
    assert [record["round"] for record in rounds] == [1, 2, 3] and sum(record["rows"] for record in rounds) > 8
    assert f"{len(sel)} of {sel.num_rows} rows were active at the end" in printed
    assert (out / "rounds.md").read_text() in printed.replace("\n\nWritten", "\n")
    assert "1 clips of" in printed and "can't be used" in printed  # the broken one
    dynamics = pq.read_table(out / "dynamics.parquet")
    visits = np.array(dynamics["visits"].fill_null(0))
    assert dynamics.num_rows == sel.num_rows
    assert visits.sum() == 4 * (len(sel) - sum(record["rows"] for record in rounds))
    assert set(np.flatnonzero(visits)) <= set(sel.indices.tolist())
    assert (out / "model.safetensors").exists()

    again = call(script, monkeypatch, capsys, tmp_path, dataset_name=str(people), output_dir=str(out), dynamics=True)
    assert again.split("\n\nWritten")[0].split("| round")[1] == printed.split("\n\nWritten")[0].split("| round")[1]


def test_a_run_that_was_cut_goes_on(script, monkeypatch, capsys, tmp_path, people):
    import shutil

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    printed = call(script, monkeypatch, capsys, tmp_path, dataset_name=str(people), output_dir=str(whole))
    shutil.copytree(whole, cut)
    steps = sorted(int(path.name.split("-")[1]) for path in cut.glob("checkpoint-*"))
    for step in steps[2:]:
        shutil.rmtree(cut / f"checkpoint-{step}")
    (cut / f"checkpoint-{steps[1]}" / "trainer_state.json").write_text("{")  # killed while it was written
    resumed = call(script, monkeypatch, capsys, tmp_path, dataset_name=str(people), output_dir=str(cut))
    assert resumed.split("| round")[1].split("\n\n")[:2] == printed.split("| round")[1].split("\n\n")[:2]
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (cut / f"damaged-checkpoint-{steps[1]}").exists()


def test_mistakes_are_told_in_a_sentence(script, monkeypatch, capsys, tmp_path, people):
    for changes, text in (
        ({"by": []}, "by=, the columns to describe rows by"),
        ({"by": ["age"]}, "there is no column 'age'"),
        ({"dataset_name": "nothing.parquet"}, "There is no file"),
        ({"model_name_or_path": "lenet-huge"}, "LeNets are lenet-large, lenet-small, lenet-tiny"),
        ({"budget": "much"}, "A budget is a share"),
        ({"label_column_name": "word"}, "no column 'word'"),
    ):
        with pytest.raises(SystemExit, match=text):
            call(
                script, monkeypatch, capsys, tmp_path,
                **{"dataset_name": str(people), "output_dir": str(tmp_path / "out"), **changes},
            )  # fmt: skip


@pytest.mark.slow
def test_two_processes(tmp_path, people, folder):
    file, out = tmp_path / "arguments.json", tmp_path / "run"
    file.write_text(json.dumps({**QUICK, "dataset_name": str(people), "output_dir": str(out)}))
    printed = torchrun(TRAINERS / "acquire_and_train.py", str(file))
    assert printed.count("rows were active at the end") == 1
    assert len(hs.Selection.load(out / "acquired").facts["rounds"]) == 3
