"""TrainingDynamicsCallback: its numbers are those of a plain loop over what was written down; nothing else changes."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import dynamics_lab
import forks
import lab
import numpy as np
import pytest
import torch
from datasets import Dataset
from dynamics_lab import expected, make, train
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Trainer, TrainerCallback, TrainingArguments

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, DatasetError, SelectionError
from hf_select.training import ActiveView, RoundsCallback, TrainingDynamicsCallback, visits
from hf_select.training.view import ROW

NAMES = ["forgetting_events", "aum", "visits", "first_learnt"]


@pytest.fixture(scope="module")
def two_processes():
    """A function that trains in two processes, and returns what each of them has to say, and all they printed."""
    command = [sys.executable, forks.__file__, "dynamics_lab"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:

        def train_in_two(folder, **settings):
            print(json.dumps([str(folder), json.dumps(settings)]), file=parent.stdin, flush=True)
            found = json.loads(parent.stdout.readline())
            assert found["codes"] == [0, 0], found["printed"]
            return [json.loads(Path(folder, f"seen-{rank}.json").read_text()) for rank in (0, 1)], found["printed"]

        yield train_in_two
        parent.stdin.close()


def keep_up_to(folder, step):
    """Remove the checkpoints after a step, as if the training had been killed then."""
    for path in folder.glob("checkpoint-*"):
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)


# -- the numbers


CASES = {
    "plain": {},
    "workers": {"dataloader_num_workers": 2},
    "persistent": {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    "accumulation": {"gradient_accumulation_steps": 3},
    "odd": {"view": {"items_per_round": 25, "start": range(11)}, "per_device_train_batch_size": 7},
    "no columns removed": {
        "remove_unused_columns": False,
        "view": {"items_per_round": 37, "columns": ["input_features", "labels"]},
    },
    "label smoothing": {"label_smoothing_factor": 0.1},
    "bf16": {"bf16": True},
    "sequential": {"train_sampling_strategy": "sequential"},
    "evaluations": {"eval_strategy": "steps", "eval_steps": 3, "eval_on_start": True},
    "best": {"eval_strategy": "epoch", "save_strategy": "best", "metric_for_best_model": "loss"},
    "dispatched": {"accelerator_config": {"dispatch_batches": True}, "logging_strategy": "no"},
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_a_plain_loop_and_no_bit_of_the_training_changes(tmp_path, name):
    says, seen, weights, _ = train(tmp_path / "with", num_train_epochs=6, **CASES[name])
    assert says == expected([seen], 60)
    active = len(CASES[name].get("view", {}).get("start", range(24)))
    assert sum(count > 0 for count in says["visits"]) == active and says["aum"][active:] == [None] * (60 - active)
    assert sum(says["visits"]) == 6 * CASES[name].get("view", {"items_per_round": 37})["items_per_round"]
    assert sum(says["forgetting_events"][:active]) > 5
    _, other, bare, _ = train(tmp_path / "without", names=["rounds"], num_train_epochs=6, **CASES[name])
    assert weights == bare and seen == other


def test_gradient_checkpointing(tmp_path):
    new, old = "activation_checkpointing", "gradient_checkpointing"  # names
    settings = {
        "ds": dynamics_lab.sounds(),
        new if hasattr(TrainingArguments, new) else old: True,
        "learning_rate": 0.01,
    }
    says, seen, weights, _ = train(tmp_path / "with", model=dynamics_lab.listener(), **settings)
    assert says == expected([seen], 40) and sum(says["visits"]) == 4 * 37
    assert train(tmp_path / "without", names=["rounds"], model=dynamics_lab.listener(), **settings)[2] == weights


def test_fetched_in_many_small_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(visits, "_BLOCKS", 2)
    says, seen, *_ = train(tmp_path, gradient_accumulation_steps=3)
    assert says == expected([seen], 60)


def test_what_was_never_right_is_forgotten_infinitely_often(tmp_path):
    ds = lab.rows()
    wrong = [(label + 1) % lab.CLASSES if row in (3, 17) else label for row, label in enumerate(ds["labels"])]
    ds = ds.remove_columns("labels").add_column("labels", wrong)  # as by a careless annotator
    trainer, _, made = make(tmp_path, ds=ds, learning_rate=0.002, num_train_epochs=8)
    trainer.train()
    marked = made["dynamics"].add_to(ds)
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen], 60)
    never = [row for row, events in enumerate(marked["forgetting_events"]) if events == float("inf")]
    assert set(never) & {3, 17} and all(marked["first_learnt"][row] is None for row in never)
    worst = hs.select_by_score(marked, budget=4, column="forgetting_events", keep="highest", key="id")
    assert worst.ranked[: len(never)].tolist() == never[:4] and worst.excluded == {"no value in forgetting_events": 36}
    worst.save(tmp_path / "sel")
    again = hs.Selection.load(tmp_path / "sel")
    assert again == worst and again.apply(marked)["id"] == worst.apply(marked)["id"]
    doubtful = hs.select_by_score(marked, budget=5, column="aum", keep="lowest", key="id")
    assert set(doubtful.indices.tolist()) & {3, 17}


@given(
    rows=st.lists(st.integers(0, 4), max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_it_makes_no_difference_how_many_visits_are_entered_at_a_time(rows, cuts, seed):
    rng = np.random.default_rng(seed)
    found = np.zeros(len(rows), visits._VISIT)
    found["row"], found["right"] = rows, rng.random(len(rows)) < 0.5
    found["margin"] = rng.normal(0, 1, len(rows)) * 10.0 ** rng.integers(-6, 7, len(rows))  # bits are lost
    record = visits.Record(6)
    ends = sorted({*(min(cut, len(rows)) for cut in cuts), len(rows)})
    for start, end in zip([0, *ends], ends, strict=False):
        record.enter(found[start:end])
        again = visits.Record(6)
        again.unpack(json.loads(json.dumps(record.pack())))
        record = again
    for row in range(6):
        own = found[found["row"] == row]
        total, right = 0.0, own["right"].tolist()
        for margin in own["margin"]:
            total += float(margin)
        assert record.margins[row] == total and record.visits[row] == len(own)
        assert record.forgotten[row] == sum(a and not b for a, b in pairwise(right))
        assert record.learnt[row] == (right.index(True) + 1 if True in right else 0)


def test_rows_without_a_label_and_logits_that_are_no_numbers():
    progress = type("P", (), {"global_step": 0})()
    watch = visits.Watch(progress)
    logits = torch.tensor([[1.0, 2.0, 0.5], [3.0, 1.0, 3.0], [torch.nan, 1.0, 0.0], [1.0, 2.0, 3.0]])
    pairs = torch.tensor([[0, 1], [1, 0], [2, 0], [3, -100]])
    module = torch.nn.Identity().train()
    assert watch.before(module, (), {"x": 1, visits.PAIRS: pairs, ROW: [1]}) == ((), {"x": 1})
    watch.after(module, (), type("Out", (), {"logits": logits})())
    assert watch.waiting_since() is None and not len(watch.take())  # the step is not finished
    progress.global_step = 1
    assert watch.waiting_since() == 0
    seen = watch.take()
    assert seen["row"].tolist() == [0, 1, 2] and seen["right"].tolist() == [True, True, False]
    assert seen["margin"][:2].tolist() == [1.0, 0.0] and np.isnan(seen["margin"][2]) and not len(watch.take())
    watch.before(module, (), {visits.PAIRS: pairs})
    watch.after(module.eval(), (), type("Out", (), {"logits": logits})())  # as by a compute_loss that looks twice
    progress.global_step = 2
    assert not len(watch.take())


# -- several processes


@pytest.mark.slow
def test_two_processes(two_processes, tmp_path):
    settings = {
        "view": {"items_per_round": 41}, "gradient_accumulation_steps": 3, "dataloader_num_workers": 2,
        "eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2,
    }  # fmt: skip
    settings["view"]["start"] = list(range(24))
    found, _ = two_processes(tmp_path / "with", **settings)
    both = [one[1] for one in found]
    assert found[0][0] == found[1][0] == expected(both, 60)
    visited = sum(found[0][0]["visits"])
    assert visited == sum(len(batch[2]) for seen in both for batch in seen)
    assert visited > 4 * settings["view"]["items_per_round"]  # filled up by Accelerate
    bare, _ = two_processes(tmp_path / "without", names=["rounds"], **settings)
    assert bare[0][2] == bare[1][2] == found[0][2] and [one[1] for one in bare] == both


@pytest.mark.slow
def test_two_processes_resumed(two_processes, tmp_path):
    view = {"start": list(range(24)), "items_per_round": 37}
    settings = {"save_strategy": "steps", "save_steps": 1, "num_train_epochs": 3, "view": view}
    whole, _ = two_processes(tmp_path, **settings)
    keep_up_to(tmp_path, 3)  # a round has 5 steps
    found, _ = two_processes(tmp_path, resume=True, **settings)
    assert found[0][1][0][0] == 3 and len(found[0][1]) + 3 == len(whole[0][1])
    assert [one[0] for one in found] == [one[0] for one in whole] and found[0][2] == whole[0][2]


@pytest.mark.slow
def test_a_checkpoint_that_comes_unforeseen_says_what_it_lacks(two_processes, tmp_path):
    settings = {"saver": True, "view": {"start": list(range(24)), "items_per_round": 37}, "num_train_epochs": 2}
    found, printed = two_processes(tmp_path, **settings)
    assert found[0][0] == expected([one[1] for one in found], 60)
    assert "lacks the visits since step 0. If one of your callbacks asks for checkpoints, put it before" in printed
    assert printed.count("lacks the visits") == 2


# -- resumed


@pytest.mark.parametrize("at", [1, 9, 10, 13, 37])  # a round has 10 steps
@pytest.mark.parametrize("more", [{}, {"dataloader_num_workers": 1}], ids=["plain", "worker"])
def test_a_resumed_run_ends_with_the_same_numbers(tmp_path, at, more):
    settings = {"save_strategy": "steps", "save_steps": 1, **more}
    whole = train(tmp_path / "whole", **settings)
    assert train(tmp_path / "stopped", stop=at, **settings) is None
    found = train(tmp_path / "stopped", resume=True, **settings)
    assert found[0] == whole[0] and found[2] == whole[2] and found[1] == whole[1][at:]


def test_killed_in_the_middle_of_an_accumulation(tmp_path):
    """A checkpoint that is written between micro-batches does not hold those of the step that will be done again."""

    class Preempted(TrainerCallback):  # as JITCheckpointCallback does
        def on_substep_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                self.trainer._save_checkpoint(self.trainer.model, trial=None)
                raise KeyboardInterrupt

    settings = {"gradient_accumulation_steps": 3, "per_device_train_batch_size": 2}
    trainer, _, _ = make(tmp_path, extra=[preempted := Preempted()], **settings)
    preempted.trainer = trainer
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    done = [one for one in trainer.seen if one[0] < 5]
    assert len(trainer.seen) == len(done) + 1
    says, seen, *_ = train(tmp_path, resume=True, **settings)
    assert seen[0][:2] == [5, 0] and says == expected([[*done, *seen]], 60)


def test_a_checkpoint_of_other_rows_is_refused(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1}
    train(tmp_path, stop=3, **settings)
    for ds, seen in ((lab.rows(59), "60 rows, and these are 59"), (lab.rows().shuffle(seed=1), "60 other ones")):
        with pytest.raises(SelectionError, match=f"{seen}.*same dataset or not at all"):
            train(tmp_path, resume=True, ds=ds, **settings)
    path = tmp_path / "checkpoint-3" / "trainer_state.json"
    state = json.loads(path.read_text())
    for damaged in ("AAAA", "?", None):
        state["stateful_callbacks"]["TrainingDynamicsCallback"]["attributes"]["dynamics"]["margins"] = damaged
        path.write_text(json.dumps(state))
        with pytest.raises(SelectionError, match="can't be read"):
            train(tmp_path, resume=True, **settings)


def test_a_checkpoint_without_the_callback_can_be_gone_on_with(tmp_path, caplog):
    settings = {"save_strategy": "steps", "save_steps": 3}
    train(tmp_path, names=["rounds"], stop=6, **settings)
    with caplog.at_level(logging.WARNING, "hf_select"):
        says, seen, *_ = train(tmp_path, resume=True, **settings)
    assert "was written without it; visits are counted from step 6" in caplog.text
    assert says == expected([seen], 60) and sum(says["visits"]) == 4 * 37 - 6 * 4


def test_a_checkpoint_stays_small():
    rng = np.random.default_rng(0)
    record = visits.Record(100_000)
    for _ in range(10):
        found = np.zeros(100_000, visits._VISIT)
        found["row"], found["right"] = np.arange(100_000), rng.random(100_000) < 0.7
        found["margin"] = rng.normal(2, 3, 100_000)
        record.enter(found)
    text = json.dumps(record.pack())
    assert len(text) < 1_700_000
    again = visits.Record(100_000)
    again.unpack(json.loads(text))
    assert all(np.array_equal(getattr(again, name), getattr(record, name)) for name in visits._KEPT)


# -- beside others


@pytest.mark.parametrize("names", [["acquire", "dynamics"], ["dynamics", "acquire"]])
def test_together_with_acquisition(tmp_path, names):
    alone = train(tmp_path / "alone", names=["acquire"])
    says, seen, weights, rounds = train(tmp_path / "both", names=names)
    assert rounds == alone[3] and sum(record["rows"] for record in rounds) > 6
    assert weights == alone[2] and seen == alone[1]
    assert says == expected([seen], 60) and sum(count > 0 for count in says["visits"]) > 30


def test_rows_are_acquired_by_their_own_dynamics(tmp_path):
    """A callback of the user's reads the numbers between rounds, as they stand."""
    told = []

    class Reader(TrainerCallback):
        def on_epoch_begin(self, args, state, control, model, **kwargs):
            told.append(made["dynamics"].columns().to_pydict())
            with torch.no_grad():  # a copy that is trained on nothing counts for nothing
                copy.deepcopy(model).train()(input_features=torch.zeros(2, lab.FRAMES * lab.MFCC))

    trainer, _, made = make(tmp_path, extra=[Reader()])
    trainer.train()
    for number, says in enumerate(told):
        assert says == expected([[one for one in trainer.seen if one[0] < 10 * number]], 60)
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen], 60)


