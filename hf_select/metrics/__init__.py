"""Measures of a model and of a data set: numpy functions, and `evaluate` metrics over them.

    from hf_select import metrics

    SubgroupDivergence          how far subgroups fall below the whole: summarize_divergence, divergence_of_predictions
    WeightedUnweightedAccuracy  weighted_accuracy, unweighted_accuracy, macro_f1, and the majority_line beside them
    EqualErrorRate              where false acceptance equals false rejection: equal_error
    ClassBalance                how evenly labels are spread: hf_select.balance

Names with capitals are `evaluate` metrics, the others are the numpy functions below them.
Each metric is a folder that is also a Space: `metrics.path("equal_error_rate")` is what `evaluate.load` takes, offline too.
The names are loaded when they are first used: importing this room loads neither evaluate nor torch.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_select.errors import ArgumentError

_ROOM = "hf_select.metrics"
_HOME = {  # public name -> the module it lives in
    "ClassBalance": f"{_ROOM}.class_balance.class_balance",
    "EqualError": f"{_ROOM}.verification",
    "EqualErrorRate": f"{_ROOM}.equal_error_rate.equal_error_rate",
    "SubgroupDivergence": f"{_ROOM}.subgroup_divergence.subgroup_divergence",
    "WeightedUnweightedAccuracy": f"{_ROOM}.weighted_unweighted_accuracy.weighted_unweighted_accuracy",
    "divergence_of_predictions": f"{_ROOM}.divergence",
    "equal_error": f"{_ROOM}.verification",
    "macro_f1": f"{_ROOM}.recognition",
    "majority_line": f"{_ROOM}.recognition",
    "summarize_divergence": f"{_ROOM}.divergence",
    "unweighted_accuracy": f"{_ROOM}.recognition",
    "weighted_accuracy": f"{_ROOM}.recognition",
}

__all__ = [
    "ClassBalance",
    "EqualError",
    "EqualErrorRate",
    "SubgroupDivergence",
    "WeightedUnweightedAccuracy",
    "divergence_of_predictions",
    "equal_error",
    "macro_f1",
    "majority_line",
    "path",
    "summarize_divergence",
    "unweighted_accuracy",
    "weighted_accuracy",
]

if TYPE_CHECKING:
    from hf_select.metrics.class_balance.class_balance import ClassBalance
    from hf_select.metrics.divergence import divergence_of_predictions, summarize_divergence
    from hf_select.metrics.equal_error_rate.equal_error_rate import EqualErrorRate
    from hf_select.metrics.recognition import macro_f1, majority_line, unweighted_accuracy, weighted_accuracy
    from hf_select.metrics.subgroup_divergence.subgroup_divergence import SubgroupDivergence
    from hf_select.metrics.verification import EqualError, equal_error
    from hf_select.metrics.weighted_unweighted_accuracy.weighted_unweighted_accuracy import WeightedUnweightedAccuracy


def path(name: str) -> str:
    """Return the folder of a metric, for `evaluate.load`, which works on it without the Hub.

    Args:
        name: `"class_balance"`, `"equal_error_rate"`, `"subgroup_divergence"` or `"weighted_unweighted_accuracy"`.

    Returns:
        The folder as text, since `evaluate.load` takes no `Path`. It is a complete Space: module, card, app, requirements.

    Raises:
        ArgumentError: there is no metric of this name.

    Example:
        >>> path("equal_error_rate").endswith("equal_error_rate")
        True
    """
    names = sorted(file.stem for file in Path(__file__).parent.glob("*/*.py") if file.stem == file.parent.name)
    if name not in names:
        raise ArgumentError(f"metrics.path: there is no metric {name!r}. Metrics there are: {', '.join(names)}.")
    return str(Path(__file__).parent / name)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hf_select.metrics' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
