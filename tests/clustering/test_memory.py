"""Limits of memory: how they are written, what they lead to, and that they hold."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from hf_select.clustering.memory import Need, folder_for, parse_memory
from hf_select.errors import ArgumentError


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("2GB", 2 * 10**9),
        ("2 gb", 2 * 10**9),
        ("0.5GiB", 2**29),
        ("300MB", 3 * 10**8),
        (12345, 12345),
        (np.int64(7), 7),
        (None, None),
    ],
)
def test_limits(given, wanted):
    assert parse_memory(given) == wanted


@pytest.mark.parametrize("given", ["2", "GB", "-1GB", "0GB", "2 gigs", 0, -5, True, 1.5, [1], ""])
def test_what_is_no_limit(given):
    with pytest.raises(ArgumentError, match="memory is a number of bytes"):
        parse_memory(given)


def test_a_million_embeddings_fit_into_two_gigabytes_on_disk_only(tmp_path):
    need = Need(1_000_000, 768, 155, None, False, False)
    assert need.matrix == 3_072_000_000 and need.on_disk < 2e9 < need.in_memory
    assert folder_for(need, None, tmp_path)[0] is None
    folder, facts = folder_for(need, 2 * 10**9, tmp_path)
    assert folder == tmp_path and facts["matrix"] == "on disk"
    with pytest.raises(
        ArgumentError, match=r"memory=0.1 GB is too little: 1,000,000 rows x 768 numbers in 155 clusters"
    ):
        folder_for(need, 10**8, tmp_path)


def test_the_authors_unpooled_features_fit_into_two_gigabytes_on_disk():
    need = Need(84_843, 37_632, 155, None, True, False)  # the training set of the paper, n_clusters="auto"
    assert need.matrix > 12e9 and need.on_disk < 2e9


_PROGRAM = """
import json, sys, threading, time
from pathlib import Path
from datasets import Dataset
import hf_select as hs

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

ds = Dataset.from_file(sys.argv[1])
hs.select_random(ds.select(range(9)), budget=1, key="id")
before, peaks, running = memory("RssAnon"), [0, 0], True

def watch():
    while running:
        peaks[:] = [max(peaks[0], memory("RssAnon") - before), max(peaks[1], memory("VmRSS"))]
        time.sleep(0.005)

thread = threading.Thread(target=watch)
thread.start()
arguments = json.loads(sys.argv[2])
sel = hs.select_kmeans(ds, budget=0.5, key="id", max_iter=4, **arguments)
running = False
thread.join()
print(json.dumps({"own": peaks[0], "all": peaks[1], **{k: sel.facts[k] for k in ("matrix", "peak_bytes_estimated")}}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("more", [{}, {"standardize": "features", "pca": 32}, {"medoids": True}], ids=str)
def test_the_limit_holds_in_a_process_of_its_own(more, tmp_path):
    rows, dimensions = 120_000, 512  # 246 MB
    rng = np.random.default_rng(0)
    schema = pa.schema({"id": pa.int64(), "embedding": pa.list_(pa.float32(), dimensions)})
    with pa.OSFile(str(tmp_path / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, rows, 10_000):
            x = rng.standard_normal((10_000, dimensions), dtype=np.float32)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), dimensions)
            writer.write_batch(pa.record_batch([pa.array(np.arange(start, start + 10_000)), vectors], schema=schema))
    need = Need(rows, dimensions, 20, more.get("pca"), "pca" in more, "medoids" in more)
    assert need.in_memory > need.on_disk + 1000
    arguments = {"n_clusters": 20, "memory": need.on_disk + 1000, "cache_dir": str(tmp_path), **more}
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "rows.arrow"), json.dumps(arguments)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert found["matrix"] == "on disk"
    assert found["own"] < min(need.matrix, need.on_disk)  # neither the matrix as a whole, nor more than was said
    assert found["own"] > need.on_disk / 5  # and what was said is no mere excuse
    assert found["all"] < found["own"] + 320e6  # pages of the mapped dataset don't stay either
