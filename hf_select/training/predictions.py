"""The validation pass of a callback: the Trainer's own batches through the model in training, on all its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import DataLoader

from hf_select.errors import ArgumentError
from hf_select.scoring.columns import classifier_columns

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainingArguments

__all__ = ["COLUMNS", "predict"]

COLUMNS = ("predicted", "correct", "loss", "confidence", "margin", "entropy")


def predict(model: Any, ds: Dataset, collate: Callable[..., Any], args: TrainingArguments) -> pa.Table:
    """Return what a classifier says about each row: the columns `COLUMNS` as in `hf_select.score`.

    Rows are put together as in `Trainer.evaluate` on one process, `per_device_eval_batch_size` in a batch in their
    order, whatever the number of processes: these take turns over the batches. Every process gets all columns.

    Reads:
        What the collator and the model want of a row, with whole-number labels.

    Args:
        model: as it stands, in evaluation mode.
        ds: the rows, in the same form as the training rows.
        collate: the collator of the training.
        args: of the training: batch size, workers, device, and who this process is.

    Raises:
        ArgumentError: no labels in the batches, or a model that does not classify.
    """
    from accelerate.utils import gather_object

    size = args.eval_batch_size
    batches = [list(range(start, min(start + size, len(ds)))) for start in range(0, len(ds), size)]
    mine = batches[args.process_index :: args.world_size]
    workers = args.dataloader_num_workers
    loader = DataLoader(
        ds,  # type: ignore[arg-type]  # it has __getitems__
        batch_sampler=mine,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None) if workers else None,
        generator=torch.Generator(),
    )
    found = [(rows, *_classify(model, batch, args.device)) for rows, batch in zip(mine, loader, strict=True)]
    logits: list[Any] = [None] * len(ds)
    labels: list[Any] = [None] * len(ds)
    for rows, row_logits, row_labels in gather_object(found):
        for row, own, label in zip(rows, row_logits, row_labels, strict=True):
            logits[row], labels[row] = own, label
    columns = classifier_columns(np.stack(logits), labels)
    return pa.table({name: [None if value != value else value for value in columns[name]] for name in COLUMNS})


def _classify(model: Any, batch: Mapping[str, Any], device: Any) -> tuple[np.ndarray, list[int | None]]:
    """Return (logits, labels) of one batch; a negative label is none."""
    inputs = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
        if name not in ("labels", "label")
    }
    labels = batch.get("labels", batch.get("label"))
    with torch.no_grad():
        logits = getattr(model(**inputs), "logits", None)
    if labels is None or logits is None or logits.ndim != 2 or np.ndim(labels) != 1:
        seen = "no logits" if logits is None else f"logits of shape {tuple(logits.shape)}"
        which = "no labels" if labels is None else f"labels of shape {np.shape(labels)}"
        raise ArgumentError(
            f"AcquisitionCallback judges classifiers by one label a row, and {type(model).__name__} gave {seen} with {which}. "
            "Pass score=, a function (model, validation) that returns the validation set with the column that outcome= "
            "names, for example by hf_select.score(validation, model, processor, columns='wer', overwrite=True)."
        )
    return logits.float().cpu().numpy(), [int(label) if label >= 0 else None for label in labels.tolist()]