def test_everything_is_as_it_was_when_the_training_ends(tmp_path):
    trainer, view, made = make(tmp_path)
    trainer.train()
    first, seen = made["dynamics"].columns().to_pydict(), len(trainer.seen)
    loader = trainer.callback_handler.train_dataloader
    assert not view.carries_rows and not isinstance(loader.collate_fn, visits.WithRows)
    assert not trainer.model._forward_hooks and not trainer.model._forward_pre_hooks
    assert ROW not in view[0] and trainer.evaluate()["eval_loss"] > 0
    assert made["dynamics"].columns().to_pydict() == first
    trainer.train()  # from zero
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen[seen:]], 60) != first


def test_after_a_training_that_failed(tmp_path):
    trainer, view, made = make(tmp_path, extra=[dynamics_lab.StopAfter(5)], save_strategy="steps", save_steps=5)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen], 60)
    cut = len(trainer.seen)
    trainer.remove_callback(dynamics_lab.StopAfter)
    trainer.train()
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen[cut:]], 60)
    assert not view.carries_rows and not trainer.model._forward_hooks


def test_the_view_may_be_evaluated_itself(tmp_path):
    trainer, view, made = make(
        tmp_path, remove_unused_columns=False, eval_strategy="epoch", view={"columns": ["input_features", "labels"]}
    )
    trainer.eval_dataset = view
    trainer.train()
    assert made["dynamics"].columns().to_pydict() == expected([trainer.seen], 60)


