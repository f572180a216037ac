"""Visits: each time a row goes through a model in training, was it right and by what margin? Seen, and entered."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, SelectionError
from hf_select.training.view import ROW

if TYPE_CHECKING:
    from transformers import TrainerState

__all__ = ["PAIRS", "Record", "Watch", "WithRows"]

PAIRS = "row_and_label_of_view"  # under which a batch carries (row, label) of its items as far as the model

_BLOCKS = 256  # batches whose small tensors stay on the device before they are fetched together
_VISIT = np.dtype([("step", "<i8"), ("micro", "<i4"), ("row", "<i8"), ("right", "?"), ("margin", "<f4")])

Visits = NDArray[np.void]  # of _VISIT


class WithRows:
    """A collator around another: it hands on the row and the label of each item beside the batch.

    Items without a row, as those of a validation set, go through as they are. Workers get it by pickle.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, features: Sequence[Any]) -> Any:
        """Return the batch of the inner collator, with an int64 tensor (batch, 2) under `PAIRS`."""
        if not isinstance(features[0], dict) or ROW not in features[0]:
            return self.inner(features)
        rows = [feature.pop(ROW) for feature in features]
        batch = self.inner(features)
        labels = batch.get("labels", batch.get("label")) if isinstance(batch, MutableMapping) else None
        found = torch.as_tensor([] if labels is None else labels)
        if found.shape != (len(rows),) or found.is_floating_point():
            seen = "none" if labels is None else f"{found.dtype} of shape {tuple(found.shape)}"
            raise ArgumentError(
                "TrainingDynamicsCallback watches classifiers with one whole-number label a row, under 'labels' in the batches of "
                f"the collator; of {len(rows)} rows it got {seen}."
            )
        batch[PAIRS] = torch.stack([torch.as_tensor(rows, device=found.device), found.to(torch.int64)], dim=1)
        return batch


