"""The budget: how much to keep. The only place that knows what a budget means.

| written as                  | means                                                                    |
|-----------------------------|--------------------------------------------------------------------------|
| `0.3`, `"0.3"`, `"30%"`     | a share: floor(share x rows), split over groups by largest remainder     |
| `500`, `"500"`              | rows; with `per`, that many in each group                                |
| `"2.5h"`, `"90min"`, `"600s"` | seconds of audio, filled in order of choice; with `per`, in each group |

A share is always of rows KEPT. `1.0` keeps all, the integer `1` keeps one row.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import BudgetError

__all__ = ["Budget", "Cut", "cut", "largest_remainder"]

Ints = NDArray[np.int64]

LEGAL = (
    "a share of rows kept in (0, 1] such as 0.3 or '30%', a number of rows (1 or more) such as 500, "
    "or audio such as '2.5h', '90min', '600s'"
)
_UNITS = {"h": 3600, "min": 60, "s": 1}
_TIME = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(h|min|s)")
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")
_SHARE = re.compile(r"\d+\.\d*|\.\d+")
_ROWS = re.compile(r"\d+")
_MICRO = 1_000_000  # durations are added as whole microseconds, so that a sum does not depend on its order


@dataclass(frozen=True)
class Budget:
    """A budget that has been understood.

    >>> Budget.parse(0.29).rows_of(100), Budget.parse("90min").amount
    (29, Fraction(5400, 1))
    """

    kind: str  # "share", "rows" or "seconds"
    amount: Fraction

    @classmethod
    def parse(cls, budget: Any) -> Budget:
        """Understand a budget in any of its legal forms.

        Args:
            budget: a share in (0, 1] as a float; a number of rows (int, 1 or more); or a string: `"30%"`, `"0.3"`,
                `"500"`, `"2.5h"`, `"90min"`, `"600s"`. A Budget is returned as it is.

        Raises:
            BudgetError: for anything else; the message states the legal forms and what was got.
        """
        if isinstance(budget, Budget):
            return budget
        parsed = _parse_text(budget.strip()) if isinstance(budget, str) else _parse_number(budget)
        if parsed is None:
            raise BudgetError(f"A budget is {LEGAL}. Got {budget!r} ({type(budget).__name__}).")
        return parsed

    def rows_of(self, rows: int) -> int:
        """Return how many of `rows` rows a share or a number of rows asks for; not for an amount of audio."""
        if self.kind == "share":
            return int(self.amount * rows)  # exact, and int() floors: 0.29 of 100 is 29, not 28
        if self.kind == "rows":
            return int(self.amount)
        raise BudgetError(f"{self} is an amount of audio: the number of rows follows from their durations.")

    def __str__(self) -> str:
        if self.kind == "share":
            return f"{float(self.amount * 100):g} % of rows"
        if self.kind == "rows":
            return f"{int(self.amount)} rows"
        seconds = float(self.amount)
        return (
            f"{seconds / 3600:g} h"
            if seconds >= 3600
            else f"{seconds / 60:g} min"
            if seconds >= 60
            else f"{seconds:g} s"
        )


def _parse_number(value: Any) -> Budget | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, numbers.Integral):
        return Budget("rows", Fraction(int(value))) if int(value) >= 1 else None
    if isinstance(value, (float, np.floating)) and 0 < value <= 1:
        return Budget("share", Fraction(str(value)))  # the number as written: float32(0.3) is 3/10
    return None


def _parse_text(text: str) -> Budget | None:
    if match := _TIME.fullmatch(text):
        kind, amount = "seconds", Fraction(match[1]) * _UNITS[match[2]]
        return Budget(kind, amount) if amount > 0 else None
    if match := _PERCENT.fullmatch(text):
        amount = Fraction(match[1]) / 100
    elif _SHARE.fullmatch(text):
        amount = Fraction(text)
    elif _ROWS.fullmatch(text):
        return Budget("rows", Fraction(text)) if int(text) >= 1 else None
    else:
        return None
    return Budget("share", amount) if 0 < amount <= 1 else None


def largest_remainder(total: int, sizes: Sequence[int] | Ints) -> Ints:
    """Split `total` in proportion to `sizes`, exactly: floors first, then one each to the largest remainders.

    Ties go to the earlier entry. No part exceeds its size as long as total <= sum(sizes).

    >>> largest_remainder(7, [6, 3, 1]).tolist()   # 4.2, 2.1, 0.7
    [4, 2, 1]
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    whole = int(sizes.sum())
    if not 0 <= total <= whole:
        raise BudgetError(f"Can't share out {total} rows over groups that hold {whole}.")
    if whole == 0:
        return np.zeros_like(sizes)
    parts, remainders = np.divmod(total * sizes, whole)
    most = np.argsort(-remainders, kind="stable")[: total - int(parts.sum())]
    parts[most] += 1
    return parts


