"""Divergence of subgroups from the whole, as an `evaluate` metric."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from hf_select.errors import ArgumentError
from hf_select.metrics.divergence import divergence_of_predictions
from hf_select.metrics.gathering import CheckedRows
from hf_select.metrics.inputs import read_labels

_DESCRIPTION = """\
Subgroup divergence: how far the accuracy in subgroups of rows (such as gender = female and age > 60) is from the accuracy \
on all rows. All frequent subgroups of the columns in `by` are found; the result is the divergence of the worst one, the \
mean of the 10, 20 and 50 worst, and the mean of all, signed and absolute."""

_CITATION = """\
@inproceedings{pastor2021looking,
  title = {Looking for Trouble: Analyzing Classifier Behavior via Pattern Divergence},
  author = {Pastor, Eliana and de Alfaro, Luca and Baralis, Elena},
  booktitle = {Proceedings of the 2021 International Conference on Management of Data (SIGMOD)},
  year = {2021}
}"""

_INPUTS = """
Args:
    predictions: one class label per row, whole numbers or text.
    references: the same, of the same kind.
    by: column name -> one value per row, in the order in which rows were added (option of compute, always needed).
    min_support: rows a subgroup needs, as a share of all or a number (option of compute; 0.03).
    bins: how columns of numbers are cut (option of compute; 3 quantile bins).
    redundancy: prune subgroups before the worst are taken (option of compute; None).
Returns:
    num_subgroups, worst, mean_worst_10, mean_worst_20, mean_worst_50, mean_signed_incl_root, mean_abs_excl_root;
    with redundancy also num_worst. A mean over more subgroups than there are is None.
"""


class SubgroupDivergence(CheckedRows, evaluate.Metric):
    """Measure how far the accuracy in subgroups is from that on all rows, in a few numbers.

    Reads:
        predictions and references: one class label per row, whole numbers or text, both of the same kind.

    Args of `compute`:
        by: column name -> one value per row, in the order in which rows were added.
        min_support, bins, redundancy: see `hf_select.metrics.divergence_of_predictions`.

    Returns of `compute`:
        What `divergence_of_predictions` returns. It holds None where there are fewer subgroups than a mean is over.

    Raises:
        ArgumentError: no rows; lengths differ; `by` is missing; what `divergence_of_predictions` refuses.

    Reference:
        Pastor, de Alfaro & Baralis 2021 (divergence); Koudounas et al. 2024 (these summaries; see `summarize_divergence`).

    Example:
        >>> from hf_select import metrics
        >>> metric = metrics.SubgroupDivergence()
        >>> by = {"gender": ["f", "f", "m", "m"], "age": ["old", "young", "old", "young"]}
        >>> found = metric.compute(predictions=[1, 0, 1, 1], references=[1, 1, 1, 1], by=by, min_support=0.25)
        >>> found["num_subgroups"], found["worst"], found["mean_worst_10"]
        (8, -0.75, None)

        In a Trainer, with the columns of its `eval_dataset`, which it evaluates in order:

        >>> def compute_metrics(output):
        ...     columns = {name: valid[name] for name in ("gender", "age", "snr_db")}
        ...     found = metric.compute(predictions=output.predictions.argmax(-1), references=output.label_ids, by=columns)
        ...     return {name: value for name, value in found.items() if value is not None}
    """

    inputs: ClassVar[dict[str, Any]] = {"predictions": read_labels, "references": read_labels}
    options = ("by", "min_support", "bins", "redundancy")

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value(kind)})
                for kind in ("string", "int64")
            ],
        )

    def _compute(self, predictions: Any, references: Any, by: Any = None, **options: Any) -> dict[str, Any]:
        if by is None:
            raise ArgumentError("SubgroupDivergence: by= is missing: column name -> one value per row.")
        return divergence_of_predictions(predictions, references, by=by, **options)
