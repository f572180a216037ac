"""Equal error rate of verification scores, as an `evaluate` metric."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from hf_select.metrics.gathering import CheckedRows
from hf_select.metrics.inputs import read_binary, read_scores
from hf_select.metrics.verification import equal_error

_DESCRIPTION = """\
Equal error rate (EER) of verification scores: the rate at which as many pairs of different speakers are accepted as pairs \
of the same speaker are rejected, on the piecewise linear ROC; and the score that it is reached at."""

_INPUTS = """
Args:
    predictions: one finite score per pair; higher means more likely the same speaker.
    references: 1 (same speaker) or 0 (different speakers) per pair; both must occur.
Returns:
    equal_error_rate: 0 (no error) to 1; chance is 0.5.
    equal_error_threshold: the score that it is reached at.
"""


class EqualErrorRate(CheckedRows, evaluate.Metric):
    """Measure verification scores by their equal error rate; `hf_select.metrics.equal_error` as an `evaluate.Metric`.

    Reads:
        predictions: one finite score per pair (higher = more likely the same speaker). references: 1 = same, 0 = different.

    Returns of `compute`:
        `equal_error_rate` (0 to 1) and `equal_error_threshold` (in the unit of the scores).

    Raises:
        ArgumentError: no pairs; lengths differ; a score that is not finite; a label other than 0 and 1; one label only.

    Reference and definition:
        See `hf_select.metrics.equal_error`.

    Example:
        >>> from hf_select import metrics
        >>> metrics.EqualErrorRate().compute(predictions=[0.9, 0.6, 0.4, 0.1], references=[1, 0, 1, 0])
        {'equal_error_rate': 0.5, 'equal_error_threshold': 0.6}

        In a Trainer whose model gives one score per pair:

        >>> metric = metrics.EqualErrorRate()
        >>> def compute_metrics(output):
        ...     return metric.compute(predictions=output.predictions.reshape(-1), references=output.label_ids)
    """

    inputs: ClassVar[dict[str, Any]] = {"predictions": read_scores, "references": read_binary}

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        rate, threshold = equal_error(predictions, references)
        return {"equal_error_rate": rate, "equal_error_threshold": threshold}
