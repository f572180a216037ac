"""Memory and time of `select_kmeans(memory="2GB")` on 1,000,000 x 768 embeddings, beside faiss alone.

    python tests/benchmarks/kmeans_million.py [rows] [dimensions] [clusters] [iterations] [memory]

Needs 7 GB of disk in the folder for temporary files (TMPDIR), and memory for the matrix in the process that runs faiss.
Each measurement is a process of its own, started on a warm page cache. "anonymous" is the private memory above what the
process held before the call; "resident" is everything, with the pages of the mapped dataset that happen to be in memory,
which the kernel takes back when it needs them.

faiss alone means: a matrix in memory, `faiss.Kmeans` with its own start and as many iterations, and one search for the
nearest centre of each row.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np


def status(*names: str) -> list[int]:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(lines[name].split()[0]) * 1024 for name in names]


class Peaks:
    """The largest private, mapped and total memory while the block runs."""

    NAMES = ("RssAnon", "RssFile", "VmRSS")

    def __enter__(self) -> Peaks:
        self.before = self.peak = status(*self.NAMES)
        self.running, self.started = True, time.perf_counter()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while self.running:
            self.peak = [max(a, b) for a, b in zip(self.peak, status(*self.NAMES), strict=True)]
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
        self.running = False
        self.thread.join()

    def found(self) -> dict[str, float]:
        return {
            "seconds": self.seconds,
            "anonymous": self.peak[0] - self.before[0],
            "mapped": self.peak[1],
            "resident": self.peak[2],
            "resident_before": self.before[2],
        }


def make(folder: Path, rows: int, dimensions: int) -> None:
    """Write rows of a mixture of 300 clusters as a dataset (one Arrow file, with an id) and as .npy, block by block."""
    import pyarrow as pa

    rng = np.random.default_rng(0)
    middles = rng.normal(size=(300, dimensions)).astype(np.float32)
    matrix = np.lib.format.open_memmap(folder / "matrix.npy", "w+", np.float32, (rows, dimensions))
    schema = pa.schema({"id": pa.int64(), "embedding": pa.list_(pa.float32(), dimensions)})
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, rows, 5000):
            ids = np.arange(start, min(start + 5000, rows))
            block = 1.5 * rng.standard_normal((len(ids), dimensions), dtype=np.float32)
            block += middles[rng.integers(0, 300, len(ids))]
            matrix[ids[0] : ids[-1] + 1] = block
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dimensions)
            writer.write_batch(pa.record_batch([pa.array(ids), vectors], schema=schema))


def ours(folder: Path, clusters: int, iterations: int, memory: str, backend: str = "sklearn") -> dict[str, Any]:
    """Prune from the dataset on disk to the Selection."""
    from datasets import Dataset

    import hf_select as hs

    ds = Dataset.from_file(str(folder / "rows.arrow"))
    hs.select_random(ds.select(range(10)), budget=1, key="id")
    arguments = {"n_clusters": clusters, "max_iter": iterations, "backend": backend, "key": "id", "cache_dir": folder}
    with Peaks() as peaks:
        found = hs.select_kmeans(ds, budget=0.7, seed=0, memory=memory, **arguments)
    keep = ("matrix", "peak_bytes_estimated", "iterations", "inertia")
    return peaks.found() | {name: found.facts[name] for name in keep} | {"kept": len(found), "notes": found.warnings}


def faiss_alone(folder: Path, clusters: int, iterations: int, memory: str) -> dict[str, Any]:
    """Run faiss on a matrix in memory, on all rows."""
    import faiss

    matrix = np.load(folder / "matrix.npy")
    with Peaks() as peaks:
        points = -(-len(matrix) // clusters)
        kmeans = faiss.Kmeans(matrix.shape[1], clusters, niter=iterations, seed=0, max_points_per_centroid=points)
        kmeans.train(matrix)
        squares, _ = kmeans.index.search(matrix, 1)
    found = peaks.found()
    found["anonymous"] += matrix.nbytes
    return found | {"inertia": float(squares.sum(dtype=np.float64)), "iterations": iterations}


ROADS = {
    "ours": ours,
    "ours, backend faiss": lambda *a: ours(*a, backend="faiss"),
    "faiss alone": faiss_alone,
}


def main() -> None:
    given = sys.argv[1:]
    rows, dimensions, clusters, iterations = (
        int(a) for a in (*given[:4], *("1000000", "768", "155", "12")[len(given) :])
    )
    memory = given[4] if len(given) > 4 else "2GB"
    size = rows * dimensions * 4
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 3.2 * size:
            sys.exit(f"{3.2 * size / 1e9:.0f} GB of disk are needed for temporary files: set TMPDIR.")
        make(folder, rows, dimensions)
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        print(f"{rows:,} x {dimensions} float32 ({size / 1e9:.2f} GB), {clusters} clusters, {iterations} iterations")
        seconds = {}
        for road in ROADS:
            for file in folder.iterdir():  # the page cache is warm for all
                with file.open("rb") as opened:
                    while opened.read(1 << 24):
                        pass
            print(f"{road} (load {os.getloadavg()[0]:.1f})", flush=True)
            command = [sys.executable, __file__, "--measure", road, name, str(clusters), str(iterations), memory]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
            seconds[road] = found["seconds"]
            for key, value in found.items():
                in_bytes = isinstance(value, (int, float)) and value > 1e6 and key != "inertia" and key != "kept"
                print(f"    {key:<22}{value / 1e9:.3f} GB" if in_bytes else f"    {key:<22}{value}", flush=True)
        for road in list(ROADS)[:-1]:
            print(f"{road} / faiss alone: {seconds[road] / seconds['faiss alone']:.2f}")


if __name__ == "__main__":
    if "--measure" in sys.argv:
        road, where, k, steps, limit = sys.argv[2:]
        print(json.dumps(ROADS[road](Path(where), int(k), int(steps), limit)))
    else:
        main()
