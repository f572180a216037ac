"""The ledger of an acquisition: what each round took, and what the budgets leave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.budget import Budget, cut
from hf_select.compare import name_of
from hf_select.errors import ColumnError, SelectionError
from hf_select.readers import read_seconds
from hf_select.rows import RowKey
from hf_select.selection import SEPARATOR, Selection
from hf_select.training.divergence import Proposal
from hf_select.training.view import ActiveView, selection_of

__all__ = ["Ledger"]

_LONG = ("row_numbers", "keys", "groups")  # of a record, what is as long as its rows


class Ledger:
    """The records of all rounds, as they stand in a checkpoint, and the budgets that they are cut by.

    Args:
        view: it grows by what is taken.
        budget: of one round, total: of all rounds, rounds: how many; see `AcquisitionCallback`.
        key, duration: columns of the view's dataset.

    Attributes:
        records: a dict of plain JSON values per round.
        seconds: the duration of each row of the dataset; None where there are none.
    """

    def __init__(
        self, view: ActiveView, budget: Any, total: Any, rounds: int | None, key: str | None, duration: str
    ) -> None:
        self.view, self.key, self.duration, self.rounds = view, key, duration, rounds
        pool = len(view.pool_rows)
        self.budget, self.total = (None if b is None else _in_rows(Budget.parse(b), pool) for b in (budget, total))
        self.records: list[dict[str, Any]] = []
        self.seconds = _read_durations(view.dataset, duration, [self.budget, self.total])
        self._keys = RowKey.choose(view.dataset, key).of(view.dataset)

    # -- what was taken

    def start(self, saved: Mapping[str, Any] | None) -> None:
        """Go back to the start rows; or to what a checkpoint holds.

        Raises:
            SelectionError: the checkpoint was written with other data.
        """
        self.view.reset()
        self.records = []
        if saved is None:
            return
        if saved["data"] != self._digest:
            raise SelectionError(
                "The checkpoint belongs to a view of other rows, another start, items_per_round or seed: a run is resumed with "
                "the same or not at all. For other data start anew, from the weights of the checkpoint."
            )
        for record in saved["rounds"]:
            self.enter(record)

    def enter(self, record: Mapping[str, Any]) -> None:
        """Take the rows of a record."""
        self.view.grow(np.array(record["row_numbers"], dtype=np.int64))
        self.records.append(dict(record))

    def has(self, number: int) -> bool:
        """Say whether a round is entered."""
        return any(record["round"] == number for record in self.records)

    def state(self) -> dict[str, Any]:
        """Return what goes into a checkpoint."""
        return {"data": self._digest, "rounds": self.records}

    def hours(self, rows: NDArray[np.int64]) -> float | None:
        """Return the hours of some rows, None where durations are unknown."""
        return None if self.seconds is None else float(np.nansum(self.seconds[rows])) / 3600

    def selection(self) -> Selection:
        """Return the active rows as a Selection, its groups "start" or the round and the subgroups that asked for the row."""
        rounds = [(f"round {record['round']}", np.array(record["row_numbers"], np.int64)) for record in self.records]
        found = selection_of(self.view, rounds, key=self.key, duration=self.duration)
        group = found.group.copy()
        for record in self.records:
            for row, asked in zip(record["row_numbers"], record["groups"], strict=True):
                group[row] = f"{group[row]}: {asked}" if asked else group[row]
        told = [{name: value for name, value in record.items() if name not in _LONG} for record in self.records]
        return replace(found, group=group, method="AcquisitionCallback", facts={**found.facts, "rounds": told})

    # -- what may be taken

    def end(self) -> str | None:
        """Return why nothing can be acquired any more, None while something can."""
        if not len(self.view.pool_rows):
            return "the pool is dry"
        if self.rounds is not None and len(self.records) >= self.rounds:
            return f"rows were acquired in {self.rounds} rounds, as rounds= asks"
        left = self._left()
        return "the budget of all rounds is spent" if left is not None and left.amount <= 0 else None

    def decide(self, number: int, proposal: Proposal) -> dict[str, Any]:
        """Cut what is proposed by the budgets, and return the record of the round."""
        ranking = self.view.pool_rows[proposal.ranked]
        asked = dict(zip(ranking.tolist(), proposal.groups, strict=True))
        notes = list(proposal.notes)
        for budget in (self.budget, self._left()):
            if budget is not None:
                if budget.kind == "seconds":
                    ranking = ranking[~np.isnan(self._durations(ranking))]
                ranking = cut(budget, ranking, num_rows=len(self.view.dataset), seconds=self.seconds).rows
        if len(asked) and not len(ranking):
            notes.append("Nothing that was proposed fits into the budget.")
        groups = [asked[row] for row in ranking.tolist()]
        return {
            "round": number,
            "rows": len(ranking),
            "hours": self.hours(ranking),
            "figures": dict(sorted(proposal.figures.items())),  # as a checkpoint has them
            "subgroups": [{**one, "acquired": _count(groups, one["subgroup"])} for one in proposal.subgroups],
            "notes": notes,
            "row_numbers": ranking.tolist(),
            "keys": [self._keys[row].as_py() for row in ranking.tolist()],
            "groups": groups,
        }

    def _left(self) -> Budget | None:
        """Return what the budget of all rounds has left."""
        if self.total is None:
            return None
        spent = np.array([row for record in self.records for row in record["row_numbers"]], dtype=np.int64)
        if self.total.kind == "rows":
            return Budget("rows", self.total.amount - len(spent))
        micro = int(np.rint(self._durations(spent) * 1_000_000).astype(np.int64).sum())
        return Budget("seconds", self.total.amount - Fraction(micro, 1_000_000))

    def _durations(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(rows), np.nan) if self.seconds is None else self.seconds[rows]

    @cached_property
    def _digest(self) -> str:
        """Name the rows, the start, and the way they are dealt."""
        view = self.view
        keys = np.frombuffer("\0".join(map(str, self._keys.to_pylist())).encode("utf-8", "surrogatepass"), np.uint8)
        return name_of(keys, view.start, [len(view), view.seed, view.length, view.group_size])


def _count(groups: Iterable[str | None], phrase: str) -> int:
    return sum(group is not None and phrase in group.split(SEPARATOR) for group in groups)


def _in_rows(budget: Budget, pool: int) -> Budget:
    """Return a share of the first pool as rows: a share of what is left would shrink from round to round."""
    return Budget("rows", Fraction(budget.rows_of(pool))) if budget.kind == "share" else budget


def _read_durations(ds: Any, column: str, budgets: Iterable[Budget | None]) -> NDArray[np.float64] | None:
    try:
        return read_seconds(ds, column)
    except ColumnError:
        if any(budget is not None and budget.kind == "seconds" for budget in budgets):
            raise
        return None
