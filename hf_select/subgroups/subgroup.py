"""Subgroup: one readable set of rows, what is known of it, and a filter that keeps its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.rows import require_dataset
from hf_select.subgroups.conditions import Condition, ThinColumns, phrase

__all__ = ["Subgroup"]


@dataclass(frozen=True)
class Subgroup:
    """A set of rows described by conditions on their columns, with what its outcomes say. A row filter.

    Attributes:
        conditions: what a row must meet, all of it.
        support: share of all rows. count: rows. judged: rows that have an outcome.
        mean: mean outcome (a rate for 0/1). divergence: mean minus that of all rows.
        t: distance from all rows in standard errors, without a sign (DivExplorer's: Beta for 0/1, Welch for numbers).
        p: two-sided, of the subgroup against the rest. q: Benjamini-Hochberg over all subgroups that were tested.
        low, high: 95 % interval of the mean.
        speakers: speakers with rows in it. worst_speaker, worst_speaker_share: who makes the most errors, and which share
            of them. Of macro F1 an error is a wrong row. None without `speaker=`.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"gender": ["f", "m", "f"], "age": [70, 65, 30]})
        >>> older = Subgroup((Condition("gender", "f"), Condition("age", "high", low=60.0)))
        >>> str(older), older.mask(ds).tolist(), len(ds.filter(older, batched=True))
        ('gender = f and age > 60', [True, False, False], 1)
    """

    conditions: tuple[Condition, ...]
    support: float = float("nan")
    count: int = 0
    judged: int = 0
    mean: float = float("nan")
    divergence: float = float("nan")
    t: float = float("nan")
    p: float = float("nan")
    q: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    speakers: int | None = None
    worst_speaker: str | None = None
    worst_speaker_share: float | None = None

    def __str__(self) -> str:
        return phrase(self.conditions)

    @property
    def pattern(self) -> dict[str, str]:
        """Column -> value, of bins their name: {"gender": "female", "age": "high"}."""
        return {condition.attribute: condition.value for condition in self.conditions}

    def mask(self, ds: Any) -> NDArray[np.bool_]:
        """Return for each row of a dataset whether it belongs; only the columns of the conditions are read.

        Raises:
            ColumnError: one of these columns is missing.
        """
        require_dataset(ds, "Subgroup.mask")
        return self.mask_of(ThinColumns(ds))

    def mask_of(self, columns: ThinColumns) -> NDArray[np.bool_]:
        """Do the same for columns that were read already."""
        columns.require(self.pattern, f"Subgroup ({self})")
        found = np.ones(columns.num_rows, dtype=bool)
        for condition in self.conditions:
            found &= condition.mask(columns)
        return found

    def apply(self, ds: Any) -> Any:
        """Keep the rows of a dataset that belong; a value that was unseen when the subgroup was found matches nothing."""
        return ds.select(np.flatnonzero(self.mask(ds)))

    def __call__(self, batch: Mapping[str, Any]) -> list[bool]:
        """Say which rows of a batch belong: `ds.filter(subgroup, batched=True)`, also of a stream, decoding nothing."""
        return self.mask_of(ThinColumns(batch)).tolist()

    def to_dict(self) -> dict[str, Any]:
        """Return the subgroup in plain JSON values; a number that is not known is None."""
        values = {**asdict(self), "conditions": [condition.to_dict() for condition in self.conditions]}
        return {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Subgroup:
        """Make a subgroup of what `to_dict` gave."""
        conditions = tuple(Condition.from_dict(condition) for condition in values["conditions"])
        known = {field.name for field in fields(cls)} - {"conditions"}
        return cls(conditions, **{name: value for name, value in values.items() if name in known and value is not None})
