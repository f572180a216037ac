"""The equal error rate: by hand, against an independent root on scikit-learn's ROC, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from hf_select.errors import ArgumentError
from hf_select.metrics import equal_error


@st.composite
def trials(draw):
    scores = draw(st.lists(st.integers(-6, 6), min_size=2, max_size=40))  # few values: ties are common
    labels = draw(st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores)))
    labels[:2] = [0, 1]
    return np.array(scores) / 4, np.array(labels)


def rate_by_root(scores, labels):
    """Find the same point on scikit-learn's ROC, walked by the length along its corners."""
    false_accept, true_accept, _ = roc_curve(labels, scores, drop_intermediate=False)
    walk = np.arange(len(false_accept))
    at = brentq(
        lambda x: np.interp(x, walk, false_accept) - 1 + np.interp(x, walk, true_accept), 0, walk[-1], xtol=1e-14
    )
    return np.interp(at, walk, false_accept)


@given(trials())
def test_as_the_root_on_the_roc(given_trials):
    scores, labels = given_trials
    assert equal_error(scores, labels).rate == pytest.approx(rate_by_root(scores, labels), abs=1e-9)


def test_as_the_root_on_the_roc_of_many():
    rng = np.random.default_rng(0)
    labels = (rng.random(5000) < 0.1).astype(int)
    scores = rng.normal(size=5000) + 1.5 * labels
    found = equal_error(scores, labels)
    assert found.rate == pytest.approx(rate_by_root(scores, labels), abs=1e-9)
    accepted = scores >= found.threshold
    assert accepted[labels == 0].mean() == pytest.approx(found.rate, abs=2 / 500)
    assert (~accepted[labels == 1]).mean() == pytest.approx(found.rate, abs=2 / 500)


def test_by_hand():
    assert equal_error([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == (0.0, 0.8)  # told apart
    assert equal_error([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1]).rate == 1.0  # the wrong way round
    assert equal_error([0.3, 0.3, 0.3], [1, 0, 0]) == (0.5, 0.3)  # all alike: chance, whatever the shares
    # (FA, FR) goes from (0, 1/2) at 4 over (1/3, 1/2) at 3 to (1/3, 0) at 2: they meet a third of the way from 3 to 2.
    rate, threshold = equal_error([4, 3, 2, 1, 0], [1, 0, 1, 0, 0])
    assert (rate, threshold) == pytest.approx((1 / 3, 3 - 1 / 3))


@given(trials())
def test_laws(given_trials):
    scores, labels = given_trials
    rate, threshold = equal_error(scores, labels)
    assert 0 <= rate <= 1
    assert scores.min() <= threshold <= scores.max()
    assert equal_error(-scores, labels).rate == pytest.approx(1 - rate)  # upside down
    assert equal_error(-scores, 1 - labels).rate == pytest.approx(rate)  # mirrored
    stretched = equal_error(np.exp(scores), labels)
    assert stretched.rate == rate  # ranks alone count
    assert equal_error(np.tile(scores, 3), np.tile(labels, 3)) == pytest.approx((rate, threshold))
    order = np.random.default_rng(1).permutation(len(scores))
    assert equal_error(scores[order], labels[order]) == (rate, threshold)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "no rows"),
        ([0.1, 0.2], [1], "2 scores and 1 labels"),
        ([0.1, 0.2], [1, 1], "All 2 pairs are of the same speaker"),
        ([0.1, 0.2], [0, 0], "All 2 pairs are of different speakers"),
        ([0.1, float("nan")], [1, 0], "the first in row 1 \\(nan\\)"),
        ([0.1, None], [1, 0], "the first in row 1"),
        ([float("-inf"), 0.1], [1, 0], "the first in row 0"),
        ([0.1, 0.2, 0.3], [0, 1, 2], "0 or 1 here, and 2"),
        ([0.1, 0.2], [0, -1], "0 or 1 here, and -1"),
        ([0.1, 0.2], [0.0, 0.5], "row 1 is 0.5"),
        ([0.1, 0.2], ["same", "other"], "0 or 1 here, and 'other'"),
        (["0.1", "0.2"], [0, 1], "scores are numbers, and '0.1'"),
        ([0.1, ""], [0, 1], "scores are numbers, and ''"),
        ([[0.1], [0.2]], [0, 1], "shape \\(2, 1\\)"),
        ([[0.1], [0.2, 0.3]], [0, 1], "one number per row"),
    ],
)
def test_wrong_input(scores, labels, message):
    with pytest.raises(ArgumentError, match=message):
        equal_error(scores, labels)
