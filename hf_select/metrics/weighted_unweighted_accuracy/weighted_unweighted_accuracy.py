"""Weighted and unweighted accuracy with what they are to be read beside, as an `evaluate` metric."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from hf_select.metrics.gathering import CheckedRows
from hf_select.metrics.inputs import read_labels
from hf_select.metrics.recognition import macro_f1, majority_line, unweighted_accuracy, weighted_accuracy

_DESCRIPTION = """\
Weighted accuracy (WA, the share of rows that are right) and unweighted accuracy (UA, the mean recall over classes) of the \
speech emotion field, beside macro F1 and the majority line, which is the WA of always saying the most frequent class."""

_INPUTS = """
Args:
    predictions: one class label per row, whole numbers or text.
    references: the same, of the same kind.
Returns:
    weighted_accuracy: share of rows that are right.
    unweighted_accuracy: mean recall over the classes of the references.
    macro_f1: mean F1 over the classes of references and predictions.
    majority_line: share of the most frequent class of the references.
"""


class WeightedUnweightedAccuracy(CheckedRows, evaluate.Metric):
    """Measure a classifier by WA, UA and macro F1, with the majority line beside them.

    A WA near the majority line says nothing, however high it is: read UA and macro F1 then.

    Reads:
        predictions and references: one class label per row, whole numbers or text, both of the same kind.

    Returns of `compute`:
        `weighted_accuracy`, `unweighted_accuracy`, `macro_f1`, `majority_line`, each 0 to 1; see the functions of these
        names in `hf_select.metrics`.

    Raises:
        ArgumentError: no rows; lengths differ; a row without a label; logits instead of labels; text against numbers.

    Example:
        >>> from hf_select import metrics
        >>> metric = metrics.WeightedUnweightedAccuracy()
        >>> found = metric.compute(predictions=["neutral"] * 4, references=["neutral", "neutral", "neutral", "joy"])
        >>> found["weighted_accuracy"], found["unweighted_accuracy"], found["majority_line"]
        (0.75, 0.5, 0.75)

        In a Trainer:

        >>> def compute_metrics(output):
        ...     return metric.compute(predictions=output.predictions.argmax(-1), references=output.label_ids)
    """

    inputs: ClassVar[dict[str, Any]] = {"predictions": read_labels, "references": read_labels}

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value(kind)})
                for kind in ("string", "int64")
            ],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {
            "weighted_accuracy": weighted_accuracy(predictions, references),
            "unweighted_accuracy": unweighted_accuracy(predictions, references),
            "macro_f1": macro_f1(predictions, references),
            "majority_line": majority_line(references),
        }
