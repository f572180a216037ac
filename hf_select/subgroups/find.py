"""find_subgroups: read the columns, fit the attributes, mine, estimate, order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError, ColumnError
from hf_select.rows import require_dataset
from hf_select.subgroups.attributes import Attribute, Bins, fit_attribute
from hf_select.subgroups.bits import BitSets
from hf_select.subgroups.conditions import ThinColumns
from hf_select.subgroups.estimates import Columns, estimate, overall_mean
from hf_select.subgroups.mining import Mined, mine
from hf_select.subgroups.outcomes import OutcomeRecipe, read_outcome
from hf_select.subgroups.table import RareSubgroup, Subgroups

__all__ = ["find_subgroups", "measure_again"]

_RARE = 1000  # rare values and pairs that are remembered


def find_subgroups(
    ds: Any,
    by: str | Sequence[str],
    outcome: str,
    *,
    min_support: float | int = 0.03,
    bins: Bins | Mapping[str, Bins] = 3,
    direction: Literal["lower", "higher"] | None = None,
    speaker: str | None = None,
    predicted: str | None = None,
    label: str | None = None,
    positive: Any = None,
    kind: Literal["zero_one", "number"] | None = None,
    max_length: int | None = None,
    keep_constant: bool = False,
) -> Subgroups:
    """Find the readable subgroups of rows ("gender = female and age > 60") on which a model diverges from its average.

    Every combination of one value each of one or more attributes that enough rows have is measured: exact and complete,
    nothing is sampled. Rows without an outcome count for the support and not for the mean.

    Reads:
        The columns of `by`: text, truth values, classes or numbers, one per row. A row without a value (null, NaN) belongs to no
        subgroup that asks for it. And the outcome, see below; `speaker`: one value per row. Never audio.

    Args:
        ds: a map-style dataset: the validation split, with predictions.
        by: columns to describe rows by.
        outcome: a column of 0/1 or truth values (such as `correct`; null = no outcome), or of numbers (a WER, a loss); or, with
            `predicted` and `label`, a rate: "accuracy", "false_positive_rate", "false_negative_rate" (of the class
            `positive`), "macro_f1".
        min_support: share of rows in (0, 1] that a subgroup needs (ceil(share x rows)), or a number of rows.
        bins: how columns of numbers with more than 5 different values are cut: the number of quantile bins, 2 or more
            (see `quantile_edges`); inner edges, such as [5.0, 20.0] for "<= 5", "5 to 20", "> 20"; None: every number is a value.
            A dict gives it per column, 3 for the others. The edges are kept and used unchanged on other data.
        direction: the bad side of the outcome: "lower" (accuracy) or "higher" (an error rate, WER). None: lower for 0/1,
            accuracy and macro F1, higher for numbers and error rates.
        speaker: a column of speakers. p, q and intervals are then those of a sample of speakers (see `hf_select.subgroups.speakers`),
            and each subgroup says how many speakers it has and which share of its errors the worst one makes. Without it, rows
            are taken as independent, which rows of one speaker are not. Rows without a speaker count as one speaker.
        predicted, label: columns of predicted and true classes, for rates. positive: the class of a positive or negative rate.
        kind: "zero_one" refuses an outcome that is not 0/1; "number" takes 0/1 as numbers; None: what the column holds.
        max_length: the most conditions of a subgroup; None: as many as there are columns.
        keep_constant: keep columns that have one value; they multiply the subgroups and tell nothing.

    Returns:
        `Subgroups`, worst first; the set of all rows is not one of them.

    Raises:
        ColumnError: a column is missing or of the wrong kind; the outcome is constant or missing in all rows.
        ArgumentError: an argument outside its range; no value of any column is as frequent as `min_support` asks.

    Reference:
        Koudounas et al. 2024, "Prioritizing Data Acquisition for End-to-End Speech Model Improvement", section 3; Pastor et al. 2021,
        "Looking for Trouble" (DivExplorer). Numbers of subgroups, divergences and t are those of their code. p, q and
        intervals are ours: t of 0/1 outcomes is none to take a p from, and rows of one speaker are not independent.

    Relations:
        `Subgroups.worst` chooses the ones to act on, `select_subgroups` acquires their rows, `shopping_list` describes them.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"gender": ["f", "m"] * 20, "noisy": ([True] * 2 + [False] * 2) * 10, "correct": [0, 1, 1, 1] * 10})
        >>> groups = find_subgroups(ds, by=["gender", "noisy"], outcome="correct", min_support=0.1)
        >>> worst = groups[0]
        >>> str(worst), worst.count, worst.mean, worst.divergence
        ('gender = f and noisy = True', 10, 0.0, -0.75)
    """
    require_dataset(ds, "find_subgroups")
    names = [by] if isinstance(by, str) else list(by)
    recipe = OutcomeRecipe(outcome, predicted, label, None if positive is None else str(positive), kind)
    _check(ds, names, recipe, direction, speaker, max_length, bins)
    min_count = _min_count(min_support, len(ds))
    columns = ThinColumns(ds)
    columns.require(names, "by=")
    found = read_outcome(ds, columns, recipe)
    attributes, notes = _fit(columns, names, bins, keep_constant)
    codes = [attribute.codes(columns) for attribute in attributes]
    notes += _gaps(attributes, codes, columns)
    counts = [_count(attribute, found_codes) for attribute, found_codes in zip(attributes, codes, strict=True)]
    _check_support(counts, attributes, min_count, len(ds))
    able = [place for place, values in enumerate(counts) if values.max() >= min_count or len(values) <= _RARE]
    attributes, codes = [attributes[place] for place in able], [codes[place] for place in able]
    counts = [counts[place] for place in able]  # without ids
    sets = BitSets.of(codes, [np.flatnonzero(values >= min_count) for values in counts])
    mined = mine(sets, min_count, max_length)
    speakers, speaker_names = _read_speakers(columns, speaker)
    bad = direction or found.direction
    estimates = estimate(sets, mined, found, bad, speakers)
    pattern = mined.codes(sets, len(attributes))
    order = _worst_first(estimates, bad)
    if direction is None and found.kind == "number":
        notes.append(f"Higher {recipe} is taken as worse; pass direction='lower' if it is the other way round.")
    return Subgroups(
        attributes=tuple(attributes),
        codes=pattern[order],
        columns={name: values[order] for name, values in estimates.items()},
        recipe=recipe,
        direction=bad,
        overall=overall_mean(found),
        num_rows=len(ds),
        min_count=min_count,
        min_support=min_support,
        speaker=speaker,
        speaker_names=speaker_names,
        rare=_rare(sets, counts, attributes, min_count),
        notes=tuple(notes),
        _sets=sets,
    )


def measure_again(groups: Subgroups, ds: Any) -> Subgroups:
    """Measure the subgroups of a table on another split; see `Subgroups.measure`."""
    require_dataset(ds, "Subgroups.measure")
    columns = ThinColumns(ds)
    columns.require([attribute.name for attribute in groups.attributes], "measure")
    found = read_outcome(ds, columns, groups.recipe)
    codes = [attribute.codes(columns) for attribute in groups.attributes]
    counts = [_count(attribute, found_codes) for attribute, found_codes in zip(groups.attributes, codes, strict=True)]
    sets = BitSets.of(codes, [np.unique(used[used >= 0]).astype(np.int64) for used in groups.codes.T])
    rows, places = np.nonzero(groups.codes >= 0)
    firsts = np.searchsorted(sets.attribute, np.arange(len(groups.attributes)))
    items = np.empty(len(rows), dtype=np.int64)
    for attribute, first in enumerate(firsts):
        here = places == attribute
        own = sets.code[sets.attribute == attribute]
        items[here] = first + np.searchsorted(own, groups.codes[rows[here], attribute])
    lengths = (groups.codes >= 0).sum(axis=1)
    mined = Mined(items, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), groups.columns["count"])
    if groups.speaker is not None:
        columns.require([groups.speaker], "speaker=")
    speakers, speaker_names = _read_speakers(columns, groups.speaker)
    estimates = estimate(sets, mined, found, groups.direction, speakers)
    order = _worst_first(estimates, groups.direction)
    return replace(
        groups,
        codes=groups.codes[order],
        columns={name: values[order] for name, values in estimates.items()},
        overall=overall_mean(found),
        num_rows=len(ds),
        speaker_names=speaker_names,
        rare=_rare(sets, counts, groups.attributes, groups.min_count),
        notes=tuple(_gaps(groups.attributes, codes, columns)),
        _whole=None,
        _sets=sets,
    )


def _check(
    ds: Any,
    names: list[str],
    recipe: OutcomeRecipe,
    direction: str | None,
    speaker: str | None,
    max_length: int | None,
    bins: Any,
) -> None:
    if not names:
        raise ArgumentError("by= names no column; give at least one to describe rows by.")
    if len(set(names)) < len(names):
        raise ArgumentError(f"by= names a column twice: {', '.join(names)}.")
    if direction not in (None, "lower", "higher"):
        raise ArgumentError(
            f"direction= is the bad side of the outcome, 'lower' or 'higher', or None; got {direction!r}."
        )
    if max_length is not None and (isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < 1):
        raise ArgumentError(f"max_length= is a whole number of at least 1, or None; got {max_length!r}.")
    if speaker is not None and speaker not in ds.column_names:
        raise ColumnError(f"speaker=: there is no column {speaker!r}. Columns there are: {', '.join(ds.column_names)}.")
    if inside := [name for name in recipe.columns if name in names]:
        raise ArgumentError(
            f"by= names {inside[0]!r}, which is the outcome: a subgroup of the wrong rows is always wrong."
        )
    for count in bins.values() if isinstance(bins, Mapping) else [bins]:
        if isinstance(count, bool) or (isinstance(count, int) and count < 2) or isinstance(count, (str, float)):
            raise ArgumentError(
                f"bins= is a whole number of at least 2, edges, None, or a dict of these; got {count!r}."
            )
    if isinstance(bins, Mapping) and (strange := [name for name in bins if name not in names]):
        raise ArgumentError(f"bins= names {strange[0]!r}, which is not in by= ({', '.join(names)}).")


def _min_count(min_support: float | int, rows: int) -> int:
    whole = isinstance(min_support, (int, np.integer)) and not isinstance(min_support, bool)
    if whole and min_support >= 1:
        return int(min_support)
    if isinstance(min_support, (float, np.floating)) and 0 < min_support <= 1:
        return max(1, math.ceil(Fraction(str(min_support)) * rows))
    raise ArgumentError(
        f"min_support= is a share of the rows in (0, 1] such as 0.03, or a number of rows (1 or more); got {min_support!r}."
    )


def _fit(
    columns: ThinColumns, names: list[str], bins: Bins | Mapping[str, Bins], keep_constant: bool
) -> tuple[list[Attribute], list[str]]:
    attributes, notes = [], []
    for name in names:
        wanted = bins.get(name, 3) if isinstance(bins, Mapping) else bins
        attribute, said = fit_attribute(columns, name, wanted)
        if len(attribute.values) > 1 or (keep_constant and attribute.values):
            attributes.append(attribute)
            notes += said
        elif not attribute.values:
            notes.append(f"{name} has no value in any row and is left out.")
        else:
            notes.append(f"{name} is the same in all rows ({attribute.values[0]}) and is left out.")
    if not attributes:
        raise ArgumentError(f"None of the columns of by= ({', '.join(names)}) tells rows apart: {' '.join(notes)}")
    return attributes, notes


def _gaps(attributes: Sequence[Attribute], codes: list[NDArray[np.int32]], columns: ThinColumns) -> list[str]:
    """Say how many rows match no value of an attribute: they have none, or one unseen when it was fitted."""
    notes = []
    for attribute, found in zip(attributes, codes, strict=True):
        unknown = int((found < 0).sum())
        unseen = attribute.unseen(columns) if unknown else []
        if unseen:
            shown = ", ".join(map(repr, unseen[:3])) + (", ..." if len(unseen) > 3 else "")
            notes.append(f"{attribute.name}: {shown} was not seen when the subgroups were found and matches none.")
        elif unknown:
            notes.append(
                f"{attribute.name} has no value in {unknown} of {len(found)} rows; they match none of its values."
            )
    return notes


def _count(attribute: Attribute, codes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return how many rows have each value of an attribute."""
    return np.bincount(codes[codes >= 0], minlength=len(attribute.values))