def test_workers_that_are_spawned_get_the_collator():
    collate = pickle.loads(pickle.dumps(visits.WithRows(dynamics_collate)))
    batch = collate([{"x": 1.0, "labels": 2, ROW: 7}, {"x": 2.0, "labels": 0, ROW: 3}])
    assert batch[visits.PAIRS].tolist() == [[7, 2], [3, 0]] and batch["x"].tolist() == [1.0, 2.0]
    assert list(collate([{"x": 1.0, "labels": 2}])) == ["x", "labels"]


def dynamics_collate(features):
    return {name: torch.tensor([feature[name] for feature in features]) for name in features[0]}


# -- the columns


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    trainer, view, made = make(tmp_path_factory.mktemp("out"))
    trainer.train()
    return view.dataset, made["dynamics"]


def test_columns_are_added_to_the_rows_of_the_view(trained):
    ds, dynamics = trained
    table = dynamics.columns()
    assert table.column_names == NAMES and [str(kind) for kind in table.schema.types] == ["double", "double", "int64", "int64"]  # fmt: skip
    marked = dynamics.add_to(ds)
    assert marked.column_names == [*ds.column_names, *NAMES] and marked["aum"][:] == table["aum"].to_pylist()
    for other in (ds.with_format("torch"), ds.select_columns(["id"]), ds.add_column("more", list(range(60)))):
        again = dynamics.add_to(other, prefix="a_")
        assert again.with_format(None)["a_visits"][:] == table["visits"].to_pylist()
    kept = hs.select_by_score(marked, budget=0.5, column="aum", keep="lowest", key="id").apply(marked)
    assert len(kept) == 24  # of the others no margin is known
    with pytest.raises(ColumnError, match=r"'forgetting_events' already: pass overwrite=True, or a prefix="):
        dynamics.add_to(marked)
    assert dynamics.add_to(marked, overwrite=True)["aum"][:] == marked["aum"][:]


