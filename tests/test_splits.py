"""Splits share no speaker, lose no row, and have the sizes that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from hf_select.errors import ArgumentError, ColumnError, DatasetError
from hf_select.splits import cut_off


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