def _check_support(counts: list[NDArray[np.int64]], attributes: list[Attribute], min_count: int, rows: int) -> None:
    most = [int(values.max()) for values in counts]
    if max(most) < min_count:
        place = int(np.argmax(most))
        condition = attributes[place].condition(int(counts[place].argmax()))
        raise ArgumentError(
            f"No subgroup has {min_count} of {rows} rows, as min_support asks. The largest, {condition}, "
            f"has {max(most)}: lower min_support, or describe rows by fewer values."
        )
    for attribute, largest in zip(attributes, most, strict=True):
        if largest < min_count:
            each = "a value of its own in (almost) every row" if largest <= 1 else f"{len(attribute.values)} values"
            warnings.warn(
                f"{attribute.name} has {each}, none in more than {largest} rows, and {min_count} are needed: it is in no "
                "subgroup. An id or a text can't be frequent; numbers are cut by bins=.",
                UserWarning,
                stacklevel=3,
            )


def _read_speakers(columns: ThinColumns, speaker: str | None) -> tuple[NDArray[np.int32] | None, tuple[str, ...]]:
    if speaker is None:
        return None, ()
    codes, names = columns.texts(speaker)
    if (codes < 0).any():
        codes, names = np.where(codes < 0, len(names), codes).astype(np.int32), [*names, "(none)"]
    if len(names) < 2:
        raise ColumnError(
            f"speaker={speaker!r} names {len(names)} speaker(s): at least 2 are needed to tell people from subgroups."
        )
    return codes, tuple(names)