def test_columns_are_not_given_to_other_rows(trained):
    ds, dynamics = trained
    with pytest.raises(DatasetError, match="60 rows, and this one 59"):
        dynamics.add_to(ds.select(range(59)))
    with pytest.raises(DatasetError, match="in another order"):
        dynamics.add_to(ds.shuffle(seed=0))
    with pytest.raises(DatasetError, match=r"another order \(seen by id\)"):
        dynamics.add_to(ds.shuffle(seed=0), key="id")
    with pytest.raises(DatasetError, match="shares no column"):
        dynamics.add_to(Dataset.from_dict({"other": list(range(60))}))
    with pytest.raises(ColumnError, match="no column 'nope'"):
        dynamics.add_to(ds.add_column("more", list(range(60))), key="nope")


# -- what can't work is refused


def test_views_only():
    with pytest.raises(ArgumentError, match="works on an ActiveView"):
        TrainingDynamicsCallback(lab.rows())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"_n_gpu": 2}, "can't watch 2 GPUs in one process"),
        ({"torch_compile": True}, "leave torch_compile out"),
        ({"deepspeed": "x"}, "never tried with DeepSpeed"),
    ],
)
def test_arguments_that_would_break_it(tmp_path, change, text):
    _, view, made = make(tmp_path)
    args = lab.arguments(tmp_path)
    _ = args.device  # which sets the number of GPUs
    for name, value in change.items():
        object.__setattr__(args, name, value)
    loader = type("Loader", (), {"dataset": view, "collate_fn": None})()
    with pytest.raises(ArgumentError, match=text):
        made["dynamics"].on_train_begin(args, None, None, train_dataloader=loader, model=None)
    assert not view.carries_rows


