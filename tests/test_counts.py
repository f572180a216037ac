"""Counts per value and balance: worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from hf_select.counts import balance, kept_by_value, named_values
from hf_select.errors import ArgumentError, ColumnError


def test_balance_by_hand():
    assert balance("aabb") == 1.0
    assert balance("aaab") == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2))
    assert balance("aabb", classes="abcd") == pytest.approx(0.5)  # log 2 / log 4
    assert balance("aa", classes="ab") == 0.0 and math.copysign(1, balance("aa", classes="ab")) == 1
    assert balance([1, 1, 2, 2], classes=["1", "2"]) == 1.0  # labels are compared as text


def test_balance_where_it_has_no_formula():
    assert balance("aaa") == 1.0  # one class in all: nothing can be uneven
    assert balance([]) == 0.0 and balance([], classes="ab") == 0.0
    assert balance(["a", "a\0"]) == 1.0  # numpy's texts would lose the end of the second


def test_balance_refuses_a_label_that_is_no_class():
    with pytest.raises(ArgumentError, match="'c' is none of the 2 classes"):
        balance("abc", classes="ab")


@given(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60), st.integers(1, 5))
def test_balance_is_between_0_and_1_and_blind_to_order_and_scale(labels, times):
    value = balance(labels, classes="abcdefg")
    assert 0 <= value <= 1
    assert balance(labels[::-1] * times, classes="abcdefg") == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("number", range(2, 120))
def test_balance_of_equal_classes_is_exactly_one_at_most(number):
    assert 1 - 1e-12 < balance(range(number)) <= 1.0


def test_kept_by_value_by_hand():
    ds = Dataset.from_dict({"label": list("abbbcc"), "duration": [3600.0, 1800, None, 1800, 900, 900]})
    table = kept_by_value(ds, np.array([1, 1, 0, 0, 1, 0], dtype=bool), "label", "duration")
    assert table.index.tolist() == ["b", "c", "a"]  # the largest losers first
    assert table["kept"].tolist() == [1, 1, 1] and table["total"].tolist() == [3, 2, 1]
    assert table["kept_share"].tolist() == pytest.approx([1 / 3, 1 / 2, 1])
    assert table["kept_hours"].tolist() == [0.5, 0.25, 1.0] and table["total_hours"].tolist() == [1.0, 0.5, 1.0]
    whole = kept_by_value(ds, np.ones(6, dtype=bool), None, None)
    assert whole.to_dict("index") == {"all rows": {"kept": 6, "total": 6, "kept_share": 1.0}}


def test_class_labels_have_their_names_and_missing_values_are_said():
    features = Features({"y": ClassLabel(names=["no", "yes"]), "who": Value("string")})
    ds = Dataset.from_dict({"y": [0, 1, None, 1], "who": ["x", None, "x", "y"]}, features=features)
    assert named_values(ds, "y").tolist() == ["no", "yes", "(none)", "yes"]
    assert named_values(ds, "who").tolist() == ["x", "(none)", "x", "y"]


def test_many_numbers_are_cut_into_quarters():
    ds = Dataset.from_dict({"snr": [float(x) for x in range(16)] + [None, float("nan"), float("inf")]})
    values = named_values(ds, "snr")
    assert values[:16].tolist() == [
        name for name in ("0 to 3.75", "3.75 to 7.5", "7.5 to 11.25", "11.25 to 15") for _ in range(4)
    ]
    assert values[16:].tolist() == ["(none)", "(none)", "(infinite)"]


def test_quarters_of_large_numbers_stay_apart():
    ds = Dataset.from_dict({"time": [1_700_000_000.25 + x for x in range(40)]})  # with 4 digits all edges look alike
    values = named_values(ds, "time")
    assert len(set(values)) == 4 and all((values == name).sum() == 10 for name in set(values))


def test_few_numbers_are_written_as_they_are():
    ds = Dataset.from_dict(
        {"x": [0.1, 0.2, None], "n": [7, 2**60, 2**60 + 1]},
        features=Features({"x": Value("float32"), "n": Value("int64")}),
    )
    assert named_values(ds, "x").tolist() == ["0.1", "0.2", "(none)"]  # not 0.10000000149011612
    assert named_values(ds, "n").tolist() == ["7", str(2**60), str(2**60 + 1)]


def test_columns_that_can_not_be_counted():
    ds = Dataset.from_dict({"v": [[1.0], [2.0]]})
    with pytest.raises(ColumnError, match="one value per row"):
        named_values(ds, "v")
    with pytest.raises(ColumnError, match="Columns there are: v"):
        named_values(ds, "label")
