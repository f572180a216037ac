"""What `publish` costs: memory, reads, scratch and time for sound, bytes for an index, seconds for a card.

    python tests/benchmarks/publish.py [--gb 1.0] [--clip-seconds 10] [--rows 1000000] [--card-rows 100000]

Needs Linux: numbers come from /proc. Each job is a process of its own, watched from outside, and talks over real HTTP to the
loopback Hub of the tests, a third process, which keeps what it is sent in files. Sound is noise in WAV clips, --gb of it kept
from a dataset a quarter larger that is mapped from the disk, and then from .wav files in a folder (audio_root=). The index keeps
half of its rows, with random float64 scores and ids like LibriSpeech's, then digests, by which rows with sound are known where
no key= is given. The card is made without a Hub. Exits with 1 if a goal is missed.

own memory   RssAnon: what the process itself holds. Pages of mapped files (RssFile), which the system takes back when it needs
             them, are told apart; VmHWM holds both. "added": the peak less what was held when the dataset was open, the Selection
             made and `publish` not yet called.
source read  In the dataset: bytes in pages of its mapped file that were touched. Every 0.05 s of its work the process is
             stopped, they are counted, their marks cleared: a second pass counts again. The stops are no part of the time.
             A page can be 2 MB, and one in use just then counts twice: up to 1.25 is one pass. In files: the size of each
             .wav, as often as it is opened.
shards read  All else that went through read(): hashing is one pass, sending another, modules and fonts what is more than 2.
scratch      The largest sum of the files in the folders for temporary files and of the clients' caches, every 5 ms.
"""

from __future__ import annotations

import argparse
import contextlib
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

from hf_select.rows import audio_key
from tests.hub.server import Hub, Seen
from tests.hub.wiring import environment

PROCESSES = multiprocessing.get_context("spawn")
RATE, MB, GB = 16_000, 1e6, 1e9


