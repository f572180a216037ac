"""Cut splits off a dataset so that no speaker stands on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hf_select.errors import ArgumentError, DatasetError
from hf_select.readers import read_groups
from hf_select.rows import require_dataset

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["cut_off"]


def cut_off(
    ds: Dataset, shares: Mapping[str, float], *, group: str | None = None, seed: int = 0, rest: str = "train"
) -> dict[str, Dataset]:
    """Cut splits off a dataset, whole groups of rows each, dealt by chance.

    Reads:
        `group`: one value per row, such as the speaker.

    Args:
        ds: a map-style dataset.
        shares: split -> share of the rows that it gets at least: groups are dealt until it has that many.
        group: rows with one value in this column stay together. None: every row is dealt by itself.
        seed: whole number of at least 0.
        rest: the split of all rows that are left.

    Returns:
        The splits, each in the order of `ds`.

    Raises:
        ArgumentError: shares that are no shares. DatasetError: too few groups for as many splits.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"speaker": ["a", "a", "b", "b", "c", "d"]})
        >>> {name: split["speaker"][:] for name, split in cut_off(ds, {"test": 0.3}, group="speaker").items()}
        {'test': ['a', 'a', 'c'], 'train': ['b', 'b', 'd']}
    """
    require_dataset(ds, "cut_off")
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ArgumentError(f"Shares are above 0 and leave something over; got {dict(shares)}.")
    groups = np.arange(len(ds)) if group is None else np.unique(read_groups(ds, group), return_inverse=True)[1]
    sizes = np.bincount(groups)
    order, start = np.random.default_rng(seed).permutation(len(sizes)), 0
    found = {}
    for name, share in shares.items():
        ends = np.cumsum(sizes[order[start:]])
        taken = order[start : start + int(np.searchsorted(ends, share * len(ds))) + 1]
        start += len(taken)
        found[name] = ds.select(np.flatnonzero(np.isin(groups, taken)))
    found[rest] = ds.select(np.flatnonzero(np.isin(groups, order[start:])))
    if not all(map(len, found.values())):
        raise DatasetError(
            f"{len(sizes)} values of {group!r} can't be dealt to {', '.join(found)} so that each gets rows: give smaller "
            "shares, or another column."
        )
    return found
