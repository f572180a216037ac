"""The highest or lowest values of a column."""

from __future__ import annotations

from typing import Any, Literal

from hf_select.choice import Choice
from hf_select.errors import ArgumentError
from hf_select.readers import read_values
from hf_select.selection import Selection

__all__ = ["select_by_score"]


def select_by_score(
    ds: Any,
    *,
    budget: Any,
    column: str,
    keep: Literal["highest", "lowest"] = "highest",
    per: str | None = None,
    seed: int | None = None,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Keep the rows with the highest (or lowest) values of a column.

    Reads:
        `column`: one number or truth value per row, in any unit. A row without a value, or with NaN, can't be chosen;
        infinities rank at the ends.

    Args:
        ds: a map-style dataset.
        budget: share of rows kept (0.3, "30%"), rows (500) or audio ("2.5h"); see `hf_select.budget`.
        column: the column to rank by, such as a loss, a signal-to-noise ratio or a duration.
        keep: "highest" or "lowest" values first. Ties go to the earlier row.
        per: rank and cut inside each group of this column.
        seed: not used, there is no chance in it; taken so that all selectors can be called alike.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection; the score is the value itself, with its sign turned for "lowest". A smaller budget keeps a prefix.

    Raises:
        ColumnError: no such column, or it holds text or lists.

    Relations:
        `select_random` is the control. `select_kmeans` ranks by distance inside clusters.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"snr_db": [20.0, 3.0, None, 35.0]})
        >>> sel = select_by_score(ds, budget=2, column="snr_db")
        >>> sel.ranked.tolist(), sel.excluded
        ([3, 0], {'no value in snr_db': 1})
    """
    if keep not in ("highest", "lowest"):
        raise ArgumentError(f"keep= is 'highest' or 'lowest'; got {keep!r}.")
    params = {"column": column, "keep": keep}
    choice = Choice(
        ds, "select_by_score", params, budget=budget, seed=seed, per=per, key=key, duration=duration, status=status
    )
    values = read_values(ds, column)
    choice.exclude(values != values, f"no value in {column}")
    return choice.close(values if keep == "highest" else -values)
