"""publish and load_subset, over real HTTP, with the real clients."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset

import hf_select as hs
from hf_select.hub.publish import publish
from hf_select.hub.subset import load_subset


def clips(rows: int = 24) -> Dataset:
    """Make rows of real sound with labels, ages and speakers."""
    rng = np.random.default_rng(0)

    def clip(row: int) -> dict[str, object]:
        sound = io.BytesIO()
        soundfile.write(sound, 0.1 * rng.normal(size=1600 + row), 8000, format="FLAC")
        return {"bytes": sound.getvalue(), "path": f"clip{row:03d}.flac"}

    columns = {
        "audio": [clip(row) for row in range(rows)],
        "label": [("yes", "no", "stop")[row % 3] for row in range(rows)],
        "speaker": [f"s{row % 5}" for row in range(rows)],
        "duration": [(1600 + row) / 8000 for row in range(rows)],
        "embedding": rng.normal(size=(rows, 4)).astype("float32").tolist(),
    }
    return Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))


def test_rows_come_back(hub):
    ds = clips()
    sel = hs.select_random(ds, budget=0.5, seed=0)
    done = publish(ds, sel, hub.name("words"), licence="cc-by-4.0")
    assert (done.config_name, done.rows, done.changed) == ("random-50", True, True)
    again = load_subset(hub.name("words"))
    kept = sel.apply(ds)
    assert again.column_names == ["audio", "label", "duration"]
    again = again.cast_column("audio", Audio(decode=False))
    assert [row["bytes"] for row in again["audio"]] == [row["bytes"] for row in kept["audio"]]
    plain = load_dataset(hub.name("words"), "random-50", split="train").cast_column("audio", Audio(decode=False))
    assert plain["label"][:] == kept["label"][:]
    assert not publish(ds, sel, hub.name("words"), licence="cc-by-4.0").changed
