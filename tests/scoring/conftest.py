"""Corpora for the tests of `score`: clips made here, and real speech where the shared packs are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hf_select as hs

from .alone import TOLERANCE, apart
from .tiny import WORDS, lenet, mixed, stored, table

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
COLUMNS = ["loss", "predicted", "embedding"]
TEXTS = ("YES NO", "UP", "IT'S DOWN", "NO NO", "A B C")


@pytest.fixture(scope="session")
def made():
    """Fifteen clips of 0.2 to 3 s, 8 and 16 kHz, WAV and FLAC, with labels and texts."""
    return labelled(mixed(15))


@pytest.fixture(scope="session")
def real():
    """Real clips from three packs: 8 and 16 kHz, 0.3 to 7 s, one language or two."""
    import pyarrow.parquet as pq

    if not SHARED.is_dir():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    clips: list[dict[str, Any]] = []
    for pack in ("speech_commands_dev", "an4_dev", "fsdd"):
        rows = next(pq.ParquetFile(SHARED / f"{pack}.parquet").iter_batches(4, columns=["audio"]))
        clips += rows.column("audio").to_pylist()
    return labelled(clips)


@pytest.fixture(scope="session", params=["made", "real"])
def corpus(request: pytest.FixtureRequest):
    """Each corpus in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def short():
    """Ten clips of 0.2 to 0.9 s at 16 kHz, for what depends on no value."""
    return labelled(mixed(10, longest=0.9, seed=50))


def labelled(clips: list[dict[str, Any]]):
    """Return a dataset of clips with labels by name, texts in capitals and texts in small words."""
    rows = range(len(clips))
    return table(
        clips,
        label=[WORDS[i % 4] for i in rows],
        text=[TEXTS[i % 5] for i in rows],
        words=[" ".join(WORDS[: 1 + i % 4]) for i in rows],
    )


def bad_clips() -> dict[str, Any]:
    """Return clips that can't be used, under the status that each gets."""
    whole = stored(np.sin(np.arange(16000) * 0.05).astype("f4"), name="cut.flac")
    cut = {"bytes": whole["bytes"][: len(whole["bytes"]) // 2], "path": "cut.flac"}
    numbers = np.full(4000, np.nan, dtype="f4")
    clips: dict[str, Any] = {
        "unreadable": {"bytes": b"no sound at all, just words" * 9, "path": "words.wav"},
        "missing": {"bytes": None, "path": None},
        "silent": stored(np.zeros(4000, "f4"), name="silence.flac"),
        "too_short": stored(np.array([0.1, -0.2, 0.3] * 10, "f4"), name="short.flac"),
        "nonfinite": stored(numbers, kind="WAV", name="nan.wav"),
        "refused": {"bytes": None, "path": "/etc/passwd"},
        "empty": {"bytes": b"", "path": "empty.wav"},
    }
    return {"cut": cut, **clips}


@pytest.fixture
def same(request: pytest.FixtureRequest) -> Callable[[Any, Any], None]:
    """Return a check that columns agree; the distance is kept in the report of the run (--junitxml)."""

    def check(found: Any, wanted: Any) -> None:
        distance = apart(list(found), list(wanted))
        request.node.user_properties.append(("distance", float(distance)))
        assert distance < TOLERANCE

    return check


class Counted:
    """A LeNet that counts the clips it is given, those of the probe too, and can be told when to fail."""

    def __init__(self, seed: int = 0) -> None:
        self.model, self.extractor = lenet(seed)
        self.clips, self.limit = 0, None
        self.model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module, _args, kwargs):
        if self.limit is not None and self.clips >= self.limit:
            raise KeyboardInterrupt
        self.clips += len(kwargs["input_features"])

    def score(self, ds, out=None, **options):
        self.clips = 0
        return hs.score(ds, self.model, self.extractor, **{"columns": COLUMNS, "out": out, **options})


@pytest.fixture
def counted():
    return Counted()
