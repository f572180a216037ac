"""How far subgroups diverge from the whole, in few numbers: the worst, the mean of the n worst, the mean of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_select.errors import ArgumentError
from hf_select.metrics.inputs import as_list, read_pairs

__all__ = ["divergence_of_predictions", "summarize_divergence"]


def summarize_divergence(
    divergences: Iterable[float], *, direction: str = "lower", n_worst: Sequence[int] = (10, 20, 50)
) -> dict[str, float | int | None]:
    """Sum up the divergences of many subgroups.

    The divergence of a subgroup is its mean outcome minus that of all rows, so that its sign says on which side it is.

    Reads:
        Nothing but the numbers; `find_subgroups(...).to_pandas()["divergence"]` has them.

    Args:
        divergences: one per subgroup, in the unit of the outcome (accuracy: a share), in any order, without the root (all
            rows, whose divergence is 0). NaN, a subgroup in which no row was judged, is left out.
        direction: which side is bad: "lower" (accuracy) or "higher" (WER, loss, error rates).
        n_worst: over how many of the worst subgroups to average.

    Returns:
        `num_subgroups`: how many have a divergence.
        `worst`: the divergence of the worst one; keeps its sign, as all but one of these numbers do.
        `mean_worst_10`, `mean_worst_20`, `mean_worst_50`: mean of the n worst; None where there are fewer than n.
        `mean_signed_incl_root`: mean of all with their signs, the root counted as one more, 0.
        `mean_abs_excl_root`: mean distance from 0 of all, the root left out.
        Where there is no subgroup all are None, except `mean_signed_incl_root`, which is the root's 0.

    Raises:
        ArgumentError: a divergence is infinite or no number; `direction` or `n_worst` is none of the legal ones.

    Reference:
        Koudounas et al. 2024 (see `find_subgroups`), tables of results. What these print as |delta avg-all| is
        `mean_signed_incl_root`, in which good and bad subgroups cancel out; `mean_abs_excl_root` is what that name says.

    Relations:
        `hf_select.find_subgroups` finds the subgroups and names them; `SubgroupDivergence` is both as an `evaluate.Metric`.

    Example:
        >>> found = summarize_divergence([-0.5, 0.25, -0.25], n_worst=[2, 10])
        >>> found["worst"], found["mean_worst_2"], found["mean_worst_10"]
        (-0.5, -0.375, None)
        >>> found["mean_signed_incl_root"], round(found["mean_abs_excl_root"], 4)
        (-0.125, 0.3333)
    """
    if direction not in ("lower", "higher"):
        raise ArgumentError(f'direction= is "lower" or "higher", the side that is bad; got {direction!r}.')
    if strange := [n for n in n_worst if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1]:
        raise ArgumentError(f"n_worst= holds whole numbers of at least 1; got {strange[0]!r}.")
    numbers = _finite(divergences)
    ranked = np.sort(numbers) if direction == "lower" else -np.sort(-numbers)
    means = {f"mean_worst_{n}": float(ranked[:n].mean()) if len(ranked) >= n else None for n in n_worst}
    return {
        "num_subgroups": len(ranked),
        "worst": float(ranked[0]) if len(ranked) else None,
        **means,
        "mean_signed_incl_root": float(ranked.sum() / (len(ranked) + 1)),
        "mean_abs_excl_root": float(np.abs(ranked).mean()) if len(ranked) else None,
    }


def divergence_of_predictions(
    predictions: Any,
    references: Any,
    *,
    by: Mapping[str, Any],
    min_support: float | int = 0.03,
    bins: int | Sequence[float] | Mapping[str, Any] | None = 3,
    redundancy: float | None = None,
) -> dict[str, float | int | None]:
    """Find all subgroups of rows in a few columns, and sum up how far their accuracy diverges from that of all rows.

    Args:
        predictions, references: one class label per row, whole numbers or text, both of the same kind. For an outcome
            that is known already, 1 = right and 0 = wrong, give it as predictions, and 1 for each reference.
        by: column name -> one value per row, in the order of the predictions (a dict or a DataFrame): text, classes, or
            numbers, which are cut into bins. A row without a value (None, NaN) belongs to none of the column's values.
        min_support: rows a subgroup needs, as a share of all (0.03) or a number (100).
        bins: as in `find_subgroups`.
        redundancy: measure the worst subgroups over those alone that pruning leaves: worse than all rows, and every
            condition changes the divergence by more than this (see `Subgroups.worst`). None: over all.

    Returns:
        As `summarize_divergence`, in shares of rows (-0.1 = ten points of accuracy below all rows). With `redundancy`,
        `num_worst` says how many subgroups pruning left, and `worst` and the means of the n worst are over these;
        `num_subgroups` and the two means of all stay over all.

    Raises:
        ArgumentError: no rows; lengths differ; a row without a label; what `find_subgroups` refuses.

    Reference and relations:
        See `summarize_divergence`. `find_subgroups` itself names the subgroups and says which of them are chance.

    Example:
        >>> columns = {"gender": ["f", "f", "m", "m"], "age": ["old", "young", "old", "young"]}
        >>> found = divergence_of_predictions([1, 0, 1, 1], [1, 1, 1, 1], by=columns, min_support=0.25)
        >>> found["num_subgroups"], found["worst"], found["mean_worst_10"]
        (8, -0.75, None)
    """
    from hf_select.subgroups.find import find_subgroups

    said, true = read_pairs(predictions, references)
    right = [one == other for one, other in zip(said, true, strict=True)]
    # All right, or all wrong: no subgroup diverges. find_subgroups refuses such an outcome, and then only counts them.
    alike = len(set(right)) == 1
    rows = _dataset(_columns(by, len(true)), [row > 0 for row in range(len(right))] if alike else right)
    groups = find_subgroups(
        rows, by=rows.column_names[:-1], outcome=rows.column_names[-1], min_support=min_support, bins=bins
    )
    divergences = groups.columns["divergence"] * (not alike)
    found = summarize_divergence(divergences)
    if redundancy is None:
        return found
    worst = groups.worst(redundancy=redundancy).columns["divergence"][: 0 if alike else None]
    pruned = {
        name: value for name, value in summarize_divergence(worst).items() if name.startswith(("worst", "mean_w"))
    }
    return {"num_subgroups": found["num_subgroups"], "num_worst": len(worst), **found, **pruned}


def _dataset(columns: dict[str, list[Any]], outcome: list[bool]) -> Any:
    """Return the columns as a dataset, and after them the outcome under a name that is free."""
    import pyarrow as pa
    from datasets import Dataset

    free = next(name for name in ("correct", *(f"correct_{n}" for n in range(len(columns)))) if name not in columns)
    for name, values in columns.items():
        try:
            pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ArgumentError(
                f"by[{name!r}] can't be a column: {error}. Give text, or numbers, in all rows."
            ) from None
    return Dataset.from_dict({**columns, free: outcome})


def _columns(by: Any, rows: int) -> dict[str, list[Any]]:
    """Return the columns as lists, of the length of the predictions."""
    if not hasattr(by, "items"):
        raise ArgumentError(
            f"by= maps the names of columns to their values, one per row, as {{'gender': [...]}}; got {by!r:.80}."
        )
    columns = {str(name): as_list(values, f"by[{name!r}]") for name, values in by.items()}
    if not columns:
        raise ArgumentError("by= names no column: subgroups are made of the values of at least one.")
    for name, values in columns.items():
        if len(values) != rows:
            raise ArgumentError(f"by[{name!r}] has {len(values)} values, and there are {rows} rows: give one per row.")
    return columns


def _finite(divergences: Iterable[float]) -> np.ndarray:
    """Return the divergences that are there."""
    try:
        numbers = np.asarray(divergences if hasattr(divergences, "__array__") else list(divergences), dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(
            "divergences: one number per subgroup is needed, and something else is among them."
        ) from None
    if numbers.ndim != 1:
        raise ArgumentError(f"divergences: one number per subgroup is needed; this has the shape {numbers.shape}.")
    if np.isinf(numbers).any():
        raise ArgumentError(f"divergences: number {int(np.isinf(numbers).argmax())} is infinite.")
    return numbers[~np.isnan(numbers)]
