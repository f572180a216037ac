"""Attributes: a column as a few values or bins, fitted on one split and applied unchanged to others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError
from hf_select.subgroups.conditions import Condition, ThinColumns

__all__ = ["Attribute", "Bins", "fit_attribute", "quantile_edges"]

Bins = int | Sequence[float] | None

_FEW = 5  # numbers with so many different values, or fewer, are values, not bins (the paper's code)
_MOST_QUANTILES = 7


@dataclass(frozen=True)
class Attribute:
    """A column and the values (or bins) that subgroups are made of.

    Attributes:
        name: the column.
        values: value names; of bins "low", "medium", "high" (or "low", "high"; more are "1 of 4", ...).
        edges: of bins their inner bounds, ascending: low <= edges[0] < medium <= edges[1] < high. Else None.
        classes: class names of a ClassLabel column.
    """

    name: str
    values: tuple[str, ...]
    edges: tuple[float, ...] | None = None
    classes: tuple[str, ...] = ()

    def codes(self, columns: ThinColumns) -> NDArray[np.int32]:
        """Return the code of each row's value; -1 where there is none, or none that was known when it was fitted."""
        if self.edges is None:
            codes, names = columns.texts(self.name, self.classes)
            place = {value: code for code, value in enumerate(self.values)}
            known = np.array([place.get(name, -1) for name in names] + [-1], dtype=np.int32)
            return known[codes]
        numbers = columns.numbers(self.name)
        codes = np.searchsorted(np.array(self.edges), numbers, side="left").astype(np.int32)
        codes[np.isnan(numbers)] = -1
        return codes

    def unseen(self, columns: ThinColumns) -> list[str]:
        """Return the values in these rows that were not there when the attribute was fitted."""
        return [] if self.edges is not None else sorted(set(columns.texts(self.name, self.classes)[1]) - {*self.values})

    def condition(self, code: int) -> Condition:
        """Return the condition that a row has this value."""
        if self.edges is None:
            return Condition(self.name, self.values[code], classes=self.classes)
        bounds = (None, *self.edges, None)
        return Condition(self.name, self.values[code], low=bounds[code], high=bounds[code + 1])

    def to_dict(self) -> dict[str, Any]:
        """Return the attribute in plain JSON values."""
        edges = None if self.edges is None else list(self.edges)
        return {"name": self.name, "values": list(self.values), "edges": edges, "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Attribute:
        """Make an attribute of what `to_dict` gave."""
        edges = None if found["edges"] is None else tuple(map(float, found["edges"]))
        return cls(found["name"], tuple(found["values"]), edges, tuple(found.get("classes", ())))


def fit_attribute(columns: ThinColumns, name: str, bins: Bins) -> tuple[Attribute, list[str]]:
    """Fit an attribute to the rows: (attribute, notes for people).

    Args:
        columns: the rows.
        name: the column.
        bins: for a column of numbers: how many quantile bins, or their inner edges, or None to take every number as a value.
            Columns of text, truth values or classes are taken as they are, whatever it says.
    """
    binned = columns.is_number(name) and bins is not None
    if binned and not isinstance(bins, int):
        edges = given_edges(name, bins)  # type: ignore[arg-type]
        return Attribute(name, _bin_names(len(edges) + 1), edges), []
    numbers = columns.numbers(name) if binned else None
    if numbers is None or len(np.unique(numbers[~np.isnan(numbers)])) <= _FEW:
        return Attribute(name, tuple(columns.texts(name)[1]), classes=columns.classes(name)), []
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        raise ArgumentError(f"by={name!r}: row {row} is infinite: mend it, or give its edges.")
    edges = quantile_edges(numbers, int(bins))  # type: ignore[arg-type]
    notes = []
    if len(edges) + 1 != bins:
        notes.append(f"{name} is cut into {len(edges) + 1} bin(s) instead of {bins}: too many of its values are equal.")
    return Attribute(name, _bin_names(len(edges) + 1), edges), notes


def quantile_edges(numbers: NDArray[np.float64], bins: int = 3, decimals: int = 2) -> tuple[float, ...]:
    """Return inner edges that cut numbers into `bins` groups of about equal size: x <= edge belongs below it.

    Edges are quantiles (linear interpolation), rounded to `decimals`. Where equal values or the rounding merge bins, more
    quantiles are tried, up to 7, and the first that leave `bins` bins are taken; else the most bins that were left.
    Edges of numbers too small for `decimals` are rounded to three significant digits of their range instead (that is
    ours: the paper's code drops such a column).

    Args:
        numbers: the values; NaN is left out.
        bins: how many groups, 2 or more.
        decimals: digits after the point.

    Reference:
        The binning of Koudounas et al. 2024 (see `find_subgroups`), as its public code does it.

    Example:
        >>> quantile_edges(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        (2.67, 4.33)
    """
    values = numbers[~np.isnan(numbers)]
    low, high = float(values.min()), float(values.max())
    if high - low < 10.0 ** (1 - decimals):
        decimals = int(2 - np.floor(np.log10(high - low))) if high > low else decimals
    best: tuple[float, ...] = ()
    for count in range(bins, max(bins, _MOST_QUANTILES) + 1):
        cuts = np.quantile(values, np.arange(1, count) / count)
        edges = tuple(float(edge) for edge in np.unique(np.round(cuts, decimals)) if low <= edge < high)
        if len(edges) > len(best) and len(edges) < bins:
            best = edges
        if len(edges) + 1 == bins:
            return edges
    return best


def given_edges(name: str, edges: Sequence[float]) -> tuple[float, ...]:
    """Check the edges that a user gives."""
    found = tuple(float(edge) for edge in edges)
    if not found or not all(np.isfinite(found)) or any(a >= b for a, b in pairwise(found)):
        raise ArgumentError(f"bins: the edges of {name!r} are finite numbers in ascending order; got {list(edges)!r}.")
    return found


def _bin_names(count: int) -> tuple[str, ...]:
    if count > 3:
        return tuple(f"{number} of {count}" for number in range(1, count + 1))
    return (("all",), ("low", "high"), ("low", "medium", "high"))[count - 1]
