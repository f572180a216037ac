"""Splits share no speaker, lose no row, and have the sizes that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from hf_select.errors import ArgumentError, ColumnError, DatasetError
from hf_select.splits import cut_off, split_pool


@pytest.fixture(scope="module")
def ds():
    speakers = np.random.default_rng(0).integers(0, 40, 500)
    return Dataset.from_dict({"id": np.arange(500), "speaker": [f"s{n}" for n in speakers]})


@pytest.mark.parametrize("group", ["speaker", None])
def test_every_row_stands_once(ds, group):
    splits = cut_off(ds, {"test": 0.2, "validation": 0.1}, group=group, seed=3)
    assert list(splits) == ["test", "validation", "train"]
    assert sorted(row for split in splits.values() for row in split["id"]) == ds["id"][:]
    assert all(split["id"][:] == sorted(split["id"]) for split in splits.values())
    largest = 1 if group is None else max(np.unique(ds["speaker"], return_counts=True)[1])
    assert 100 <= len(splits["test"]) < 100 + largest and 50 <= len(splits["validation"]) < 50 + largest
    if group:
        of = [set(split["speaker"]) for split in splits.values()]
        assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])


def test_the_seed_decides(ds):
    first, again, other = (
        cut_off(ds, {"test": 0.3}, group="speaker", seed=seed)["test"]["id"][:] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_errors(ds):
    with pytest.raises(ArgumentError, match="leave something over"):
        cut_off(ds, {"test": 0.5, "validation": 0.5})
    with pytest.raises(ArgumentError, match="above 0"):
        cut_off(ds, {"test": 0.0})
    with pytest.raises(ColumnError, match="id, speaker"):
        cut_off(ds, {"test": 0.1}, group="accent")
    with pytest.raises(DatasetError, match="1 values of 'speaker'"):
        cut_off(ds.filter(lambda name: name == "s1", input_columns="speaker"), {"test": 0.1}, group="speaker")
    with pytest.raises(DatasetError, match="1 rows can't be dealt"):
        cut_off(ds.select([0]), {"test": 0.1})
    with pytest.raises(ArgumentError, match="seed is a whole number of at least 0; got -1"):
        cut_off(ds, {"test": 0.1}, seed=-1)


@pytest.mark.parametrize("seed", range(5))
def test_a_pool_shares_no_speaker(ds, seed):
    train, pool = split_pool(ds, 0.3, by="speaker", seed=seed)
    assert not set(train["speaker"]) & set(pool["speaker"])
    assert sorted([*train["id"], *pool["id"]]) == ds["id"][:]
    assert all(part["id"][:] == sorted(part["id"]) for part in (train, pool))
    largest = max(np.unique(ds["speaker"], return_counts=True)[1])
    assert 150 <= len(pool) < 150 + largest


@pytest.mark.parametrize(
    ("share", "rows"), [(0.2, 100), (0.07, 35), (0.29, 145), (0.001, 1), (0.998, 499), (np.float64(0.5), 250)]
)
def test_a_pool_of_rows_has_its_share(ds, share, rows):
    parts = split_pool(ds, share)
    assert parts._fields == ("train", "pool")
    assert (len(parts.pool), len(parts.train)) == (rows, 500 - rows)
    assert len(split_pool(ds.select(range(99)), 0.5).pool) == 50  # at least its share


def test_a_fifth_is_the_default_and_the_seed_decides(ds):
    first, again, other = (split_pool(ds, seed=seed).pool["id"][:] for seed in (1, 1, 2))
    assert first == again != other and len(first) == 100
    assert first == cut_off(ds, {"pool": 0.2}, seed=1)["pool"]["id"][:]


def test_rows_without_a_speaker_stay_together():
    ds = Dataset.from_dict({"speaker": [None, "a", None, "b"] * 5})
    for seed in range(5):
        train, pool = split_pool(ds, 0.3, by="speaker", seed=seed)
        assert (None in train["speaker"]) != (None in pool["speaker"])


def test_errors_of_a_pool(ds):
    for share in (0, 1.0, 1, -0.2, float("nan"), True, "0.2", None):
        with pytest.raises(ArgumentError, match=r"above 0 and below 1, such as 0\.2; got"):
            split_pool(ds, share)
    with pytest.raises(ArgumentError, match="seed is a whole number"):
        split_pool(ds, seed=1.5)
    with pytest.raises(ColumnError, match=r"by=: there is no column 'accent'\. Columns there are: id, speaker"):
        split_pool(ds, by="accent")
    with pytest.raises(DatasetError, match="1 values of 'speaker'"):
        split_pool(ds.filter(lambda name: name == "s1", input_columns="speaker"), by="speaker")
    with pytest.raises(DatasetError, match="split_pool needs a map-style Dataset"):
        split_pool(ds.to_iterable_dataset())
