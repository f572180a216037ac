"""WA, UA, macro F1 and the majority line, against hand-made numbers and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from hf_select import metrics
from hf_select.errors import ArgumentError

labels = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=40)


def test_by_hand():
    references = ["sad"] * 4 + ["joy"] * 2
    predictions = ["sad", "sad", "sad", "joy", "joy", "fear"]
    assert metrics.weighted_accuracy(predictions, references) == 4 / 6
    assert metrics.unweighted_accuracy(predictions, references) == (3 / 4 + 1 / 2) / 2
    f1 = 6 / 7, 2 / 4, 0  # sad, joy, and fear, which is only ever predicted
    assert metrics.macro_f1(predictions, references) == pytest.approx(sum(f1) / 3, abs=1e-15)
    assert metrics.majority_line(references) == 4 / 6


@given(labels)
def test_as_scikit_learn(pairs):
    predictions, references = map(list, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's: predicted classes that are not in the references
        assert metrics.unweighted_accuracy(predictions, references) == pytest.approx(
            balanced_accuracy_score(references, predictions), abs=1e-12
        )
    assert metrics.weighted_accuracy(predictions, references) == pytest.approx(accuracy_score(references, predictions))
    assert metrics.macro_f1(predictions, references) == pytest.approx(
        f1_score(references, predictions, average="macro", zero_division=0), abs=1e-12
    )


@given(labels, st.permutations(range(-1, 5)))
def test_names_of_classes_do_not_matter(pairs, names):
    predictions, references = map(list, zip(*pairs, strict=True))
    renamed = [[f"class {names[label + 1]}" for label in side] for side in (predictions, references)]
    for measure in (metrics.weighted_accuracy, metrics.unweighted_accuracy, metrics.macro_f1):
        assert measure(*renamed) == pytest.approx(measure(predictions, references), abs=1e-12)


def test_saying_the_majority_reaches_its_line():
    references = [0] * 57 + [1] * 30 + [2] * 13
    said = [0] * 100
    assert metrics.weighted_accuracy(said, references) == metrics.majority_line(references) == 0.57
    assert metrics.unweighted_accuracy(said, references) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        np.array,
        torch.tensor,
        lambda v: torch.tensor(v, dtype=torch.bfloat16),
        pd.Series,
        pa.array,
        lambda v: pa.chunked_array([v]),
        lambda v: Dataset.from_dict({"label": v})["label"],
        lambda v: [np.int64(x) for x in v],
        lambda v: list(torch.tensor(v)),
    ],
)
def test_any_kind_of_column(make):
    assert metrics.weighted_accuracy(make([0, 1, 2, 1]), [0, 1, 2, 2]) == 0.75


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], "There are no rows"),
        ([0, 1], [0], "2 predictions and 1 references"),
        ([0, None], [0, 1], "predictions: row 1 has no label"),
        ([0, float("nan")], [0, 1], "predictions: row 1 has no label"),
        ([0.7, 0.2], [1, 0], "row 0 is 0.7"),
        ([[0.1, 0.9], [0.8, 0.2]], [1, 0], "argmax"),
        (["a", 1], ["a", "b"], "text and numbers are mixed; row 0 is 'a'"),
        (["1"], [1], "text for both"),
        ("abc", [1, 2, 3], "not a str"),
        ({"a": 1}, [1], "not a dict"),
        (3, [3], "not a int"),
    ],
)
def test_wrong_input(predictions, references, message):
    for measure in (metrics.weighted_accuracy, metrics.unweighted_accuracy, metrics.macro_f1):
        with pytest.raises(ArgumentError, match=message):
            measure(predictions, references)
