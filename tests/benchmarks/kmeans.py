"""Time and memory of `select_kmeans` beside scikit-learn's KMeans: 200,000 x 768 float32, 155 clusters.

    python tests/benchmarks/kmeans.py [rows] [dimensions] [clusters] [runs]

Each measurement is a process of its own, in turns; memory is the private memory (RssAnon) above what the process held
before, so that a memory-mapped dataset does not count as memory.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

MAX_ITER = 100  # what select_kmeans does by default; the same for both


def private_memory() -> int:
    return next(
        int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    )


class Peak:
    """The largest private memory while the block runs."""

    def __enter__(self) -> Peak:
        self.before = self.peak = private_memory()
        self.running = True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while self.running:
            self.peak = max(self.peak, private_memory())
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self.running = False
        self.thread.join()
        self.above = self.peak - self.before


def make(folder: Path, rows: int, dimensions: int) -> None:
    """Write a dataset of vectors and the same matrix as .npy: a mixture of 300 clusters."""
    import pyarrow as pa
    from datasets import Dataset

    rng = np.random.default_rng(0)
    middles = rng.normal(size=(300, dimensions)).astype(np.float32)
    matrix = np.lib.format.open_memmap(folder / "matrix.npy", "w+", np.float32, (rows, dimensions))
    for start in range(0, rows, 10_000):
        block = rng.normal(size=(min(10_000, rows - start), dimensions), scale=1.5).astype(np.float32)
        matrix[start : start + len(block)] = block + middles[rng.integers(0, 300, len(block))]
    chunks = [
        pa.FixedSizeListArray.from_arrays(pa.array(matrix[a : a + 1000].reshape(-1)), dimensions)
        for a in range(0, rows, 1000)
    ]
    Dataset(pa.table({"embedding": pa.chunked_array(chunks)})).save_to_disk(folder / "dataset")


def backend(folder: Path, clusters: int) -> dict[str, float]:
    """Run scikit-learn alone, on a matrix that is in memory already, with the settings that select_kmeans gives it."""
    from sklearn.cluster import KMeans, kmeans_plusplus

    from hf_select.clustering.lloyd import seeding_rows

    def start(matrix, n_clusters, random_state):
        most = seeding_rows(matrix.shape[1], n_clusters)
        some = np.sort(random_state.choice(len(matrix), most, replace=False)) if len(matrix) > most else slice(None)
        return kmeans_plusplus(matrix[some], n_clusters, random_state=random_state)[0]

    matrix = np.load(folder / "matrix.npy")
    with Peak() as memory:
        started = time.perf_counter()
        fitted = KMeans(clusters, init=start, n_init=1, max_iter=MAX_ITER, tol=0, random_state=0, copy_x=False).fit(
            matrix
        )
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": memory.above + matrix.nbytes, "inertia": fitted.inertia_}


def ours(folder: Path, clusters: int, on_disk: bool = False) -> dict[str, float]:
    """Run select_kmeans from the dataset on disk to the Selection, with the vectors in memory or on disk."""
    from datasets import load_from_disk

    import hf_select as hs

    ds = load_from_disk(folder / "dataset")
    hs.select_random(ds.select(range(10)), budget=1)
    import sklearn.cluster  # noqa: F401 (imported by now, as for the backend)

    for file in ds.cache_files:
        Path(file["filename"]).read_bytes()  # the page cache is warm, as for the backend
    limit = 4 * len(ds) * len(ds[0]["embedding"]) if on_disk else None  # the matrix alone would fill it
    with Peak() as memory:
        started = time.perf_counter()
        found = hs.select_kmeans(
            ds, budget=0.7, n_clusters=clusters, max_iter=MAX_ITER, seed=0, memory=limit, cache_dir=folder
        )
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": memory.above, "inertia": found.facts["inertia"]}


def main() -> None:
    rows, dimensions, clusters, runs = (
        int(a) for a in (*sys.argv[1:], *("200000", "768", "155", "3")[len(sys.argv) - 1 :])
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    print(
        f"{rows} x {dimensions} float32 ({rows * dimensions * 4 / 1e6:.0f} MB), {clusters} clusters, {MAX_ITER} iterations, {runs} runs"
    )
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), rows, dimensions)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ROADS}
        for _ in range(runs):
            for name in found:
                command = [sys.executable, __file__, "--measure", name, folder, str(clusters)]
                found[name].append(
                    json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                )
    size = rows * dimensions * 4
    for name, results in found.items():
        seconds = [r["seconds"] for r in results]
        memory = max(r["memory"] for r in results) / size
        spread = f"from {min(seconds):.2f} to {max(seconds):.2f}"
        print(f"  {name:<14} {statistics.median(seconds):8.2f} s ({spread}), peak {memory:.2f} x the matrix")
        print(f"{'':21}inertia {results[0]['inertia']:.7g}")
    for name in list(ROADS)[1:]:
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(found[name], found["sklearn"], strict=True)]
        print(f"  {name} / sklearn: median {statistics.median(ratios):.3f}")
    print("  wanted: in memory at most 1.15, and a peak under 1.5")


ROADS = {
    "sklearn": backend,
    "ours": ours,
    "ours on disk": lambda folder, clusters: ours(folder, clusters, on_disk=True),
}


if __name__ == "__main__":
    if "--measure" in sys.argv:
        name, folder, clusters = sys.argv[2:5]
        print(json.dumps(ROADS[name](Path(folder), int(clusters))))
    else:
        main()