def serve(pipe: Any, folder: Path) -> None:
    """Be a Hub until the pipe ends; answer each message with what came in since the last: [(path, bytes)]."""
    came: list[tuple[str, int]] = []

    def spill(seen: Seen) -> None:
        came.append((seen.path, len(seen.body)))
        seen.body = b""
        with hub.store.lock:
            for large in [repo.large for repo in hub.store.repos.values()]:
                for oid in [oid for oid, data in large.items() if isinstance(data, bytes) and len(data) > MB]:
                    (folder / oid).write_bytes(large[oid])
                    large[oid] = memoryview(np.memmap(folder / oid, mode="r"))

    with contextlib.suppress(EOFError), Hub() as hub:
        hub.after = spill
        hub.create("me/source", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"})
        pipe.send((hub.url, hub.token("write"), hub.head("me/source")))
        while pipe.recv() and not hub.crashes:
            pipe.send([came.pop() for _ in came[:]])


def write_clips(folder: Path, size: float, seconds: float) -> list[Path]:
    """Write .wav files of about so many seconds each, `size` bytes in all."""
    import soundfile

    rng = np.random.default_rng(0)
    files = [folder / f"{number:06d}.wav" for number in range(round(size / (2 * RATE * seconds)))]
    for file in files:
        samples = rng.integers(-9000, 9000, int(RATE * seconds * rng.uniform(0.9, 1.1)), dtype=np.int16)
        soundfile.write(file, samples, RATE, subtype="PCM_16")
    return files


def clips(files: list[Path], cache: Path, *, embedded: bool) -> Any:
    """Return the dataset of the clips, mapped; the middle fifth scores low, so that few pages hold both kept and dropped rows."""
    from datasets import Audio, Dataset, Features, Value

    def rows() -> Iterator[dict[str, Any]]:
        for row, file in enumerate(files):
            audio = {"bytes": file.read_bytes() if embedded else None, "path": file.name}
            yield {"audio": audio, "id": file.name, "label": f"word {row % 35}", "loss": abs(row / len(files) - 0.5)}

    text, audio = Value("string"), {"bytes": Value("binary"), "path": Value("string")}
    kinds = Features({"audio": audio, "id": text, "label": text, "loss": Value("float64")})
    ds = Dataset.from_generator(rows, features=kinds, cache_dir=str(cache), writer_batch_size=100)
    return ds.cast_column("audio", Audio(sampling_rate=RATE, decode=False))


def thin(rows: int, folder: Path, *, digests: bool = False) -> Any:
    """Return a dataset without sound, mapped: ids such as 84-121123-0001.flac or digests, and what is known of each clip."""
    from datasets import Dataset, load_from_disk

    rng = np.random.default_rng(0)
    chapters = np.sort(rng.choice(300_000, rows // 30 + 1, replace=False)).tolist()
    ids = [f"{14 + chapters[n // 30] // 100}-{chapters[n // 30]}-{n % 30:04d}.flac" for n in range(rows)]
    columns = {
        "id": [audio_key(name, b"") for name in ids] if digests else ids,
        "label": [f"word {n}" for n in rng.integers(0, 35, rows).tolist()],
        "speaker": rng.integers(0, 2000, rows).astype(str),
        "gender": rng.choice(["female", "male"], rows),
        "duration": rng.gamma(6, 2, rows),
        "snr_db": rng.normal(20, 8, rows),
        "loss": rng.lognormal(size=rows),
    }
    Dataset.from_dict(columns).save_to_disk(str(folder))
    return load_from_disk(str(folder))


def wait(pipe: Any, found: Any = None) -> None:
    """Send what was found, and stay until told to go on: /proc knows a process only as long as it is there."""
    pipe.send(found)
    pipe.recv()


def publish_job(pipe: Any, ds: Any, budget: float, repo_id: str, how: dict[str, Any]) -> None:
    """Select, and wait; then publish, and send the seconds, how often each file was opened to read, and the rows kept."""
    import hf_select as hs
    from hf_select.hub.publish import publish

    selection, opened = hs.select_by_score(ds, budget=budget, column="loss", key="id"), Counter[str]()

    def note(event: str, details: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(details[0], (str, Path)) and not details[2] & (os.O_WRONLY | os.O_RDWR):
            opened[str(details[0])] += 1

    wait(pipe)
    sys.addaudithook(note)
    started = time.perf_counter()
    publish(ds, selection, repo_id, licence="cc-by-4.0", **how)
    wait(pipe, (time.perf_counter() - started, dict(opened), selection.indices.tolist()))


def card_job(pipe: Any, ds: Any, folder: Path) -> None:
    """Select, and wait; then make facts, figures and card four times, and send the seconds of each."""
    import hf_select as hs
    from hf_select.hub.card import card_of
    from hf_select.hub.facts import config_facts
    from hf_select.hub.pictures import draw_pictures

    selection, took = hs.select_by_score(ds, budget=0.5, column="loss", key="id"), []
    wait(pipe)
    for _ in range(4):
        started = time.perf_counter()
        facts = config_facts(ds, selection, config_name="half", by=["gender", "snr_db"], licence="cc-by-4.0")
        assert len(draw_pictures(ds, selection, folder, tables=facts.tables)) == 3
        assert "word 34" in card_of([facts], "me/card")
        took.append(time.perf_counter() - started)
    wait(pipe, took)


def memory(process: Path) -> dict[str, int]:
    """Return bytes of own memory, of pages of mapped files, and the peak of both together."""
    lines = re.findall(r"(RssAnon|RssFile|VmHWM):\s+(\d+)", (process / "status").read_text())
    return {name: 1024 * int(size) for name, size in lines}


def ticks(process: Path) -> int:
    """Return the time of the processor that a process has had, in hundredths of a second."""
    return sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))


def touched(process: Path) -> int:
    """Stop the process, count the bytes in pages of mapped .arrow files touched since the last time, and let it go on."""
    os.kill(int(process.name), signal.SIGSTOP)
    while "State:\tT" not in (process / "status").read_text():
        time.sleep(0.0001)
    maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (process / "smaps").read_text(), flags=re.MULTILINE)
    (process / "clear_refs").write_text("3")
    os.kill(int(process.name), signal.SIGCONT)
    marks = [re.search(r"^Referenced:\s+(\d+)", part, re.MULTILINE) for part in maps if ".arrow\n" in part]
    return sum(1024 * int(mark[1]) for mark in marks if mark)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder, where they come and go."""
    with contextlib.suppress(FileNotFoundError):
        return sum(Path(place, name).lstat().st_size for place, _, names in os.walk(folder) for name in names)
    return 0  # a file went while we looked: the next look is soon


def watch(work: Path, job: Callable[..., None], *given: Any) -> dict[str, Any]:
    """Start a job, tell it to go on when it is ready, and return what it found and what was seen of it from then on."""
    ours, theirs = PROCESSES.Pipe()
    child = PROCESSES.Process(target=job, args=(theirs, *given), daemon=True)
    child.start()
    theirs.close()  # or a job that died would be waited for
    process, _ = Path(f"/proc/{child.pid}"), ours.recv()
    (process / "clear_refs").write_text("5")  # VmHWM begins again
    touched(process)
    before = peak = memory(process)
    scratch, pages, stopped, last = [size_of(work)], 0, 0.0, 0
    read = int((process / "io").read_text().split()[1])
    ours.send("go on")
    while not ours.poll(0.005):
        peak = {name: max(peak[name], now) for name, now in memory(process).items()}
        scratch.append(size_of(work))
        if (cpu := ticks(process)) >= last + 5:
            start, last = time.monotonic(), cpu
            pages += touched(process)
            stopped += time.monotonic() - start
    pages += touched(process)
    read = int((process / "io").read_text().split()[1]) - read
    found = {"found": ours.recv(), "before": before, "peak": peak, "pages": pages, "read": read, "stopped": stopped}
    ours.send("go on")
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
        print(f"  {len(kept):,} of {len(files):,} clips, {audio / GB:.3f} GB, in {len(shards)} shards")
        self.memory(seen["before"], seen["peak"])
        self.line("source read / sound kept", (from_files or seen["pages"]) / audio, "x", 1.25, "1.0 x")
        self.line("shards read / shards", (seen["read"] - from_files) / sum(shards), "x")
        self.line("scratch, peak / largest shard", seen["scratch"] / max(shards), "x", 1.05, "1 shard")
        self.line("time", seconds - seen["stopped"], "s")
        self.line("speed", audio / MB / (seconds - seen["stopped"]), "MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, usual in {"gb": 1.0, "clip-seconds": 10.0, "rows": 1_000_000, "card-rows": 100_000}.items():
        parser.add_argument(f"--{name}", type=type(usual), default=usual)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(measure(Path(scratch).resolve(), asked) > 0)


def measure(scratch: Path, asked: argparse.Namespace) -> int:
    """Make the data, do each job, print its part of the table; return how many goals were missed."""
    for name in ("hub", "work/tmp", "clips", "card"):
        (scratch / name).mkdir(parents=True)
    (hub, theirs), work = PROCESSES.Pipe(), scratch / "work"
    PROCESSES.Process(target=serve, args=(theirs, scratch / "hub"), daemon=True).start()
    theirs.close()
    table, (url, token, source) = Table(), hub.recv()
    wanted = environment(url, token, work / "home")
    os.environ.clear()
    os.environ.update(wanted, TMPDIR=str(work / "tmp"), HF_DATASETS_DISABLE_PROGRESS_BARS="1")

    def published(*given: Any) -> tuple[dict[str, Any], list[tuple[str, int]]]:
        seen = watch(work, publish_job, *given)
        hub.send("what came?")
        return seen, hub.recv()

    files = write_clips(scratch / "clips", 1.25 * asked.gb * GB, asked.clip_seconds)
    for where, more in {"the dataset": {}, ".wav files": {"audio_root": str(scratch / "clips")}}.items():
        print(f"\nsound in {where}")
        ds = clips(files, scratch / "cache", embedded=not more)
        table.sound(*published(ds, 0.8, f"me/sound-{len(more)}", {"columns": ["audio", "label"], **more}), files)

    how = {"rows": False, "source": "me/source", "source_revision": source, "by": ["gender"]}
    for kind in ("ids", "digests"):
        print(f"\nindex of {asked.rows:,} rows with {kind}")
        ds = thin(asked.rows, scratch / kind, digests=kind == "digests")
        seen, came = published(ds, 0.5, f"me/{kind}", how)
        table.line("bytes sent, in all requests", sum(size for _, size in came) / MB, "MB", 20)
        table.memory(seen["before"], seen["peak"])
        table.line("time", seen["found"][0] - seen["stopped"], "s")

    print(f"\ncard and figures of {asked.card_rows:,} rows")
    took = watch(work, card_job, thin(asked.card_rows, scratch / "thin-card"), scratch / "card")["found"]
    table.line("time of the first, with imports", took[0], "s", 10)
    table.line("time, median of 3 more", statistics.median(took[1:]), "s", 10)
    return table.missed


if __name__ == "__main__":
    main()
