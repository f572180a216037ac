"""Trainings whose every logit is written down by the Trainer itself, and the numbers that follow, by a plain loop.

dynamics_lab.py FOLDER '{"world": 2, ...}'     # under torchrun: what each rank saw in FOLDER/seen-<rank>.json
"""

from __future__ import annotations

import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import lab
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback, Wav2Vec2Config, Wav2Vec2ForSequenceClassification

from hf_select.training import AcquisitionCallback, ActiveView, RoundsCallback, TrainingDynamicsCallback


class Recording(Trainer):
    """Writes down [step, micro-batch, rows, labels, logits] of every batch that is trained on."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        rows = [round(float(row.flatten()[0]) * lab.SCALE) for row in inputs[self.model.main_input_name]]
        labels = inputs["labels"].tolist()  # the label smoother takes them away
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            self.seen = getattr(self, "seen", [])
            step = self.state.global_step
            micro = sum(one[0] == step for one in self.seen)
            self.seen.append([step, micro, rows, labels, outputs.logits.detach().float().tolist()])
        return (loss, outputs) if return_outputs else loss


class StopAfter(TrainerCallback):
    """Ends a training in the middle, as by Ctrl-C, once a checkpoint was written at this step."""

    def __init__(self, step):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def expected(parts: list[list], count: int) -> dict[str, list]:
    """Return what the callback should say: parts are what each rank saw."""
    visits: list[list] = [[] for _ in range(count)]
    for step, micro in sorted({(one[0], one[1]) for part in parts for one in part}):
        for part in parts:
            for one in part:
                if (one[0], one[1]) == (step, micro):
                    for row, label, logits in zip(*one[2:], strict=True):
                        visits[row].append((label, logits))
    found: dict[str, list] = {"forgetting_events": [], "aum": [], "visits": [], "first_learnt": []}
    for own in visits:
        right = [max(range(len(logits)), key=logits.__getitem__) == label for label, logits in own]
        margin, events = 0.0, 0.0
        for label, logits in own:
            rest = [np.float32(value) for number, value in enumerate(logits) if number != label]
            margin += float(np.float32(logits[label]) - max(rest))
        for before, after in pairwise(right):
            events += before and not after
        found["visits"].append(len(own))
        found["aum"].append(margin / len(own) if own else None)
        found["forgetting_events"].append((events if any(right) else float("inf")) if own else None)
        found["first_learnt"].append(right.index(True) + 1 if any(right) else None)
    return found


def sounds() -> Dataset:
    """Waves for a tiny Wav2Vec2; a row stands in the first sample."""
    rng = np.random.default_rng(0)
    waves = rng.normal(0, 0.3, (40, 400)).astype(np.float32)
    waves[:, 0] = np.arange(40) / lab.SCALE
    return Dataset(pa.table({"input_values": pa.array(list(waves)), "labels": pa.array(rng.integers(0, 3, 40))}))


def listener() -> Wav2Vec2ForSequenceClassification:
    torch.manual_seed(0)
    return Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(16, 16),
            conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2, mask_time_prob=0.0, num_labels=3,
        )
    )  # fmt: skip


def make(folder, names=("dynamics",), view=None, ds=None, model=None, extra=(), acquire=None, **changes):
    """Return (trainer, view, the callbacks by their names)."""
    ds = lab.rows() if ds is None else ds
    settings = {"start": range(24), "items_per_round": 37, **(view or {})}
    view = view if isinstance(view, ActiveView) else ActiveView(ds, **settings)
    valid = lab.rows(80, seed=1, first=500)
    kinds = {
        "dynamics": lambda: TrainingDynamicsCallback(view),
        "acquire": lambda: AcquisitionCallback(view, valid, **{**lab.ACQUIRE, **(acquire or {})}),
        "rounds": lambda: RoundsCallback(view),
    }
    made = {name: kinds[name]() for name in names}
    trainer = Recording(
        lab.network() if model is None else model, lab.arguments(folder, **changes), train_dataset=view,
        eval_dataset=valid, callbacks=[*made.values(), *extra],
    )  # fmt: skip
    return trainer, view, made


def train(folder, resume: bool = False, stop: int | None = None, **settings):
    """Train, and return (what the callback says, what was seen, weights, rounds acquired)."""
    extra = [] if stop is None else [StopAfter(stop)]
    trainer, _, made = make(folder, extra=[*settings.pop("extra", ()), *extra], **settings)
    try:
        trainer.train(resume_from_checkpoint=resume or None)
    except KeyboardInterrupt:
        return None
    says = made["dynamics"].columns().to_pydict() if "dynamics" in made else None
    rounds = made["acquire"].rounds_done if "acquire" in made else []
    return says, trainer.seen, lab.weights(trainer.model), rounds


class Saver(TrainerCallback):
    """Asks for a checkpoint after steps 4 and 5."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step in (4, 5)


def main(folder: str, text: str) -> None:
    torch.set_num_threads(1)
    settings = json.loads(text)
    if settings.pop("saver", False):
        settings["extra"] = [Saver()]
    found = train(folder, **settings)
    Path(folder, f"seen-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
