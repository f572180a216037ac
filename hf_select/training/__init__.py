"""Acquisition inside a training: what goes into an unmodified `Trainer` script.

view.py         ActiveView: the active rows as a training set of constant length
rounds.py       RoundsCallback: an epoch is a round; what all callbacks over a view share
acquisition.py  AcquisitionCallback: measure, decide, grow; divergence.py is its default rule
predictions.py  the validation pass through the Trainer's own batches; isolation.py keeps it from leaving a trace
dynamics.py     TrainingDynamicsCallback: forgetting and margins of each row, from logits that are there anyway; visits.py sees and counts
checkpoints.py  checkpoints that a crash cut off
"""

from hf_select.training.acquisition import AcquisitionCallback
from hf_select.training.checkpoints import last_whole_checkpoint
from hf_select.training.dynamics import TrainingDynamicsCallback
from hf_select.training.rounds import RoundsCallback
from hf_select.training.view import ActiveView

__all__ = ["AcquisitionCallback", "ActiveView", "RoundsCallback", "TrainingDynamicsCallback", "last_whole_checkpoint"]
