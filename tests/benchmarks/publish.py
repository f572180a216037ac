"""What `publish` costs: memory, reads, scratch and time for sound, bytes for an index, seconds for a card.

    python tests/benchmarks/publish.py [--gb 1.0] [--rows 1000000] [--card-rows 100000]

Needs Linux: numbers come from /proc. Each job runs in a process of its own, watched from outside, and talks over real HTTP to
the loopback Hub of the tests, which is another process and keeps what it is sent in files.

sound in the dataset   --gb of WAV clips of about 10 s, kept from a dataset a quarter larger that lies on disk, its sound inside
sound in .wav files    the same clips in a folder: audio_root=
index                  half of --rows rows with keys like LibriSpeech's and random float64 scores: rows=False
card                   facts, figures and card of --card-rows rows, without a Hub: median of 3

own memory   RssAnon: what the process itself holds. Pages of mapped files, which the system takes back when it needs them, are
             counted apart (RssFile) and lie in VmHWM too. "added" is the peak less what was held before `publish` was called,
             when the dataset was open and the Selection made.
source read  Inside the dataset: bytes of its mapped file in pages that were touched; they are counted every 50 ms and their
             marks cleared, so that touching them later counts again. In files: the size of each .wav, as often as it is opened.
shards read  All that went through read() but those .wav files, over the size of the shards: hashing is one pass, sending another.
scratch      The largest sum of the files in the folders for temporary files and for the clients' caches, every 5 ms.

Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import io
import mmap
import multiprocessing
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.hub.server import Hub, Seen
from tests.hub.wiring import environment

PROCESSES = multiprocessing.get_context("spawn")
RATE = 16_000
GB, MB = 1e9, 1e6


# -- the Hub, in its own process


def serve(pipe: Any, folder: Path) -> None:
    """Be a Hub until the pipe closes; to each message answer with the size of what came in since the last: [(path, bytes)]."""
    came: list[tuple[str, int]] = []

    def spill(seen: Seen) -> None:
        came.append((seen.path, len(seen.body)))
        seen.body = b""
        with hub.store.lock:
            for repo in hub.store.repos.values():
                for oid, data in repo.large.items():
                    if isinstance(data, bytes) and len(data) > MB:
                        (folder / oid).write_bytes(data)
                        with (folder / oid).open("rb") as file:
                            repo.large[oid] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    with Hub() as hub:
        hub.after = spill
        hub.create("me/source", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
        pipe.send((hub.url, hub.token("write"), hub.head("me/source")))
        while pipe.recv():
            pipe.send(came[:])
            came.clear()
        assert not hub.crashes, hub.crashes


# -- the data, made on disk


def write_clips(folder: Path, size: float) -> None:
    """Write .wav files of noise, of about 10 s each, until there are `size` bytes."""
    import soundfile

    rng, written = np.random.default_rng(0), 0
    while written < size:
        sound = io.BytesIO()
        samples = rng.integers(-9000, 9000, rng.integers(9 * RATE, 11 * RATE), dtype=np.int16)
        soundfile.write(sound, samples, RATE, format="WAV", subtype="PCM_16")
        written += (folder / f"{written:012d}.wav").write_bytes(sound.getvalue())


def clip_rows(folder: str, embedded: bool) -> Iterator[dict[str, Any]]:
    """Yield one row for each clip; the middle fifth has a low score, so that what is kept lies in two large blocks."""
    rng, files = np.random.default_rng(0), sorted(Path(folder).iterdir())
    for row, file in enumerate(files):
        middle = 0.4 <= row / len(files) < 0.6
        yield {
            "audio": {"bytes": file.read_bytes() if embedded else None, "path": file.name},
            "id": file.name,
            "label": f"word {row % 35}",
            "duration": (file.stat().st_size - 44) / (2 * RATE),
            "loss": rng.random() + (0 if middle else 1),
        }


def clips(folder: Path, cache: Path, *, embedded: bool) -> Any:
    """Return the dataset of the clips in a folder, mapped from the disk."""
    from datasets import Audio, Dataset, Features, Value

    audio = {"bytes": Value("binary"), "path": Value("string")}
    numbers = {"duration": Value("float64"), "loss": Value("float64")}
    features = Features({"audio": audio, "id": Value("string"), "label": Value("string"), **numbers})
    asked = {"folder": str(folder), "embedded": embedded}
    ds = Dataset.from_generator(
        clip_rows, features=features, cache_dir=str(cache), gen_kwargs=asked, writer_batch_size=100
    )
    return ds.cast_column("audio", Audio(sampling_rate=RATE, decode=False))


def thin(rows: int, folder: Path) -> Any:
    """Return a dataset without sound, mapped from the disk: ids such as 84-121123-0001.flac, and what is known of each clip."""
    from datasets import ClassLabel, Dataset, load_from_disk

    rng = np.random.default_rng(0)
    chapters = np.sort(rng.choice(300_000, -(-rows // 30), replace=False))
    speakers = np.sort(rng.integers(14, 9000, len(chapters)))
    number = np.arange(rows)
    columns = {
        "id": [f"{speakers[n // 30]}-{chapters[n // 30]}-{n % 30:04d}.flac" for n in number.tolist()],
        "label": rng.integers(0, 35, rows),
        "speaker": [f"s{who}" for who in rng.integers(0, 2000, rows).tolist()],
        "gender": [("female", "male")[who] for who in rng.integers(0, 2, rows).tolist()],
        "duration": rng.gamma(6, 2, rows),
        "snr_db": rng.normal(20, 8, rows),
        "loss": rng.lognormal(size=rows),
    }
    ds = Dataset.from_dict(columns).cast_column("label", ClassLabel(names=[f"word {n}" for n in range(35)]))
    ds.save_to_disk(str(folder))
    return load_from_disk(str(folder))


# -- the jobs, each in its own process


def publish_job(pipe: Any, ds: Any, budget: float, repo_id: str, how: dict[str, Any]) -> None:
    """Select, say so, wait to be told to go on; then publish, and send the seconds and how often files were opened to read."""
    import hf_select as hs
    from hf_select.hub.publish import publish

    selection = hs.select_by_score(ds, budget=budget, column="loss", key="id")
    opened = Counter[str]()

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(details[0], (str, Path)) and not details[2] & (os.O_WRONLY | os.O_RDWR):
            opened[str(details[0])] += 1

    pipe.send("ready")
    pipe.recv()
    sys.addaudithook(note)
    started = time.perf_counter()
    publish(ds, selection, repo_id, licence="cc-by-4.0", **how)
    pipe.send((time.perf_counter() - started, dict(opened), selection.indices))
    pipe.recv()  # stay, so that what this process did can still be read


def card_job(pipe: Any, ds: Any, folder: Path) -> None:
    """Make facts, figures and card four times; send the seconds of each."""
    import hf_select as hs
    from hf_select.hub.card import card_of
    from hf_select.hub.facts import config_facts
    from hf_select.hub.pictures import draw_pictures

    selection = hs.select_by_score(ds, budget=0.5, column="loss", key="id")
    pipe.send("ready")
    pipe.recv()
    took = []
    for _ in range(4):
        started = time.perf_counter()
        facts = config_facts(ds, selection, config_name="half", by=["gender", "snr_db"], licence="cc-by-4.0")
        drawn = draw_pictures(ds, selection, folder, tables=facts.tables)
        page = card_of([facts], "me/card")
        took.append(time.perf_counter() - started)
        assert len(drawn) == 3 and "word 34" in page
    pipe.send(took)
    pipe.recv()


# -- watching a job


def memory(process: Path) -> dict[str, int]:
    """Return bytes of own memory, of pages of files, and the peak of both together."""
    lines = re.findall(r"(RssAnon|RssFile|VmHWM):\s+(\d+) kB", (process / "status").read_text())
    return {name: 1024 * int(size) for name, size in lines}


def touched(process: Path) -> int:
    """Return the bytes in pages of mapped .arrow files that were touched since the last look, and clear their marks."""
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (process / "smaps").read_text(), flags=re.MULTILINE)
    (process / "clear_refs").write_text("3")
    marks = [re.search(r"^Referenced:\s+(\d+)", part, re.MULTILINE) for part in maps if ".arrow\n" in part]
    return sum(1024 * int(mark[1]) for mark in marks if mark)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder in which files come and go."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total


def watch(work: Path, job: Callable[..., None], *given: Any) -> dict[str, Any]:
    """Run a job that sends "ready", and what it found; return that and what was seen of the process in between."""
    ours, theirs = PROCESSES.Pipe()
    child = PROCESSES.Process(target=job, args=(theirs, *given), daemon=True)
    child.start()
    theirs.close()
    ours.recv()
    process = Path(f"/proc/{child.pid}")
    (process / "clear_refs").write_text("5")  # VmHWM begins again
    touched(process)
    read = int((process / "io").read_text().split()[1])
    before = peak = memory(process)
    scratch, pages, next_look = [size_of(work)], 0, time.monotonic()
    ours.send("go")
    while not ours.poll(0.005):
        now = memory(process)
        peak = {name: max(peak[name], now[name]) for name in peak}
        scratch.append(size_of(work))
        if time.monotonic() > next_look:
            pages, next_look = pages + touched(process), time.monotonic() + 0.05
    found = {"found": ours.recv(), "before": before, "peak": peak | {"VmHWM": memory(process)["VmHWM"]}}
    found |= {"pages": pages + touched(process), "scratch": max(scratch) - scratch[0]}
    found["read"] = int((process / "io").read_text().split()[1]) - read
    ours.send("done")
    child.join()
    return found


# -- the table


class Table:
    """Prints numbers beside their goals, and knows whether all were met."""

    def __init__(self) -> None:
        self.missed = 0

    def line(
        self, what: str, number: float, unit: str, digits: int = 2, goal: float | None = None, told: str = ""
    ) -> None:
        missed = goal is not None and number >= goal
        self.missed += missed
        verdict = "" if goal is None else f"{told or f'< {goal:g} {unit}':>14}  {'MISSED' if missed else 'met'}"
        print(f"  {what:52}{number:>10.{digits}f} {unit:5}{verdict}", flush=True)

    def memory(self, seen: dict[str, Any]) -> None:
        before, peak = seen["before"], seen["peak"]
        self.line("own memory, peak", peak["RssAnon"] / GB, "GB", 3, goal=1)
        self.line("own memory, added", (peak["RssAnon"] - before["RssAnon"]) / GB, "GB", 3, goal=1)
        self.line("pages of mapped files, peak (before: as many as were read)", peak["RssFile"] / GB, "GB", 3)
        self.line("VmHWM, both together", peak["VmHWM"] / GB, "GB", 3)


def tell_sound(table: Table, seen: dict[str, Any], came: list[tuple[str, int]], files: list[Path], ds: Any) -> None:
    """Print what publishing sound took."""
    seconds, opened, kept = seen["found"]
    sizes = {str(file): file.stat().st_size for file in files}
    audio = sum(sizes[str(files[row])] for row in kept.tolist())
    shards = [size for path, size in came if "/upload/" in path and size > 10 * MB]
    from_files = sum(times * sizes.get(path, 0) for path, times in opened.items())
    print(
        f"  {len(kept)} of {len(files)} clips kept, {audio / GB:.3f} GB, in {len(shards)} shards; {platform.machine()}"
    )
    table.memory(seen)
    table.line("source read / sound kept", (from_files or seen["pages"]) / audio, "x", goal=1.05, told="1.0 x")
    table.line("shards read / shards", (seen["read"] - from_files) / sum(shards), "x")
    table.line("scratch, peak / largest shard", seen["scratch"] / max(shards), "x", goal=1.05, told="1 shard")
    table.line("largest shard", max(shards) / GB, "GB", 3)
    table.line("time", seconds, "s", 1)
    table.line("speed", audio / MB / seconds, "MB/s", 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=1.0, help="of sound that is published (default: 1)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the index (default: 1,000,000)")
    parser.add_argument("--card-rows", type=int, default=100_000, help="of the card (default: 100,000)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = measure(Path(scratch).resolve(), asked)
    sys.exit(bool(table.missed))


def measure(scratch: Path, asked: argparse.Namespace) -> Table:
    """Make the data, do each job, and print its part of the table."""
    for name in ("hub", "work/tmp", "clips", "cache", "card"):
        (scratch / name).mkdir(parents=True)
    hub, theirs = PROCESSES.Pipe()
    server = PROCESSES.Process(target=serve, args=(theirs, scratch / "hub"), daemon=True)
    server.start()
    url, token, source = hub.recv()
    wanted = environment(url, token, scratch / "work" / "home") | {"TMPDIR": str(scratch / "work" / "tmp")}
    os.environ.clear()
    os.environ.update(wanted | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"})

    def sent() -> list[tuple[str, int]]:
        hub.send("sent")
        return hub.recv()

    table, work = Table(), scratch / "work"
    write_clips(scratch / "clips", 1.25 * asked.gb * GB)
    files = sorted((scratch / "clips").iterdir())
    for where, embedded in (("the dataset", True), ("wav_files", False)):
        print(f"\nsound in {where.replace('wav_', '.wav ')}")
        ds = clips(scratch / "clips", scratch / "cache", embedded=embedded)
        how = {"columns": ["audio", "label"], "rows": True} | ({} if embedded else {"audio_root": str(files[0].parent)})
        sent()
        seen = watch(work, publish_job, ds, 0.8, f"me/{where.replace(' ', '-')}", how)
        tell_sound(table, seen, sent(), files, ds)

    print(f"\nindex of {asked.rows:,} rows")
    sent()
    how = {"rows": False, "source": "me/source", "source_revision": source, "label": "label"}
    seen = watch(work, publish_job, thin(asked.rows, scratch / "thin"), 0.5, "me/index", how)
    came = sent()
    table.line("bytes sent, in all requests", sum(size for _, size in came) / MB, "MB", goal=20)
    table.line("the largest file of them", max(size for _, size in came) / MB, "MB")
    table.memory(seen)
    table.line("time", seen["found"][0], "s", 1)

    print(f"\ncard and figures of {asked.card_rows:,} rows")
    took = watch(work, card_job, thin(asked.card_rows, scratch / "thin-card"), scratch / "card")["found"]
    table.line("time, median of 3", statistics.median(took[1:]), "s", goal=10)
    table.line("time of the first, with imports", took[0], "s", goal=10)
    hub.send(None)
    server.join()
    return table


if __name__ == "__main__":
    main()
