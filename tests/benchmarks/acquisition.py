"""What acquisition adds to a training: the seconds of a round's decision beside one pass over the validation set.

    python tests/benchmarks/acquisition.py [ROUNDS]

One run, a LeNet (small) on made-up rows with five columns: in each epoch the decision of the callback is timed, then
`trainer.evaluate()` over the same validation set, then the training of the epoch. Medians over the epochs but the first
two (compiled code is loaded there). The goal: a decision takes no more than one validation pass and 5 % of its round.
And, in the same run, the same number of epochs with the callback that only deals rounds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

import hf_select as hs
from hf_select.models import LeNetConfig, LeNetForAudioClassification
from hf_select.training import RoundsCallback

FRAMES, MFCC, CLASSES = 99, 32, 12
START, POOL, VALIDATION = 4000, 20_000, 1500


def rows(count: int, seed: int) -> Dataset:
    """Make rows of noise with a trace of their class, and columns that describe them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    features = rng.normal(0, 1, (count, FRAMES, MFCC)).astype(np.float32)
    features[np.arange(count), 10 + labels, :8] += 1.5
    table = {
        "input_features": pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), FRAMES * MFCC),
        "labels": pa.array(labels),
        "gender": pa.array(rng.choice(["female", "male"], count)),
        "age": pa.array(rng.integers(18, 90, count)),
        "accent": pa.array(rng.choice(list("abcdefgh"), count)),
        "snr_db": pa.array(rng.uniform(-5, 30, count)),
        "words_per_second": pa.array(rng.uniform(1, 5, count)),
    }
    return Dataset(pa.table(table)).with_format("torch", columns=["input_features", "labels"])


class Times(TrainerCallback):
    """Times one evaluation at the end of each epoch, and the epoch itself."""

    trainer: Trainer

    def __init__(self) -> None:
        self.passes: list[float] = []
        self.epochs: list[float] = []

    def on_step_begin(self, args, state, control, **kwargs):
        if self.started is None:
            self.started = time.perf_counter()

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.started = None

    def on_epoch_end(self, args, state, control, **kwargs):
        self.epochs.append(time.perf_counter() - self.started)
        started = time.perf_counter()
        self.trainer.evaluate()
        self.passes.append(time.perf_counter() - started)


def train(pool: Dataset, validation: Dataset, rounds: int, acquire: bool) -> tuple[list[float], Times, float]:
    """Train for so many rounds; return (seconds of decisions, times, seconds in all)."""
    view = hs.ActiveView(pool, range(START), START)
    by = ["gender", "age", "accent", "snr_db", "words_per_second"]
    made = (
        hs.AcquisitionCallback(view, validation, by=by, k=2, budget=200, min_support=0.03, redundancy=0.01)
        if acquire
        else None
    )
    times = Times()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder, num_train_epochs=rounds, per_device_train_batch_size=64, per_device_eval_batch_size=128, learning_rate=2e-3,
            report_to="none", save_strategy="no", logging_strategy="no", use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        model = LeNetForAudioClassification(LeNetConfig(size="small", num_labels=CLASSES))
        trainer = Trainer(
            model, args, train_dataset=view, eval_dataset=validation, callbacks=[made or RoundsCallback(view), times]
        )
        trainer.remove_callback(PrinterCallback)
        times.trainer = trainer
        started = time.perf_counter()
        trainer.train()
        spent = time.perf_counter() - started
        decisions = [log["acquisition/seconds"] for log in trainer.state.log_history if "acquisition/seconds" in log]
    return decisions, times, spent


def main(rounds: int) -> int:
    """Measure, print, and return 1 if the goal is missed."""
    pool, validation = rows(START + POOL, 0), rows(VALIDATION, 1)
    decisions, times, spent = train(pool, validation, rounds, acquire=True)
    _, _, plain = train(pool, validation, rounds, acquire=False)
    decision, one_pass, epoch = (
        statistics.median(values) for values in (decisions[1:], times.passes[2:], times.epochs[2:])
    )
    share = (decision - one_pass) / epoch
    print(f"{START} items a round, {VALIDATION} validation rows, {POOL} rows in the pool, {rounds} rounds; medians")
    print(f"  decision (measure, find, choose)   {decision:8.3f} s")
    print(f"  one validation pass of the Trainer {one_pass:8.3f} s")
    print(f"  training of a round                {epoch:8.3f} s")
    print(
        f"  decision beyond the pass           {share:8.1%} of a round   < 5 %  {'met' if share < 0.05 else 'MISSED'}"
    )
    print(f"  whole run / run without decisions  {spent / plain:8.3f} x")
    return int(share >= 0.05)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
