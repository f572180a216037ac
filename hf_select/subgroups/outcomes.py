"""The outcome of each row that subgroups are compared by: 0/1, a number, or a rate of predictions and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, ColumnError, ConstantOutcomeError
from hf_select.rows import raw_column, require_columns
from hf_select.subgroups.conditions import ThinColumns

__all__ = ["RATES", "Outcome", "OutcomeRecipe", "read_outcome"]

RATES = {  # rates of predictions and labels -> which side is bad
    "accuracy": "lower",
    "false_positive_rate": "higher",
    "false_negative_rate": "higher",
    "macro_f1": "lower",
}
KINDS = ("zero_one", "number")


@dataclass(frozen=True)
class OutcomeRecipe:
    """Where the outcome of a row comes from, so that it can be read again from another split; see `find_subgroups`."""

    outcome: str
    predicted: str | None = None
    label: str | None = None
    positive: str | None = None
    kind: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return [self.outcome] if self.predicted is None else [self.predicted, *([self.label] if self.label else [])]

    def __str__(self) -> str:
        return self.outcome if self.positive is None else f"{self.outcome} of {self.positive}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of each row.

    Attributes:
        kind: "zero_one", "number" or "macro_f1".
        values: per row; NaN where it has none. Of macro F1: 1 where the prediction is right.
        direction: the bad side, "lower" or "higher", if the caller does not say another.
        labels, predicted: of macro F1 the class codes per row, else None.
    """

    kind: str
    values: NDArray[np.float64]
    direction: str
    labels: NDArray[np.int32] | None = None
    predicted: NDArray[np.int32] | None = None

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which rows have an outcome."""
        return ~np.isnan(self.values)


def read_outcome(ds: Any, columns: ThinColumns, recipe: OutcomeRecipe) -> Outcome:
    """Read the outcome of each row.

    Raises:
        ColumnError: a column is missing or holds something else. ArgumentError: the recipe makes no sense.
    """
    if recipe.kind not in (None, *KINDS):
        raise ArgumentError(f"kind= is 'zero_one', 'number' or None (what the column holds); got {recipe.kind!r}.")
    if recipe.predicted is None:
        if recipe.label is not None or recipe.positive is not None:
            raise ArgumentError(
                "label= and positive= belong to a rate of predictions: name their column with predicted=."
            )
        return _of_column(ds, recipe)
    if recipe.label is None or recipe.outcome not in RATES:
        raise ArgumentError(
            f"With predicted= the outcome is one of {', '.join(RATES)}, and label= names the true classes; "
            f"got outcome={recipe.outcome!r}, label={recipe.label!r}."
        )
    return _of_rate(columns, recipe)


def _of_column(ds: Any, recipe: OutcomeRecipe) -> Outcome:
    name = recipe.outcome
    if name in RATES and name not in ds.column_names:
        raise ColumnError(
            f"outcome={name!r} is no column here; as a rate it needs predicted= and label= (columns of classes). "
            f"Columns there are: {', '.join(ds.column_names)}."
        )
    require_columns(ds, [name], "outcome=")
    column = raw_column(ds, name)
    kind = column.type
    numbers = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (numbers or pa.types.is_null(kind)):
        raise ColumnError(
            f"outcome={name!r} holds {kind}, and 0/1 (right or wrong) or numbers are needed. hs.score(ds, model, columns=['correct']) "
            "makes such a column; for columns of predictions and labels: outcome='accuracy', predicted=..., label=..."
        )
    values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    _check_values(values, name)
    found = values[~np.isnan(values)]
    zero_one = bool(np.isin(found, (0.0, 1.0)).all())
    if recipe.kind == "zero_one" and not zero_one:
        odd = found[~np.isin(found, (0.0, 1.0))][0]
        raise ColumnError(f"outcome={name!r} must hold 0, 1 or nothing, and holds {odd:g}.")
    if zero_one and recipe.kind != "number":
        return Outcome("zero_one", values, "lower")
    return Outcome("number", values, "higher")


def _check_values(values: NDArray[np.float64], name: str) -> None:
    if np.isinf(values).any():
        raise ColumnError(
            f"outcome={name!r}: row {int(np.isinf(values).argmax())} is infinite. Mend it or make it null."
        )
    found = values[~np.isnan(values)]
    if not len(found):
        raise ColumnError(f"outcome={name!r} has no value in any of {len(values)} rows.")
    if (found == found[0]).all():
        raise ConstantOutcomeError(
            f"outcome={name!r} is {found[0]:g} in all {len(found)} rows that have one: no subgroup diverges.",
            float(found[0]),
        )


def _of_rate(columns: ThinColumns, recipe: OutcomeRecipe) -> Outcome:
    columns.require(recipe.columns, "predicted= and label=")
    (predicted, names), (labels, classes) = (columns.texts(name) for name in recipe.columns)
    union = sorted({*names, *classes})
    predicted, labels = _recode(predicted, names, union), _recode(labels, classes, union)
    known = (predicted >= 0) & (labels >= 0)
    right = np.where(known, predicted == labels, np.nan)
    rate = recipe.outcome
    if rate in ("false_positive_rate", "false_negative_rate"):
        if recipe.positive is None or str(recipe.positive) not in union:
            raise ArgumentError(
                f"outcome={rate!r} needs positive=, one of the classes {', '.join(union)}; got {recipe.positive!r}."
            )
        code = union.index(str(recipe.positive))
        of_rate = (labels == code) == (rate == "false_negative_rate")  # FNR: of true positives; FPR: of true negatives
        wrong = (predicted == code) == (rate == "false_positive_rate")
        values = np.where(known & of_rate, wrong, np.nan)
    elif recipe.positive is not None:
        raise ArgumentError(f"positive= belongs to false positive and false negative rates, not to {rate!r}.")
    else:
        values = right
    _check_values(values, str(recipe))
    if rate == "macro_f1":
        return Outcome("macro_f1", values, RATES[rate], np.where(known, labels, -1), np.where(known, predicted, -1))
    return Outcome("zero_one", values, RATES[rate])


def _recode(codes: NDArray[np.int32], names: list[str], union: list[str]) -> NDArray[np.int32]:
    place = {name: code for code, name in enumerate(union)}
    return np.array([place[name] for name in names] + [-1], dtype=np.int32)[codes]
