"""Time SpeechMetadata from FLAC bytes, with and without pitch, and its silence against pydub's, on one core.

Run from the repository root, with the shared speech packs beside it (../shared/data); for the comparison also
`pip install pydub` (Python 3.12 or older):

    python tests/benchmarks/speech.py

Both sides of a ratio are measured in turn in one run; medians of --repeats are printed. What is measured is the time of
the processor, all of it on one core, so that a busy machine changes it little.
"""

# ruff: noqa: E402 (the number of threads must be set before numpy is loaded)
from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy is loaded

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
PACKS = ("speech_commands_dev", "an4_dev", "fsdd", "emodb_2s", "alnum_accents_dev")
LENGTHS = (150, 50)  # ms: the two passes of the paper's rule


def stored_clips(pack: str, seconds: float) -> tuple[list[dict[str, Any]], float]:
    """Draw clips from a pack until `seconds` are reached."""
    import pyarrow.parquet as pq

    rows = pq.read_table(SHARED / f"{pack}.parquet", columns=["audio", "duration"]).to_pylist()
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
            start = time.process_time()
            job()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(took: dict[str, float], clips: int, total: float) -> None:
    """Print each job's time, speed, and ratio to the first one."""
    first = next(iter(took.values()))
    for job, seconds in took.items():
        each = f"{1000 * seconds / clips:8.3f} ms a clip  {total / seconds:6.0f} x real time"
        print(f"  {job:34} {each}  {first / seconds:6.1f} x the first")


def our_silence(clips: list[dict[str, Any]]) -> list[list[list[list[int]]]]:
    """Decode each clip and find its silences of both lengths."""
    from hf_select.audio import read_clip
    from hf_select.transforms.quality import quantise
    from hf_select.transforms.silence import measure_energy, silent_ranges

    found = []
    for row in clips:
        clip = read_clip(row)
        energy = measure_energy(quantise(clip.samples)[0], clip.sampling_rate)
        found.append([silent_ranges(energy, least, 16.0).tolist() for least in LENGTHS])
    return found


def compare_with_pydub(clips: list[dict[str, Any]], total: float, repeats: int) -> None:
    """Print the time of both, and whether they find the same; pydub gets decoded samples, we get FLAC."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses ffmpeg, which it does not need here
            from pydub import AudioSegment, silence
    except ImportError as error:
        print(f"\npydub can't be imported here ({error}): not compared")
        return
    from hf_select.audio import read_clip
    from hf_select.transforms.quality import quantise

    read = [read_clip(row) for row in clips]
    segments = [
        AudioSegment(quantise(c.samples)[0].tobytes(), sample_width=2, frame_rate=c.sampling_rate, channels=1)
        for c in read
    ]

    def theirs() -> list[list[list[list[int]]]]:
        return [[silence.detect_silence(s, least, s.dBFS - 16, seek_step=1) for least in LENGTHS] for s in segments]

    same = sum(a == b for a, b in zip(our_silence(clips), theirs(), strict=True))
    print(f"\nsilence of 150 ms and of 50 ms: {same} of {len(clips)} clips equal (wanted: all, 20 x pydub)")
    jobs = {"pydub, two passes, decoded before": theirs, "ours, from FLAC": lambda: our_silence(clips)}
    report(medians(repeats, **jobs), len(clips), total)


def everything(clips: list[dict[str, Any]], total: float, repeats: int) -> None:
    """Print the time of the transform from FLAC bytes to lists of values."""
    import hf_select as hs

    batch = {"audio": clips, "text": ["a few words"] * len(clips)}
    transforms = {
        "SpeechMetadata()": hs.SpeechMetadata(text_column="text"),
        "SpeechMetadata(pitch=False)": hs.SpeechMetadata(text_column="text", pitch=False),
        "Duration() (decoding alone)": hs.Duration(),
    }
    print("\neverything, from FLAC bytes (wanted: 300 x real time with pitch, 1,000 x without)")
    report(medians(repeats, **{k: lambda t=t: t(batch) for k, t in transforms.items()}), len(clips), total)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=400.0, help="seconds of sound a pack (default: 400)")
    parser.add_argument("--repeats", type=int, default=5, help="runs whose median is printed (default: 5)")
    options = parser.parse_args()
    if not SHARED.is_dir():
        raise SystemExit("The shared speech packs are not beside this checkout (../shared/data).")

    machine = f"{platform.machine()}, {os.cpu_count()} cores (1 used), load {os.getloadavg()[0]:.1f}"
    print(f"{machine}, Python {platform.python_version()}, numpy {np.__version__}")
    for pack in PACKS:
        clips, total = stored_clips(pack, options.seconds)
        print(f"\n== {pack}: {len(clips)} clips, {total:.0f} s")
        compare_with_pydub(clips, total, options.repeats)
        everything(clips, total, options.repeats)


if __name__ == "__main__":
    main()
