"""Rows of the subgroups where a model fails: the acquisition step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hf_select.choice import Choice
from hf_select.errors import ArgumentError
from hf_select.rows import require_dataset
from hf_select.selection import SEPARATOR, Selection
from hf_select.subgroups.conditions import ThinColumns
from hf_select.subgroups.subgroup import Subgroup
from hf_select.subgroups.table import Subgroups

__all__ = ["select_subgroups"]


def select_subgroups(
    pool: Any,
    subgroups: Subgroups | Sequence[Subgroup],
    *,
    budget: Any = None,
    fill: Literal["worst_first", "proportional"] = "worst_first",
    per: str | None = None,
    seed: int = 0,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Acquire the rows of a pool that belong to subgroups where the model is worse than on average.

    Reads:
        The columns that the subgroups are made of, with the values and edges that these were found with.

    Args:
        pool: a map-style dataset to choose from.
        subgroups: `Subgroups.worst(k, ...)`, or a list of `Subgroup`, the most wanted first.
        budget: None: every row that belongs to any of them (the paper's union). Else a share of the pool's rows (0.1, "10%"), rows
            (500) or audio ("1h"); see `hf_select.budget`. Rows that belong to none are never taken: a budget larger
            than the union takes the union, with a warning.
        fill: what a budget takes first. "worst_first": rows of the first subgroup, in random order, until there are no more;
            then of the second, and so on. "proportional": all subgroups are filled at the same time, at a pace in
            proportion to |divergence| x rows (in the split they were found in), so that each has at least its share of
            what is taken as long as it has rows. A row of several subgroups is taken once and counts for each.
        per: the budget holds inside each group of this column.
        seed: whole number of at least 0; orders rows inside a subgroup.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection. `groups` says for every row which subgroups asked for it; facts has each subgroup, its rows in the pool
        and the rows taken, so that the choice can be made again from the record; a smaller budget keeps a prefix.

    Raises:
        ArgumentError: no subgroup, or none that is worse than average. ColumnError: the pool lacks one of their columns.

    Reference:
        Koudounas et al. 2024, "Prioritizing Data Acquisition for End-to-End Speech Model Improvement", section 3. The paper has no
        budget; both ways to fill one are ours. Its code cuts the pool by the pool's own quantiles, here the edges of the
        validation split are used (see `find_subgroups`).

    Relations:
        `find_subgroups` finds them; `shopping_list` is for when there is no pool; `select_random` is the control.

    Example:
        >>> from datasets import Dataset
        >>> from hf_select.subgroups.conditions import Condition
        >>> women = Subgroup((Condition("gender", "f"),), divergence=-0.2, count=10)
        >>> pool = Dataset.from_dict({"gender": ["f", "m", "f", "f"], "age": [30, 70, 80, 20]})
        >>> select_subgroups(pool, [women]).indices.tolist(), len(select_subgroups(pool, [women], budget=2))
        ([0, 2, 3], 2)
    """
    require_dataset(pool, "select_subgroups")
    if fill not in ("worst_first", "proportional"):
        raise ArgumentError(f"fill= is 'worst_first' or 'proportional'; got {fill!r}.")
    wanted, warnings = _wanted(subgroups)
    phrases = [str(subgroup) for subgroup in wanted]
    choice = Choice(
        pool,
        "select_subgroups",
        {"subgroups": phrases, "fill": None if budget is None else fill},
        budget=1.0 if budget is None else budget,
        seed=seed,
        per=per,
        key=key,
        duration=duration,
        status=status,
    )
    masks = _masks(pool, wanted)
    choice.exclude(~masks.any(axis=0), "in no subgroup")
    draw = np.random.default_rng(seed).random(len(pool))
    score = _by_turns(masks, draw, _weights(wanted)) if fill == "proportional" else _worst_first(masks, draw)
    matched = masks.sum(axis=1)
    if not matched.any():
        warnings.append(f"No row of the pool belongs to any of the {len(wanted)} subgroups.")
    elif empty := [phrase for phrase, count in zip(phrases, matched, strict=True) if not count]:
        warnings.append(f"{len(empty)} of {len(wanted)} subgroups have no row in the pool: {SEPARATOR.join(empty)}.")
    warnings += _unseen(pool, subgroups)
    found = choice.close(score, group=_named(masks, phrases), warnings=warnings, facts={}, everything=budget is None)
    taken = masks[:, found.indices].sum(axis=1)
    found.facts["subgroups"] = [
        {"subgroup": str(subgroup), "rows": int(rows), "taken": int(own), **_to_find_again(subgroup)}
        for subgroup, rows, own in zip(wanted, matched, taken, strict=True)
    ]
    return found


