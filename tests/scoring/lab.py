"""A process that imports everything once, then forks runs of `score` and kills them: see test_killed.py.

    lab.py kill FOLDER POINTS | lab.py interrupt FOLDER | lab.py warm FOLDER

One line of JSON for each run says what came of it.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import random
import select
import signal
import sys
import threading
import time
from pathlib import Path

ROWS, CHUNK = 120, 32
HUNG = 60.0  # seconds


class Lab:
    """Runs of one job in forks of this process; each gets a folder, and all count the clips that their model is given."""

    def __init__(self, home: Path, threads: int = 1) -> None:
        import tiny
        import torch
        from tqdm.std import tqdm

        from hf_select.parts import PartStore

        torch.set_num_threads(threads)
        tqdm.set_lock(
            threading.RLock()
        )  # its own one is shared by forks: who is killed holding it stops the others for ever
        clips = [tiny.stored(tiny.sound(0.1 + i / 500, i), name=str(i)) for i in range(ROWS)]
        self.ds = tiny.table(clips, label=[tiny.WORDS[i % 4] for i in range(ROWS)])
        self.model, self.extractor = tiny.lenet()
        self.model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.counter, self.delay = -1, 0.0
        self.heard, self.told = os.pipe()  # the end of the chunks is told here
        assemble = PartStore.assemble

        def telling(*arguments, **options):
            os.write(self.told, b"a")
            return assemble(*arguments, **options)

        PartStore.assemble = telling  # in this process and its forks alone
        self.score(home / "warm")  # loads what is loaded at first use, so that no fork has to

    def _count(self, _module, _args, kwargs):
        time.sleep(self.delay)
        if self.counter >= 0:
            os.write(self.counter, b"." * len(kwargs["input_features"]))

    def score(self, folder: Path):
        import hf_select as hs

        self.counter = os.open(folder.with_suffix(".count"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        return hs.score(self.ds, self.model, self.extractor, columns=["loss", "embedding", "predicted"], out=folder)

    def fork(self, folder: Path) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                faulthandler.dump_traceback_later(HUNG, exit=True)  # where it hangs, if it ever does
                self.score(folder)
                os._exit(0)
            except KeyboardInterrupt:
                os._exit(130)
            finally:
                os._exit(1)
        return pid

    def finish(self, folder: Path) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.fork(folder), 0)[1])

    def forget(self) -> None:
        while select.select([self.heard], [], [], 0)[0]:
            os.read(self.heard, 1)


def counted(folder: Path) -> int:
    path = folder.with_suffix(".count")
    return path.stat().st_size if path.exists() else 0


def finished(folder: Path) -> int:
    """Return the rows that are done: of whole parts, or all where the result is there."""
    if (folder / "scores.arrow").exists():
        return ROWS
    rows = 0
    for path in folder.glob("*.parts/*-*-*.arrow"):
        start, stop, digest = path.stem.split("-")
        if hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest):
            rows += int(stop) - int(start)
    return rows


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "scores.arrow").read_bytes()).hexdigest()


def kill(home: Path, points: int) -> None:
    """Kill runs at random instants: before the first clip, after each few, and (of two in five) while all is joined."""
    lab, rng = Lab(home), random.Random(0)
    lab.delay = 0.003
    started = time.perf_counter()
    lab.finish(home / "whole")
    seconds = time.perf_counter() - started
    print(json.dumps({"whole": digest(home / "whole"), "rows": counted(home / "whole")}))
    early, late = points // 5, points * 3 // 5
    for point in range(points):
        died, tries, folder = 0, 0, home
        while died == 0:  # a run that was faster than the signal is no kill point
            tries += 1
            folder = home / f"out{point}_{tries}"
            lab.forget()
            pid = lab.fork(folder)
            if point < early:
                time.sleep(seconds * 0.5 * rng.random() / tries)
            elif point < late:
                goal = max(1, ROWS * (point - early) // (late - early) // tries)
                while counted(folder) < goal:
                    time.sleep(0.0005)
                time.sleep(0.006 * rng.random())
            else:
                os.read(lab.heard, 1)
                time.sleep(0.01 * max(0, rng.random() - 0.3) / tries)
            os.kill(pid, signal.SIGKILL)
            died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        before, there, joined = counted(folder), finished(folder), (folder / "scores.arrow").exists()
        code = lab.finish(folder)
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        again = counted(folder) - before
        found = {"died": died, "code": code, "before": before, "there": there, "joined": joined, "again": again}
        print(json.dumps({**found, "left": left, "digest": digest(folder)}), flush=True)


def interrupt(home: Path) -> None:
    """Send Ctrl-C to runs that are slow, once before the first chunk is finished and once after each."""
    lab = Lab(home)
    lab.finish(home / "whole")
    print(json.dumps({"whole": digest(home / "whole")}))
    lab.delay = 0.05
    for chunks in range(3):
        folder = home / f"out{chunks}"
        pid = lab.fork(folder)
        while finished(folder) < chunks * CHUNK or not counted(folder):
            time.sleep(0.01)
        sent = time.perf_counter()
        os.kill(pid, signal.SIGINT)
        died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        took, there = time.perf_counter() - sent, finished(folder)
        before = counted(folder)
        lab.delay, delay = 0.0, lab.delay
        code = lab.finish(folder)
        lab.delay = delay
        found = {"died": died, "took": took, "there": there, "wanted": chunks * CHUNK, "code": code}
        print(json.dumps({**found, "again": counted(folder) - before, "digest": digest(folder)}), flush=True)


def warm(home: Path) -> None:
    """Use torch's threads, then score in the same process."""
    import torch

    lab = Lab(home, threads=2)
    for _ in range(3):
        torch.randn(600, 600) @ torch.randn(600, 600)
        torch.nn.functional.conv1d(torch.randn(8, 16, 4000), torch.randn(16, 16, 9))
    started = time.perf_counter()
    lab.score(home / "out")
    threads = torch.get_num_threads()
    print(json.dumps({"seconds": time.perf_counter() - started, "threads": threads, "digest": digest(home / "out")}))


if __name__ == "__main__":
    what, home, *numbers = sys.argv[1:]
    {"kill": kill, "interrupt": interrupt, "warm": warm}[what](Path(home), *map(int, numbers))
