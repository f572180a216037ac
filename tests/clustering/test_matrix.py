"""The matrix: memory and disk do the same."""

from __future__ import annotations

import shutil
from collections import namedtuple

import numpy as np
import pytest

from hf_select.clustering.matrix import Matrix, block_rows
from hf_select.errors import OutputError


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    return tmp_path / "new" if request.param == "disk" else None


def rows(number, dimensions=3, seed=0):
    return np.random.default_rng(seed).normal(size=(number, dimensions)).astype(np.float32)


def all_of(matrix):
    return np.concatenate([block.copy() for _, block in matrix.blocks()])


def test_rows_come_back_whatever_the_order_they_were_put_in(folder, as_matrix):
    x = rows(20_000)
    order = np.random.default_rng(1).permutation(len(x))
    matrix = as_matrix(np.zeros_like(x), folder)
    for part in np.array_split(order, 7):
        matrix.put(part, x[part])
    np.testing.assert_array_equal(all_of(matrix), x)
    assert [start for start, _ in matrix.blocks()] == [0, 8192, 16384]
    some = np.array([19_999, 0, 1, 2, 500, 8191, 8192])
    np.testing.assert_array_equal(matrix.take(some), x[some])
    np.testing.assert_array_equal(matrix.whole(), x)


def test_keep_and_rewrite(folder, as_matrix):
    x = rows(20_000)
    matrix = as_matrix(x, folder)
    kept = np.flatnonzero(np.random.default_rng(2).random(len(x)) < 0.7)
    matrix.keep(kept)
    matrix.rewrite(lambda block: block.astype(np.float64) * 2)
    assert len(matrix) == len(kept) and matrix.shape == (len(kept), 3)
    np.testing.assert_array_equal(all_of(matrix), x[kept] * 2)
    np.testing.assert_array_equal(matrix.whole(), x[kept] * 2)


def test_wide_rows_are_worked_on_fewer_at_a_time():
    assert block_rows(37_632) * 37_632 * 4 <= 16 << 20 and block_rows(10**9) == 1


def test_the_file_has_no_name_and_goes_with_the_matrix(tmp_path, as_matrix):
    matrix = as_matrix(rows(100), tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind, however the process ends
    matrix.close()
    with pytest.raises(ValueError, match="closed"):
        next(matrix.blocks())


def test_no_room_on_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 10, 5_000_000))
    with pytest.raises(OutputError, match=r"need 0.01 GB on disk, and 0.01 GB are free in .*cache_dir="):
        Matrix(1_000_000, 3, tmp_path)


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cache_dir="):
        Matrix(10, 3, tmp_path / "file")
