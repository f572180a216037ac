"""train_and_test against a plain loop written here, and what it promises about stopping, steps, seeds and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from hf_select.errors import ArgumentError
from hf_select.models import LeNetConfig, LeNetForAudioClassification, train_and_test

CONFIG = LeNetConfig(size="small", num_frames=39, num_labels=3)


def make(rows: int, seed: int, noise: float = 3.0) -> dict[str, torch.Tensor]:
    """Matrices with a bump whose place tells the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    matrices = rng.normal(0, noise, (rows, 39, 32))
    for row, label in enumerate(labels):
        matrices[row, 10 * label : 10 * label + 12] += 0.5
    return {"input_features": torch.tensor(matrices, dtype=torch.float32).flatten(1), "labels": torch.tensor(labels)}


TRAIN, VALIDATION, TEST = make(90, 0), make(40, 1), make(60, 2)


def judge(model, data):
    with torch.no_grad():
        logits = model.eval()(data["input_features"]).logits
    right = (logits.argmax(-1) == data["labels"]).float().mean()
    return float(cross_entropy(logits, data["labels"])), float(right)


def naive(epochs: int, patience: int, batch: int, seed: int):
    """Return (test loss, test accuracy, epochs done, best epoch), written out step by step."""
    torch.manual_seed(seed)
    model = LeNetForAudioClassification(CONFIG)
    adam = torch.optim.Adam(model.parameters(), lr=5e-3)
    best, best_epoch, weights, rate, waiting, lowest = np.inf, 0, None, 5e-3, 0, np.inf
    epoch = 0
    while epoch < epochs and epoch - best_epoch < patience:
        epoch += 1
        model.train()
        order = torch.randperm(90)
        for start in range(0, 90, batch):
            rows = order[start : start + batch]
            loss = cross_entropy(model(TRAIN["input_features"][rows]).logits, TRAIN["labels"][rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
        found, _ = judge(model, VALIDATION)
        if found < best:
            best, best_epoch, weights = found, epoch, {k: v.clone() for k, v in model.state_dict().items()}
        if found < lowest * (1 - 1e-4):  # torch's threshold for a plateau
            lowest, waiting = found, 0
        else:
            waiting += 1
        if waiting > 5:
            rate, waiting = rate * 0.3, 0
            adam.param_groups[0]["lr"] = rate
    model.load_state_dict(weights)
    return *judge(model, TEST), epoch, best_epoch


def test_the_paper_s_recipe_step_by_step():
    before = torch.random.get_rng_state()
    found = train_and_test(CONFIG, TRAIN, TEST, validation=VALIDATION, seed=4, epochs=60, batch_size=16, patience=12)
    assert torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng():
        loss, accuracy, epochs, best = naive(60, 12, 16, 4)
    assert (found.epochs, found.best_epoch) == (epochs, best) and best + 12 == epochs < 60  # it did stop early
    assert found.steps == epochs * 6 and found.accuracy == pytest.approx(accuracy) and loss > 0.05
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert judge(found.model, VALIDATION)[0] == pytest.approx(found.validation_loss, rel=1e-5)  # the best weights
    assert found.accuracy > 0.5  # of three classes: it learns


def test_the_seed_decides_whatever_the_threads():
    threads = torch.get_num_threads()
    first, again, other = (
        train_and_test(CONFIG, TRAIN, TEST, seed=seed, epochs=2, batch_size=32).loss for seed in (0, 0, 1)
    )
    torch.set_num_threads(2)
    try:
        assert train_and_test(CONFIG, TRAIN, TEST, seed=0, epochs=2, batch_size=32).loss == first == again != other
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_without_validation_the_rate_falls_along_a_cosine(monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda self, *args: (rates.append(self.param_groups[0]["lr"]), step(self, *args))[1]
    )
    found = train_and_test(CONFIG, TRAIN, TEST, seed=0, epochs=3, batch_size=32)
    assert found.steps == 9 == len(rates) and found.best_epoch == 3 and found.validation_loss is None
    assert rates == pytest.approx([5e-3 * (1 + np.cos(np.pi * n / 9)) / 2 for n in range(9)])


def test_steps_an_epoch_make_sets_of_any_size_equal():
    some = {name: values[:20] for name, values in TRAIN.items()}
    arguments = {"validation": VALIDATION, "seed": 0, "epochs": 4, "batch_size": 16, "patience": 0}
    assert train_and_test(CONFIG, TRAIN, TEST, **arguments).steps == 24
    assert train_and_test(CONFIG, some, TEST, **arguments).steps == 8
    found = train_and_test(CONFIG, some, TEST, steps_per_epoch=6, **arguments)
    assert found.steps == 24 and found.epochs == 4


def test_errors():
    none = {name: values[:0] for name, values in TRAIN.items()}
    with pytest.raises(ArgumentError, match="no rows in validation"):
        train_and_test(CONFIG, TRAIN, TEST, validation=none, seed=0)
    for wrong in ({"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"patience": -1}, {"steps_per_epoch": 0}):
        with pytest.raises(ArgumentError, match="at least 1"):
            train_and_test(CONFIG, TRAIN, TEST, seed=0, **wrong)
