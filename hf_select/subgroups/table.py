"""Subgroups: the table of all subgroups that were found, worst first; which of them are worth naming, and why."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError
from hf_select.subgroups.attributes import Attribute
from hf_select.subgroups.bits import BitSets
from hf_select.subgroups.conditions import Condition, phrase
from hf_select.subgroups.lattice import Lattice
from hf_select.subgroups.outcomes import OutcomeRecipe
from hf_select.subgroups.subgroup import Subgroup
from hf_select.subgroups.text import describe, one_speaker, phrases

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["INTEGERS", "RareSubgroup", "Subgroups"]

INTEGERS = ("count", "judged", "speakers")
_NUMBERS = ("mean", "divergence", "t", "p", "q", "low", "high")


@dataclass(frozen=True)
class RareSubgroup:
    """A combination of values that too few rows have to judge it, though each of its values alone is frequent."""

    conditions: tuple[Condition, ...]
    count: int

    def __str__(self) -> str:
        return phrase(self.conditions)


@dataclass(frozen=True, eq=False, repr=False)
class Subgroups(Sequence[Subgroup]):
    """A table of subgroups, worst first (ties: more rows first). Made by `find_subgroups`.

    It is a sequence of `Subgroup`; `to_pandas()` gives it whole.

    Attributes:
        attributes: columns and their values or bins, as fitted; `measure` applies them unchanged to another split.
        codes: subgroups x attributes (int32): the code of the value, -1 where any will do.
        columns: name -> array, one entry per subgroup, see `Subgroup`; worst_speaker as a code of `speaker_names`.
        recipe: the outcome and where it comes from. direction: the bad side of it, "lower" or "higher".
        overall: mean outcome of all rows. num_rows: rows in all. min_count: rows a subgroup needs.
        min_support: as it was given. speaker: the column of speakers, or None.
        rare: values and pairs of frequent values that too few rows have.
        notes: sentences for people about what was done to the columns.
    """

    attributes: tuple[Attribute, ...]
    codes: NDArray[np.int32]
    columns: dict[str, NDArray[Any]]
    recipe: OutcomeRecipe
    direction: str
    overall: float
    num_rows: int
    min_count: int
    min_support: float | int
    speaker: str | None = None
    speaker_names: tuple[str, ...] = ()
    rare: tuple[RareSubgroup, ...] = ()
    notes: tuple[str, ...] = ()
    _whole: Subgroups | None = field(default=None)
    _sets: BitSets | None = field(default=None)  # the rows of each value, where they are known

    # -- as a sequence

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, index: int) -> Subgroup: ...
    @overload
    def __getitem__(self, index: slice) -> Subgroups: ...
    def __getitem__(self, index: int | slice) -> Subgroup | Subgroups:
        """Return one subgroup, or a table of some."""
        if isinstance(index, slice):
            return self._rows(np.arange(len(self))[index])
        row = range(len(self))[index]
        codes = self.codes[row]
        conditions = tuple(self.attributes[a].condition(int(codes[a])) for a in np.flatnonzero(codes >= 0))
        values: dict[str, Any] = {name: self.columns[name][row].item() for name in _NUMBERS}
        values |= {name: int(self.columns[name][row]) for name in INTEGERS if name in self.columns}
        if self.speaker is not None:
            code, share = int(self.columns["worst_speaker"][row]), float(self.columns["worst_speaker_share"][row])
            values |= {"worst_speaker": self.speaker_names[code] if code >= 0 else None}
            values |= {"worst_speaker_share": None if np.isnan(share) else share}
        return Subgroup(conditions, support=values["count"] / self.num_rows, **values)

    def __iter__(self) -> Iterator[Subgroup]:
        return (self[row] for row in range(len(self)))

    # -- what it says

    @property
    def outcome(self) -> str:
        """The outcome by name, such as "correct" or "false_positive_rate of yes"."""
        return str(self.recipe)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about which of the first ten subgroups one speaker makes."""
        return tuple(one_speaker(self[:10]))

    def to_pandas(self) -> pd.DataFrame:
        """Return the table: subgroup (its phrase), length, support, count, judged, mean, divergence, t, p, q, low, high, and
        with `speaker=` speakers, worst_speaker, worst_speaker_share."""
        import pandas as pd

        columns: dict[str, Any] = {
            "subgroup": phrases(self.attributes, self.codes).to_pandas(),
            "length": (self.codes >= 0).sum(axis=1),
            "support": self.columns["count"] / max(self.num_rows, 1),
            **{name: self.columns[name] for name in ("count", "judged", *_NUMBERS)},
        }
        if self.speaker is not None:
            names = np.array([*self.speaker_names, None], dtype=object)
            columns |= {name: self.columns[name] for name in ("speakers", "worst_speaker", "worst_speaker_share")}
            columns["worst_speaker"] = names[self.columns["worst_speaker"]]
        return pd.DataFrame(columns)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def to_text(self, rows: int = 10) -> str:
        """Write the first rows as a table for people, with notes and warnings."""
        return describe(self, rows)

    # -- choosing

    def worst(
        self,
        k: int | None = None,
        *,
        redundancy: float | None = None,
        max_q: float | None = None,
        min_speakers: int | None = None,
        distinct: bool = False,
    ) -> Subgroups:
        """Return the k subgroups that diverge most to the bad side.

        Args:
            k: how many, 1 or more; None: all of them. Fewer come with a warning where fewer are left.
            redundancy: leave out a subgroup that has a condition without which its divergence is the same, give or take this much
                (0 or more; a single condition is compared with all rows, whose divergence is 0). The paper's code took 0.15 for
                FSC and 0.04 for ITALIC; the right value depends on the model. None: keep all.
            max_q: leave out subgroups whose q is above this (0 to 1), or that could not be tested.
            min_speakers: leave out subgroups with rows of fewer speakers; needs `speaker=` in `find_subgroups`.
            distinct: of subgroups that hold exactly the same rows under other conditions keep one, with the fewest. A table
                that was read from disk does not know its rows.

        Returns:
            A table; the set of all rows is never in it, and neither is a subgroup that does not diverge to the bad side.

        Reference:
            The pruning of Pastor et al. 2021 (DivExplorer), section 5.3; the K of Koudounas et al. 2024, section 3.

        Relations:
            `select_subgroups` acquires rows of what this returns.
        """
        self._check_worst(k, redundancy, max_q, min_speakers)
        keep = self._bad(self.columns["divergence"])
        if redundancy is not None:
            whole = self._whole or self
            redundant = whole._lattice.redundant(whole.columns["divergence"], redundancy)
            keep &= ~(redundant if whole is self else redundant[whole._lattice.place(self.codes)])
        if max_q is not None:
            keep &= self.columns["q"] <= max_q
        if min_speakers is not None:
            keep &= self.columns["speakers"] >= min_speakers
        rows = np.flatnonzero(keep)
        if distinct:
            rows = self._distinct(rows, k)
        if k is not None and len(rows) < k:
            limits = {"redundancy": redundancy, "max_q": max_q, "min_speakers": min_speakers}
            limits |= {"distinct": True} if distinct else {}
            asked = ", ".join(f"{name}={value}" for name, value in limits.items() if value is not None)
            warnings.warn(
                f"worst({k}): {len(rows)} of {len(self)} subgroups are worse than all rows{' and meet ' + asked if asked else ''}; "
                "the set of all rows is never one of them. Lower redundancy, raise max_q, or ask for fewer.",
                UserWarning,
                stacklevel=2,
            )
        return self._rows(rows if k is None else rows[:k])

    def contributions(self, subgroup: Subgroup | int) -> dict[str, float]:
        """Return how much each condition of a subgroup adds to its divergence: its Shapley values, which sum to it.

        Args:
            subgroup: a subgroup of this table, or its place.

        Returns:
            Condition (as a phrase) -> its share, in the units of the outcome, the largest bad one first.

        Raises:
            ArgumentError: a smaller combination of its conditions is not in the table (which was saved without it, or mined
                with another support).

        Reference:
            Pastor et al. 2021, "Looking for Trouble: Analyzing Classifier Behavior via Pattern Divergence", section 4.3.
        """
        whole = self._whole or self
        codes = self.codes[subgroup] if isinstance(subgroup, int) else self._codes_of(subgroup)
        try:
            found = whole._lattice.contributions(codes, whole.columns["divergence"])
        except KeyError as error:
            raise ArgumentError(
                f"contributions: a smaller combination of the conditions of {subgroup} is not in this table; take the whole table "
                "that find_subgroups gave."
            ) from error
        values = {str(self.attributes[a].condition(int(codes[a]))): value for a, value in found.items()}
        return self._bad_first(values)

    def global_contributions(self) -> dict[str, float]:
        """Return how much each value of each attribute adds to the divergence of all frequent subgroups it stands in.

        Unlike its own divergence it also counts what it adds to other values: the weighted mean, over all combinations
        J without the attribute, of divergence(J and the value) minus divergence(J).

        Reference:
            Pastor et al. 2021, section 4.4 (global item divergence).
        """
        whole = self._whole or self
        found = whole._lattice.global_contributions(whole.columns["divergence"])
        return self._bad_first({str(self.attributes[a].condition(code)): value for (a, code), value in found.items()})

    def measure(self, ds: Any) -> Subgroups:
        """Measure the same subgroups on another split: the same values and edges, its own outcomes.

        Returns:
            A table of the same subgroups with their counts, means and tests there, worst first again. One without rows
            there has a mean of NaN and comes last.

        Raises:
            ColumnError: a column of the attributes, of the outcome or of the speakers is missing.
        """
        from hf_select.subgroups.find import measure_again

        return measure_again(self, ds)

    def unseen(self, ds: Any) -> dict[str, list[str]]:
        """Return for each attribute the values in a dataset that were not there when it was fitted: they match nothing."""
        from hf_select.subgroups.conditions import ThinColumns

        columns = ThinColumns(ds)
        columns.require([attribute.name for attribute in self.attributes], "unseen")
        found = {attribute.name: attribute.unseen(columns) for attribute in self.attributes}
        return {name: values for name, values in found.items() if values}

    # -- on disk

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the table as JSON, whole or not at all.

        Raises:
            OutputError: the file exists and `overwrite` is False, or it can't be written.
        """
        from hf_select.subgroups.stored import save

        save(self, Path(path), overwrite=overwrite)

    @staticmethod
    def load(path: str | Path) -> Subgroups:
        """Read a table back.

        Raises:
            SelectionError: no such file, or it is not what `save` wrote, to the last byte.
        """
        from hf_select.subgroups.stored import load

        return load(Path(path))

    # -- helpers

    @property
    def _lattice(self) -> Lattice:
        if "_kept_lattice" not in self.__dict__:
            self.__dict__["_kept_lattice"] = Lattice(self.codes)
        return self.__dict__["_kept_lattice"]  # type: ignore[no-any-return]

    def _rows(self, rows: NDArray[np.int64]) -> Subgroups:
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(self, codes=self.codes[rows], columns=columns, _whole=self._whole or self)

    def _distinct(self, rows: NDArray[np.int64], k: int | None) -> NDArray[np.int64]:
        """Return of those of `rows` that hold the same rows of the dataset the shortest; k at most."""
        if self._sets is None:
            raise ArgumentError(
                "distinct=True needs the table that find_subgroups or measure gave, not one read from disk."
            )
        length = (self.codes >= 0).sum(axis=1)
        place: dict[bytes, int] = {}
        kept: list[int] = []
        for row in rows.tolist():
            digest = self._sets.digest(self.codes[row])
            if digest not in place:
                if len(kept) == k:
                    break
                place[digest] = len(kept)
                kept.append(row)
            elif length[row] < length[kept[place[digest]]]:
                kept[place[digest]] = row
        return np.array(kept, dtype=np.int64)

    def _bad(self, divergence: Any) -> Any:
        return divergence < 0 if self.direction == "lower" else divergence > 0

    def _bad_first(self, values: dict[str, float]) -> dict[str, float]:
        sign = 1 if self.direction == "lower" else -1
        return dict(sorted(values.items(), key=lambda item: sign * item[1]))

    def _codes_of(self, subgroup: Subgroup) -> NDArray[np.int32]:
        codes = np.full(len(self.attributes), -1, dtype=np.int32)
        pattern = subgroup.pattern
        for place, attribute in enumerate(self.attributes):
            value = pattern.pop(attribute.name, None)
            if value is not None and value in attribute.values:
                codes[place] = attribute.values.index(value)
            elif value is not None:
                raise ArgumentError(f"{subgroup} is not of this table: {attribute.name} has no value {value!r} here.")
        if pattern:
            raise ArgumentError(f"{subgroup} is not of this table: it has no attribute {next(iter(pattern))!r}.")
        return codes

    def _check_worst(self, k: Any, redundancy: Any, max_q: Any, min_speakers: Any) -> None:
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise ArgumentError(f"worst(k): k is a whole number of at least 1, or None for all; got {k!r}.")
        if redundancy is not None and not redundancy >= 0:
            raise ArgumentError(f"redundancy= is a difference of outcomes, 0 or more; got {redundancy!r}.")
        if max_q is not None and not 0 <= max_q <= 1:
            raise ArgumentError(f"max_q= is from 0 to 1; got {max_q!r}.")
        if min_speakers is not None and self.speaker is None:
            raise ArgumentError("min_speakers= needs speakers: pass speaker= to find_subgroups.")
