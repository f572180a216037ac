"""Budgets: every legal form by hand, and the laws that hold for all of them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_select.budget import Budget, cut, largest_remainder
from hf_select.errors import BudgetError


@pytest.mark.parametrize(
    ("budget", "rows", "kept"),
    [
        (0.3, 10, 3),
        (0.29, 100, 29),  # 0.29 * 100 is 28.999... in floating point
        (0.57, 100, 57),
        (0.999, 1000, 999),
        (1.0, 7, 7),
        (0.5, 7, 3),
        (0.05, 10, 0),
        (np.float32(0.3), 10, 3),
        ("0.3", 10, 3),
        (".25", 8, 2),
        ("1.0", 9, 9),
        ("30%", 10, 3),
        ("33.3%", 1000, 333),
        ("100%", 9, 9),
        (1, 10, 1),
        (500, 1000, 500),
        (np.int64(4), 10, 4),
        ("1", 10, 1),
        ("500", 1000, 500),
        (" 50 % ", 10, 5),
    ],
)
def test_rows_by_hand(budget, rows, kept):
    assert Budget.parse(budget).rows_of(rows) == kept


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [("2.5h", 9000), ("90min", 5400), ("600s", 600), ("0.1s", Fraction(1, 10)), ("1 h", 3600), (".5min", 30)],
)
def test_seconds_by_hand(budget, seconds):
    assert Budget.parse(budget) == Budget("seconds", Fraction(seconds))


@pytest.mark.parametrize(
    "budget",
    [
        0,
        -1,
        0.0,
        -0.1,
        1.0000001,
        2.0,
        math.nan,
        math.inf,
        -math.inf,
        True,
        False,
        np.True_,
        None,
        [],
        (1,),
        {},
        b"1",
        1j,
    ]
    + [
        "",
        " ",
        "x",
        "0",
        "00",
        "-1",
        "0%",
        "-5%",
        "100.1%",
        "%",
        "1.5",
        "0.0",
        "5d",
        "5H",
        "5 hours",
        "0h",
        "1e2",
        "1,5h",
        "½",
    ]
    + [Fraction(3, 2), np.array([1]), np.int64(0), np.float64(1.5)],
)
def test_anything_else_is_an_error_that_states_the_legal_forms(budget):
    with pytest.raises(BudgetError, match=r"share of rows kept.*number of rows.*2\.5h"):
        Budget.parse(budget)


def test_error_names_what_was_got():
    with pytest.raises(BudgetError, match=r"Got '7 days' \(str\)"):
        Budget.parse("7 days")


def test_a_budget_prints_in_words():
    assert [str(Budget.parse(b)) for b in (0.25, 3, "90min", "45s", "10h")] == [
        "25 % of rows",
        "3 rows",
        "1.5 h",
        "45 s",
        "10 h",
    ]


def test_seconds_have_no_number_of_rows():
    with pytest.raises(BudgetError, match="durations"):
        Budget.parse("1h").rows_of(10)


def test_largest_remainder_by_hand():
    assert largest_remainder(7, [6, 3, 1]).tolist() == [4, 2, 1]  # 4.2, 2.1, 0.7: the .7 gets the row
    assert largest_remainder(5, [6, 3, 1]).tolist() == [3, 2, 0]  # 3, 1.5, 0.5: a tie goes to the earlier
    assert largest_remainder(0, [2, 2]).tolist() == [0, 0]
    assert largest_remainder(4, [2, 2]).tolist() == [2, 2]
    assert largest_remainder(3, [0, 5, 0]).tolist() == [0, 3, 0]
    assert largest_remainder(0, []).tolist() == []


def test_largest_remainder_refuses_more_than_there_is():
    with pytest.raises(BudgetError, match="5 rows over groups that hold 4"):
        largest_remainder(5, [2, 2])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.floats(0, 1))
def test_largest_remainder_is_exact_fair_and_possible(sizes, share):
    total = int(share * sum(sizes))
    parts = largest_remainder(total, sizes)
    assert parts.sum() == total
    assert (parts <= sizes).all()
    exact = np.array(sizes) * total / max(sum(sizes), 1)
    assert (np.abs(parts - exact) < 1).all()


def run(budget, ranking, n, **columns):
    return cut(Budget.parse(budget), np.array(ranking), num_rows=n, **columns)


def test_share_counts_all_rows_but_chooses_among_candidates():
    assert run(0.5, [3, 1, 0], 4).rows.tolist() == [3, 1]
    short = run(0.9, [3, 1], 4)
    assert short.rows.tolist() == [3, 1]
    assert "asks for 3 rows, and 2 of 4 can be chosen" in short.warnings[0]


def test_share_that_keeps_nothing_says_so():
    assert "keeps 0 of 3 rows" in run(0.1, [0, 1, 2], 3).warnings[0]


def test_per_share_by_hand():
    groups = np.array(list("aaaaaabbbc"), dtype=object)
    kept = run(0.5, range(10), 10, per=groups).rows.tolist()
    assert kept == [0, 1, 2, 6, 7]  # 3, 1.5, 0.5 rows: a 3, b 2, c 0


def test_per_rows_by_hand():
    groups = np.array(list("aabbbbbbcb"), dtype=object)
    found = run(2, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 10, per=groups)
    assert found.rows.tolist() == [9, 8, 7, 1, 0]
    assert found.warnings == ["1 group(s) hold fewer than 2 rows and give all they have: c (1)."]


def test_seconds_stop_at_the_first_row_that_does_not_fit():
    found = run("3s", [2, 0, 1, 3], 4, seconds=np.array([2.0, 0.5, 1.0, 0.5]))
    assert found.rows.tolist() == [
        2,
        0,
    ]  # 1 + 2 fit exactly; the next does not, and the short one after it is not tried
    assert found.slack_seconds == 0


def test_seconds_per_group_by_hand():
    found = run("2s", range(5), 5, per=np.array(list("aabba"), dtype=object), seconds=np.array([1.5, 1, 1, 1, 0.1]))
    assert found.rows.tolist() == [0, 2, 3]
    assert found.slack_seconds == pytest.approx(0.5)
    assert "All 2 rows of group b fit" in found.warnings[0]


def test_seconds_add_up_without_rounding():
    assert len(run("1s", range(20), 20, seconds=np.full(20, 0.1)).rows) == 10  # ten times 0.1 is exactly 1 s


def test_seconds_need_durations():
    with pytest.raises(BudgetError, match="needs the duration"):
        run("1s", [0], 1)


def test_first_row_too_long_says_so():
    assert "Not even the first row" in run("1s", [0, 1], 2, seconds=np.array([2.0, 0.1])).warnings[0]


def test_clusters_by_hand():
    clusters = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    assert run(0.5, range(10), 10, clusters=clusters).rows.tolist() == [0, 6, 1, 2, 7]  # 3, 2, 0 rows, in step
    assert sorted(run(7, range(10), 10, clusters=clusters).rows.tolist()) == [0, 1, 2, 3, 6, 7, 9]


def test_groups_come_before_clusters():
    groups = np.array(list("aaaabbbb"), dtype=object)
    clusters = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    assert sorted(run(2, range(8), 8, per=groups, clusters=clusters).rows.tolist()) == [0, 1, 4, 5]
    assert sorted(run(0.5, range(8), 8, per=groups, clusters=clusters).rows.tolist()) == [0, 1, 4, 5]


def test_seconds_go_through_clusters_in_step():
    found = run("4s", range(6), 6, clusters=np.array([0, 0, 0, 0, 1, 1]), seconds=np.ones(6))
    assert found.rows.tolist() == [0, 4, 1, 2]


def test_clusters_are_ordered_as_numbers():
    clusters = np.array([10] * 2 + [9] * 2)
    assert run(1, range(4), 4, clusters=clusters).rows.tolist() == [2]  # a tie goes to cluster 9, not to "10"


rankings = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.permutations(range(n)),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
        st.lists(st.floats(0, 10), min_size=n, max_size=n),
    )
)


@given(rankings, st.integers(1, 100))
def test_share_is_exact_for_every_split(case, percent):
    n, ranking, groups, clusters, _ = case
    for columns in (
        {},
        {"per": np.array(groups)},
        {"clusters": np.array(clusters)},
        {"per": np.array(groups), "clusters": np.array(clusters)},
    ):
        found = run(f"{percent}%", ranking, n, **columns).rows
        assert len(found) == len(set(found.tolist())) == n * percent // 100


@given(rankings, st.integers(1, 70))
def test_rows_per_group_are_exact(case, rows):
    n, ranking, groups, clusters, _ = case
    found = run(rows, ranking, n, per=np.array(groups), clusters=np.array(clusters)).rows
    for group in set(groups):
        assert np.sum(np.array(groups)[found] == group) == min(rows, groups.count(group))


@given(rankings, st.floats(0.001, 40), st.floats(0.001, 40))
def test_smaller_amounts_are_prefixes(case, first, second):
    n, ranking, _, clusters, seconds = case
    small, large = sorted((f"{first:.3f}s", f"{second:.3f}s"), key=lambda text: float(text[:-1]))
    for columns in ({}, {"clusters": np.array(clusters)}):
        few = run(small, ranking, n, seconds=np.array(seconds), **columns).rows.tolist() if float(small[:-1]) else []
        many = run(large, ranking, n, seconds=np.array(seconds), **columns).rows.tolist()
        assert many[: len(few)] == few


@given(rankings, st.integers(1, 60), st.integers(1, 60))
def test_smaller_numbers_of_rows_are_prefixes(case, first, second):
    n, ranking, groups, _, _ = case
    few, many = (run(b, ranking, n).rows.tolist() for b in sorted((first, second)))
    assert many[: len(few)] == few
    few, many = (set(run(b, ranking, n, per=np.array(groups)).rows.tolist()) for b in sorted((first, second)))
    assert few <= many
