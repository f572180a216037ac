"""Checkpoints that a crash cut off: found, named, and never resumed from."""

from __future__ import annotations

import json
import logging
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import TrainingArguments

__all__ = ["damage", "last_whole_checkpoint", "set_aside_damaged"]

log = logging.getLogger("hf_select")

_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"


def last_whole_checkpoint(output_dir: str | os.PathLike[str]) -> str | None:
    """Return the newest checkpoint of a Trainer that is whole, None if there is none.

    A Trainer writes its files one after the other where they will be read, so that a run that is killed while it saves
    leaves a folder which `get_last_checkpoint` of transformers takes for the last one.

    Args:
        output_dir: of the Trainer. It need not exist.

    Relations:
        `RoundsCallback` and its kin rename damaged ones when a Trainer is made; this is for scripts that look themselves.

    >>> import tempfile
    >>> last_whole_checkpoint(tempfile.mkdtemp()) is None
    True
    """
    return next((str(path) for path in _newest_first(output_dir) if damage(path) is None), None)


def set_aside_damaged(args: TrainingArguments) -> list[Path]:
    """Rename the newest checkpoints of a run until a whole one is met; every process waits for it to be done.

    Returns:
        The folders under their new names, `damaged-checkpoint-<step>`.
    """
    if not args.output_dir:
        return []
    moved = []
    if args.process_index == 0 or (args.save_on_each_node and args.local_process_index == 0):
        for path in _newest_first(args.output_dir):
            if (why := damage(path)) is None:
                break
            aside = _free_name(path)
            log.warning("%s is damaged (%s) and will not be resumed from: renamed to %s.", path, why, aside.name)
            path.rename(aside)
            moved.append(aside)
    if args.world_size > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
    return moved


def damage(checkpoint: str | os.PathLike[str]) -> str | None:
    """Return what is wrong with a checkpoint, None if nothing: whether all its files are there and end where they should.

    Cut off files are found, not flipped bits. A checkpoint that was written with `save_only_model` is whole without
    optimizer and random numbers. How many processes wrote it, each a file, stands in the state of our callbacks.
    """
    folder = Path(checkpoint)
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))  # written last by rank 0
    except (OSError, ValueError) as error:
        return f"{_STATE}: {type(error).__name__}"
    if not isinstance(state, dict) or "global_step" not in state:
        return f"{_STATE}: not one"
    for path in sorted(folder.iterdir()):
        if path.suffix in (".pt", ".pth", ".bin") and not zipfile.is_zipfile(path):
            return f"{path.name}: cut off"
        if path.suffix == ".safetensors" and not _is_whole(path):
            return f"{path.name}: cut off"
    if (folder / "optimizer.pt").exists():  # else it was saved without what resuming needs
        missing = [name for name in _random_states(state) if not (folder / name).exists()]
        return f"{missing[0]}: not there" if missing else None
    return None


def _random_states(state: dict[str, Any]) -> list[str]:
    """Return the files of random numbers that belong to a checkpoint, as far as that is known."""
    for found in (state.get("stateful_callbacks") or {}).values():
        for own in found if isinstance(found, list) else [found]:
            if world := (own.get("attributes") or {}).get("world_size"):
                return ["rng_state.pth"] if world == 1 else [f"rng_state_{rank}.pth" for rank in range(world)]
    return []


def _newest_first(output_dir: str | os.PathLike[str]) -> list[Path]:
    folder = Path(output_dir)
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: -int(path.name.split("-")[1]))


def _free_name(path: Path) -> Path:
    """Return a name that the Trainer does not take for a checkpoint."""
    aside, number = path.with_name(f"damaged-{path.name}"), 1
    while aside.exists():
        aside, number = path.with_name(f"damaged-{path.name}-{number}"), number + 1
    return aside


def _is_whole(path: Path) -> bool:
    """Say whether a safetensors file is as long as its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, AttributeError, KeyError, TypeError):
        return False
    return size == 8 + length + max(ends, default=0)
