"""What `publish` costs: memory, reads, scratch and time for sound, bytes for an index, seconds for a card.

    python tests/benchmarks/publish.py [--gb 1.0] [--clip-seconds 10] [--rows 1000000] [--card-rows 100000]

Needs Linux: numbers come from /proc. Each job is a process of its own, watched from outside, and talks over real HTTP to the
loopback Hub of the tests, a third process, which keeps what it is sent in files.

sound in the dataset   --gb of WAV clips of noise, kept from a dataset a quarter larger that is mapped from the disk
sound in .wav files    the same clips as files in a folder: audio_root=
index                  half of --rows rows with ids like LibriSpeech's and random float64 scores: rows=False
card                   facts, figures and card of --card-rows rows, without a Hub: median of 3

own memory   RssAnon: what the process itself holds. Pages of mapped files (RssFile), which the system takes back when it needs
             them, are told apart; VmHWM holds both. "added" is the peak less what was held before `publish` was called, when
             the dataset was open and the Selection made.
source read  In the dataset: bytes in pages of its mapped file that were touched. Twenty times a second the process is stopped,
             they are counted and their marks cleared, so that a second pass counts again; the stops are no part of the time.
             In files: the size of each .wav, as often as it is opened.
shards read  All else that went through read(), over the size of the shards: hashing is one pass, sending another, and what is
             more than 2 is modules and fonts.
scratch      The largest sum of the files in the folders for temporary files and of the clients' caches, every 5 ms.

Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import os
import re
import signal
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
RATE, MB, GB = 16_000, 1e6, 1e9


def serve(pipe: Any, folder: Path) -> None:
    """Be a Hub until told None; answer any other message with what came in since the last: [(path, bytes)]."""
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


def write_clips(folder: Path, size: float, seconds: float) -> list[Path]:
    """Write .wav files of noise, of about so many seconds each, until there are `size` bytes."""
    import soundfile

    rng, files, written = np.random.default_rng(0), [], 0
    while written < size:
        frames = int(RATE * seconds * rng.uniform(0.9, 1.1))
        files.append(folder / f"{len(files):06d}.wav")
        soundfile.write(files[-1], rng.integers(-9000, 9000, frames, dtype=np.int16), RATE, subtype="PCM_16")
        written += files[-1].stat().st_size
    return files


def clip_rows(files: list[str], embedded: bool) -> Iterator[dict[str, Any]]:
    """Yield a row for each clip; the middle fifth scores low: what is kept lies in two blocks, and few pages hold other rows."""
    for row, file in enumerate(map(Path, files)):
        audio = {"bytes": file.read_bytes() if embedded else None, "path": file.name}
        middle = 0.4 <= row / len(files) < 0.6
        yield {"audio": audio, "id": file.name, "label": f"word {row % 35}", "loss": 0.0 if middle else 1 + row % 7}


def clips(files: list[Path], cache: Path, *, embedded: bool) -> Any:
    """Return the dataset of the clips, mapped from the disk."""
    from datasets import Audio, Dataset, Features, Value

    audio = {"bytes": Value("binary"), "path": Value("string")}
    kinds = Features({"audio": audio, "id": Value("string"), "label": Value("string"), "loss": Value("float64")})
    asked = {"gen_kwargs": {"files": [*map(str, files)], "embedded": embedded}, "writer_batch_size": 100}
    ds = Dataset.from_generator(clip_rows, features=kinds, cache_dir=str(cache), **asked)
    return ds.cast_column("audio", Audio(sampling_rate=RATE, decode=False))


def thin(rows: int, folder: Path) -> Any:
    """Return a dataset without sound, mapped from the disk: ids such as 84-121123-0001.flac, and what is known of each clip."""
    from datasets import ClassLabel, Dataset, load_from_disk

    rng = np.random.default_rng(0)
    chapters = np.sort(rng.choice(300_000, -(-rows // 30), replace=False)).tolist()
    readers = np.sort(rng.integers(14, 9000, len(chapters))).tolist()
    columns = {
        "id": [f"{readers[n // 30]}-{chapters[n // 30]}-{n % 30:04d}.flac" for n in range(rows)],
        "label": rng.integers(0, 35, rows),
        "speaker": [f"s{who}" for who in rng.integers(0, 2000, rows).tolist()],
        "gender": [("female", "male")[who] for who in rng.integers(0, 2, rows).tolist()],
        "duration": rng.gamma(6, 2, rows),
        "snr_db": rng.normal(20, 8, rows),
        "loss": rng.lognormal(size=rows),
    }
    words = ClassLabel(names=[f"word {n}" for n in range(35)])
    Dataset.from_dict(columns).cast_column("label", words).save_to_disk(str(folder))
    return load_from_disk(str(folder))


def publish_job(pipe: Any, ds: Any, budget: float, repo_id: str, how: dict[str, Any]) -> None:
    """Select, and wait; then publish, and send the seconds, how often each file was opened to read, and the rows kept."""
    import hf_select as hs
    from hf_select.hub.publish import publish

    selection, opened = hs.select_by_score(ds, budget=budget, column="loss", key="id"), Counter[str]()

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(details[0], (str, Path)) and not details[2] & (os.O_WRONLY | os.O_RDWR):
            opened[str(details[0])] += 1

    pipe.send("ready")
    pipe.recv()
    sys.addaudithook(note)
    started = time.perf_counter()
    publish(ds, selection, repo_id, licence="cc-by-4.0", **how)
    pipe.send((time.perf_counter() - started, dict(opened), selection.indices.tolist()))
    pipe.recv()  # stay until all is read that /proc says of this process


def card_job(pipe: Any, ds: Any, folder: Path) -> None:
    """Select, and wait; then make facts, figures and card four times, and send the seconds of each."""
    import hf_select as hs
    from hf_select.hub.card import card_of
    from hf_select.hub.facts import config_facts
    from hf_select.hub.pictures import draw_pictures

    selection, took = hs.select_by_score(ds, budget=0.5, column="loss", key="id"), []
    pipe.send("ready")
    pipe.recv()
    for _ in range(4):
        started = time.perf_counter()
        facts = config_facts(ds, selection, config_name="half", by=["gender", "snr_db"], licence="cc-by-4.0")
        drawn = draw_pictures(ds, selection, folder, tables=facts.tables)
        page = card_of([facts], "me/card")
        took.append(time.perf_counter() - started)
        assert len(drawn) == 3 and "word 34" in page
    pipe.send(took)
    pipe.recv()


def memory(process: Path) -> dict[str, int]:
    """Return bytes of own memory, of pages of mapped files, and the peak of both together."""
    lines = re.findall(r"(RssAnon|RssFile|VmHWM):\s+(\d+) kB", (process / "status").read_text())
    return {name: 1024 * int(size) for name, size in lines}


def touched(process: Path) -> int:
    """Stop the process, count the bytes in pages of mapped .arrow files touched since the last time, and let it go on."""
    os.kill(int(process.name), signal.SIGSTOP)
    while "State:\tT" not in (process / "status").read_text():
        time.sleep(0.0002)
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (process / "smaps").read_text(), flags=re.MULTILINE)
    (process / "clear_refs").write_text("3")
    os.kill(int(process.name), signal.SIGCONT)
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
    """Start a job, tell it to go on when it is ready, and return what it found and what was seen of it from then on."""
    ours, theirs = PROCESSES.Pipe()
    child = PROCESSES.Process(target=job, args=(theirs, *given), daemon=True)
    child.start()
    theirs.close()
    ours.recv()
    process = Path(f"/proc/{child.pid}")
    (process / "clear_refs").write_text("5")  # VmHWM begins again
    touched(process)
    before, scratch, pages, stopped = memory(process), [size_of(work)], 0, 0.0
    peak, read, last = before, int((process / "io").read_text().split()[1]), 0.0
    ours.send("go")
    while not ours.poll(0.005):
        now = memory(process)
        peak = {name: max(peak[name], now[name]) for name in peak}
        scratch.append(size_of(work))
        if time.monotonic() > last + 0.05:
            start = time.monotonic()
            pages += touched(process)
            last = time.monotonic()
            stopped += last - start
    pages += touched(process)
    read = int((process / "io").read_text().split()[1]) - read
    peak["VmHWM"] = memory(process)["VmHWM"]
    found = {"found": ours.recv(), "before": before, "peak": peak, "pages": pages, "read": read, "stopped": stopped}
    ours.send("done")
    child.join()
    return {**found, "scratch": max(scratch) - scratch[0]}


class Table:
    """Prints numbers beside their goals, and knows how many were missed."""

    missed = 0

    def line(self, what: str, number: float, unit: str, goal: float | None = None, told: str = "") -> None:
        missed = goal is not None and number >= goal
        self.missed += missed
        verdict = "" if goal is None else f"{told or f'< {goal:g} {unit}':>9}  {'MISSED' if missed else 'met'}"
        print(f"  {what:38}{number:>9.2f} {unit:5}{verdict}", flush=True)

    def memory(self, before: dict[str, int], peak: dict[str, int]) -> None:
        self.line("own memory, peak", peak["RssAnon"] / GB, "GB", 1)
        self.line("own memory, added", (peak["RssAnon"] - before["RssAnon"]) / GB, "GB", 1)
        self.line("pages of mapped files, peak", peak["RssFile"] / GB, "GB")
        self.line("VmHWM, own and mapped", peak["VmHWM"] / GB, "GB")

    def sound(self, seen: dict[str, Any], came: list[tuple[str, int]], files: list[Path]) -> None:
        seconds, opened, kept = seen["found"]
        sizes = {str(file): file.stat().st_size for file in files}
        audio = sum(sizes[str(files[row])] for row in kept)
        shards = [size for path, size in came if "/upload/" in path and size > MB]
        from_files = sum(times * sizes.get(path, 0) for path, times in opened.items())
        print(f"  {len(kept):,} of {len(files):,} clips kept, {audio / GB:.3f} GB, in {len(shards)} shards")
        self.memory(seen["before"], seen["peak"])
        self.line("source read / sound kept", (from_files or seen["pages"]) / audio, "x", 1.05, "1.0 x")
        self.line("shards read / shards", (seen["read"] - from_files) / sum(shards), "x")
        self.line("scratch, peak / largest shard", seen["scratch"] / max(shards), "x", 1.05, "1 shard")
        self.line("largest shard", max(shards) / GB, "GB")
        self.line("time", seconds - seen["stopped"], "s")
        self.line("speed", audio / MB / (seconds - seen["stopped"]), "MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=1.0, help="of sound that is published (default: 1)")
    parser.add_argument("--clip-seconds", type=float, default=10.0, help="of each clip, about (default: 10)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the index (default: 1,000,000)")
    parser.add_argument("--card-rows", type=int, default=100_000, help="of the card (default: 100,000)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        missed = measure(Path(scratch).resolve(), asked)
    sys.exit(missed > 0)


def measure(scratch: Path, asked: argparse.Namespace) -> int:
    """Make the data, do each job, print its part of the table; return how many goals were missed."""
    for name in ("hub", "work/tmp", "clips", "card"):
        (scratch / name).mkdir(parents=True)
    hub, theirs = PROCESSES.Pipe()
    PROCESSES.Process(target=serve, args=(theirs, scratch / "hub"), daemon=True).start()
    url, token, source = hub.recv()
    wanted, table, work = environment(url, token, scratch / "work" / "home"), Table(), scratch / "work"
    os.environ.clear()
    os.environ.update(wanted | {"TMPDIR": str(work / "tmp"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"})

    def published(*given: Any) -> tuple[dict[str, Any], list[tuple[str, int]]]:
        seen = watch(work, publish_job, *given)
        hub.send("what came?")
        return seen, hub.recv()

    files = write_clips(scratch / "clips", 1.25 * asked.gb * GB, asked.clip_seconds)
    root = {"audio_root": str(scratch / "clips")}
    for number, (where, more) in enumerate({"the dataset": {}, ".wav files": root}.items()):
        print(f"\nsound in {where}")
        ds = clips(files, scratch / "cache", embedded=not more)
        table.sound(*published(ds, 0.8, f"me/sound-{number}", {"columns": ["audio", "label"], **more}), files)

    print(f"\nindex of {asked.rows:,} rows")
    how = {"rows": False, "source": "me/source", "source_revision": source, "by": ["gender"]}
    seen, came = published(thin(asked.rows, scratch / "thin"), 0.5, "me/index", how)
    table.line("bytes sent, in all requests", sum(size for _, size in came) / MB, "MB", 20)
    table.memory(seen["before"], seen["peak"])
    table.line("time", seen["found"][0] - seen["stopped"], "s")

    print(f"\ncard and figures of {asked.card_rows:,} rows")
    took = watch(work, card_job, thin(asked.card_rows, scratch / "thin-card"), scratch / "card")["found"]
    table.line("time of the first, with imports", took[0], "s", 10)
    table.line("time, median of 3 more", statistics.median(took[1:]), "s", 10)
    hub.send(None)
    return table.missed


if __name__ == "__main__":
    main()
