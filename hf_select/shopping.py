"""A list to hand to whoever records data: what to record, how much of it, and why. For when there is no pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.budget import Budget, largest_remainder
from hf_select.errors import ArgumentError, BudgetError
from hf_select.readers import read_seconds
from hf_select.report.markdown import escape_markdown, shown
from hf_select.subgroups.subgroup import Subgroup
from hf_select.subgroups.table import RareSubgroup, Subgroups
from hf_select.subgroups.text import ONE_SPEAKER

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ShoppingList", "shopping_list"]

_FINE = 10**9  # weights are split as whole numbers of this many parts


@dataclass(frozen=True, eq=False, repr=False)
class ShoppingList:
    """What to acquire, made by `shopping_list`; prints as text, `to_markdown()` as tables.

    Attributes:
        table: a row per subgroup, the most wanted first: record (what, as a phrase), rows and hours to record (NaN where it is not
            known), mean, low, high (the outcome there and its 95 % interval), divergence, q, seen (rows it was judged by),
            speakers (among those; NaN if not known), remark.
        too_rare: combinations that too few rows have to judge them: record, seen, needed.
        outcome, overall: what was measured, and its mean over all rows.
        notes: sentences for people.
    """

    table: pd.DataFrame
    too_rare: pd.DataFrame
    outcome: str
    overall: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"To record, for a better {self.outcome} ({self.overall:.3f} over all rows):"]
        for number, row in enumerate(self.table.itertuples(), 1):
            lines.append(f"{number}. {_amount(row)}: {shown(row.record)}")
            lines.append(f"   {self._why(row)}{'. ' + shown(row.remark) if row.remark else ''}")
        if len(self.too_rare):
            lines.append("Too rare to judge (rows seen, rows needed); record some to find out:")
            lines += [f"   {shown(row.record)} ({row.seen}, {row.needed})" for row in self.too_rare.itertuples()]
        return "\n".join(lines + [f"note: {shown(note)}" for note in self.notes])

    __repr__ = __str__

    def to_markdown(self) -> str:
        """Return the list as two Markdown tables; names and values are escaped."""
        lines = ["| record | how much | why | remark |", "|---|---|---|---|"]
        lines += [
            f"| {escape_markdown(row.record)} | {_amount(row)} | {escape_markdown(self._why(row))} | "
            f"{escape_markdown(row.remark) if row.remark else ''} |"
            for row in self.table.itertuples()
        ]
        if len(self.too_rare):
            lines += ["", "| too rare to judge | rows seen | rows needed |", "|---|--:|--:|"]
            lines += [f"| {escape_markdown(r.record)} | {r.seen} | {r.needed} |" for r in self.too_rare.itertuples()]
        return "\n".join(lines + [f"\n{escape_markdown(note)}" for note in self.notes]) + "\n"

    def _why(self, row: Any) -> str:
        interval = "" if np.isnan(row.low) else f" (95 % interval {row.low:.3f} to {row.high:.3f})"
        return f"{shown(self.outcome)} there {row.mean:.3f}{interval}, seen on {row.seen} rows"


def shopping_list(
    subgroups: Subgroups,
    *,
    budget: int | str,
    share: Literal["proportional", "even"] = "proportional",
    ds: Any = None,
    duration: str = "duration",
    too_rare: int = 10,
) -> ShoppingList:
    """Describe what to record next, so that somebody without the data or the model can go and do it.

    Reads:
        `ds`, if given: `duration` (seconds) of the rows that the subgroups were found in, for how long their clips are.

    Args:
        subgroups: what to acquire, `Subgroups.worst(k, ...)`.
        budget: rows in all (1000, "1000") or audio ("10h").
        share: "proportional" to |divergence| x rows, as `select_subgroups` fills, or "even".
        ds: the split that the subgroups were found in. Needed to tell the hours of rows, or the rows of an amount of audio.
        duration: its column of seconds.
        too_rare: how many combinations that are too rare to judge to list: first those that share a condition with what is
            wanted; the rarest first, those that were never seen (and may not exist) last.

    Returns:
        A ShoppingList. Subgroups overlap: a clip that belongs to two may count for both, so that the amounts are upper bounds.

    Raises:
        BudgetError: the budget is no number of rows and no amount of audio. ArgumentError: there is no subgroup.

    Relations:
        `select_subgroups` takes the rows from a pool, where there is one.

    Example:
        >>> from datasets import Dataset
        >>> import hf_select as hs
        >>> ds = Dataset.from_dict({"gender": ["f", "m"] * 20, "correct": [0, 1, 1, 1] * 10})
        >>> groups = hs.find_subgroups(ds, by="gender", outcome="correct")
        >>> print(hs.shopping_list(groups.worst(1), budget=500))
        To record, for a better correct (0.750 over all rows):
        1. 500 rows: gender = f
           correct there 0.500 (95 % interval 0.299 to 0.701), seen on 20 rows
    """
    import pandas as pd

    wanted = list(subgroups)
    if not isinstance(subgroups, Subgroups) or not wanted:
        raise ArgumentError("shopping_list needs at least one subgroup: pass what Subgroups.worst() returned.")
    asked = Budget.parse(budget)
    if asked.kind == "share":
        raise BudgetError(
            f"There is no dataset yet that {asked} could be a share of: give rows (1000) or audio ('10h')."
        )
    lengths = np.array([_mean_seconds(subgroup, ds, duration) for subgroup in wanted])
    rows, hours = _amounts(asked, _weights(wanted, share), lengths)
    table = pd.DataFrame(
        {
            "record": [str(subgroup) for subgroup in wanted],
            "rows": rows,
            "hours": hours,
            **{name: [getattr(g, name) for g in wanted] for name in ("mean", "low", "high", "divergence", "q")},
            "seen": [subgroup.judged for subgroup in wanted],
            "speakers": [np.nan if subgroup.speakers is None else subgroup.speakers for subgroup in wanted],
            "remark": [_remark(subgroup) for subgroup in wanted],
        }
    )
    rare = _relevant(subgroups)[:too_rare]
    seldom = pd.DataFrame(
        {
            "record": [str(entry) for entry in rare],
            "seen": [entry.count for entry in rare],
            "needed": [subgroups.min_count] * len(rare),
        }
    )
    notes = ["A clip may belong to several of these, and then counts for each."] if len(wanted) > 1 else []
    if len(subgroups.rare) > len(rare):
        notes.append(f"{len(subgroups.rare) - len(rare)} more combinations are too rare to judge.")
    return ShoppingList(table, seldom, subgroups.outcome, subgroups.overall, tuple(notes))


def _relevant(subgroups: Subgroups) -> list[RareSubgroup]:
    wanted = {condition for subgroup in subgroups for condition in subgroup.conditions}
    return sorted(subgroups.rare, key=lambda rare: (wanted.isdisjoint(rare.conditions), rare.count == 0, rare.count))


def _mean_seconds(subgroup: Subgroup, ds: Any, duration: str) -> float:
    if ds is None:
        return float("nan")
    seconds = read_seconds(ds, duration)[subgroup.mask(ds)]
    known = seconds[~np.isnan(seconds)]
    return float(known.mean()) if len(known) else float("nan")


def _weights(wanted: list[Subgroup], share: str) -> NDArray[np.float64]:
    if share not in ("proportional", "even"):
        raise ArgumentError(f"share= is 'proportional' or 'even'; got {share!r}.")
    weights = np.array([1.0 if share == "even" else abs(g.divergence) * g.count for g in wanted])
    return weights / weights.sum()


def _amounts(
    asked: Budget, weights: NDArray[np.float64], lengths: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split the budget: (rows, hours) per subgroup; one follows from the other where the length of a clip is known."""
    if asked.kind == "rows":
        total = int(asked.amount)
        parts = np.maximum(1, np.rint(weights * max(_FINE, total))).astype(np.int64)
        rows = largest_remainder(total, parts).astype(float)
        return rows, rows * lengths / 3600
    hours = weights * float(asked.amount) / 3600
    return np.floor(hours * 3600 / lengths), hours


def _remark(subgroup: Subgroup) -> str:
    share = subgroup.worst_speaker_share
    if subgroup.speakers == 1:
        return "all of it was one speaker: record others before believing it"
    if share is not None and share > ONE_SPEAKER:
        return f"one of {subgroup.speakers} speakers makes {share:.1%} of the errors: record others before believing it"
    return ""


def _amount(row: Any) -> str:
    """Write rows and hours, whichever are known."""
    known = [] if np.isnan(row.rows) else [f"{int(row.rows):,} rows"]
    known += [] if np.isnan(row.hours) else [f"{row.hours:.2f} h"]
    return ", ".join(known)
