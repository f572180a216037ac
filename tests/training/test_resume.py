"""A training that was killed anywhere and resumed acquires the same rows and ends with the same weights, to the bit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import lab
import pytest

from hf_select.errors import ArgumentError, SelectionError
from hf_select.training import ActiveView

KILLS = Path(__file__).parent / "kill_lab.py"


@pytest.mark.slow
@pytest.mark.parametrize(("world", "step"), [(1, 6), (2, 3)], ids=["one process", "two processes"])
def test_kills(tmp_path, world, step):
    """About half of the points lie inside the writing of a checkpoint; with two processes either one is killed."""
    command = [sys.executable, str(KILLS), str(tmp_path), str(world), "1", str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    whole, points, *killed = [json.loads(line) for line in done.stdout.splitlines()]
    whole = whole["whole"]
    assert len(killed) >= 20, points
    assert sum(record["rows"] for record in whole[0]["rounds"]) == 10
    for line in killed:
        assert -9 in line["codes"] and line["found"], line
        for found, expected in zip(line["found"], whole, strict=True):
            assert found["weights"] == expected["weights"] and found["rounds"] == expected["rounds"], line["point"]
            assert found["end"] == expected["end"]
    halves = [line for line in killed if line["point"][0] == "half"]
    assert len(halves) >= 5 and sum(bool(line["aside"]) for line in halves) >= 5


def stopped(folder, at: int, **settings) -> None:
    """Train, with a checkpoint at each step, and leave those up to `at` alone."""
    lab.train(folder, save_strategy="steps", save_steps=1, **settings)
    for path in folder.glob("checkpoint-*"):
        if int(path.name.split("-")[1]) > at:
            shutil.rmtree(path)


WORKER = {"dataloader_num_workers": 1, "train_sampling_strategy": "sequential"}


@pytest.mark.parametrize(
    ("at", "more"), [(3, {}), (8, {}), (12, {}), (16, WORKER), (23, WORKER)], ids=str
)  # a round has 8 steps
def test_every_round_of_a_resumed_run_is_that_of_the_whole(tmp_path, at, more):
    settings = {"save_strategy": "steps", "save_steps": 1, **more}
    whole = lab.train(tmp_path / "whole", **settings)
    stopped(tmp_path / "stopped", at, **more)
    found = lab.train(tmp_path / "stopped", resume=True, **settings)
    assert found["weights"] == whole["weights"] and found["rounds"] == whole["rounds"]
    done = at // 8
    assert found["epochs"][1:] == whole["epochs"][done + 1 :]
    assert found["epochs"][0] == whole["epochs"][done][at % 8 :] and found["active"] == whole["active"][done:]
    assert [log["acquisition/round"] for log in found["log"]] == [1, 2, 3]


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    stopped(tmp_path, 9)
    for view in (
        {"items_per_round": 31},
        {"start": range(1, 25)},
        {"seed": 1},
        ActiveView(lab.rows(seed=9), range(24), 30),
        ActiveView(lab.rows().shuffle(seed=0), range(24), 30),
    ):
        with pytest.raises(SelectionError, match="resumed with the same or not at all"):
            lab.train(tmp_path, resume=True, view=view)


def test_a_checkpoint_without_the_callback_can_be_gone_on_with(tmp_path):
    stopped(tmp_path, 8, callback="rounds")
    found = lab.train(tmp_path, resume=True)
    assert [record["round"] for record in found["rounds"]] == [1, 2, 3] and found["active"][0] != list(range(24))


def test_two_of_a_kind_are_refused(tmp_path):
    trainer, view, made, _ = lab.make(tmp_path, save_strategy="epoch")
    trainer.callback_handler.callbacks.append(type(made)(view, lab.rows(80, 1, 500), **lab.ACQUIRE))
    with pytest.raises(ArgumentError, match="2 callbacks of the kind AcquisitionCallback"):
        trainer.train()


def test_the_checkpoint_says_what_was_acquired(tmp_path):
    found = lab.train(tmp_path, save_strategy="epoch", acquire={"key": "id"})
    state = json.loads((tmp_path / "checkpoint-32" / "trainer_state.json").read_text())
    saved = state["stateful_callbacks"]["AcquisitionCallback"]["attributes"]["rounds"]
    assert saved == found["rounds"]
    ids = lab.rows()["id"]
    for record in saved:
        assert record["keys"] == [ids[row] for row in record["row_numbers"]]
        assert len(record["subgroups"]) == 2 and {"divergence", "support", "q", "in_pool"} <= set(
            record["subgroups"][0]
        )
