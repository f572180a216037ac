"""Trainings of a tiny real network on made-up rows, whose every batch is written down: in this process or as a script.

lab.py FOLDER '{"callback": "acquire", ...}'     # under torchrun: a result of each rank in FOLDER/result-<rank>.json
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

import hf_select as hs
from hf_select.models import LeNetConfig, LeNetForAudioClassification
from hf_select.training import AcquisitionCallback, ActiveView, RoundsCallback

FRAMES, MFCC = 8, 4
CLASSES = 3
SCALE = 1024.0  # a row stands in the first number of its features, as row / SCALE: exact in float32


def rows(count: int = 60, seed: int = 0, first: int = 0) -> Dataset:
    """Rows of three classes; those of "rare" speakers in noise are told apart by another rule than the rest."""
    rng = np.random.default_rng([seed, first])
    labels = rng.integers(0, CLASSES, count)
    gender = rng.choice(["f", "m"], count)
    noisy = rng.random(count) < 0.4
    features = rng.normal(0, 0.5, (count, FRAMES, MFCC)).astype(np.float32)
    hard = noisy & (gender == "f")
    features[np.arange(count), 2, np.where(hard, (labels + 1) % CLASSES, labels)] += 3
    features[:, 0, 0] = (first + np.arange(count)) / SCALE
    table = {
        "input_features": pa.array(list(features.reshape(count, -1))),
        "labels": pa.array(labels),
        "gender": pa.array(gender.tolist()),
        "noisy": pa.array(noisy),
        "duration": pa.array(np.round(rng.uniform(0.5, 2.0, count), 3)),
        "id": pa.array([f"row-{first + number}" for number in range(count)]),
    }
    return Dataset(pa.table(table))


def network(seed: int = 0) -> LeNetForAudioClassification:
    torch.manual_seed(seed)
    layers = {"conv_channels": [4], "conv_kernels": [[2, 2]], "dense_sizes": [8]}
    return LeNetForAudioClassification(
        LeNetConfig(**layers, num_frames=FRAMES, num_mfcc=MFCC, num_labels=CLASSES, dropout=0.2)
    )


def sounds(count: int = 24):
    """Return (tones of two pitches and many lengths as an audio dataset, a tiny Wav2Vec2, its extractor)."""
    from datasets import Audio
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    from hf_select.audio import wave_bytes

    rng, clips = np.random.default_rng(0), []
    for number in range(count):
        wave = 0.3 * np.sin(np.arange(1600 + 40 * number) * (0.05 + 0.1 * (number % 2)))
        noise = rng.normal(0, 0.02, len(wave))
        clips.append({"bytes": wave_bytes((wave + noise).astype(np.float32), 16000), "path": f"{number}.wav"})
    labels, sides = [number % 2 for number in range(count)], ["abc"[number % 3] for number in range(count)]
    ds = Dataset.from_dict({"audio": clips, "label": labels, "side": sides})
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(16, 16),
        conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, mask_time_prob=0.0, id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1},
    )  # fmt: skip
    model, extractor = Wav2Vec2ForSequenceClassification(config), Wav2Vec2FeatureExtractor()
    return ds.cast_column("audio", Audio(decode=False)), model, extractor


class Recorder(TrainerCallback):
    """Writes down the rows of every batch that the model is trained on, epoch by epoch, and the active rows."""

    def __init__(self, view: ActiveView) -> None:
        self.view, self.epochs, self.active = view, [], []

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.hook = model.register_forward_pre_hook(self._see, with_kwargs=True)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epochs.append([])
        self.active.append(self.view.active.tolist())

    def on_train_end(self, args, state, control, **kwargs):
        self.hook.remove()

    def _see(self, model, args, kwargs):
        if model.training:
            first = kwargs["input_features"].reshape(len(kwargs["input_features"]), -1)[:, 0]
            self.epochs[-1].append([round(float(value) * SCALE) for value in first])


def arguments(folder, **changes) -> TrainingArguments:
    settings = {
        "output_dir": str(folder), "num_train_epochs": 4, "per_device_train_batch_size": 4, "learning_rate": 0.02,
        "per_device_eval_batch_size": 8, "logging_steps": 3, "save_strategy": "no", "report_to": "none", "use_cpu": True,
        "disable_tqdm": True, "seed": 5, "dataloader_pin_memory": False,
    }  # fmt: skip
    return TrainingArguments(**{**settings, **changes})


ACQUIRE = {"by": ["gender", "noisy"], "outcome": "correct", "k": 2, "budget": 6, "min_support": 0.05}


def make(folder, callback: str = "acquire", view=None, acquire=None, extra=(), valid=None, model=None, **changes):
    """Return (trainer, view, callback, recorder)."""
    ds = rows()
    view = (
        view
        if isinstance(view, ActiveView)
        else ActiveView(ds, **{"start": range(24), "items_per_round": 30, **(view or {})})
    )
    valid = rows(80, seed=1, first=500) if valid is None else valid
    made = {
        "acquire": lambda: AcquisitionCallback(view, valid, **{**ACQUIRE, **(acquire or {})}),
        "rounds": lambda: RoundsCallback(view),
    }[callback]()
    recorder = Recorder(view)
    trainer = Trainer(
        network() if model is None else model, arguments(folder, **changes), train_dataset=view, eval_dataset=valid,
        callbacks=[made, *extra, recorder],
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    return trainer, view, made, recorder


def weights(model) -> str:
    sha = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        sha.update(name.encode() + value.detach().float().cpu().numpy().tobytes())
    return sha.hexdigest()


def result(trainer, view, made, recorder) -> dict:
    return {
        "weights": weights(trainer.model),
        "epochs": recorder.epochs,
        "active": recorder.active,
        "rounds": getattr(made, "rounds_done", []),
        "end": view.active.tolist(),
        "log": [entry for entry in trainer.state.log_history if any(key.startswith("acq") for key in entry)],
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
    }


def train(folder, resume: bool = False, **settings) -> dict:
    """Train, or go on from the last checkpoint if there is one, and return what happened."""
    made = make(folder, **settings)
    there = list(Path(folder).glob("checkpoint-*"))
    made[0].train(resume_from_checkpoint=True if resume and there else None)
    return result(*made)


def by_score(budget: int):
    """Return a function that acquires the rows of which a model is least sure, by `hs.score`... of thin rows: their loss."""

    def acquire(model, pool):
        features = torch.tensor(np.array(pool["input_features"]), dtype=torch.float32)
        with torch.no_grad():
            sure = model(input_features=features).logits.softmax(-1).max(-1).values.numpy()
        return hs.select_by_score(
            pool.add_column("sure", sure.astype(float).tolist()), budget=budget, column="sure", keep="lowest", key="id"
        )

    return acquire


def main(folder: str, settings: str) -> None:
    torch.set_num_threads(1)
    found = train(folder, **json.loads(settings))
    rank = os.environ.get("RANK", "0")
    Path(folder, f"result-{rank}.json").write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