class Watch:
    """Hooks of a model: they take the rows out of its inputs, and compare logits with labels.

    It holds little, for a model that is copied copies its hooks.

    Args:
        progress: where the training is.

    Attributes:
        step: the optimizer step of the batch that was seen last, from 0; -1 before the first.
    """

    def __init__(self, progress: TrainerState) -> None:
        self.progress, self.step = progress, -1
        self._micro = 0
        self._pairs: torch.Tensor | None = None  # of the batch that is in the model
        self._blocks: list[tuple[int, int, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._fetched = np.empty(0, _VISIT)

    def before(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Take from the inputs what the model does not know; a pre-hook with keywords."""
        self._pairs = kwargs.pop(PAIRS, None)
        kwargs.pop(ROW, None)  # where a Trainer evaluates the view itself
        return args, kwargs

    def after(self, module: Any, args: Any, output: Any) -> None:
        """Compare; a forward hook. Nothing waits for the device here."""
        pairs, self._pairs = self._pairs, None
        if pairs is None or not module.training:
            return
        logits = getattr(output, "logits", None)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(pairs) or logits.shape[1] < 2:
            seen = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else "no logits"
            raise ArgumentError(
                f"TrainingDynamicsCallback watches classifiers, whose logits are (batch, classes); for {len(pairs)} rows "
                f"{type(module).__name__} gave {seen}."
            )
        step = int(self.progress.global_step)
        self._micro = self._micro + 1 if step == self.step else 0
        self.step = step
        with torch.no_grad():
            numbers, label = logits.detach().float(), pairs[:, 1:].to(logits.device).clamp(min=0)
            others = numbers.scatter(1, label, -torch.inf).amax(1)
            margin = numbers.gather(1, label)[:, 0] - others
            right = (numbers.argmax(1) == label[:, 0]) & (margin >= 0)  # wrong where logits are NaN
        self._blocks.append((step, self._micro, pairs, right, margin))
        if len(self._blocks) >= _BLOCKS:
            self._fetch()

    def waiting_since(self) -> int | None:
        """Return the first finished step whose visits were not taken, None if there is none."""
        self._fetch()
        steps = self._fetched["step"]
        return int(steps.min()) if len(steps) and steps.min() < self.progress.global_step else None

    def take(self) -> Visits:
        """Hand over, once, the visits of all steps that are finished: what is unfinished a resumed run does again."""
        self._fetch()
        finished = self._fetched["step"] < self.progress.global_step
        taken, self._fetched = self._fetched[finished], self._fetched[~finished]
        return taken

    def _fetch(self) -> None:
        """Bring what is on the device here, in one go; rows without a label are left out."""
        if not self._blocks:
            return
        steps, micros, pairs, right, margin = zip(*self._blocks, strict=True)
        self._blocks = []
        sizes = [len(block) for block in pairs]
        numbers = torch.cat(pairs).cpu().numpy()
        visits = np.empty(len(numbers), _VISIT)
        visits["step"], visits["micro"] = np.repeat(steps, sizes), np.repeat(micros, sizes)
        visits["row"], visits["right"] = numbers[:, 0], torch.cat(right).cpu().numpy()
        visits["margin"] = torch.cat(margin).cpu().numpy()
        self._fetched = np.concatenate([self._fetched, visits[numbers[:, 1] >= 0]])


_KEPT = {"visits": "<i4", "forgotten": "<i4", "learnt": "<i4", "last": "|b1", "margins": "<f8"}


class Record:
    """What is known of each row of a dataset.

    Attributes:
        visits: how many.
        forgotten: at how many it was wrong, and right at the one before.
        learnt: the number of the first at which it was right, from 1; 0: none.
        last: whether it was right at the last one.
        margins: their sum.
    """

    def __init__(self, rows: int) -> None:
        self.visits, self.forgotten, self.learnt, self.last, self.margins = (
            np.zeros(rows, kind) for kind in _KEPT.values()
        )

    def enter(self, visits: Visits) -> None:
        """Enter visits in the order in which they happened. It makes no difference how many at a time."""
        order = np.argsort(visits["row"], kind="stable")
        row, right, margin = (visits[name][order] for name in ("row", "right", "margin"))
        first = np.flatnonzero(np.diff(row, prepend=-1))  # where each row begins
        place = np.arange(len(row)) - np.repeat(first, np.diff(first, append=len(row)))
        number = self.visits[row] + 1 + place
        before = np.roll(right, 1)
        before[first] = self.last[row[first]]
        np.add.at(self.forgotten, row, before & ~right)
        np.add.at(self.margins, row, margin)  # one after the other: the sum's last bit is that of a loop
        np.add.at(self.visits, row, 1)
        self.last[row] = right  # of several the last one stays
        new = right & (self.learnt[row] == 0)
        found, at = np.unique(row[new], return_index=True)
        self.learnt[found] = number[new][at]

    def pack(self) -> dict[str, str]:
        """Return it as text: of the rows that were visited, each column compressed and in base64."""
        seen = np.flatnonzero(self.visits)
        columns = {"seen": seen.astype("<i8"), **{name: getattr(self, name)[seen] for name in _KEPT}}
        return {
            name: base64.b64encode(zlib.compress(values.tobytes())).decode("ascii") for name, values in columns.items()
        }

    def unpack(self, packed: Mapping[str, Any]) -> None:
        """Take what `pack` returned.

        Raises:
            SelectionError: it is damaged.
        """
        try:
            columns = {
                name: np.frombuffer(zlib.decompress(base64.b64decode(packed[name], validate=True)), kind)
                for name, kind in {"seen": "<i8", **_KEPT}.items()
            }
            for name in _KEPT:
                values = getattr(self, name)
                values[:] = 0
                values[columns["seen"]] = columns[name]
        except (KeyError, TypeError, ValueError, IndexError, binascii.Error, zlib.error) as error:
            raise SelectionError(
                f"The training dynamics in the checkpoint can't be read ({type(error).__name__}: {error}): it is damaged."
            ) from error
