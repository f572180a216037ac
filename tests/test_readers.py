"""Thin columns read whole: every storage of vectors, and what is no vector."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from datasets import Array2D, ClassLabel, Dataset, Features, LargeList, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_select.errors import ColumnError
from hf_select.readers import read_groups, read_seconds, read_values, read_vectors
from hf_select.rows import take_rows

X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
STORED = {
    "list": (X.tolist(), List(Value("float32"))),
    "fixed": (X.tolist(), List(Value("float32"), length=6)),
    "large": (X.tolist(), LargeList(Value("float32"))),
    "double": (X.tolist(), List(Value("float64"))),
    "nested": (X.reshape(40, 2, 3).tolist(), List(List(Value("float32"), length=3))),
    "nested var": (X.reshape(40, 2, 3).tolist(), List(List(Value("float32")))),
    "array2d": (X.reshape(40, 2, 3).tolist(), Array2D((2, 3), "float32")),
}


def stored(values, feature):
    return Dataset.from_dict({"v": values}, features=Features({"v": feature}))


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("view", ["whole", "shuffled", "repeated"])
def test_vectors_of_every_storage(name, view):
    ds = stored(*STORED[name])
    order = {
        "whole": np.arange(40),
        "shuffled": np.random.default_rng(1).permutation(40),
        "repeated": np.array([5, 5, 0]),
    }[view]
    ds = ds if view == "whole" else ds.select(order)
    found = read_vectors(ds, "v")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X[order])


@pytest.mark.parametrize("name", ["list", "fixed", "large", "nested", "nested var"])
def test_a_row_without_vector_is_nan(name):
    values, feature = STORED[name]
    values = [None if i in (0, 7, 39) else v for i, v in enumerate(values)]
    found = read_vectors(stored(values, feature).shuffle(seed=2), "v")
    wanted = np.where(np.isin(np.arange(40), [0, 7, 39])[:, None], np.nan, X)
    order = np.array(stored(values, feature).add_column("i", list(range(40))).shuffle(seed=2)["i"])
    np.testing.assert_array_equal(found, wanted[order])


def test_memmap_holds_the_same(tmp_path):
    found = read_vectors(stored(*STORED["list"]), "v", memmap=tmp_path / "v.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), X)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.just([1.0, 2.0])), min_size=1, max_size=30), st.integers(1, 10))
def test_chunks_and_nulls_in_any_mixture(values, size):
    pieces = [pa.array(values[i : i + size], pa.list_(pa.float32())) for i in range(0, len(values), size)]
    ds = Dataset(pa.table({"v": pa.chunked_array(pieces)}))
    if all(v is None for v in values):
        with pytest.raises(ColumnError, match="no vector in any"):
            read_vectors(ds, "v")
    else:
        found = read_vectors(ds, "v")
        assert np.isnan(found[:, 0]).tolist() == [v is None for v in values]


def test_ragged_vectors_are_an_error_that_says_what_to_do():
    with pytest.raises(ColumnError, match=r"different lengths \(1 to 2 numbers\).*pool='stats'"):
        read_vectors(Dataset.from_dict({"v": [[1.0], [1.0, 2.0]]}), "v")
    pieces = pa.chunked_array([pa.array([[1.0]]), pa.array([[1.0, 2.0]])])
    with pytest.raises(ColumnError, match="different lengths"):
        read_vectors(Dataset(pa.table({"v": pieces})), "v")


@pytest.mark.parametrize(
    ("values", "said"), [(["yes"], "holds text"), ([3], "int64"), ([["a"]], "lists of string"), ([[]], "empty|null")]
)
def test_what_is_no_vector(values, said):
    with pytest.raises(ColumnError, match=said):
        read_vectors(Dataset.from_dict({"v": values}), "v")


def test_a_label_column_names_the_vectors_there_are():
    with pytest.raises(ColumnError, match="Columns of vectors: emb; name one with column="):
        read_vectors(Dataset.from_dict({"label": ["a"], "emb": [[1.0]]}), "label")


def test_values_are_float64_with_nan():
    ds = Dataset.from_dict({"i": [1, None, 3], "b": [True, False, None], "f": [0.5, float("inf"), None]})
    np.testing.assert_array_equal(read_values(ds, "i"), [1, np.nan, 3])
    np.testing.assert_array_equal(read_values(ds, "b"), [1, 0, np.nan])
    np.testing.assert_array_equal(read_values(ds, "f"), [0.5, np.inf, np.nan])


def test_text_is_no_value():
    with pytest.raises(ColumnError, match="Columns of numbers: n"):
        read_values(Dataset.from_dict({"t": ["a"], "n": [1]}), "t")


def test_seconds_are_not_negative():
    with pytest.raises(ColumnError, match=r"row 1 .* lasts -1"):
        read_seconds(Dataset.from_dict({"duration": [1.0, -1.0]}), "duration")
    with pytest.raises(ColumnError, match=r"hs\.Duration"):
        read_seconds(Dataset.from_dict({"x": [1.0]}), "duration")


def test_groups_are_names():
    ds = Dataset.from_dict(
        {"c": [1, 0, None], "n": [3, 4, None]},
        features=Features({"c": ClassLabel(names=["a", "b"]), "n": Value("int64")}),
    )
    assert read_groups(ds, "c").tolist() == ["b", "a", "(none)"]
    assert read_groups(ds, "n").tolist() == ["3", "4", "(none)"]
    with pytest.raises(ColumnError, match="one value per row"):
        read_groups(Dataset.from_dict({"v": [[1]]}), "v")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 29), max_size=40), st.integers(1, 12))
def test_taking_rows_from_chunks(rows, size):
    values = [None if i % 7 == 0 else {"bytes": bytes([i]) * i, "path": str(i)} for i in range(30)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.chunked_array([pa.array(values[i : i + size], kind) for i in range(0, 30, size)])
    taken = take_rows(column, np.array(rows, dtype=np.int64))
    assert taken.to_pylist() == [values[row] for row in rows] and taken.type == kind


def test_taking_few_rows_copies_few():
    program = (
        "import numpy as np, pyarrow as pa; from hf_select.rows import take_rows\n"
        "column = pa.chunked_array([pa.array([b'x' * 100_000] * 20) for _ in range(20)])\n"
        "before = pa.default_memory_pool().max_memory()\n"
        "assert take_rows(column, np.arange(0, 400, 100)).nbytes < 1_000_000\n"
        "print(pa.default_memory_pool().max_memory() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4_000_000  # Arrow's own take copies all 40 MB
