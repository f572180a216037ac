"""Chance and scores."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError


def test_random_is_uniform():
    ds = Dataset.from_dict({"x": list(range(10))})
    counts = sum(np.bincount(hs.select_random(ds, budget=3, seed=s).indices, minlength=10) for s in range(600))
    assert (np.abs(counts - 180) < 5 * np.sqrt(600 * 0.3 * 0.7)).all()


def test_random_stratified_keeps_proportions():
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    found = hs.select_random(Dataset.from_dict({"label": labels}), budget=0.2, per="label", seed=1)
    assert [np.sum(np.array(labels)[found.indices] == v) for v in "abc"] == [12, 6, 2]


def test_random_score_is_its_draw():
    ds = Dataset.from_dict({"x": list(range(50))})
    found = hs.select_random(ds, budget=5, seed=3)
    np.testing.assert_array_equal(found.score, np.random.default_rng(3).random(50))
    assert found.ranked.tolist() == np.argsort(-found.score)[:5].tolist()


def test_score_by_hand():
    ds = Dataset.from_dict({"x": [1.0, 5.0, 5.0, None, -2.0, float("inf")]})
    assert hs.select_by_score(ds, budget=3, column="x").ranked.tolist() == [5, 1, 2]
    assert hs.select_by_score(ds, budget=3, column="x", keep="lowest").ranked.tolist() == [4, 0, 1]


def test_score_takes_truth_values_and_integers():
    ds = Dataset.from_dict({"ok": [False, True, False], "n": [3, 9, 1]})
    assert hs.select_by_score(ds, budget=1, column="ok").indices.tolist() == [1]
    assert hs.select_by_score(ds, budget=1, column="n", keep="lowest").indices.tolist() == [2]


def test_score_errors():
    ds = Dataset.from_dict({"x": [1.0], "t": ["a"]})
    with pytest.raises(ColumnError, match="Columns of numbers: x"):
        hs.select_by_score(ds, budget=1, column="t")
    with pytest.raises(ArgumentError, match="'highest' or 'lowest'"):
        hs.select_by_score(ds, budget=1, column="x", keep="best")


def test_a_full_column_of_nothing_chooses_nothing():
    found = hs.select_by_score(Dataset.from_dict({"x": [float("nan")] * 3}), budget=2, column="x")
    assert len(found) == 0 and found.excluded == {"no value in x": 3}
    assert "asks for 2 rows, and 0 of 3" in found.warnings[0]
