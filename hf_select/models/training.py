"""Train a LeNet from scratch and test it, alone or beside others: how a subset is judged.

A loop of its own, not the Trainer: under torchrun the Trainer would make all processes train one network together,
and here each trains another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from hf_select.errors import ArgumentError
from hf_select.models.lenet import LeNetConfig, LeNetForAudioClassification

__all__ = ["Trained", "train_and_test"]

Inputs = Mapping[str, torch.Tensor]

TEST_BATCH = 256
PLATEAU = 5  # epochs without a better validation loss after which the rate is reduced,
FACTOR = 0.3  # to this part of it


@dataclass(frozen=True)
class Trained:
    """A network that was trained and tested.

    Attributes:
        model: the network; with a validation set, as it was after the best epoch.
        loss, accuracy: on the test set: mean cross entropy in nats, share of rows that are right.
        validation_loss: the best; None without a validation set.
        epochs, best_epoch, steps: how long it trained (epochs from 1), and which epoch was the best or the last.
        seconds: of training, with the looks at the validation set and without the test.
    """

    model: LeNetForAudioClassification
    loss: float
    accuracy: float
    validation_loss: float | None
    epochs: int
    best_epoch: int
    steps: int
    seconds: float


def train_and_test(
    config: LeNetConfig,
    train: Inputs,
    test: Inputs,
    *,
    validation: Inputs | None = None,
    seed: int,
    epochs: int = 170,
    batch_size: int = 512,
    learning_rate: float = 5e-3,
    patience: int = 15,
    steps_per_epoch: int | None = None,
    device: Any = None,
) -> Trained:
    """Train a LeNet by Adam and test it.

    With a validation set as the cluster-pruning paper: the rate is reduced when the loss there stands still (after 5
    epochs, to 0.3 of it), training ends when it has not improved for `patience` epochs, and the best weights are kept;
    these three numbers are ours. Without one the rate falls to zero along a cosine over all epochs.

    Reads:
        `input_features` and `labels` as tensors: `extractor.inputs(ds)[:]`.

    Args:
        config: the network.
        train, test, validation: all rows of each, in memory.
        seed: of weights, batches and dropout; on a CPU the same seed gives the same numbers. Nobody else's random
            numbers are touched.
        epochs: at most.
        batch_size: rows a step; the last batch of a pass is smaller.
        learning_rate: the paper's.
        patience: epochs; 0 never stops early.
        steps_per_epoch: steps that count as an epoch; None: one pass. Another number makes sets of any size take the
            same number of steps.
        device: None takes a GPU where there is one. On a CPU one thread works: more only lose time.

    Raises:
        ArgumentError: no rows, or a number out of its range.
    """
    _check(train, test, validation, epochs, batch_size, learning_rate, patience, steps_per_epoch)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    with _alone(place):
        torch.manual_seed(seed)
        started = time.perf_counter()
        model = LeNetForAudioClassification(config)
        model.to(place)  # type: ignore[arg-type]  # its stubs
        run = _Run(model, _on(train, place), validation and _on(validation, place), learning_rate, batch_size)
        per_epoch = steps_per_epoch or run.steps_a_pass
        run.train(epochs, per_epoch, patience or epochs)
        seconds = time.perf_counter() - started
        loss, accuracy = _test(model, _on(test, place))
    return Trained(
        model,
        loss,
        accuracy,
        run.best_loss if validation else None,
        run.epoch,
        run.best_epoch,
        run.epoch * per_epoch,
        seconds,
    )


class _Run:
    """One network in training."""

    def __init__(
        self,
        model: LeNetForAudioClassification,
        train: Inputs,
        validation: Inputs | None,
        learning_rate: float,
        batch_size: int,
    ) -> None:
        self.model, self.data, self.validation, self.batch_size = model, train, validation, batch_size
        self.adam = torch.optim.Adam(model.parameters(), lr=learning_rate)
        self.steps_a_pass = -(-len(train["labels"]) // batch_size)
        self.epoch = self.best_epoch = 0
        self.best_loss = float("inf")

    def train(self, epochs: int, steps: int, patience: int) -> None:
        batches, best = self._batches(), None
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.adam, factor=FACTOR, patience=PLATEAU)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(self.adam, epochs * steps)
        while self.epoch < epochs and self.epoch - self.best_epoch < patience:
            self.model.train()
            for _ in range(steps):
                rows = next(batches)
                loss = self.model(self.data["input_features"][rows], labels=self.data["labels"][rows]).loss
                self.adam.zero_grad()
                loss.backward()
                self.adam.step()
                if self.validation is None:
                    cosine.step()
            self.epoch += 1
            if self.validation is None:
                self.best_epoch = self.epoch
                continue
            found, _ = _test(self.model, self.validation)
            plateau.step(found)
            if found < self.best_loss:
                self.best_loss, self.best_epoch = found, self.epoch
                best = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        if best is not None:
            self.model.load_state_dict(best)
        self.model.eval()

    def _batches(self) -> Iterator[torch.Tensor]:
        """Yield batches of rows for ever, each row once a pass, in another order each time."""
        count = len(self.data["labels"])
        while True:
            yield from torch.randperm(count).to(self.data["labels"].device).split(self.batch_size)


@torch.no_grad()
def _test(model: LeNetForAudioClassification, data: Inputs) -> tuple[float, float]:
    """Return (mean cross entropy, accuracy)."""
    model.eval()
    logits = torch.cat([model(some).logits for some in data["input_features"].split(TEST_BATCH)]).double()
    right = (logits.argmax(dim=-1) == data["labels"]).double().mean()
    return float(cross_entropy(logits, data["labels"])), float(right)


def _on(data: Inputs, device: torch.device) -> Inputs:
    return {name: data[name].to(device) for name in ("input_features", "labels")}


@contextmanager
def _alone(device: torch.device) -> Iterator[None]:
    """Use one thread on a CPU, and random numbers that nobody else sees."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if device.type == "cpu":
                torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(threads)


def _check(train: Inputs, test: Inputs, validation: Inputs | None, epochs: int, *numbers: float | None) -> None:
    for name, data in (("train", train), ("test", test), ("validation", validation)):
        if data is not None and not len(data["labels"]):
            raise ArgumentError(f"train_and_test: there are no rows in {name}.")
    batch_size, learning_rate, patience, steps = numbers
    legal = epochs >= 1 and (batch_size or 0) >= 1 and (learning_rate or 0) > 0 and (patience or 0) >= 0
    if not legal or (steps is not None and steps < 1):
        raise ArgumentError(
            "train_and_test: epochs, batch_size and steps_per_epoch are at least 1, learning_rate is above 0, patience "
            f"at least 0; got {epochs}, {batch_size}, {steps}, {learning_rate}, {patience}."
        )
