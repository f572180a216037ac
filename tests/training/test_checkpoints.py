"""Checkpoints that were cut off are told from whole ones, whatever file it is and wherever it ends."""

from __future__ import annotations

import json
import logging
import os
import shutil

import lab
import pytest

from hf_select.training import last_whole_checkpoint
from hf_select.training.checkpoints import damage


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    lab.train(folder, save_strategy="epoch", num_train_epochs=3)
    return folder


def test_whole_ones_are_whole(run):
    assert [damage(path) for path in run.glob("checkpoint-*")] == [None] * 3
    assert last_whole_checkpoint(run) == str(run / "checkpoint-24")
    assert last_whole_checkpoint(run / "nowhere") is None


FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "training_args.bin",
    "trainer_state.json",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.99, "one byte"])
def test_every_file_that_is_cut_is_noticed(run, tmp_path, name, share):
    folder = shutil.copytree(run, tmp_path / "run")
    path = folder / "checkpoint-24" / name
    size = path.stat().st_size
    if name == "trainer_state.json" and share == "one byte":
        size -= 1  # the last one is the end of the line
    os.truncate(path, size - 1 if share == "one byte" else int(size * share))
    assert damage(folder / "checkpoint-24").startswith(name)
    assert last_whole_checkpoint(folder) == str(folder / "checkpoint-16")


@pytest.mark.parametrize("name", ["rng_state.pth", "trainer_state.json"])
def test_files_that_are_not_there(run, tmp_path, name):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "checkpoint-24" / name).unlink()
    assert damage(folder / "checkpoint-24").startswith(name)


def test_damaged_ones_are_set_aside_and_named(run, tmp_path, caplog):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "damaged-checkpoint-24").mkdir()  # from an earlier crash
    for step in (24, 16):
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text("{")
    with caplog.at_level(logging.WARNING, "hf_select"):
        trainer = lab.make(folder, save_strategy="epoch", num_train_epochs=3)[0]
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint-8", "damaged-checkpoint-16", "damaged-checkpoint-24", "damaged-checkpoint-24-1",
    ]  # fmt: skip
    assert "checkpoint-24 is damaged (trainer_state.json: JSONDecodeError)" in caplog.text
    trainer.train(resume_from_checkpoint=True)
    whole = lab.train(tmp_path / "whole", num_train_epochs=3)
    assert lab.weights(trainer.model) == whole["weights"]


def test_older_damage_is_left_alone(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "checkpoint-8" / "trainer_state.json").unlink()
    lab.make(folder)
    assert (folder / "checkpoint-8").is_dir()


def test_checkpoints_of_others_are_judged_by_what_is_there(tmp_path):
    """Without our callback nobody knows how many processes wrote one; a model saved alone is whole."""
    from transformers import Trainer

    args = lab.arguments(tmp_path, save_strategy="epoch", save_only_model=True, num_train_epochs=1)
    Trainer(lab.network(), args, train_dataset=lab.rows()).train()
    (only,) = tmp_path.glob("checkpoint-*")
    assert damage(only) is None
    args = lab.arguments(tmp_path / "2", save_strategy="epoch", num_train_epochs=1)
    Trainer(lab.network(), args, train_dataset=lab.rows()).train()
    (other,) = (tmp_path / "2").glob("checkpoint-*")
    assert damage(other) is None
    (other / "rng_state.pth").rename(other / "rng_state_0.pth")
    assert damage(other) is None


def test_a_process_whose_random_numbers_are_missing(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run") / "checkpoint-24"
    state = json.loads((folder / "trainer_state.json").read_text())
    state["stateful_callbacks"]["AcquisitionCallback"]["attributes"]["world_size"] = 2
    (folder / "trainer_state.json").write_text(json.dumps(state))
    (folder / "rng_state.pth").rename(folder / "rng_state_0.pth")
    assert damage(folder) == "rng_state_1.pth: not there"
    shutil.copy(folder / "rng_state_0.pth", folder / "rng_state_1.pth")
    assert damage(folder) is None
