"""The default rule of acquisition: rows of the subgroups on which the model in training diverges to the bad side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.errors import ConstantOutcomeError
from hf_select.joining import append_columns
from hf_select.methods import select_subgroups
from hf_select.subgroups.conditions import ThinColumns
from hf_select.subgroups.find import find_subgroups
from hf_select.subgroups.table import Subgroups

__all__ = ["DivergenceRule", "Proposal"]

_NUMBER = "number_of_row"


@dataclass(frozen=True)
class Proposal:
    """What is proposed at the start of a round.

    Attributes:
        ranked: rows of the pool in order of choice.
        groups: for each of them the subgroups that asked for it, as text; None where nobody did.
        figures: numbers for the log.
        subgroups: the subgroups by phrase, with their figures, worst first.
        notes: sentences for people.
    """

    ranked: NDArray[np.int64]
    groups: list[str | None]
    figures: dict[str, float] = field(default_factory=dict)
    subgroups: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DivergenceRule:
    """How subgroups are found on the validation set and turned into rows of the pool; see `AcquisitionCallback`."""

    by: Sequence[str]
    outcome: str
    k: int
    redundancy: float | None
    max_q: float | None
    distinct: bool
    fill: Literal["worst_first", "proportional"]
    find: Mapping[str, Any]
    rows: Mapping[str, Any]  # columns of the pool: duration, status

    def propose(self, scored: Any, pool: Any, seed: int) -> Proposal:
        """Return the rows of the pool, as `thin` made it, that belong to the K worst subgroups of a validation set."""
        nothing = np.zeros(0, dtype=np.int64)
        try:
            groups = find_subgroups(scored, by=list(self.by), outcome=self.outcome, **self.find)
        except ConstantOutcomeError as error:  # as at the end of an easy task
            return Proposal(nothing, [], {self.outcome: error.value}, notes=[str(error)])
        figures = {self.outcome: float(groups.overall)}
        if len(groups):
            figures["worst_divergence"] = float(groups[0].divergence)
        if not self.k:
            return Proposal(nothing, [], figures)
        worse = groups.worst(redundancy=self.redundancy, max_q=self.max_q, distinct=self.distinct)
        places, empty = self._with_rows(worse, pool)
        figures["subgroups_without_rows"] = empty
        if len(places) < self.k:
            few = f"{len(places)} of the {self.k} subgroups that are wanted were found: {len(worse)} of {len(groups)} are worse than all "
            notes = [f"{few}rows and not redundant, and {empty} of these have no row in the pool."]
        else:
            notes = []
        if not places:
            return Proposal(nothing, [], figures, notes=notes)
        worst = [worse[place] for place in places]
        found = select_subgroups(pool, worst, fill=self.fill, seed=seed, key=_NUMBER, **self.rows)
        named = [None if group is None else str(group) for group in found.group[found.ranked]]
        told = [
            {"subgroup": one["subgroup"], "in_pool": one["rows"], **_without_names(group.to_dict())}
            for one, group in zip(found.facts["subgroups"], worst, strict=True)
        ]
        return Proposal(found.ranked, named, figures, told, [*notes, *found.warnings])

    def thin(self, ds: Any) -> Any:
        """Return the columns that choosing reads, and a number for each row: telling rows apart by their content takes long."""
        wanted = [name for name in ds.column_names if name in (*self.by, *self.rows.values())]
        return append_columns(ds.select_columns(wanted), pa.table({_NUMBER: np.arange(len(ds))}))

    def _with_rows(self, worse: Subgroups, pool: Any) -> tuple[list[int], int]:
        """Return the K worst subgroups that have rows in the pool, and how many before them have none left."""
        columns, found = ThinColumns(pool), list[int]()
        for place, group in enumerate(worse):
            if len(found) == self.k:
                return found, place - self.k
            if group.mask_of(columns).any():
                found.append(place)
        return found, len(worse) - len(found)


def _without_names(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out who makes the most errors: what is told here ends in checkpoints and in what is published."""
    return {name: value for name, value in values.items() if name != "worst_speaker"}
