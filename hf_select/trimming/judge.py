"""The judge: a classifier trained for a few epochs on all rows, then frozen, whose gradients say what is worth hearing."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.columns import with_columns
from hf_select.errors import ArgumentError, DatasetError
from hf_select.joining import append_columns
from hf_select.readers import NO_VALUE, read_groups
from hf_select.rows import audio_column, require_dataset
from hf_select.scoring.model import load_model
from hf_select.scoring.targets import match_labels
from hf_select.transforms import AudioInputs, Duration

__all__ = ["train_judge"]

log = logging.getLogger("hf_select")

_RECORD = "judge.json"


def train_judge(
    ds: Any,
    model: Any,
    processor: Any = None,
    *,
    out: str | os.PathLike[str],
    label: str = "label",
    epochs: float = 7,
    learning_rate: float = 1e-4,
    batch_size: int = 16,
    seed: int = 0,
    audio: str | None = None,
    audio_root: str | Path | None = None,
    max_seconds: float = 600.0,
    args: Any = None,
) -> Any:
    """Train a classifier on the task for a few epochs, save it, and return it in evaluation mode: MelTrim's judge.

    Reads:
        The audio column, and `label`: names, or a ClassLabel, matched by name with the model's.

    Args:
        ds: a map-style dataset, the whole of it (the judge sees all rows).
        model: an audio classifier of transformers or of `hf_select.models`; or the name or folder of a checkpoint, which
            gets a new head with the labels of `ds`. The paper takes Whisper-tiny's encoder with a new head
            ("openai/whisper-tiny"), wav2vec2 as an ablation, and RawNet3 for speakers, in the place of which
            "Wav2Vec2ForXVector" models are not trained here: give a speaker classifier.
        processor: its feature extractor; None looks beside a checkpoint.
        out: folder for the judge. One that was trained there before, on the same rows in the same way, is loaded; one that
            was stopped goes on from its last checkpoint.
        epochs: 7 is the paper's number ("a few epochs", elsewhere "to convergence").
        learning_rate, batch_size, seed: not in the paper; these are ours.
        audio, audio_root, max_seconds: the audio column; the folder that its paths may not leave; longer clips are left out.
        args: `TrainingArguments` to use instead of epochs, learning_rate, batch_size and seed (`output_dir` is `out`).

    Returns:
        The model, in evaluation mode, saved with its feature extractor in `out`. Its parameters keep their flags: the
        gradients of those that were trained are what `score_segments` measures.

    Raises:
        ArgumentError: no classifier, or nothing beside it makes its inputs. DatasetError: one class, or no row can be used.
        ColumnError: a label that the model does not have.

    Reference:
        Wang et al., "MelTrim", sections 2.3 ("The Judge Model as a Task-Aligned Proxy") and 3.1.

    Relations:
        `meltrim` and `score_segments` take it.
    """
    from transformers import Trainer, TrainingArguments

    from hf_select.training import last_whole_checkpoint

    require_dataset(ds, "train_judge")
    out = Path(out)
    rows = _usable(ds, label, audio, audio_root, max_seconds)
    module, extractor = _opened(model, processor, rows, label, seed)
    numbers = match_labels(rows, label, _places(rows), {name: n for n, name in module.config.id2label.items()})
    if len(set(numbers)) < 2:
        raise DatasetError(f"Column {label!r} holds one class in the rows that can be used: there is nothing to judge.")
    args = args or TrainingArguments(
        str(out), num_train_epochs=epochs, learning_rate=learning_rate, per_device_train_batch_size=batch_size, seed=seed,
        save_strategy="epoch", save_total_limit=1, report_to="none", logging_strategy="epoch",
    )  # fmt: skip
    args.output_dir, args.remove_unused_columns = str(out), False
    known = load_model(module, extractor)
    record = _record(rows, numbers, known.digest, args)
    if _is_done(out, record):
        log.info("train_judge: the judge of these rows was found in %s", out)
        return type(module).from_pretrained(out).eval()
    ready = append_columns(rows, pa.table({"judge_label": pa.array(numbers, pa.int64())}))
    inputs = AudioInputs(
        extractor,
        column=audio or str(audio_column(ds)),
        label_column="judge_label",
        audio_root=audio_root,
        max_seconds=max_seconds,
    )
    trainer = Trainer(module, args, train_dataset=ready.with_transform(inputs), data_collator=_Collator(extractor))
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(out))
    trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        extractor.save_pretrained(out)
        temporary = out / f"{_RECORD}.tmp"
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        temporary.replace(out / _RECORD)
    judge: Any = trainer.model
    return judge.eval()


def _opened(model: Any, processor: Any, ds: Any, label: str, seed: int) -> tuple[Any, Any]:
    """Return (classifier, feature extractor); a new head has the same weights for the same seed."""
    import torch
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    if isinstance(model, str | os.PathLike):
        names = sorted({str(name) for name in read_groups(ds, label, "label=")})
        heads: dict[str, Any] = {
            "id2label": dict(enumerate(names)),
            "label2id": {name: n for n, name in enumerate(names)},
        }
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                module = AutoModelForAudioClassification.from_pretrained(
                    str(model), **heads, ignore_mismatched_sizes=True
                )
            processor = processor if processor is not None else AutoFeatureExtractor.from_pretrained(str(model))
        except (OSError, ValueError) as error:
            raise ArgumentError(f"{str(model)!r} can't be loaded as a classifier of sound: {error}") from error
    else:
        module = model
    known = load_model(module, processor)
    if known.kind != "classifier":
        raise ArgumentError(f"The judge is a classifier, and {known.name} is of kind {known.kind}.")
    return known.module, known.extractor


def _usable(ds: Any, label: str, audio: str | None, audio_root: Any, max_seconds: float) -> Any:
    """Return the rows with a label whose sound can be read."""
    names = read_groups(ds, label, "label=")
    column = audio or str(audio_column(ds))
    measured = with_columns(
        ds,
        Duration(
            column=column, duration_column="judge_seconds", audio_root=audio_root, max_seconds=max_seconds,
            status_column="judge_status",
        ),
    )  # fmt: skip
    fine = np.array([text == "ok" for text in measured["judge_status"][:]]) & (names != NO_VALUE)
    if not fine.any():
        raise DatasetError(f"None of {len(ds)} rows has both a label and sound that can be read.")
    if not fine.all():
        log.warning(
            "train_judge: %d of %d rows have no label, or no sound that can be read: left out.", (~fine).sum(), len(ds)
        )
    return ds.select(np.flatnonzero(fine))


def _places(ds: Any) -> np.ndarray:
    from hf_select.rows import base_positions

    positions = base_positions(ds)
    return np.arange(len(ds)) if positions is None else positions


def _record(rows: Any, numbers: Sequence[int | None], digest: str, args: Any) -> dict[str, Any]:
    from hf_select.rows import RowKey

    keys = RowKey.choose(rows, None).of(rows).to_pylist()
    text = json.dumps([[str(key), number] for key, number in zip(keys, numbers, strict=True)])
    names = (
        "num_train_epochs",
        "max_steps",
        "learning_rate",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "seed",
    )
    how = {name: getattr(args, name) for name in names}
    return {"rows": hashlib.sha256(text.encode()).hexdigest(), "start": digest, **how}


def _is_done(out: Path, record: Mapping[str, Any]) -> bool:
    """Return whether a judge of this record lies in a folder.

    Raises:
        ArgumentError: another judge lies there.
    """
    try:
        found = json.loads((out / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if found != record:
        wrong = ", ".join(name for name in record if found.get(name) != record[name])
        raise ArgumentError(f"{out} holds a judge with another {wrong}: choose another out=.")
    return True


class _Collator:
    """Puts what an extractor made of clips into one batch, filled up by the extractor where lengths differ."""

    def __init__(self, extractor: Any) -> None:
        self.extractor = extractor

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        import torch

        names = [name for name in items[0] if name != "labels"]
        arrays = {name: [np.asarray(item[name]) for item in items] for name in names}
        if all(len({array.shape for array in own}) == 1 for own in arrays.values()):
            batch = {name: torch.from_numpy(np.stack(own)) for name, own in arrays.items()}
        else:
            batch = dict(self.extractor.pad(arrays, padding=True, return_tensors="pt"))
        return {**batch, "labels": torch.tensor([item["labels"] for item in items])}
