"""Pages of mapped files are let go of, and nothing else is."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, load_from_disk

from hf_select.mapped import MappedFiles
from hf_select.readers import read_vectors, vector_blocks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system does not list its mappings")


def mapped_bytes():
    return next(
        int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if "RssFile" in line
    )


@pytest.fixture
def stored(tmp_path):
    x = np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32)  # 41 MB
    chunks = [
        pa.FixedSizeListArray.from_arrays(pa.array(x[a : a + 1000].reshape(-1)), 256) for a in range(0, 40_000, 1000)
    ]
    Dataset(pa.table({"v": pa.chunked_array(chunks)})).save_to_disk(tmp_path / "ds")
    return x, load_from_disk(tmp_path / "ds")


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_mapped_dataset_is_read_without_staying_in_memory(stored, shuffled):
    x, ds = stored
    ds = ds.shuffle(seed=0) if shuffled else ds
    order = ds._indices.column(0).to_numpy() if shuffled else np.arange(len(x))
    grown = {}
    for release in (True, False):
        before = mapped_bytes()
        peak = before
        for places, vectors in vector_blocks(ds, "v", release=release):
            np.testing.assert_array_equal(vectors, x[order[places]])
            peak = max(peak, mapped_bytes())
        grown[release] = peak - before
    assert grown[True] < 10e6 < 35e6 < grown[False]
    np.testing.assert_array_equal(read_vectors(ds, "v"), x[order])  # what was let go of comes back


def test_memory_of_our_own_is_never_let_go_of():
    x = np.random.default_rng(0).normal(size=(1000, 256)).astype(np.float32)
    array = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), 256)
    ds = Dataset(pa.table({"v": array}))
    MappedFiles().release(x.ctypes.data, x.nbytes)
    MappedFiles().release_array(array)
    kept = [vectors.copy() for _, vectors in vector_blocks(ds, "v", release=True)]
    np.testing.assert_array_equal(np.concatenate(kept), x)
    np.testing.assert_array_equal(read_vectors(ds, "v"), x)
