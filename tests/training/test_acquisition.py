"""AcquisitionCallback: which rows, why, how many; the log; its errors."""

from __future__ import annotations

import lab
import numpy as np
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

import hf_select as hs
from hf_select.errors import ArgumentError, BudgetError, ColumnError, SelectionError
from hf_select.training import AcquisitionCallback, ActiveView


class Witness(TrainerCallback):
    """Does by hand, at the start of each epoch, what the callback should do there. Stands before it in the list."""

    def __init__(self, valid):
        self.valid, self.asked = valid, []

    def on_epoch_begin(self, args, state, control, model, train_dataloader, **kwargs):
        view = train_dataloader.dataset
        modes = [part.training for part in model.modules()]
        features = torch.tensor(np.array(self.valid["input_features"]), dtype=torch.float32)
        with torch.no_grad():
            predicted = model.eval()(input_features=features).logits.argmax(-1)
        for part, mode in zip(model.modules(), modes, strict=True):
            part.training = mode
        valid = self.valid.add_column("correct", (predicted.numpy() == np.array(self.valid["labels"])).tolist())
        groups = hs.find_subgroups(valid, by=["gender", "noisy"], outcome="correct", min_support=0.05)
        worst = [group for group in groups.worst() if group.mask(view.pool).any()][:2]
        wanted = hs.select_subgroups(view.pool, worst, seed=int(state.epoch))
        self.asked.append((view.pool_rows, [str(group) for group in worst], wanted, groups[0].divergence))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    valid = lab.rows(80, seed=1, first=500)
    witness = Witness(valid)
    made = lab.make(tmp_path_factory.mktemp("out"), valid=valid, num_train_epochs=5)
    trainer, view, callback, recorder = made
    trainer.callback_handler.callbacks.insert(0, witness)
    trainer.train()
    return trainer, view, callback, recorder, witness


def test_rows_are_those_of_the_worst_subgroups_of_the_model_as_it_stood(trained):
    _, view, callback, _, witness = trained
    for record in callback.rounds_done:
        pool, names, wanted, divergence = witness.asked[record["round"]]
        assert [one["subgroup"] for one in record["subgroups"]] == names
        assert record["row_numbers"] == pool[wanted.ranked[:6]].tolist()
        assert record["figures"]["worst_divergence"] == pytest.approx(divergence)
        for row, asked in zip(record["row_numbers"], record["groups"], strict=True):
            values = view.dataset[row]
            for condition in asked.replace("; ", " and ").split(" and "):
                name, value = condition.split(" = ")
                assert str(values[name]) == value  # the phrase says of the row what is true of it


def test_nothing_is_acquired_twice(trained):
    _, view, callback, _, _ = trained
    rows = [row for record in callback.rounds_done for row in record["row_numbers"]]
    assert len(set(rows)) == len(rows) > 6 and not set(rows) & set(range(24))
    assert sorted([*rows, *range(24)]) == view.active.tolist()


def test_the_log_has_it_all(trained):
    trainer, view, callback, _, _ = trained
    logs = [entry for entry in trainer.state.log_history if "acquisition/round" in entry]
    assert [log["acquisition/round"] for log in logs] == [1, 2, 3, 4] and logs[0]["step"] == 8
    for log, record in zip(logs, callback.rounds_done, strict=True):
        assert log["acquisition/rows"] == record["rows"] and log["acquisition/correct"] == record["figures"]["correct"]
        assert log["acquisition/hours"] == pytest.approx(
            sum(view.dataset[record["row_numbers"]]["duration"]) / 3600 if record["rows"] else 0
        )
        assert all(one["subgroup"] in log["acquisition/subgroups"] for one in record["subgroups"])
        assert log["acquisition/active_rows"] + log["acquisition/pool_rows"] == 60


