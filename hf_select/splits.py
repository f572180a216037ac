"""Cut splits off a dataset, test sets or a pool to acquire from, so that no speaker stands on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hf_select.errors import ArgumentError, DatasetError
from hf_select.readers import read_groups
from hf_select.rows import require_columns, require_dataset

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["PoolSplit", "cut_off", "split_pool"]


class PoolSplit(NamedTuple):
    """The two parts of a dataset: `train` is trained on from the start, `pool` is what can be acquired."""

    train: Dataset
    pool: Dataset


def split_pool(ds: Dataset, share: float = 0.2, *, by: str | None = None, seed: int = 0) -> PoolSplit:
    """Split a dataset into rows to train on and a pool to acquire from.

    Reads:
        `by`: one value per row, such as the speaker.

    Args:
        ds: a map-style dataset.
        share: share of the rows that the pool gets at least, above 0 and below 1: whole values of `by` are dealt by chance
            until it has that many. The rest is for training.
        by: rows with one value in this column stay together, and rows without a value too. None: every row is dealt by
            itself, and the pool gets ceil(share x rows).
        seed: whole number of at least 0.

    Returns:
        (train, pool), each in the order of `ds`.

    Raises:
        ArgumentError: a share or a seed outside its range. ColumnError: there is no column `by`.
        DatasetError: too few rows or values of `by` for two parts.

    Reference:
        Koudounas et al. 2024, "Prioritizing Data Acquisition for End-to-End Speech Model Improvement", section 4: 80 % of
        the rows for training, 20 % held out. Its seed is not published; by default rows are dealt one by one here, and
        whole speakers are an addition of ours.

    Relations:
        `cut_off` cuts any number of splits. `select_subgroups` and `select_weak_clusters` choose from the pool. For a
        training that acquires: `ActiveView(concatenate_datasets([train, pool]), start=range(len(train)), ...)`.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"speaker": ["a", "a", "b", "b", "c", "d"]})
        >>> train, pool = split_pool(ds, 0.3, by="speaker")
        >>> train["speaker"][:], pool["speaker"][:]
        (['b', 'b', 'd'], ['a', 'a', 'c'])
    """
    require_dataset(ds, "split_pool")
    number = isinstance(share, (int, float, np.floating)) and not isinstance(share, bool)
    if not number or not 0 < share < 1:
        raise ArgumentError(f"share is the pool's share of the rows, above 0 and below 1, such as 0.2; got {share!r}.")
    if by is not None:
        require_columns(ds, [by], "by=")
    parts = cut_off(ds, {"pool": share}, group=by, seed=seed)
    return PoolSplit(parts["train"], parts["pool"])


def cut_off(
    ds: Dataset, shares: Mapping[str, float], *, group: str | None = None, seed: int = 0, rest: str = "train"
) -> dict[str, Dataset]:
    """Cut splits off a dataset, whole groups of rows each, dealt by chance.

    Reads:
        `group`: one value per row, such as the speaker.

    Args:
        ds: a map-style dataset.
        shares: split -> share of the rows that it gets at least: groups are dealt until it has that many (row by row,
            ceil(share x rows)).
        group: rows with one value in this column stay together. None: every row is dealt by itself.
        seed: whole number of at least 0.
        rest: the split of all rows that are left.

    Returns:
        The splits, each in the order of `ds`.

    Raises:
        ArgumentError: shares that are no shares, or no seed. DatasetError: too few groups for as many splits.

    Relations:
        `split_pool` cuts off one pool.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"speaker": ["a", "a", "b", "b", "c", "d"]})
        >>> {name: split["speaker"][:] for name, split in cut_off(ds, {"test": 0.3}, group="speaker").items()}
        {'test': ['a', 'a', 'c'], 'train': ['b', 'b', 'd']}
    """
    require_dataset(ds, "cut_off")
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ArgumentError(f"Shares are above 0 and leave something over; got {dict(shares)}.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ArgumentError(f"seed is a whole number of at least 0; got {seed!r}.")
    groups = np.arange(len(ds)) if group is None else np.unique(read_groups(ds, group), return_inverse=True)[1]
    sizes = np.bincount(groups)
    order, start = np.random.default_rng(seed).permutation(len(sizes)), 0
    found = {}
    for name, share in shares.items():
        ends = np.cumsum(sizes[order[start:]])
        wanted = math.ceil(Fraction(str(share)) * len(ds))  # of 0.07 x 100 floats make more than 7
        taken = order[start : start + int(np.searchsorted(ends, wanted)) + 1]
        start += len(taken)
        found[name] = ds.select(np.flatnonzero(np.isin(groups, taken)))
    found[rest] = ds.select(np.flatnonzero(np.isin(groups, order[start:])))
    if not all(map(len, found.values())):
        what = "rows" if group is None else f"values of {group!r}"
        raise DatasetError(
            f"{len(sizes)} {what} can't be dealt to {', '.join(found)} so that each gets rows: give smaller "
            "shares, or another column."
        )
    return found
