"""What the ground costs: imports, help, and the disk space of thin columns on a shuffled split of real speech.

python tests/benchmarks/ground.py ../shared/data/speech_commands_dev.parquet
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 9


def median_seconds(*command: str) -> float:
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def disk(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def columns(parquet: str) -> None:
    import datasets

    import hf_select as hs

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        ds = datasets.load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(cache / "packs"))
        audio = disk(cache / "packs")
        split = ds.train_test_split(test_size=0.5, seed=0)["train"]
        print(f"disk, on a shuffled split of {len(split)} of {len(ds)} rows, {audio / 1e6:.1f} MB with audio")
        thin = hs.with_columns(split, hs.Duration(duration_column="decoded"), cache_dir=cache / "scalars")
        scalars = disk(cache / "scalars")
        print(f"  duration + status: {scalars / 1e3:8.1f} kB = {scalars / audio:.3%} of it (wanted: under 2 %)")
        frames = hs.with_columns(split, hs.MFCC(status_column=None), cache_dir=cache / "mfcc")
        own = sum(4 * len(matrix) * len(matrix[0]) for matrix in frames["mfcc"])
        spent = disk(cache / "mfcc")
        print(
            f"  mfcc:              {spent / 1e3:8.1f} kB = {spent / own:.3f} x its own {own / 1e3:.1f} kB (wanted: at most 1.05 x)"
        )
        kept = [Path(file["filename"]) for file in frames.cache_files if "packs" in file["filename"]]
        print(f"  the audio table is the one that was there: {bool(kept)}; rows below the split: {thin.data.num_rows}")


def main() -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {RUNS} runs"
    )
    bare = median_seconds(sys.executable, "-c", "pass")
    face = median_seconds(sys.executable, "-c", "import hf_select")
    helped = median_seconds(
        sys.executable, "-c", "import sys; sys.argv = ['hf-select', '--help']; from hf_select.cli import main; main()"
    )
    print(f"python alone:            {bare:.3f} s")
    print(f"import hf_select:        {face - bare:.3f} s on top (wanted: under 0.1)")
    print(f"hf-select --help:        {helped:.3f} s (wanted: under 0.5)")
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, hf_select; print([m for m in ('torch', 'datasets', 'numpy') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"loaded by it:            {loaded.stdout.strip()}")
    if len(sys.argv) > 1:
        columns(sys.argv[1])


if __name__ == "__main__":
    main()
