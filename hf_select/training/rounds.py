"""Rounds: what every callback over an ActiveView has in common."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler, ExportableState

from hf_select.errors import ArgumentError
from hf_select.training.checkpoints import set_aside_damaged
from hf_select.training.view import ActiveView

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

__all__ = ["RoundsCallback"]

log = logging.getLogger("hf_select")


class RoundsCallback(TrainerCallback, ExportableState):
    """Deal the items of an `ActiveView` anew at the start of each epoch: an epoch of the Trainer is a round of the view.

    Enough for a view that does not grow; `AcquisitionCallback` and `TrainingDynamicsCallback` do it themselves. Without
    any of them each epoch has the items of round 0.
    When a Trainer is made with it, checkpoints in its `output_dir` that were cut off by a crash are renamed, with a
    warning, so that `train(resume_from_checkpoint=True)` takes the last whole one.

    Args:
        view: the `train_dataset` of the Trainer.

    Raises:
        ArgumentError: at the start of the training, when it could not work: another training set; a sampling strategy
            that looks at lengths once and for all; DeepSpeed or FSDP, with which it was not tried.

    Example:
        >>> from datasets import Dataset
        >>> view = ActiveView(Dataset.from_dict({"x": [1, 2, 3]}), start=[0, 1, 2], items_per_round=2)
        >>> type(RoundsCallback(view)).__name__  # Trainer(..., train_dataset=view, callbacks=[RoundsCallback(view)])
        'RoundsCallback'
    """

    def __init__(self, view: ActiveView) -> None:
        if not isinstance(view, ActiveView):
            raise ArgumentError(
                f"{type(self).__name__} works on an ActiveView, the train_dataset of the Trainer; got {type(view).__name__}."
            )
        self.view = view
        self._next_round = 0
        self._world_size = 1
        self._handler: CallbackHandler | None = None

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuse what can't work, and rename checkpoints that were cut off."""
        self._refuse_restoring(args)
        set_aside_damaged(args)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that the rounds will have an effect."""
        self._refuse_restoring(args)
        self._check(args, kwargs.get("train_dataloader"))
        self.view.narrow(kwargs["train_dataloader"].collate_fn)
        self._handler = _calling_handler()
        callbacks = [] if self._handler is None else self._handler.callbacks
        if (number := sum(type(other) is type(self) for other in callbacks)) > 1:
            raise ArgumentError(f"The Trainer has {number} callbacks of the kind {type(self).__name__}: use one.")
        self._world_size = args.world_size
        self._next_round = int(state.epoch or 0)  # of a resumed epoch, its own number

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Deal the items of the round."""
        states: Any = state.stateful_callbacks
        states.setdefault(type(self).__name__, {})  # else the Trainer can't save, after a checkpoint that lacks it
        number, self._next_round = self._next_round, self._next_round + 1
        self._begin(number, args, state, control, **kwargs)
        self.view.deal(number)

    def _begin(
        self, number: int, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Do what comes before a round is dealt."""

    def state(self) -> dict[str, Any]:
        """Return what the Trainer writes into its checkpoints, in plain JSON values."""
        return {"args": {}, "attributes": {"world_size": self._world_size}}

    def _saved(self, state: TrainerState) -> dict[str, Any] | None:
        """Return what `state` gave when the checkpoint that is resumed was written; None in a new training."""
        callbacks: Any = state.stateful_callbacks  # a dict once the state is made
        found = callbacks.get(type(self).__name__) if state.global_step else None
        if isinstance(found, list):
            raise ArgumentError(
                f"The checkpoint holds {len(found)} callbacks of the kind {type(self).__name__}: use one."
            )
        return None if found is None else found["attributes"]

    def _refuse_restoring(self, args: TrainingArguments) -> None:
        if args.restore_callback_states_from_checkpoint:
            raise ArgumentError(
                f"{type(self).__name__} continues from a checkpoint by itself, and restore_callback_states_from_checkpoint=True "
                "would replace it by one without its dataset: leave that argument out."
            )

    def _check(self, args: TrainingArguments, loader: Any) -> None:
        name = type(self).__name__
        seen = getattr(loader, "dataset", None)
        if seen is not self.view:
            raise ArgumentError(
                f"{name} was given a view that is not the train_dataset of this Trainer (which is a {type(seen).__name__}): "
                "rounds would have no effect. Pass the same ActiveView to both."
            )
        if args.deepspeed or getattr(args, "fsdp", None):
            raise ArgumentError(f"{name} was never tried with {'DeepSpeed' if args.deepspeed else 'FSDP'}: use DDP.")
        strategy = str(getattr(args.train_sampling_strategy, "value", args.train_sampling_strategy))
        if strategy not in ("random", "sequential"):
            raise ArgumentError(
                f"{name}: train_sampling_strategy={strategy!r} looks at lengths once, and rounds change them. Use "
                '"sequential" with ActiveView(..., length="duration"), which groups each round by length.'
            )
        if self.view.length is not None and strategy != "sequential":
            raise ArgumentError(
                f"{name}: the view orders its rounds by {self.view.length!r}, and train_sampling_strategy={strategy!r} "
                'shuffles them: use "sequential".'
            )
        if args.dataloader_persistent_workers:
            log.warning(
                "%s: with persistent workers torch draws other random numbers after a restart: a run that is resumed goes on "
                "with the rows acquired so far, but is not the same to the last bit.", name,
            )  # fmt: skip
        if args.ignore_data_skip:
            log.warning(
                "%s: with ignore_data_skip a run that is resumed trains on the first items of its round again.", name
            )

    def _tell(self, logs: dict[str, Any], args: Any, state: Any, control: Any) -> None:
        """Put numbers into the Trainer's own log, as `Trainer.log` does."""
        logs = {**logs, "epoch": state.epoch or 0.0}
        state.log_history.append({**logs, "step": state.global_step})
        if self._handler is not None:
            self._handler.on_log(args, state, control, logs)


def _calling_handler() -> CallbackHandler | None:
    """Return the handler that is calling this callback: the way to the Trainer's reporters, which callbacks aren't given."""
    frame = sys._getframe(1)
    for _ in range(5):
        if isinstance(found := frame.f_locals.get("self"), CallbackHandler):
            return found
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
