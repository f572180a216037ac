"""AcquisitionCallback: between the rounds of a training, acquire rows of the pool where the model in training fails."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_select.errors import ArgumentError, ProcessError, SelectionError
from hf_select.joining import append_columns
from hf_select.rows import require_columns, require_dataset
from hf_select.selection import SEPARATOR, Selection
from hf_select.subgroups.find import find_subgroups
from hf_select.training.divergence import DivergenceRule, Proposal
from hf_select.training.isolation import apart
from hf_select.training.ledger import Ledger
from hf_select.training.predictions import COLUMNS, predict
from hf_select.training.rounds import RoundsCallback
from hf_select.training.view import ActiveView

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["AcquisitionCallback"]

log = logging.getLogger("hf_select")


class AcquisitionCallback(RoundsCallback):
    """Acquire, between the epochs of an unmodified `Trainer`, rows of the pool from the subgroups where the model fails.

    The pool is what the `view` does not use yet. At the start of a round (an epoch, the first one excepted) the model in
    training is run over the validation set; the K subgroups on which it diverges most to the bad side are found; their
    rows of the pool become active. With several processes all share the validation pass, the first one decides, and all
    grow the same rows. What was decided is written into the Trainer's checkpoints, and a run that is resumed goes on as if
    it had never been stopped, to the last bit on one machine (but not with persistent workers: after a restart torch draws
    other random numbers for them). The validation pass changes nothing in the training: random numbers are as they were.
    Of each round the Trainer's log (TensorBoard, W&B, trackio) gets rows, hours, outcome, worst divergence and the
    subgroups by name, all under `acquisition/`.

    Reads:
        `validation`: the model's inputs and labels, in the same form as the training rows (they go through the Trainer's
        collator); and the columns of `by`. The pool: these columns too; `duration` (seconds) where there is one.

    Args:
        view: the `train_dataset` of the Trainer.
        validation: a map-style dataset; never rows of the view.
        by: columns to describe rows by, see `find_subgroups`.
        outcome: "correct", "loss", "confidence", "margin" or "entropy", of a classifier, are made here; another column
            has to come from `score`.
        k: subgroups whose rows are wanted, 0 or more: the worst that still have rows in the pool. 0 only measures.
        redundancy, max_q, distinct: which subgroups, see `Subgroups.worst`.
        fill: what a budget takes first, see `select_subgroups`.
        budget: what one round may acquire: a share of the first pool (0.1), rows (100) or audio ("10min"), see
            `hf_select.budget`. None: every row of the K subgroups, as in the paper.
        total_budget: what all rounds together may acquire, in any form too.
        every: acquire at the start of each so many-th round, 1 or more.
        rounds: acquire in so many rounds at most; None: as long as there is a pool.
        score: a function (model, validation) that returns the validation set with the outcome, for what is no classifier
            or where a row's outcome must not depend on its batch: `hf_select.score` does both. Called in every process.
        acquire: any function (model, pool) that returns a Selection of the pool, in place of subgroups: what it keeps is
            acquired in its order, up to the budgets. Called in every process; the first one's answer counts. The model is
            in evaluation mode. `validation` and `by` are then not needed.
        key, duration, status: columns of the view's dataset, see `hf_select.choice.Choice`.
        seed: whole number of at least 0; orders rows inside a subgroup.
        find: further arguments of `find_subgroups`: min_support, bins, speaker, direction, predicted, label, ...

    Attributes:
        rounds_done: a record (dict) of each round: its number, rows, keys, subgroups, figures, notes.
        selection: the active rows as a Selection.

    Raises:
        ArgumentError, ColumnError: when it is made, what can be known then; at the start of the training, as
            `RoundsCallback`. SelectionError: a checkpoint of other data, or `acquire` chose rows of another dataset.

    Reference:
        Koudounas et al. 2024, "Prioritizing Data Acquisition for End-to-End Speech Model Improvement". The paper acquires
        once and trains again from the pretrained checkpoint (`trainers/compare_acquisition.py` does); rounds inside one
        training are ours.

    Relations:
        `find_subgroups` and `select_subgroups` are the same by hand. `TrainingDynamicsCallback` watches single rows.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"x": [[0.0]] * 6, "labels": [0] * 6, "gender": ["f", "m"] * 3})
        >>> view = ActiveView(rows, start=[0, 1], items_per_round=4, columns=["x", "labels"])
        >>> callback = AcquisitionCallback(view, rows, by="gender", outcome="correct", k=2, budget=1, min_support=0.2)
        >>> callback.rounds_done  # after Trainer(..., train_dataset=view, callbacks=[callback]).train(): one each
        []
    """

    def __init__(
        self,
        view: ActiveView,
        validation: Dataset | None = None,
        *,
        by: str | Sequence[str] = (),
        outcome: str = "correct",
        k: int = 2,
        redundancy: float | None = None,
        max_q: float | None = None,
        distinct: bool = False,
        fill: Literal["worst_first", "proportional"] = "worst_first",
        budget: Any = None,
        total_budget: Any = None,
        every: int = 1,
        rounds: int | None = None,
        score: Callable[[Any, Dataset], Dataset] | None = None,
        acquire: Callable[[Any, Dataset], Selection] | None = None,
        key: str | None = None,
        duration: str = "duration",
        status: str | None = "audio_status",
        seed: int = 0,
        **find: Any,
    ) -> None:
        super().__init__(view)
        self.validation, self.score, self.acquire = validation, score, acquire
        self.every, self.seed = every, seed
        _check_numbers(k=(k, 0), every=(every, 1), rounds=(rounds, 1), seed=(seed, 0))
        by = [by] if isinstance(by, str) else list(by)
        columns = {"duration": duration, "status": status}
        self.rule = DivergenceRule(by, outcome, k, redundancy, max_q, distinct, fill, find, columns)
        if acquire is None:
            _check_divergence(self.rule, view, validation, score)
        elif not callable(acquire):
            raise ArgumentError(f"acquire= is a function (model, pool) that returns a Selection; got {acquire!r:.80}.")
        self.ledger = Ledger(view, budget, total_budget, rounds, key, duration)
        self._end: str | None = None

    @property
    def rounds_done(self) -> list[dict[str, Any]]:
        """The record of each round."""
        return self.ledger.records

    @property
    def selection(self) -> Selection:
        """The active rows as a Selection of the view's dataset, in the order in which they became active.

        Its groups are "start", or the round and the subgroups that asked for the row. It can be applied and published.
        """
        return self.ledger.selection()

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into its checkpoints: rows, keys and subgroups of each round."""
        found = super().state()
        found["attributes"] |= self.ledger.state()
        return found

    # -- of a training

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Go back to the start rows, or to where the checkpoint was that is resumed."""
        super().on_train_begin(args, state, control, **kwargs)
        self._end = None
        self.ledger.start(self._saved(state))

    def _begin(
        self, number: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if number == 0 or number % self.every or self.ledger.has(number):
            return  # of a round that is resumed the rows are active already
        if (end := self.ledger.end()) is not None:
            if end != self._end:
                log.info("AcquisitionCallback: %s.", end)
                self._tell({"acquisition/round": number, "acquisition/note": end}, args, state, control)
            self._end = end
            return
        started = time.perf_counter()
        with apart(kwargs["model"], args.device):
            propose = self._measure(number, args, **kwargs)
        record = _of_first(args, lambda: self.ledger.decide(number, propose()))
        self.ledger.enter(record)
        for note in record["notes"]:
            log.info("AcquisitionCallback, round %d: %s", number, note)
        self._tell(self._logs(record, time.perf_counter() - started), args, state, control)

    def _measure(
        self, number: int, args: TrainingArguments, model: Any, train_dataloader: Any, **_: Any
    ) -> Callable[[], Proposal]:
        """Do the model's part, in every process, and return what makes a proposal of it, for the first process alone."""
        if self.acquire is not None:
            pool = self.view.pool
            found = self.acquire(model, pool)
            return lambda: _as_proposal(found, len(pool))
        if self.score is not None:
            scored = self.score(model, self.validation)
        else:
            collate = train_dataloader.collate_fn
            said = predict(model, self.view.like_items(self.validation, collate), collate, args)
            scored = append_columns(self.validation, said)
        return lambda: self.rule.propose(scored, self._thin_pool(number), self.seed + number)

    def _thin_pool(self, number: int) -> Dataset:
        found: Dataset = self._thin.select(self.view.pool_rows, new_fingerprint=f"pool-of-round-{number}")  # not hashed
        return found

    @cached_property
    def _thin(self) -> Dataset:
        """The dataset of the view without all that choosing does not read."""
        found: Dataset = self.rule.thin(self.view.dataset)
        return found

    def _logs(self, record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        active = self.view.active
        logs = {
            "round": record["round"],
            "rows": record["rows"],
            "total_rows": sum(one["rows"] for one in self.rounds_done),
            "active_rows": len(active),
            "pool_rows": len(self.view.pool_rows),
            **record["figures"],
            "seconds": round(seconds, 3),
        }
        if record["hours"] is not None:
            logs |= {"hours": record["hours"], "active_hours": self.ledger.hours(active)}
        if record["subgroups"]:
            logs["subgroups"] = SEPARATOR.join(f"{one['subgroup']} (+{one['acquired']})" for one in record["subgroups"])
        if record["notes"]:
            logs["note"] = " ".join(record["notes"])
        return {f"acquisition/{name}": value for name, value in logs.items()}


def _of_first(args: Any, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what the first process decided, in every process; or raise what it raised."""
    if args.world_size == 1:
        return decide()
    from accelerate.utils import broadcast_object_list

    answer: list[Any] = [None, None]
    if args.process_index == 0:
        try:
            answer[0] = decide()
        except Exception as error:  # the others must not wait for ever
            answer[1] = error
    failed = answer[1]
    answer = broadcast_object_list([answer[0], None if failed is None else f"{type(failed).__name__}: {failed}"])
    if failed is not None:
        raise failed
    if answer[1] is not None:
        raise ProcessError(f"The first process could not decide what to acquire: {answer[1]}")
    found: dict[str, Any] = answer[0]
    return found


def _as_proposal(found: Any, pool: int) -> Proposal:
    if not isinstance(found, Selection):
        raise ArgumentError(f"acquire= must return a Selection of the pool; it returned {type(found).__name__}.")
    if found.num_rows != pool:
        raise SelectionError(
            f"acquire= returned a Selection of {found.num_rows} rows, and the pool has {pool}: select from the pool it was given."
        )
    named = [None if group is None else str(group) for group in found.group[found.ranked]]
    return Proposal(found.ranked, named, notes=list(found.warnings))


def _check_numbers(**numbers: tuple[Any, int]) -> None:
    for name, (value, least) in numbers.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not (value is None and name == "rounds") and not (whole and value >= least):
            raise ArgumentError(f"AcquisitionCallback: {name} is a whole number of at least {least}; got {value!r}.")


def _check_divergence(rule: DivergenceRule, view: ActiveView, validation: Any, score: Any) -> None:
    """Refuse at once what would fail only after the first round of a long training."""
    if validation is None or not rule.by:
        raise ArgumentError(
            "AcquisitionCallback needs a validation set and by=, the columns to describe rows by; or acquire=, a function of "
            "your own."
        )
    require_dataset(validation, "AcquisitionCallback")
    known = set(inspect.signature(find_subgroups).parameters) - {"ds", "by", "outcome"}
    if unknown := sorted(set(rule.find) - known):
        raise ArgumentError(
            f"AcquisitionCallback: unknown argument {unknown[0]!r}; find_subgroups knows {', '.join(sorted(known))}."
        )
    require_columns(validation, rule.by, "AcquisitionCallback, validation set")
    require_columns(view.dataset, rule.by, "AcquisitionCallback, pool")
    if rule.fill not in ("worst_first", "proportional"):
        raise ArgumentError(f"fill= is 'worst_first' or 'proportional'; got {rule.fill!r}.")
    if rule.redundancy is not None and not rule.redundancy >= 0:
        raise ArgumentError(f"redundancy= is a difference of outcomes, 0 or more; got {rule.redundancy!r}.")
    if score is None and rule.find.get("predicted") is None and rule.outcome not in COLUMNS:
        raise ArgumentError(
            f"outcome={rule.outcome!r}: of a classifier {', '.join(COLUMNS)} are made here; for another one pass score=, a function "
            "(model, validation) that returns the validation set with that column."
        )
    if score is None and view.columns is not None:
        require_columns(validation, view.columns, "AcquisitionCallback, validation set")