def test_reporters_get_the_log(tmp_path):
    seen = []

    class Reporter(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            seen.append((state.global_step, dict(logs)))

    trainer, *_ = lab.make(tmp_path, num_train_epochs=2)
    trainer.callback_handler.callbacks.insert(0, Reporter())  # as those of report_to= are
    trainer.train()
    assert [step for step, logs in seen if "acquisition/rows" in logs] == [8]


def test_the_active_rows_as_a_selection(trained, tmp_path):
    _, view, callback, _, _ = trained
    sel = callback.selection
    assert sel.indices.tolist() == view.active.tolist()
    assert sel.ranked[24:].tolist() == [row for record in callback.rounds_done for row in record["row_numbers"]]
    first = callback.rounds_done[0]
    assert sel.group[first["row_numbers"][0]] == f"round 1: {first['groups'][0]}" and sel.group[0] == "start"
    sel.save(tmp_path / "sel")
    again = hs.Selection.load(tmp_path / "sel")
    assert again == sel and again.apply(view.dataset.shuffle(seed=0))["id"] is not None
    assert again.facts["rounds"][0]["subgroups"][0]["subgroup"] == first["subgroups"][0]["subgroup"]


# -- how many


def rows_of(found):
    return [record["rows"] for record in found["rounds"]]


def test_no_budget_takes_the_whole_of_the_subgroups(tmp_path):
    found = lab.train(tmp_path, acquire={"budget": None})
    for record in found["rounds"]:
        assert record["rows"] == len(record["groups"])
        assert max((one["in_pool"] for one in record["subgroups"]), default=0) <= record["rows"]
    assert rows_of(found)[0] > 6


@pytest.mark.parametrize(
    ("limits", "check"),
    [
        ({"budget": 2}, lambda rows, hours: max(rows) == 2),
        ({"budget": 0.1}, lambda rows, hours: max(rows) == 3),  # of the first pool, 36 rows
        ({"budget": "4s"}, lambda rows, hours: 0 < max(hours) * 3600 <= 4),
        ({"budget": 5, "total_budget": 7}, lambda rows, hours: rows[:2] == [5, 2] and sum(rows) == 7),
        ({"budget": None, "total_budget": "6s"}, lambda rows, hours: 3 < sum(hours) * 3600 <= 6),
        ({"budget": 3, "total_budget": "100s"}, lambda rows, hours: max(rows) == 3),
        ({"rounds": 1}, lambda rows, hours: len(rows) == 1),
        ({"every": 2}, lambda rows, hours: len(rows) == 1),
        ({"total_budget": 0.05}, lambda rows, hours: sum(rows) == 1),
    ],
    ids=range(9),
)
def test_budgets(tmp_path, limits, check):
    found = lab.train(tmp_path, acquire=limits)
    assert check(rows_of(found), [record["hours"] for record in found["rounds"]]), found["rounds"]


def test_the_pool_runs_dry(tmp_path):
    valid = lab.rows(80, seed=1, first=500)
    everyone = lambda model, pool: hs.select_random(pool, budget=min(20, len(pool)), seed=0, key="id")  # noqa: E731
    found = lab.train(tmp_path, acquire={"acquire": everyone, "budget": None}, valid=valid, num_train_epochs=6)
    assert rows_of(found) == [20, 16] and found["end"] == list(range(60))
    assert [log.get("acquisition/note") for log in found["log"]] == [None, None, "the pool is dry"]


def test_nothing_fits(tmp_path):
    found = lab.train(tmp_path, acquire={"budget": "0.1s"})
    assert rows_of(found) == [0, 0, 0]
    assert "fits into the budget" in found["log"][0]["acquisition/note"] and found["end"] == list(range(24))


def test_no_subgroup_survives(tmp_path):
    found = lab.train(tmp_path, acquire={"redundancy": 0.9})
    assert rows_of(found) == [0, 0, 0] and "0 of" in found["log"][0]["acquisition/note"]


def test_a_perfect_model_acquires_nothing(tmp_path):
    valid = lab.rows(80, seed=1, first=500)
    always = lambda model, ds: ds.add_column("right", [True] * len(ds))  # noqa: E731
    found = lab.train(tmp_path, acquire={"score": always, "outcome": "right"}, valid=valid)
    assert rows_of(found) == [0, 0, 0] and "1 in all 80 rows" in found["log"][0]["acquisition/note"]
    assert found["log"][0]["acquisition/right"] == 1.0


def test_a_budget_smaller_than_a_batch_and_a_round_smaller_than_one(tmp_path):
    found = lab.train(tmp_path, acquire={"budget": 1}, view={"items_per_round": 3})
    assert max(rows_of(found)) == 1 and all(len(epoch) == 1 for epoch in found["epochs"])


# -- other doors


@pytest.mark.parametrize("outcome", ["loss", "confidence", "margin", "entropy"])
def test_other_outcomes_of_a_classifier(tmp_path, outcome):
    found = lab.train(
        tmp_path, acquire={"outcome": outcome, "direction": "higher" if outcome in ("loss", "entropy") else "lower"}
    )
    assert sum(rows_of(found)) > 0 and f"acquisition/{outcome}" in found["log"][0]


def test_rates_of_predictions(tmp_path):
    how = {"outcome": "macro_f1", "predicted": "predicted", "label": "labels"}
    found = lab.train(tmp_path, acquire=how)
    assert sum(rows_of(found)) > 0 and 0 < found["log"][0]["acquisition/macro_f1"] < 1


def test_any_function_that_selects(tmp_path):
    found = lab.train(tmp_path, acquire={"acquire": lab.by_score(10), "budget": 4})
    assert rows_of(found) == [4, 4, 4]
    repeated = lab.train(tmp_path / "again", acquire={"acquire": lab.by_score(10), "budget": 4})
    assert repeated["rounds"] == found["rounds"] and repeated["weights"] == found["weights"]


def test_no_speaker_is_named_in_what_is_kept(tmp_path):
    def spoken(ds):
        return ds.add_column("speaker", [f"person-{number % 9}" for number in range(len(ds))])

    view = ActiveView(spoken(lab.rows()), range(24), 30)
    made = lab.make(tmp_path, view=view, valid=spoken(lab.rows(80, 1, 500)), acquire={"speaker": "speaker"})
    made[0].train()
    found = lab.result(*made)
    assert "person-" not in str(made[2].state()) and "person-" not in str(made[2].selection.facts)
    assert all(0 < one["worst_speaker_share"] <= 1 for one in found["rounds"][0]["subgroups"])


def test_functions_that_do_not_select_are_refused(tmp_path):
    for wrong, error, text in (
        (lambda model, pool: [1, 2], ArgumentError, "must return a Selection of the pool; it returned list"),
        (lambda model, pool: hs.select_random(lab.rows(5), budget=1, seed=0, key="id"), SelectionError, "of 5 rows, and the pool has 36"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            lab.train(tmp_path, acquire={"acquire": wrong})


def test_a_model_that_does_not_classify_asks_for_score(tmp_path):
    with pytest.raises(ArgumentError, match=r"logits of shape \(8, 3\) with no labels.*Pass score="):
        lab.train(tmp_path, valid=lab.rows(80, 1, 500).remove_columns("labels"))


def test_columns_that_the_model_does_not_take_are_not_read(tmp_path):
    """Broken sound beside ready inputs: whoever read it would fail."""
    from datasets import Audio

    def with_sound(ds):
        broken = [{"bytes": b"no sound", "path": None}] * len(ds)
        table = ds.add_column("audio", broken)
        return table.cast_column("audio", Audio(decode=True))

    view = ActiveView(with_sound(lab.rows()), range(24), 30)
    found = lab.train(tmp_path, view=view, valid=with_sound(lab.rows(80, 1, 500)), acquire={"key": "id"})
    assert len(found["rounds"]) == 3


# -- what can be known before


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"by": []}, ArgumentError, "by=, the columns to describe rows by"),
        ({"by": ["age"]}, ColumnError, "validation set: there is no column 'age'"),
        ({"k": -1}, ArgumentError, "k is a whole number of at least 0; got -1"),
        ({"k": 1.5}, ArgumentError, "k is a whole number"),
        ({"every": 0}, ArgumentError, "every is"),
        ({"rounds": 0}, ArgumentError, "rounds is"),
        ({"budget": 0}, BudgetError, "a share of rows kept"),
        ({"total_budget": "2 days"}, BudgetError, "a share of rows kept"),
        ({"budget": "1h", "duration": "seconds"}, ColumnError, "'seconds'"),
        ({"outcome": "wer"}, ArgumentError, "correct, loss.*pass score="),
        ({"fill": "best"}, ArgumentError, "worst_first"),
        ({"redundancy": -1}, ArgumentError, "redundancy"),
        ({"min_suport": 0.1}, ArgumentError, "unknown argument 'min_suport'.*min_support"),
        ({"acquire": "random"}, ArgumentError, "acquire= is a function"),
        ({"key": "name"}, ColumnError, "name"),
    ],
)
def test_arguments(settings, error, text):
    view = ActiveView(lab.rows(), range(24), 30)
    with pytest.raises(error, match=text):
        AcquisitionCallback(view, lab.rows(80, 1, 500), **{**lab.ACQUIRE, **settings})


