"""A process that imports everything once, then forks trainings and kills them: see test_resume.py.

    kill_lab.py FOLDER WORLD FIRST STEP     # every STEP-th kill point from FIRST on; a line of JSON for each

A training of WORLD processes is as many forks, which find each other by gloo as under torchrun. Kill points are counted:
first the events of the training (a step begins, gradients are there, a round is decided, ...), then every file of a
checkpoint when it is about to be written; at the latter the file before it is also cut in half, as when the kill came
while that was written.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from pathlib import Path

import lab
import torch
from forks import printed, run_forks
from transformers import TrainerCallback

import hf_select.training.acquisition as acquisition

SETTINGS = {
    "view": {"items_per_round": 22}, "save_strategy": "steps", "save_steps": 2, "num_train_epochs": 3,
    "acquire": {"budget": 5, "every": 1}, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2,
}  # fmt: skip


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Killer(TrainerCallback):
    """Kills its process at the so many-th event of a training; tells how many there were."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def tick(self, *_, **__) -> None:
        self.count += 1
        if self.count == self.at:
            die()

    on_epoch_begin = on_step_begin = on_substep_end = on_pre_optimizer_step = on_step_end = on_epoch_end = on_save = (
        tick
    )


def count_files(folder: Path, at: int, cut: bool) -> list[str]:
    """Watch the files of checkpoints, each when it is about to be written; die at the so many-th.

    With `cut` the one before it is first cut in half.
    """
    seen: list[str] = []

    def about_to_write(path: str) -> None:
        seen.append(path)
        if len(seen) == at:
            others = [other for other in Path(path).parent.glob("*") if other.is_file()]
            if cut and others:
                last = max(others, key=lambda other: other.stat().st_mtime_ns)
                os.truncate(last, last.stat().st_size // 2)
            die()

    def watch(event, arguments):
        name = str(arguments[0]) if event == "open" else ""
        if f"{folder}/checkpoint-" in name and "w" in str(arguments[1]):
            about_to_write(name)

    def save(content, path, *more, **options):  # opens its file in C++, unseen
        if f"{folder}/checkpoint-" in str(path):
            about_to_write(str(path))
        return write(content, path, *more, **options)

    sys.addaudithook(watch)
    write, torch.save = torch.save, save
    return seen


def child(folder: Path, rank: int, world: int, kind: str, at: int, resume: bool) -> None:
    killer = Killer(at if kind == "event" and rank == at % world else -1)
    decide = acquisition.apart  # also in the middle of what the callback itself does
    acquisition.apart = lambda *given: (killer.tick(), decide(*given))[1]
    mine = kind in ({0: ("file", "half"), 1: ("other",)}[rank])
    files = count_files(folder, at if mine else -1, kind == "half")
    found = lab.train(folder, resume=resume, extra=[killer], **SETTINGS)
    found |= {"events": killer.count, "files": len(files)}
    (folder / f"result-{rank}.json").write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def run(folder: Path, world: int, kind: str = "", at: int = -1, resume: bool = False) -> list[int]:
    return run_forks(folder, world, lambda rank: child(folder, rank, world, kind, at, resume))


def read(folder: Path, world: int) -> list[dict]:
    return [json.loads((folder / f"result-{rank}.json").read_text()) for rank in range(world)]


def main(home: Path, world: int, first: int, step: int) -> None:
    torch.set_num_threads(1)
    lab.train(home / "warm", **SETTINGS)  # so that no fork has to load and compile what is used first
    gc.collect()
    gc.freeze()
    assert run(home / "whole", world) == [0] * world
    whole = read(home / "whole", world)
    print(json.dumps({"whole": whole}), flush=True)
    points = [("event", at) for at in range(1, whole[0]["events"] + 1)]
    points += [(kind, at) for at in range(1, whole[0]["files"] + 1) for kind in ("file", "half")]
    points += [("other", at) for one in whole[1:] for at in range(1, one["files"] + 1)]  # of the second process
    print(json.dumps({"points": len(points)}), flush=True)
    for kind, at in points[first::step]:
        folder = home / f"{kind}-{at}"
        codes = run(folder, world, kind, at)
        damaged = sorted(path.name for path in folder.glob("checkpoint-*"))
        after = run(folder, world, resume=True)
        found = read(folder, world) if after == [0] * world else None
        told = printed(folder)[-4000:] if found is None else ""
        aside = sorted(path.name for path in folder.glob("damaged-*"))
        line = {"point": [kind, at], "codes": codes, "there": damaged, "aside": aside, "found": found, "told": told}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
