"""ActiveView: the rows a Trainer trains on, a set that may grow between epochs while the dataset's length stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset as TorchDataset

from hf_select.choice import Choice
from hf_select.errors import ArgumentError, SelectionError
from hf_select.readers import read_seconds
from hf_select.rows import require_columns, require_dataset
from hf_select.selection import Selection

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["ROW", "ActiveView"]

ROW = "row_of_view"  # under which an item carries its row of the dataset, where a callback asks for it

Rows = NDArray[np.int64]


class ActiveView(TorchDataset[dict[str, Any]]):
    """The active rows of a dataset, as a training set of constant length: hand it to a `Trainer` as `train_dataset`.

    A Trainer reads the length of its dataset once and then never again, so a set that grows is cut off without a word.
    Here the length is that of a round, and a round is an epoch of the Trainer: `items_per_round` items, dealt anew from
    the active rows at the start of each (by `AcquisitionCallback` or `RoundsCallback`, which has to be among the
    Trainer's callbacks). In a round each active row is seen floor or ceil(items_per_round / active rows) times, none
    twice before all once; where not all can be seen, the next round goes on with those whose turn it is.
    The map from items to rows lies in shared memory, so that workers of a DataLoader see it, persistent ones too.

    Reads:
        Rows of the dataset as they are (its format or transform does its work), several at a time.

    Args:
        dataset: a map-style dataset of all rows, those that are trained on from the start and the pool.
        start: the rows that are active from the start: a Selection made on the dataset, or row numbers.
        items_per_round: items of a round, 1 or more: the length of the view.
        columns: what the items hold; None: what the dataset gives. Name the model's inputs where the rows also hold
            sound, or it is read for nothing.
        length: a column of numbers (such as "duration"). Each round is then laid out in groups of similar length, as
            `group_by_length` does; needs `train_sampling_strategy="sequential"`. None: in random order.
        group_size: rows of such a group, about 50 batches.
        seed: whole number of at least 0; orders the rows.

    Raises:
        ArgumentError: no start row, a row that the dataset lacks, or a number out of its range.
        ColumnError: a column is missing. DatasetError: a stream.
        SelectionError: `start` was made on other rows.

    Relations:
        `AcquisitionCallback` makes it grow. `select_random` gives a start; `split_pool` gives train and pool as two
        datasets: `ActiveView(concatenate_datasets([train, pool]), range(len(train)), ...)`.

    Example:
        >>> from datasets import Dataset
        >>> view = ActiveView(Dataset.from_dict({"x": [10, 11, 12, 13]}), start=[0, 2], items_per_round=5)
        >>> len(view), sorted(item["x"] for item in view)
        (5, [10, 10, 10, 12, 12])
        >>> view.grow([3])
        >>> view.deal(1)
        >>> len(view), view.active.tolist(), view.pool["x"][:]
        (5, [0, 2, 3], [11])
    """

    def __init__(
        self,
        dataset: Dataset,
        start: Selection | ArrayLike | Sequence[int],
        items_per_round: int,
        *,
        columns: Sequence[str] | None = None,
        length: str | None = None,
        group_size: int = 400,
        seed: int = 0,
    ) -> None:
        require_dataset(dataset, "ActiveView")
        numbers = {"items_per_round": (items_per_round, 1), "group_size": (group_size, 1), "seed": (seed, 0)}
        for name, (value, least) in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ArgumentError(f"ActiveView: {name} is a whole number of at least {least}; got {value!r}.")
        if columns is not None:
            require_columns(dataset, columns, "ActiveView")
        self.dataset, self.seed, self.length, self.group_size = dataset, int(seed), length, int(group_size)
        self.columns = None if columns is None else list(columns)
        self.carries_rows = False  # whether items hold their row, under ROW
        self._items = self.like_items(dataset)
        self._lengths = None if length is None else np.nan_to_num(read_seconds(dataset, length))
        self._start = _start_rows(dataset, start)
        self._map = torch.empty(int(items_per_round), dtype=torch.int64).share_memory_()
        self.reset()

    # -- as a dataset

    def __len__(self) -> int:
        return len(self._map)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one item of the round."""
        return self.__getitems__([range(len(self))[index]])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch, read together."""
        rows = self._map[torch.as_tensor(indices, dtype=torch.int64)].tolist()
        items: list[dict[str, Any]] = self._items.__getitems__(rows)
        return [{**item, ROW: row} for item, row in zip(items, rows, strict=True)] if self.carries_rows else items

    # -- which rows

    @property
    def start(self) -> Rows:
        """Rows that are active from the start, ascending."""
        return self._start

    @property
    def active(self) -> Rows:
        """Rows that are trained on, ascending."""
        return np.flatnonzero(self._active)

    @property
    def pool_rows(self) -> Rows:
        """Rows that are not used yet, ascending."""
        return np.flatnonzero(~self._active)

    @property
    def pool(self) -> Dataset:
        """The rows that are not used yet, as a dataset; nothing is read."""
        return self.dataset.select(self.pool_rows)

    @property
    def round_rows(self) -> Rows:
        """The rows of this round, item by item: with `train_sampling_strategy="sequential"` in the order of training."""
        return self._map.numpy().copy()

    def like_items(self, ds: Dataset, collate: Any = None) -> Dataset:
        """Return a dataset without the columns that the model does not want, so that these are not read.

        Args:
            ds: the dataset of the view, or another in the same form.
            collate: the Trainer's collator, which with `remove_unused_columns` knows what the model takes; it throws the
                rest away after it was read.
        """
        if self.columns is not None:
            return ds.select_columns(self.columns)
        while (inner := getattr(collate, "inner", None)) is not None:  # one of ours around it
            collate = inner
        taken = getattr(collate, "signature_columns", None)
        wanted = [name for name in ds.column_names if name in (taken or ())]
        return (
            ds.select_columns(wanted) if wanted and ds.format["type"] != "custom" else ds
        )  # a transform reads what it likes

    def narrow(self, collate: Any) -> None:
        """Read no more of each row than this collator hands on; see `like_items`."""
        self._items = self.like_items(self.dataset, collate)

    def grow(self, rows: ArrayLike) -> None:
        """Make more rows active. They are trained on from the next round on, when `deal` is called.

        Raises:
            ArgumentError: a row is active already, stands there twice, or does not exist.
        """
        wanted = _row_numbers(rows, len(self.dataset), "grow")
        if self._active[wanted].any():
            raise ArgumentError(f"grow: row {wanted[self._active[wanted]][0]} is active already.")
        self._active[wanted] = True

    def reset(self) -> None:
        """Go back to the start rows, and deal round 0."""
        self._active = np.zeros(len(self.dataset), dtype=bool)
        self._active[self._start] = True
        self.deal(0)

    def deal(self, number: int) -> None:
        """Deal the items of a round, which depend on the seed, the number and the active rows alone."""
        active, items = self.active, len(self)
        passes, rest = divmod(items, len(active))
        dealt = [np.random.default_rng([self.seed, number, turn]).permutation(active) for turn in range(passes)]
        if rest:
            # One fixed order as long as the active rows are the same, of which each round takes the next stretch.
            order = np.random.default_rng([self.seed, len(active)]).permutation(active)
            stretch = order[(number * rest + np.arange(rest)) % len(active)]
            dealt.append(np.random.default_rng([self.seed, number, passes]).permutation(stretch))
        if self._lengths is not None:
            dealt = [self._by_length(rows) for rows in dealt]
        self._map[:] = torch.from_numpy(np.concatenate(dealt))

    def _by_length(self, rows: Rows) -> Rows:
        """Sort groups of rows from long to short, so that rows that stand together are padded little."""
        lengths = np.asarray(self._lengths)[rows]
        group = np.arange(len(rows)) // self.group_size
        return rows[np.lexsort([-lengths, group])]

    # -- as a record

    def selection(self, *, key: str | None = None, duration: str = "duration") -> Selection:
        """Return the active rows as a Selection of the dataset, for `publish` or a later run; see `AcquisitionCallback`."""
        return selection_of(self, [], key=key, duration=duration)


def selection_of(view: ActiveView, rounds: Sequence[tuple[str, Rows]], *, key: str | None, duration: str) -> Selection:
    """Return the active rows as a Selection: those of the start first, then those of each (name, rows) in order."""
    score = np.full(len(view.dataset), np.nan)
    group = np.full(len(view.dataset), None, dtype=object)
    score[view.start], group[view.start] = 0.0, "start"
    place = 0
    for name, rows in rounds:
        score[rows] = -1.0 - place - np.arange(len(rows))
        group[rows] = name
        place += len(rows)
    others = view._active & np.isnan(score)
    score[others], group[others] = -1.0 - place, "grown"
    choice = Choice(view.dataset, "ActiveView", {}, budget=1.0, seed=view.seed, key=key, duration=duration, status=None)
    choice.exclude(~view._active, "not acquired")
    return choice.close(score, group=group, everything=True)


def _start_rows(dataset: Any, start: Any) -> Rows:
    if isinstance(start, Selection):
        if start.num_rows != len(dataset):
            raise SelectionError(
                f"ActiveView: start= was made on {start.num_rows} rows, and the dataset has {len(dataset)}. Make it on the "
                "dataset of the view, which holds the pool too."
            )
        rows = np.flatnonzero(start.mask(dataset))
    else:
        rows = np.sort(_row_numbers(start, len(dataset), "ActiveView: start="))
    if not len(rows):
        raise ArgumentError("ActiveView: start= holds no row; a round needs at least one to train on.")
    return rows


def _row_numbers(rows: Any, count: int, purpose: str) -> Rows:
    found = np.asarray(rows)
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        raise ArgumentError(f"{purpose}: row numbers are needed, in one list; got {rows!r:.100}.")
    found = found.astype(np.int64)
    if len(found) and not 0 <= found.min() <= found.max() < count:
        raise ArgumentError(f"{purpose}: rows are 0 to {count - 1}; got {found.min()} to {found.max()}.")
    if len(np.unique(found)) < len(found):
        raise ArgumentError(f"{purpose}: a row stands there twice.")
    return found