def _to_find_again(subgroup: Subgroup) -> dict[str, Any]:
    """Return what the choice depends on, in plain values (`Subgroup.from_dict`), and no name of a speaker."""
    values = subgroup.to_dict()
    return {name: values[name] for name in ("conditions", "divergence", "count")}


def _wanted(subgroups: Subgroups | Sequence[Subgroup]) -> tuple[list[Subgroup], list[str]]:
    """Return the subgroups to take rows of, without those that are not worse than average."""
    if isinstance(subgroups, Subgroup) or not all(isinstance(subgroup, Subgroup) for subgroup in subgroups):
        raise ArgumentError("subgroups= is what Subgroups.worst() returned, or a list of Subgroup.")
    found, warnings = list(subgroups), []
    if isinstance(subgroups, Subgroups):
        sign = -1 if subgroups.direction == "lower" else 1
        found = [subgroup for subgroup in found if sign * subgroup.divergence > 0]
        if len(found) < len(subgroups):
            warnings.append(f"{len(subgroups) - len(found)} subgroups are not worse than average and are left out.")
    if not found:
        raise ArgumentError(
            "There is no subgroup to acquire rows of. worst() warns when it finds none: lower its redundancy, or raise max_q."
        )
    return found, warnings


def _masks(pool: Any, wanted: list[Subgroup]) -> NDArray[np.bool_]:
    """Return for each subgroup and row of the pool whether it belongs; each column, and each condition, is read once."""
    columns = ThinColumns(pool)
    conditions = {condition: np.zeros(0, dtype=bool) for subgroup in wanted for condition in subgroup.conditions}
    columns.require(sorted({condition.attribute for condition in conditions}), "The pool")
    for condition in conditions:
        conditions[condition] = condition.mask(columns)
    masks = np.ones((len(wanted), len(pool)), dtype=bool)
    for mask, subgroup in zip(masks, wanted, strict=True):
        for condition in subgroup.conditions:
            mask &= conditions[condition]
    return masks


def _worst_first(masks: NDArray[np.bool_], draw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score rows by the first subgroup they belong to, and by chance inside it."""
    return len(masks) - masks.argmax(axis=0) - draw


def _by_turns(masks: NDArray[np.bool_], draw: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score rows by when their turn comes: the j-th row of a subgroup at (j + 1/2) / weight, in the first that it is in."""
    turn = np.full(masks.shape[1], np.inf)
    for mask, weight in zip(masks, weights, strict=True):
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(draw[rows], kind="stable")]
        turn[rows] = np.minimum(turn[rows], (np.arange(len(rows)) + 0.5) / weight)
    return -turn


def _weights(wanted: list[Subgroup]) -> NDArray[np.float64]:
    weights = np.array([abs(subgroup.divergence) * subgroup.count for subgroup in wanted])
    if not (np.isfinite(weights) & (weights > 0)).all():
        raise ArgumentError(
            "fill='proportional' needs the divergence and count of every subgroup, as find_subgroups gives them."
        )
    return weights / weights.sum()


def _named(masks: NDArray[np.bool_], phrases: list[str]) -> list[str | None]:
    """Return for each row the phrases of its subgroups; each combination of subgroups is written once."""
    packed = np.ascontiguousarray(np.packbits(masks, axis=0).T)
    _, first, kind = np.unique(
        packed.view([("", packed.dtype)] * packed.shape[1]), return_index=True, return_inverse=True
    )
    texts = [SEPARATOR.join(phrases[g] for g in np.flatnonzero(masks[:, row])) or None for row in first]
    return np.array(texts, dtype=object)[kind.reshape(-1)].tolist()


def _unseen(pool: Any, subgroups: Any) -> list[str]:
    if not isinstance(subgroups, Subgroups):
        return []
    used: list[bool] = [bool((codes >= 0).any()) for codes in subgroups.codes.T]
    columns, found = ThinColumns(pool), []
    for attribute, is_used in zip(subgroups.attributes, used, strict=True):
        values = attribute.unseen(columns) if is_used else []
        if values:
            shown = ", ".join(map(repr, values[:3])) + (", ..." if len(values) > 3 else "")
            found.append(
                f"{attribute.name}: {shown} was not seen where the subgroups were found; such rows match none of its values."
            )
    return found
