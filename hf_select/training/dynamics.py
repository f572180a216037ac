"""TrainingDynamicsCallback: how often each row was forgotten, and its margin, from logits the training computes anyway."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.errors import ArgumentError, ColumnError, DatasetError, SelectionError
from hf_select.joining import append_columns
from hf_select.rows import RowKey, require_dataset
from hf_select.training.rounds import RoundsCallback
from hf_select.training.view import ActiveView
from hf_select.training.visits import PAIRS, Record, Watch, WithRows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["TrainingDynamicsCallback"]

log = logging.getLogger("hf_select")


class TrainingDynamicsCallback(RoundsCallback):
    """Watch single rows through a training of a classifier: forgetting events and area under the margin (AUM).

    Both come from the logits that the training computes anyway: there is no extra pass, and not a bit of the training
    changes. A visit of a row is a forward pass of it in an optimizer step that was finished. With several processes the
    visits of all are put in the order in which they happened; where Accelerate repeats the first items of a round to
    fill up its last batches, these are visits too, for the model is trained on them. What was counted is written into
    the Trainer's checkpoints, and a run that is resumed ends with the numbers of one that was never stopped.

    Reads:
        The batches' `labels`, one whole number a row (a row with a negative one is not counted), and the model's
        `logits` (batch, classes), in float32.

    Args:
        view: the `train_dataset` of the Trainer.

    Raises:
        ArgumentError: at the start of the training, as `RoundsCallback`; several GPUs in one process; `torch_compile`.
            At its first step: no such labels or logits, or a `compute_loss` that does not hand on its inputs.
        SelectionError: a checkpoint of other data.

    Reference:
        Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning": a forgetting
        event is a visit at which a row is wrong that was right at the visit before; what was never right counts as
        forgotten infinitely often. Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin
        Ranking": the mean over visits of the logit of the label minus the largest other logit.

    Relations:
        `AcquisitionCallback` on the same view looks at subgroups, on validation rows. `hf_select.score` gives the
        margin (of probabilities) of a model that is finished. `select_by_score` selects by the columns.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"x": [[0.0]] * 3, "labels": [0, 1, 0]})
        >>> view = ActiveView(rows, start=[0, 1, 2], items_per_round=3)
        >>> dynamics = TrainingDynamicsCallback(view)
        >>> ds = dynamics.add_to(rows)  # after Trainer(..., train_dataset=view, callbacks=[dynamics]).train()
        >>> ds.column_names
        ['x', 'labels', 'forgetting_events', 'aum', 'visits', 'first_learnt']
        >>> ds["visits"][:], ds["aum"][:]
        ([0, 0, 0], [None, None, None])
    """

    def __init__(self, view: ActiveView) -> None:
        super().__init__(view)
        self._record = Record(len(view.dataset))
        self._watch: Watch | None = None
        self._undo = ExitStack()  # what a training that is watched changed
        self._identity: str | None = None

    # -- what is found

    def columns(self, prefix: str = "") -> pa.Table:
        """Return what is known, one row per row of the view's dataset.

        During a training with several processes, as it stood at the last epoch's end, save or evaluation.

        Args:
            prefix: begins the names of the columns, such as "seed0_".

        Returns:
            `forgetting_events` (float64): how often; inf: never right; null: never visited.
            `aum` (float64): the mean margin, in logits; null: never visited; NaN: logits were not finite.
            `visits` (int64). `first_learnt` (int64): the visit at which it was right for the first time, from 1; null:
            at none.
        """
        if self._world_size == 1:
            self._gather()
        seen, learnt = self._record.visits > 0, self._record.learnt > 0
        forgotten = np.where(learnt, self._record.forgotten, np.inf)
        aum = np.divide(self._record.margins, self._record.visits, where=seen, out=np.zeros(len(seen)))
        found = {
            "forgetting_events": pa.array(forgotten, mask=~seen),
            "aum": pa.array(aum, mask=~seen),
            "visits": pa.array(self._record.visits.astype(np.int64)),
            "first_learnt": pa.array(self._record.learnt.astype(np.int64), mask=~learnt),
        }
        return pa.table({prefix + name: values for name, values in found.items()})

    def add_to(self, ds: Dataset, *, prefix: str = "", overwrite: bool = False, key: str | None = None) -> Dataset:
        """Add the columns of `columns` to a dataset; its other columns are not rewritten.

        Args:
            ds: the rows of the view's dataset in their order: itself, or with more columns or fewer.
            prefix: begins the names of the columns.
            overwrite: replace columns of the same name instead of raising.
            key: an id column to know the rows by; None: by audio or content, as in `Choice`.

        Raises:
            DatasetError: other rows, or in another order.
            ColumnError: a column exists already, or there is no column `key`.

        Example: see the class; then `select_by_score(ds, budget=0.5, column="aum", keep="lowest")`.
        """
        require_dataset(ds, "add_to")
        table = self.columns(prefix)
        taken = [name for name in table.column_names if name in ds.column_names]
        if taken and not overwrite:
            raise ColumnError(f"There is a column {taken[0]!r} already: pass overwrite=True, or a prefix=.")
        _require_same_rows(self.view.dataset, ds, key)
        return append_columns(ds, table)

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into its checkpoints: what is known of each row that was visited, packed."""
        if self._world_size == 1:
            self._gather()
        elif self._watch is not None and (step := self._watch.waiting_since()) is not None:  # no time for a meeting
            log.warning(
                "TrainingDynamicsCallback: this checkpoint came unforeseen and lacks the visits since step %d. If one of your "
                "callbacks asks for checkpoints, put it before this one.", step,
            )  # fmt: skip
        found = super().state()
        found["attributes"]["dynamics"] = {**self._digest(), **self._record.pack()}
        return found

    # -- of a training

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start from nothing, or from the checkpoint that is resumed; and begin to watch."""
        self._let_go()  # of a training that failed
        super().on_train_begin(args, state, control, **kwargs)
        self._record = Record(len(self.view.dataset))
        if (saved := self._saved(state)) is not None and "dynamics" in saved:
            self._restore(saved["dynamics"])
        elif state.global_step:
            log.warning(
                "TrainingDynamicsCallback: the checkpoint that is resumed was written without it; visits are counted from step %d.",
                state.global_step,
            )  # fmt: skip
        self._begin_watching(state, kwargs["model"], kwargs["train_dataloader"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """See that the step was watched; before a checkpoint bring together what all processes saw."""
        if self._watch is not None and self._watch.step != state.global_step - 1:
            raise ArgumentError(
                f"TrainingDynamicsCallback saw none of the batches of step {state.global_step}: the model has to be called as "
                f"model(**inputs) with all that the collator gave (here under {PAIRS!r}). Does a compute_loss of yours pick "
                "single inputs, or is the model compiled?"
            )
        if control.should_save or control.should_evaluate:
            self._gather()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Bring together what all processes saw."""
        self._gather()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Bring together what all processes saw: the best checkpoint is written right after an evaluation."""
        self._gather()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Bring together what all processes saw, and leave model and view as they were."""
        self._gather()
        self._let_go()

    def _gather(self) -> None:
        """Enter the visits of all processes, in the order in which they happened; every process has to come here."""
        if self._watch is None:
            return
        parts = [self._watch.take()]
        if self._world_size > 1:
            from accelerate.utils import gather_object

            parts = gather_object(parts)
        visits = np.concatenate(parts)  # by process, and in each by place
        self._record.enter(visits[np.lexsort((visits["micro"], visits["step"]))])  # stable

    def _begin_watching(self, state: TrainerState, model: Any, loader: Any) -> None:
        self._watch = watch = Watch(state)
        loader = getattr(loader, "base_dataloader", loader)  # Accelerate's own refers to it
        self._undo.callback(setattr, self.view, "carries_rows", self.view.carries_rows)
        self._undo.callback(setattr, loader, "collate_fn", loader.collate_fn)
        self.view.carries_rows = True
        if not isinstance(loader.collate_fn, WithRows):  # as where a Trainer keeps its loader and a training failed
            loader.collate_fn = WithRows(loader.collate_fn)
        self._undo.callback(model.register_forward_pre_hook(watch.before, with_kwargs=True).remove)
        self._undo.callback(model.register_forward_hook(watch.after).remove)

    def _let_go(self) -> None:
        self._watch = None
        self._undo.close()

    def _check(self, args: TrainingArguments, loader: Any) -> None:
        super()._check(args, loader)
        if args.n_gpu > 1:
            raise ArgumentError(
                f"TrainingDynamicsCallback can't watch {args.n_gpu} GPUs in one process: start one process for each by torchrun, "
                "or show it one GPU by CUDA_VISIBLE_DEVICES=0."
            )
        if args.torch_compile:
            raise ArgumentError("TrainingDynamicsCallback can't watch a compiled model: leave torch_compile out.")

    def _digest(self) -> dict[str, Any]:
        """Name the rows of the dataset: by their number, and by the keys of some of them, which takes no time."""
        ds = self.view.dataset
        if self._identity is None:
            some = ds.select(np.unique(np.linspace(0, len(ds) - 1, 256).astype(np.int64)))
            keys = "\0".join(map(str, RowKey.choose(some, None).of(some).to_pylist()))
            self._identity = hashlib.sha256(keys.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return {"rows": len(ds), "data": self._identity}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        own = self._digest()
        if {name: saved.get(name) for name in own} != own:
            raise SelectionError(
                f"The checkpoint knows the training dynamics of {saved.get('rows')} rows, and these are {own['rows']} other ones: "
                "a run is resumed with the same dataset or not at all."
            )
        self._record.unpack(saved)


def _require_same_rows(own: Dataset, other: Dataset, key: str | None) -> None:
    """Refuse rows that are not those of a view's dataset in their order: numbers would be given to the wrong ones."""
    if other is own or other._fingerprint == own._fingerprint:
        return
    if len(other) != len(own):
        raise DatasetError(
            f"add_to: the view's dataset has {len(own)} rows, and this one {len(other)}: add the columns to the view's dataset, and "
            "select from that."
        )
    shared = [name for name in own.column_names if name in other.column_names]
    if not shared:
        raise DatasetError("add_to: this dataset shares no column with the view's, so that its rows can't be compared.")
    identity = RowKey.choose(own.select_columns(shared), key)
    if not identity.of(own).equals(identity.of(other)):
        raise DatasetError(
            f"add_to: rows differ from those of the view's dataset, or stand in another order (seen by {', '.join(identity.columns)}): "
            "add the columns to the view's dataset, and select or shuffle that; or name an id column by key=."
        )