def _worst_first(estimates: Columns, direction: str) -> NDArray[np.int64]:
    """Order by divergence to the bad side, then more rows, then as they were mined: by the columns of by=; NaN last."""
    badness = estimates["divergence"] if direction == "lower" else -estimates["divergence"]
    return np.lexsort((-estimates["count"], badness))


def _rare(
    sets: BitSets, counts: list[NDArray[np.int64]], attributes: Sequence[Attribute], min_count: int
) -> tuple[RareSubgroup, ...]:
    """Return values that too few rows have, and pairs of frequent values that too few rows have together, rarest first."""
    found: list[tuple[tuple[tuple[int, int], ...], int]] = []
    for attribute, values in enumerate(counts):
        seldom = np.flatnonzero(values < min_count)
        if len(seldom) <= _RARE:  # more than that are ids, not values
            found += [(((attribute, code),), int(values[code])) for code in seldom.tolist()]
    pairs = list(zip(sets.attribute.tolist(), sets.code.tolist(), strict=True))
    if len(pairs) ** 2 * sets.words.shape[1] < 2**30:
        for item in range(len(pairs)):
            others = item + 1 + np.flatnonzero(sets.attribute[item + 1 :] != sets.attribute[item])
            both = np.bitwise_count(sets.words[others] & sets.words[item]).sum(axis=1, dtype=np.int64)
            seldom = both < min_count
            found += [
                ((pairs[item], pairs[other]), count)
                for other, count in zip(others[seldom].tolist(), both[seldom].tolist(), strict=True)
            ]
    found.sort(key=lambda entry: (entry[1], len(entry[0])))
    return tuple(
        RareSubgroup(tuple(attributes[place].condition(code) for place, code in items), count)
        for items, count in found[:_RARE]
    )
