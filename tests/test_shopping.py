"""The list for a data vendor: amounts add up, reasons are there, what is too rare is named, nothing is markup."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

import hf_select as hs
from hf_select.errors import ArgumentError, BudgetError, ColumnError


@pytest.fixture(scope="module")
def validation() -> Dataset:
    rng = np.random.default_rng(0)
    rows = 600
    gender, accent = rng.choice(["f", "m"], rows), rng.choice(["a", "b", "c"], rows, p=[0.6, 0.385, 0.015])
    bad = ((gender == "f") & (accent == "b")) * 0.5 + (accent == "b") * 0.1
    columns = {"gender": gender, "accent": accent, "correct": rng.random(rows) < 0.9 - bad}
    return Dataset.from_dict(
        {**columns, "seconds": np.where(gender == "f", 2.0, 4.0), "who": rng.integers(0, 40, rows)}
    )


@pytest.fixture(scope="module")
def worst(validation) -> hs.Subgroups:
    return hs.find_subgroups(validation, ["gender", "accent"], "correct", speaker="who").worst(2, redundancy=0.02)


def test_rows_add_up_and_hours_follow(validation, worst):
    shopping = hs.shopping_list(worst, budget=1001, ds=validation, duration="seconds")
    table = shopping.table
    assert table["record"].tolist() == [str(g) for g in worst]
    assert table["rows"].sum() == 1001
    weights = np.array([abs(g.divergence) * g.count for g in worst])
    assert np.abs(table["rows"] - 1001 * weights / weights.sum()).max() < 1
    for row, group in zip(table.itertuples(), worst, strict=True):
        length = np.mean(group.apply(validation)["seconds"][:])
        assert row.hours == pytest.approx(row.rows * length / 3600)
        assert (row.mean, row.low, row.high, row.seen) == (group.mean, group.low, group.high, group.judged)
        assert row.speakers == group.speakers


def test_hours_add_up_and_rows_follow(validation, worst):
    table = hs.shopping_list(worst, budget="10h", share="even", ds=validation, duration="seconds").table
    assert table["hours"].tolist() == [5.0, 5.0]
    lengths = [np.mean(g.apply(validation)["seconds"][:]) for g in worst]
    assert table["rows"].tolist() == [float(int(5 * 3600 / length)) for length in lengths]
    alone = hs.shopping_list(worst, budget="10h").table
    assert alone["rows"].isna().all()
    assert alone["hours"].sum() == pytest.approx(10)


def test_it_says_what_why_and_what_is_too_rare(worst):
    shopping = hs.shopping_list(worst, budget=100)
    assert "accent = c" in shopping.too_rare["record"].tolist()
    assert (shopping.too_rare["seen"] < shopping.too_rare["needed"]).all()
    for text in (str(shopping), shopping.to_markdown()):
        assert str(worst[0]) in text
        assert f"{worst[0].mean:.3f} (95 % interval {worst[0].low:.3f} to {worst[0].high:.3f})" in text
        assert "rare to judge" in text


def test_one_speaker_is_remarked_upon():
    who = ["ann"] * 10 + ["bob"] * 10 + ["cy"] * 20
    ds = Dataset.from_dict({"room": ["x"] * 20 + ["y"] * 20, "who": who, "ok": [0] * 8 + [1] * 30 + [0, 0]})
    worst = hs.find_subgroups(ds, "room", "ok", speaker="who").worst(1)
    assert "one of 2 speakers makes 100.0% of the errors" in hs.shopping_list(worst, budget=10).table["remark"][0]


def test_words_of_strangers_are_no_markup():
    ds = Dataset.from_dict({"a|b": ["<img src=x>", "[x](http://y.z)"] * 20, "ok": [0, 1, 1, 1] * 10})
    page = hs.shopping_list(hs.find_subgroups(ds, "a|b", "ok").worst(1), budget=10).to_markdown()
    assert "<img" not in page
    assert "a&#124;b" in page


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"budget": 0.5}, BudgetError, "no dataset yet"),
        ({"budget": "many"}, BudgetError, "many"),
        ({"budget": 10, "share": "all"}, ArgumentError, "'proportional' or 'even'"),
    ],
    ids=str,
)
def test_wrong_arguments(worst, arguments, error, words):
    with pytest.raises(error, match=words):
        hs.shopping_list(worst, **arguments)


def test_wrong_subgroups_and_columns(validation, worst):
    with pytest.raises(ArgumentError, match="at least one subgroup"):
        hs.shopping_list(worst[:0], budget=10)
    with pytest.raises(ArgumentError, match="Subgroups"):
        hs.shopping_list([worst[0]], budget=10)
    with pytest.raises(ColumnError, match="'duration'"):
        hs.shopping_list(worst, budget=10, ds=validation)