def test_a_pool_without_the_columns_is_refused():
    view = ActiveView(lab.rows().remove_columns("gender"), range(24), 30)
    with pytest.raises(ColumnError, match="pool: there is no column 'gender'"):
        AcquisitionCallback(view, lab.rows(80, 1, 500), **lab.ACQUIRE)
    with pytest.raises(ArgumentError, match="needs a validation set"):
        AcquisitionCallback(view)


def by_row(extractor):
    return lambda model, valid: hs.score(valid, model, extractor, columns="loss", label="label", overwrite=True)


@pytest.mark.parametrize("row_by_row", [False, True], ids=["batches", "hs.score"])
def test_from_sound(tmp_path, row_by_row):
    """Real waveforms of two lengths, decoded by a transform, padded by a collator, a tiny Wav2Vec2 with checkpointing."""
    ds, model, extractor = lab.sounds()
    ready = ds.with_transform(hs.AudioInputs(extractor, label_column="label"))
    view = ActiveView(ready, range(8), 12)
    score = by_row(extractor) if row_by_row else None
    callback = AcquisitionCallback(view, ready, by="side", outcome="loss", k=1, budget=2, min_support=0.1, score=score)

    def pad(items):
        batch = extractor.pad([{"input_values": item["input_values"]} for item in items], return_tensors="pt")
        return {**batch, "labels": torch.tensor([item["labels"] for item in items])}

    saving = (
        "activation_checkpointing"
        if hasattr(TrainingArguments, "activation_checkpointing")
        else "gradient_checkpointing"
    )
    args = lab.arguments(tmp_path, num_train_epochs=3, per_device_eval_batch_size=5, **{saving: True})
    Trainer(model, args, train_dataset=view, data_collator=pad, callbacks=[callback]).train()
    assert [record["round"] for record in callback.rounds_done] == [1, 2]
    assert callback.rounds_done[0]["rows"] == 2
