"""Time MFCC against librosa clip by clip, and from FLAC bytes to a written column, on one core.

Run from the repository root, with the shared speech packs beside it (../shared/data):

    python tests/benchmarks/mfcc.py

Both sides of a ratio are measured in turn in one run; medians of --repeats are printed.
"""

# ruff: noqa: E402 (the number of threads must be set before numpy is loaded)
from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is loaded

import argparse
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PACKS = ("speech_commands_dev", "an4_dev", "fsdd", "emodb_2s", "alnum_accents_dev")


def stored_clips(packs: tuple[str, ...], seconds: float) -> tuple[list[dict[str, object]], float]:
    """Draw clips from the packs, each clip as likely as any other, until `seconds` are reached."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(SHARED / f"{pack}.parquet", columns=["audio", "duration"]) for pack in packs]
    rows = [row for table in tables for row in table.to_pylist()]
    clips, total = [], 0.0
    for row in np.random.default_rng(0).permutation(len(rows)):
        if total < seconds:
            clips.append(rows[row]["audio"])
            total += rows[row]["duration"]
    return clips, total


def medians(repeats: int, **jobs: Callable[[], object]) -> dict[str, float]:
    """Run each job once to warm up, then all of them in turn; return the median seconds of each."""
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def by_librosa(signals: list[np.ndarray], settings: dict[str, object]) -> list[np.ndarray]:
    """Call librosa on one clip after the other."""
    import librosa

    return [librosa.feature.mfcc(y=samples, sr=16000, **settings).T for samples in signals]  # type: ignore[arg-type]


def compare_with_librosa(signals: list[np.ndarray], total: float, repeats: int) -> None:
    """Print the time of both, and how far apart their values are."""
    from hf_select.transforms import MFCC
    from hf_select.transforms.cepstrum import cepstra

    speech = {"n_mfcc": 20, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40}
    librosas = {"n_mfcc": 20, "n_fft": 2048, "win_length": 2048, "hop_length": 512, "n_mels": 128}
    batch = {"audio": [{"array": samples, "sampling_rate": 16000} for samples in signals]}
    for name, settings in (("ours: 512/400/160, 40 bands", speech), ("librosa's: 2048/512, 128 bands", librosas)):
        transform = MFCC(**settings)  # type: ignore[arg-type]
        theirs = by_librosa(signals, settings)
        apart = max(float(np.abs(a - b).max()) for a, b in zip(transform(batch)["mfcc"], theirs, strict=True))
        jobs = {
            "librosa, clip by clip": lambda s=settings: by_librosa(signals, s),
            "cepstra (signal work)": lambda t=transform: cepstra(signals, t.recipe),
            "MFCC (checks each clip)": lambda t=transform: t(batch),
        }
        print(f"\n{total:.0f} s of decoded clips to MFCC, defaults {name}; apart by at most {apart:.1e}")
        report(medians(repeats, **jobs), total)


def report(took: dict[str, float], total: float) -> None:
    """Print each job's time, speed, and ratio to the first one."""
    first = next(iter(took.values()))
    for job, seconds in took.items():
        print(f"  {job:30} {seconds:7.3f} s  {total / seconds:6.0f} x real time  {first / seconds:5.2f} x the first")


def flac_to_column(clips: list[dict[str, object]], total: float, repeats: int) -> None:
    """Print the time of Dataset.map from FLAC bytes on disk to the written column."""
    import datasets
    import librosa
    import pyarrow as pa

    from hf_select.transforms import MFCC, Duration

    datasets.disable_progress_bars()
    audio = pa.array(clips, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    with tempfile.TemporaryDirectory() as folder:
        datasets.Dataset(pa.table({"audio": audio})).save_to_disk(folder)
        ds = datasets.load_from_disk(folder).cast_column("audio", datasets.Audio())

        def run(transform: MFCC | Duration) -> object:
            names = {"features": transform.features, "remove_columns": ["audio"]}
            return ds.map(transform, batched=True, load_from_cache_file=False, **names)

        def loop() -> object:
            signals = [librosa.load(io.BytesIO(clip["bytes"]), sr=16000)[0] for clip in clips]  # type: ignore[arg-type]
            return by_librosa(signals, {"n_mfcc": 20, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40})

        print(
            f"\n{total:.0f} s of FLAC bytes to a column on disk by Dataset.map, batches of 1,000 (wanted: 500 x real time)"
        )
        jobs = {"map(MFCC())": MFCC(), "map(MFCC(pool='stats'))": MFCC(pool="stats"), "map(Duration())": Duration()}
        runs = {name: lambda t=transform: run(t) for name, transform in jobs.items()}
        report(medians(repeats, **{"librosa.load + mfcc, no column": loop}, **runs), total)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=1200.0, help="seconds of sound (default: 1200)")
    parser.add_argument("--repeats", type=int, default=5, help="runs whose median is printed (default: 5)")
    options = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit("The shared speech packs are not beside this checkout (../shared/data).")

    from hf_select.audio import read_clip

    machine = f"{platform.machine()}, {os.cpu_count()} cores (1 used), load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, Python {platform.python_version()}, numpy {np.__version__}")
    for packs in (PACKS, PACKS[-1:]):
        clips, total = stored_clips(packs, options.seconds)
        signals = [read_clip(clip, sampling_rate=16000).samples for clip in clips]
        lengths = np.array([len(samples) / 16000 for samples in signals])
        print(
            f"\n== {', '.join(packs)}: {len(clips)} clips, {total:.0f} s, {lengths.min():.2f} to {lengths.max():.2f} s"
        )
        compare_with_librosa(signals, total, options.repeats)
        flac_to_column(clips, total, options.repeats)


if __name__ == "__main__":
    main()
