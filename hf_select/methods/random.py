"""Rows by chance: the baseline that every other method has to beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_select.choice import Choice
from hf_select.selection import Selection

__all__ = ["select_random"]


def select_random(
    ds: Any,
    *,
    budget: Any,
    per: str | None = None,
    seed: int = 0,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
) -> Selection:
    """Keep rows by chance, uniformly; with `per`, stratified by that column.

    Reads:
        Nothing but what `per`, `key`, `duration` and `status` name.

    Args:
        ds: a map-style dataset.
        budget: share of rows kept (0.3, "30%"), rows (500) or audio ("2.5h"); see `hf_select.budget`.
        per: a column such as the label or the speaker. A share is then split over its groups in proportion to their size
            (stratified sampling); a number of rows or an amount of audio is kept of each group.
        seed: whole number of at least 0.
        key, duration, status: columns, see `hf_select.choice.Choice`.

    Returns:
        A Selection; the score of a row is its random draw in [0, 1), so with one seed a smaller budget keeps a prefix.

    Raises:
        BudgetError, ColumnError, DatasetError: what is wrong, what was seen, what to do.

    Relations:
        The control of every comparison; `select_by_score` ranks by a column instead.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"label": ["yes"] * 6 + ["no"] * 2})
        >>> select_random(ds, budget=0.5, per="label", seed=0).describe(ds, by="label")["kept"].to_dict()
        {'no': 1, 'yes': 3}
    """
    choice = Choice(
        ds, "select_random", {}, budget=budget, seed=seed, per=per, key=key, duration=duration, status=status
    )
    return choice.close(np.random.default_rng(seed).random(len(ds)))