def regression(batch):
    return {"input_features": batch["input_features"], "labels": [0.5] * len(batch["labels"])}


@pytest.mark.parametrize(
    ("change", "text", "workers"),
    [
        (regression, r"of 4 rows it got torch.float32 of shape \(4,\)", 0),
        (lambda batch: {"input_features": batch["input_features"]}, "of 4 rows it got none", 0),
        (lambda batch: {**batch, "labels": [[1, 0]] * len(batch["labels"])}, r"of shape \(4, 2\)", 1),
    ],
    ids=["numbers", "none", "several"],
)
def test_labels_that_are_none(tmp_path, change, text, workers):
    trainer, *_ = make(tmp_path, ds=lab.rows().with_transform(change), dataloader_num_workers=workers)
    with pytest.raises(ArgumentError, match=text):
        trainer.train()


def test_logits_of_no_classifier(tmp_path):
    class Other(torch.nn.Module):
        main_input_name = "input_features"

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, input_features=None, labels=None):
            return {"loss": self.weight, "scores": input_features}

    view = ActiveView(lab.rows(), range(24), 30)
    trainer = Trainer(Other(), lab.arguments(tmp_path), train_dataset=view, callbacks=[TrainingDynamicsCallback(view)])
    with pytest.raises(ArgumentError, match="Other gave no logits"):
        trainer.train()


def test_a_loss_that_hides_the_rows(tmp_path):
    class Picky(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return model(input_features=inputs["input_features"], labels=inputs["labels"]).loss

    view = ActiveView(lab.rows(), range(24), 30)
    trainer = Picky(
        lab.network(), lab.arguments(tmp_path), train_dataset=view, callbacks=[TrainingDynamicsCallback(view)]
    )
    with pytest.raises(ArgumentError, match=r"none of the batches of step 1: .*model\(\*\*inputs\)"):
        trainer.train()


def test_two_of_them(tmp_path):
    view = ActiveView(lab.rows(), range(24), 30)
    twice = [TrainingDynamicsCallback(view), TrainingDynamicsCallback(view)]
    with pytest.raises(ArgumentError, match="use one"):
        Trainer(lab.network(), lab.arguments(tmp_path), train_dataset=view, callbacks=twice).train()
    view = ActiveView(lab.rows(), range(24), 30)
    with pytest.raises(ArgumentError, match="not the train_dataset"):
        other = ActiveView(lab.rows(), range(24), 30)
        Trainer(
            lab.network(), lab.arguments(tmp_path), train_dataset=view,
            callbacks=[RoundsCallback(view), TrainingDynamicsCallback(other)],
        ).train()  # fmt: skip