@dataclass(frozen=True)
class Cut:
    """What a budget keeps of a ranking.

    Attributes:
        rows: positions of the kept rows in the source, in order of choice.
        warnings: sentences for people: a group smaller than what was asked of it, and the like.
        slack_seconds: for an amount of audio, what of the budget stays unused (in all groups together); else None.
    """

    rows: Ints
    warnings: list[str] = field(default_factory=list)
    slack_seconds: float | None = None


def cut(
    budget: Budget,
    ranking: Ints,
    *,
    num_rows: int,
    per: NDArray[Any] | None = None,
    clusters: NDArray[Any] | None = None,
    seconds: NDArray[np.float64] | None = None,
) -> Cut:
    """Keep what the budget allows of a ranking: the one place where a budget becomes rows.

    Args:
        budget: the budget.
        ranking: positions of the rows that may be chosen, best first (rows with a reason against them are not in it).
        num_rows: rows of the source: a share is a share of all its rows, whether they may be chosen or not.
        per: a value for each of the `num_rows` rows; the budget holds inside each group of equal values.
        clusters: a value for each row; what a group may keep is split over its clusters by largest remainder, and the
            order of choice goes through the clusters in step, so that a prefix of it is spread over them too.
        seconds: the duration of each row; needed by an amount of audio.

    Returns:
        The kept rows in order of choice, with warnings.
    """
    ranking = np.asarray(ranking, dtype=np.int64)
    names, group = _codes(per, ranking, num_rows)
    if clusters is not None:
        ranking = _in_step(ranking, group, _codes(clusters, ranking, num_rows)[1])
    if budget.kind == "seconds":
        return _fill(budget, ranking, names, group, seconds)

    sizes = np.bincount(group[ranking], minlength=len(names))
    quotas, warnings = _quotas(budget, names, sizes, num_rows, grouped=per is not None)
    if clusters is None:
        keep = _first_of_each(ranking, group, quotas)
    else:
        cell, cell_quotas = _cells(ranking, group, _codes(clusters, ranking, num_rows)[1], quotas)
        keep = _first_of_each(ranking, cell, cell_quotas)
    return Cut(ranking[keep], warnings)


def _codes(values: NDArray[Any] | None, ranking: Ints, num_rows: int) -> tuple[list[Any], Ints]:
    """Number the values that occur among the candidates, in sorted order: (values, code of every source row)."""
    codes = np.zeros(num_rows, dtype=np.int64)
    if values is None:
        return [None], codes
    chosen = np.asarray(values)[ranking]
    found, inverse = np.unique(chosen if chosen.dtype.kind in "iub" else chosen.astype(str), return_inverse=True)
    codes[ranking] = inverse
    return found.tolist() or [None], codes


def _quotas(budget: Budget, names: list[Any], sizes: Ints, num_rows: int, *, grouped: bool) -> tuple[Ints, list[str]]:
    asked = budget.rows_of(num_rows)
    if budget.kind == "rows" and grouped:
        small = {name: int(size) for name, size in zip(names, sizes, strict=True) if size < asked}
        shown = ", ".join(f"{name} ({size})" for name, size in list(small.items())[:5]) + (
            ", ..." if len(small) > 5 else ""
        )
        return np.minimum(sizes, asked), [
            f"{len(small)} group(s) hold fewer than {asked} rows and give all they have: {shown}."
        ] if small else []
    there = int(sizes.sum())
    warnings = []
    if asked > there:
        warnings.append(
            f"The budget asks for {asked} rows, and {there} of {num_rows} can be chosen: all of them are kept."
        )
    if asked == 0:
        warnings.append(f"The budget ({budget}) keeps 0 of {num_rows} rows.")
    return largest_remainder(min(asked, there), sizes), warnings


