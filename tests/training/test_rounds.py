"""Exactly the active rows are trained on: by the rows that stood in the batches of real trainings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import lab
import pytest
from launch import torchrun
from transformers import Trainer

from hf_select.errors import ArgumentError
from hf_select.training import ActiveView, RoundsCallback


def two_processes(folder, **settings):
    """Train in two processes, and return what each of them saw."""
    torchrun("lab.py", str(folder), json.dumps(settings))
    return [json.loads(Path(folder, f"result-{rank}.json").read_text()) for rank in (0, 1)]


def check_batches(found, items, ranks=1):
    """Every round: the rows in the batches are the active rows, each floor or ceil times."""
    whole = len(found[0]["epochs"][0])
    for number, active in enumerate(found[0]["active"]):
        if len(found[0]["epochs"][number]) < whole:
            assert number == len(found[0]["active"]) - 1  # max_steps ended it
            continue
        batches = [batch for one in found for batch in one["epochs"][number]]
        counts = Counter(row for batch in batches for row in batch)
        assert set(counts) <= set(active)
        if items >= len(active):
            assert set(counts) == set(active)
        trained = sum(counts.values())
        assert items <= trained < items + ranks * max(map(len, batches))  # Accelerate fills up the last batches
        if trained == items:
            assert set(counts.values()) <= {items // len(active), -(-items // len(active))}


@pytest.mark.parametrize("items", [24, 30, 37, 100, 11])
def test_batches_hold_the_active_rows(tmp_path, items):
    found = lab.train(tmp_path, view={"items_per_round": items})
    check_batches([found], items)
    sizes = [len(active) for active in found["active"]]
    assert sizes == [24 + sum(record["rows"] for record in found["rounds"][:n]) for n in range(4)] and sizes[-1] > 30


@pytest.mark.parametrize("more", [{}, {"dataloader_persistent_workers": True}], ids=["workers", "persistent"])
def test_workers_see_the_rows_too(tmp_path, more):
    alone = lab.train(tmp_path / "0", view={"items_per_round": 37})
    found = lab.train(
        tmp_path / "2", view={"items_per_round": 37}, dataloader_num_workers=2, dataloader_prefetch_factor=2, **more
    )
    check_batches([found], 37)
    if not more:  # persistent ones draw other random numbers in torch
        assert found["epochs"] == alone["epochs"] and found["weights"] == alone["weights"]
    assert found["rounds"][0]["figures"] == alone["rounds"][0]["figures"]


@pytest.mark.parametrize(
    "more",
    [
        {"gradient_accumulation_steps": 3},
        {"gradient_accumulation_steps": 3, "dataloader_num_workers": 2},
        {"remove_unused_columns": False},
        {"bf16": True},
        {"max_steps": 27, "eval_strategy": "steps", "eval_steps": 5},
        {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True},
        {"eval_strategy": "steps", "eval_steps": 3, "save_strategy": "best", "metric_for_best_model": "loss"},
        {"label_smoothing_factor": 0.1},
        {"dataloader_drop_last": True, "view": {"items_per_round": 32}},
    ],
    ids=str,
)
def test_settings_of_the_trainer(tmp_path, more):
    settings = {"view": {"items_per_round": 37}, **more}
    if "remove_unused_columns" in more:
        settings["view"] = {"items_per_round": 37, "columns": ["input_features", "labels"]}
    found = lab.train(tmp_path, **settings)
    check_batches([found], settings["view"]["items_per_round"])
    assert len(found["rounds"]) == len(found["active"]) - 1 and sum(record["rows"] for record in found["rounds"]) > 6


def test_in_order_where_the_trainer_goes_in_order(tmp_path):
    trainer, view, _, recorder = lab.make(
        tmp_path, view={"items_per_round": 37, "length": "duration", "group_size": 12},
        train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer.train()
    last = [row for batch in recorder.epochs[-1] for row in batch]
    assert last == view.round_rows.tolist()
    durations = view.dataset["duration"]
    first = [durations[row] for row in last[:12]]
    assert first == sorted(first, reverse=True)


@pytest.mark.slow
def test_two_processes(tmp_path):
    settings = {
        "view": {"items_per_round": 41}, "gradient_accumulation_steps": 3, "dataloader_num_workers": 2,
        "dataloader_persistent_workers": True,
    }  # fmt: skip
    found = two_processes(tmp_path, **settings)
    assert found[0]["rounds"] == found[1]["rounds"] and found[0]["weights"] == found[1]["weights"]
    assert found[0]["active"] == found[1]["active"] and len(found[0]["rounds"]) == 3
    assert sum(record["rows"] for record in found[0]["rounds"]) > 6
    check_batches(found, settings["view"]["items_per_round"], ranks=2)


@pytest.mark.slow
def test_a_selector_that_scores_with_the_model_in_two_processes(tmp_path):
    torchrun("score_lab.py", str(tmp_path))
    first, second = (json.loads((tmp_path / f"rounds-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second and [record["rows"] for record in first] == [3, 3]
    assert len({row for record in first for row in record["row_numbers"]} | set(range(8))) == 14


def test_a_round_that_measures_and_takes_nothing_changes_no_bit(tmp_path):
    plain = lab.train(tmp_path / "plain", callback="rounds")
    measured = lab.train(tmp_path / "measured", acquire={"k": 0})
    assert measured["epochs"] == plain["epochs"]
    assert measured["weights"] == plain["weights"] and measured["losses"] == plain["losses"]
    assert [record["rows"] for record in measured["rounds"]] == [0, 0, 0]
    assert "acquisition/correct" in measured["log"][0] and not plain["log"]


def test_random_numbers_of_a_transform_of_the_validation_set_leave_no_trace(tmp_path):
    import random

    import numpy as np
    import torch

    def jitter(batch):
        noise = random.random() + np.random.random() + float(torch.rand(1))  # noqa: NPY002
        features = [[value + noise for value in row] for row in batch["input_features"]]
        return {"input_features": features, "labels": batch["labels"]}

    plain = lab.train(tmp_path / "plain", callback="rounds")
    noisy = lab.train(tmp_path / "noisy", acquire={"k": 0}, valid=lab.rows(80, 1, 500).with_transform(jitter))
    assert noisy["weights"] == plain["weights"]


def test_without_a_callback_every_epoch_has_round_0(tmp_path):
    view = ActiveView(lab.rows(), range(24), 30)
    recorder = lab.Recorder(view)
    Trainer(lab.network(), lab.arguments(tmp_path), train_dataset=view, callbacks=[recorder]).train()
    rounds = [sorted(row for batch in epoch for row in batch) for epoch in recorder.epochs]
    assert rounds == [rounds[0]] * 4


# -- what can't work is refused before the first step


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"train_sampling_strategy": "group_by_length"}, 'looks at lengths once.*"sequential"'),
        ({"view": {"length": "duration"}}, "shuffles them"),
        ({"restore_callback_states_from_checkpoint": True}, "leave that argument out"),
    ],
)
def test_arguments_that_would_break_it(tmp_path, more, text):
    with pytest.raises(ArgumentError, match=text):
        trainer = lab.make(tmp_path, **more)[0]
        if more.get("train_sampling_strategy"):  # the Trainer asks a processor for the name of the input
            trainer.processing_class = type("P", (), {"model_input_names": ["input_features"]})()
        trainer.train()


def test_another_training_set_is_refused(tmp_path):
    view = ActiveView(lab.rows(), range(24), 30)
    other = lab.rows()
    trainer = Trainer(lab.network(), lab.arguments(tmp_path), train_dataset=other, callbacks=[RoundsCallback(view)])
    with pytest.raises(ArgumentError, match=r"not the train_dataset of this Trainer.*Pass the same ActiveView"):
        trainer.train()
    with pytest.raises(ArgumentError, match="works on an ActiveView"):
        RoundsCallback(other)


def test_a_second_training_starts_anew(tmp_path):
    trainer, view, made, recorder = lab.make(tmp_path)
    trainer.train()
    first = lab.result(trainer, view, made, recorder)
    trainer.train()
    assert recorder.active[4] == first["active"][0] and len(made.rounds_done) == 3
