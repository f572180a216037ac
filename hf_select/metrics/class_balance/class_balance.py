"""Class balance of a set of labels, as an `evaluate` metric."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import datasets
import evaluate

from hf_select.counts import balance
from hf_select.metrics.gathering import CheckedRows
from hf_select.metrics.inputs import read_labels

_DESCRIPTION = """\
Class balance: how evenly labels are spread over the classes, as entropy over its maximum. 1 = all classes equally \
frequent, 0 = one class only. A subset is measured against the classes of the set that it was taken from."""

_CITATION = """\
@article{bergsma2023cluster,
  title = {Cluster-based pruning techniques for audio data},
  author = {Bergsma, Boris and Brzezinska, Marta and Yazyev, Oleg V. and Cernak, Milos},
  year = {2023}
}"""

_INPUTS = """
Args:
    references: one label per row, whole numbers or text.
    classes: the classes of the original set (option of compute); those that occur, by default.
Returns:
    class_balance: 0 to 1.
"""


class ClassBalance(CheckedRows, evaluate.Metric):
    """Measure how evenly labels are spread over classes; `hf_select.balance` as an `evaluate.Metric`.

    balance = -sum_i p_i log p_i / log c, with 0 log 0 = 0.

    Reads:
        references: one label per row, whole numbers or text. There are no predictions; where `evaluate.combine` hands
        some over they are left aside.

    Args of `compute`:
        classes: the classes of the ORIGINAL set; c is their number, so a class that was lost counts. None: those that occur.

    Returns of `compute`:
        `class_balance`, 0 (one class only) to 1 (all equally frequent).

    Raises:
        ArgumentError: no rows; a row without a label; a label that is none of the classes.

    Reference:
        Bergsma et al., Cluster-based pruning techniques for audio data, section 3.2 and table 1.

    Example:
        >>> from hf_select import metrics
        >>> metrics.ClassBalance().compute(references=["yes", "yes", "no", "no"], classes=["yes", "no", "up", "down"])
        {'class_balance': 0.5}

        In a Trainer: of what the model says, which falls when it retreats to few classes:

        >>> metric = metrics.ClassBalance()
        >>> def compute_metrics(output):
        ...     classes = range(output.predictions.shape[-1])
        ...     return metric.compute(references=output.predictions.argmax(-1), classes=classes)
    """

    inputs: ClassVar[dict[str, Any]] = {"references": read_labels}
    options = ("classes",)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[datasets.Features({"references": datasets.Value(kind)}) for kind in ("string", "int64")],
        )

    def _compute(self, references: Any, classes: Iterable[Any] | None = None) -> dict[str, float]:
        return {"class_balance": balance(references, classes)}