def _place_in(ranking: Ints, code: Ints) -> Ints:
    """Return, for each place of the ranking, how many rows of the same code stand before it."""
    codes = code[ranking]
    by_code = np.argsort(codes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(codes))])[:-1] if len(codes) else np.zeros(0, dtype=np.int64)
    place = np.empty(len(ranking), dtype=np.int64)
    place[by_code] = np.arange(len(ranking)) - starts[codes[by_code]]
    return place


def _first_of_each(ranking: Ints, code: Ints, quotas: Ints) -> NDArray[np.bool_]:
    return _place_in(ranking, code) < quotas[code[ranking]]


def _cell_codes(ranking: Ints, group: Ints, cluster: Ints) -> tuple[Ints, Ints, Ints]:
    """Number the pairs (group, cluster): (cell of every source row, group of every cell, rows in every cell)."""
    width = int(cluster.max(initial=0)) + 1
    pairs, inverse, sizes = np.unique(
        group[ranking] * width + cluster[ranking], return_inverse=True, return_counts=True
    )
    cell = np.zeros(len(group), dtype=np.int64)
    cell[ranking] = inverse
    return cell, pairs // width, sizes


def _cells(ranking: Ints, group: Ints, cluster: Ints, quotas: Ints) -> tuple[Ints, Ints]:
    cell, cell_group, sizes = _cell_codes(ranking, group, cluster)
    cell_quotas = np.zeros(len(sizes), dtype=np.int64)
    for code, quota in enumerate(quotas):
        inside = cell_group == code
        cell_quotas[inside] = largest_remainder(int(quota), sizes[inside])
    return cell, cell_quotas


def _in_step(ranking: Ints, group: Ints, cluster: Ints) -> Ints:
    """Reorder a ranking so that every cluster is gone through at the same pace: the j-th of n stands at (j + 1/2) / n."""
    if not len(ranking):
        return ranking
    cell, _, sizes = _cell_codes(ranking, group, cluster)
    pace = (_place_in(ranking, cell) + 0.5) / sizes[cell[ranking]]
    return ranking[np.argsort(pace, kind="stable")]


def _fill(budget: Budget, ranking: Ints, names: list[Any], group: Ints, seconds: NDArray[np.float64] | None) -> Cut:
    if seconds is None:
        raise BudgetError(
            f"A budget of {budget} needs the duration of every row. Add it with hs.with_columns(ds, hs.Duration())."
        )
    limit = int(budget.amount * _MICRO)
    lengths = np.rint(np.asarray(seconds, dtype=np.float64)[ranking] * _MICRO).astype(np.int64)
    keep = np.zeros(len(ranking), dtype=bool)
    slack, warnings = 0, []
    whole: list[str] = []
    for code, name in enumerate(names):
        places = np.flatnonzero(group[ranking] == code)
        fits = np.cumsum(lengths[places]) <= limit  # lengths are not negative, so this is a prefix
        keep[places[fits]] = True
        slack += limit - int(lengths[places[fits]].sum())
        of_group = "" if name is None else f" of group {name}"
        if fits.all():
            whole.append(f"all {len(places)} rows{of_group}")
        elif not fits.any():
            longest = lengths[places[0]] / _MICRO
            warnings.append(f"Not even the first row{of_group} fits into {budget}: it lasts {longest:.2f} s.")
    if whole:
        more = f" and {len(whole) - 4} more groups whole" if len(whole) > 4 else ""
        sentence = f"{', '.join(whole[:4])}{more} fit into {budget}."
        warnings.append(sentence[0].upper() + sentence[1:])
    return Cut(ranking[keep], warnings, slack / _MICRO)
