"""A dataset so small that it is published hundreds of times in a test, and what makes that quick: no waiting, one drawing."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset

import hf_select as hs
import hf_select.export
from hf_select.hub import card, commit, pictures, publish
from hf_select.selection import Selection

CONFIG = "words"


@functools.cache
def clips(rows: int = 24) -> Dataset:
    """Make rows of 0.1 s of sound."""
    rng = np.random.default_rng(0)

    def clip(row: int) -> dict[str, object]:
        sound = io.BytesIO()
        soundfile.write(sound, 0.1 * rng.normal(size=800), 8000, format="FLAC")
        return {"bytes": sound.getvalue(), "path": f"clip{row:03d}.flac"}

    columns = {
        "audio": [clip(row) for row in range(rows)],
        "label": [("yes", "no")[row % 2] for row in range(rows)],
        "duration": [0.1] * rows,
    }
    return Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))


@functools.cache
def selection(rows: int = 12, seed: int = 0) -> Selection:
    return hs.select_random(clips(), budget=rows // 2, seed=seed, per="label")


def send(repo: str, sel: Selection | None = None, *, ds: Dataset | None = None, name: str = CONFIG, **kwargs):
    """Publish, four rows in a file."""
    asked = {"licence": "cc-by-4.0", "overwrite": True, "shard_bytes": 1, **kwargs}
    return publish.publish(ds or clips(), sel or selection(), repo, config_name=name, **asked)


def make_quick(patch: pytest.MonkeyPatch) -> None:
    """Let four rows fill a file, and keep pictures and templates, which are the same each time."""
    patch.setattr(hf_select.export, "_BATCH_ROWS", 4)
    patch.setattr(pictures, "plot_labels", _Drawn(pictures.plot_labels))
    patch.setattr(card, "template", functools.cache(card.template))


def be_patient(patch: pytest.MonkeyPatch, naps, seconds: float) -> None:
    """Let publish not wait between attempts, and give up an answer soon."""
    from huggingface_hub import constants

    from .wiring import forget_connections

    patch.setattr(commit, "time", naps)
    patch.setattr(commit, "PATIENCE", seconds)
    patch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", seconds)
    patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", seconds)
    forget_connections()


class _Drawn:
    """Draws a picture once, and writes it again after that."""

    def __init__(self, draw) -> None:
        self.draw, self.known = draw, {}

    def __call__(self, ds: Dataset, sel: Selection, name: str, file: Path) -> None:
        key = (name, sel.digest)
        if key not in self.known:
            self.draw(ds, sel, name, file)
            self.known[key] = Path(file).read_bytes()
        Path(file).write_bytes(self.known[key])
