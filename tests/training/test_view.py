"""ActiveView: what a round holds, by counting; what it refuses."""

from __future__ import annotations

from collections import Counter

import lab
import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, DatasetError, SelectionError
from hf_select.training import ActiveView
from hf_select.training.view import ROW

NUMBERS = Dataset.from_dict({"x": list(range(40)), "duration": [float(n % 7) for n in range(40)]})


def seen(view: ActiveView) -> list[int]:
    return [item["x"] for item in view]


@given(active=st.integers(1, 40), items=st.integers(1, 130), number=st.integers(0, 50), grouped=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_round_deals_evenly_and_in_passes(active, items, number, grouped):
    rows = np.random.default_rng(active).permutation(40)[:active]
    view = ActiveView(NUMBERS, rows, items, length="duration" if grouped else None, group_size=5)
    view.deal(number)
    dealt = seen(view)
    counts = Counter(dealt)
    assert set(counts) <= set(rows.tolist()) and len(dealt) == items
    assert {counts[row] for row in rows.tolist()} <= {items // active, -(-items // active)}
    for start in range(0, items, active):  # none twice before all once
        assert len(set(dealt[start : start + active])) == min(active, items - start)


@given(active=st.integers(2, 40), items=st.integers(1, 39))
@settings(max_examples=60, deadline=None)
def test_where_not_all_can_be_seen_the_next_round_goes_on(active, items):
    items = min(items, active - 1)
    view = ActiveView(NUMBERS, range(active), items)
    counts = Counter()
    for number in range(-(-active // items) * 3):
        view.deal(number)
        counts.update(seen(view))
        assert max(counts.values()) - min(counts[row] for row in range(active)) <= 1


def test_the_order_depends_on_seed_and_round_alone():
    def order(seed, number, deals=()):
        view = ActiveView(NUMBERS, range(30), 45, seed=seed)
        for other in (*deals, number):
            view.deal(other)
        return seen(view)

    assert order(0, 3) == order(0, 3, deals=[7, 1, 2])
    assert order(0, 3) != order(0, 4) and order(0, 3) != order(1, 3)


def test_growing_changes_the_next_round_and_nothing_else():
    view = ActiveView(NUMBERS, [3, 1], 8)
    before = seen(view)
    view.grow([5, 4])
    assert seen(view) == before and len(view) == 8
    assert view.active.tolist() == [1, 3, 4, 5] and len(view.pool) == 36
    view.deal(1)
    assert Counter(seen(view)) == {1: 2, 3: 2, 4: 2, 5: 2}
    view.reset()
    assert seen(view) == before and view.active.tolist() == view.start.tolist() == [1, 3]
    view.grow(np.arange(40)[~np.isin(np.arange(40), [1, 3])])
    assert len(view.pool) == 0


def test_rounds_by_length_pad_little():
    lengths = np.random.default_rng(0).uniform(0.5, 20, 400)
    ds = Dataset.from_dict({"x": list(range(400)), "duration": lengths})
    random, grouped = (ActiveView(ds, range(400), 400, length=by, group_size=200) for by in (None, "duration"))

    def padded(view):
        batches = lengths[view.round_rows].reshape(-1, 8)
        return batches.max(axis=1).sum() * 8 / batches.sum()

    assert padded(random) > 1.6 and padded(grouped) < 1.1
    assert grouped.round_rows.tolist() != sorted(range(400), key=lambda row: -lengths[row])  # groups are by chance


def test_items_are_those_of_the_dataset_read_together():
    view = ActiveView(NUMBERS, range(40), 40)
    assert view.__getitems__([3, 0, 3]) == [view[3], view[0], view[3]] and view[-1] == view[39]
    assert torch.utils.data.default_collate(view.__getitems__([0, 1]))["x"].tolist() == view.round_rows[:2].tolist()
    with pytest.raises(IndexError):
        view[40]
    view.carries_rows = True
    assert all(item[ROW] == item["x"] for item in view)
    assert set(ActiveView(NUMBERS, [0], 1, columns=["x"])[0]) == {"x"}


def test_a_transform_does_its_work():
    ds = NUMBERS.with_transform(lambda batch: {"y": [10 * x for x in batch["x"]]})
    assert sorted(item["y"] for item in ActiveView(ds, [1, 2], 2)) == [10, 20]


def test_start_by_a_selection_made_on_the_same_rows():
    ds = lab.rows(30)
    sel = hs.select_random(ds, budget=0.4, seed=3, key="id")
    assert ActiveView(ds, sel, 5).start.tolist() == sel.indices.tolist()
    with pytest.raises(SelectionError, match="made on 30 rows, and the dataset has 20"):
        ActiveView(ds.select(range(20)), sel, 5)
    shuffled = ds.shuffle(seed=1)
    assert sorted(shuffled.select(ActiveView(shuffled, sel, 5).start)["id"]) == sorted(sel.apply(ds)["id"])


def test_the_active_rows_as_a_selection():
    view = ActiveView(NUMBERS, [3, 1], 8)
    view.grow([7])
    sel = view.selection()
    assert sel.indices.tolist() == [1, 3, 7] and sel.ranked.tolist()[-1] == 7
    assert sel.group[[1, 7, 9]].tolist() == ["start", "grown", "excluded: not acquired"]
    assert sorted(sel.apply(NUMBERS.shuffle(seed=2))["x"]) == [1, 3, 7]


@pytest.mark.parametrize(
    ("start", "items", "more", "error", "text"),
    [
        ([], 4, {}, ArgumentError, "no row"),
        ([0, 0], 4, {}, ArgumentError, "twice"),
        ([40], 4, {}, ArgumentError, "rows are 0 to 39; got 40"),
        ([-1], 4, {}, ArgumentError, "rows are 0 to 39"),
        ([0.5], 4, {}, ArgumentError, "row numbers"),
        ([0], 0, {}, ArgumentError, "items_per_round is a whole number of at least 1; got 0"),
        ([0], 2.5, {}, ArgumentError, "items_per_round"),
        ([0], 4, {"seed": -1}, ArgumentError, "seed"),
        ([0], 4, {"columns": ["y"]}, ColumnError, "Columns there are: x, duration"),
        ([0], 4, {"length": "seconds"}, ColumnError, "seconds"),
    ],
)
def test_what_is_refused(start, items, more, error, text):
    with pytest.raises(error, match=text):
        ActiveView(NUMBERS, start, items, **more)


def test_streams_and_dicts_are_refused():
    with pytest.raises(DatasetError, match="without streaming"):
        ActiveView(NUMBERS.to_iterable_dataset(), [0], 1)
    view = ActiveView(NUMBERS, [0], 1)
    with pytest.raises(ArgumentError, match="row 0 is active already"):
        view.grow([1, 0])
    assert view.active.tolist() == [0]
