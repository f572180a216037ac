"""Segments of clips: where they lie, and which of a clip's scores highest under a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.errors import ArgumentError
from hf_select.scoring.inputs import Batch, Inputs
from hf_select.scoring.outputs import Scorer

__all__ = ["SEGMENT_COLUMNS", "SegmentInputs", "SegmentScorer", "Segments"]

SEGMENT_COLUMNS = ("segment_start", "segment_end", "segment_score")
_SCORES = ("grad_norm", "loss", "grad_norm_head")
_SILENT = 2e-4  # peak to peak: what `hf_select.audio.read_clip` calls silent


@dataclass(frozen=True)
class Segments:
    """How clips are cut: so many segments of a share of the clip, and the score by which one of them is kept."""

    number: int = 5
    ratio: float = 0.25
    by: str = "grad_norm"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.number, bool) or not isinstance(self.number, int) or self.number < 1:
            raise ArgumentError(f"n_segments is a whole number of at least 1; got {self.number!r}.")
        if isinstance(self.ratio, bool) or not 0 < self.ratio <= 1:
            raise ArgumentError(
                f"ratio is the length of a segment as a share of its clip, above 0 and up to 1; got {self.ratio!r}."
            )
        if self.by not in _SCORES:
            raise ArgumentError(f"by is one of {', '.join(map(repr, _SCORES))}; got {self.by!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ArgumentError(f"seed is a whole number of at least 0; got {self.seed!r}.")

    def of(self, samples: NDArray[np.float32], key: str | None, shortest: int = 1) -> NDArray[np.int64]:
        """Return where the segments of a clip start and end, in samples, int64 (number, 2).

        Starts are uniform over the clip, drawn from the seed and the row's key alone. A segment in which there is no sound
        is moved to where the clip is loudest.

        Args:
            samples: the clip. key: of its row. shortest: a segment is at least so long, and at most the clip.

        >>> clip = np.sin(np.arange(1000, dtype=np.float32))
        >>> cuts = Segments(3, 0.25).of(clip, "row")
        >>> (cuts[:, 1] - cuts[:, 0]).tolist(), bool((cuts[:, 0] >= 0).all() and (cuts[:, 1] <= 1000).all())
        ([250, 250, 250], True)
        """
        length = min(len(samples), max(1, shortest, round(self.ratio * len(samples))))
        last = len(samples) - length
        row = int.from_bytes(hashlib.sha256((key or "").encode()).digest()[:8], "big")
        starts = np.random.default_rng([self.seed, row]).integers(0, last, self.number, endpoint=True)
        for place, start in enumerate(starts):
            if np.ptp(samples[start : start + length]) <= _SILENT:
                starts[place] = min(max(int(np.abs(samples).argmax()) - length // 2, 0), last)
        return np.stack([starts, starts + length], axis=1)


class SegmentInputs(Inputs):
    """Features of a clip's segments, stacked; batches of the segments of several clips."""

    def __init__(self, segments: Segments, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.segments = segments

    def take(self, samples: NDArray[np.float32], key: str | None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return (features of each segment, stacked; where they start and end, in samples)."""
        cuts = self.segments.of(samples, key, self.shortest)
        return np.stack([self.features(samples[start:end]) for start, end in cuts]), cuts

    def batch_of(self, heard: Sequence[Any]) -> Batch:
        """Put the segments of several clips into one batch, those of a clip one after the other."""
        features = [segment for clip in heard for segment in clip.features]
        found = self.batch(features, [int(end - start) for clip in heard for start, end in clip.cuts])
        found.cuts = [clip.cuts / self.rate for clip in heard]
        return found

    def lengths(self, features: Sequence[NDArray[np.float32]]) -> list[int]:
        """Return the length of each clip's segments along the axis that is filled up."""
        return super().lengths([stacked[0] for stacked in features])


class SegmentScorer:
    """Scores the segments of a batch and keeps of each clip the first of those that score highest."""

    columns = SEGMENT_COLUMNS

    def __init__(self, scorer: Scorer, segments: Segments) -> None:
        self.scorer, self.segments = scorer, segments
        self.model, self.gradients = scorer.model, scorer.gradients

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Put hooks into the model while the block runs."""
        with self.scorer.hooked():
            yield

    def score(self, batch: Batch, labels: Sequence[Any] | None, texts: Sequence[Any] | None) -> dict[str, list[Any]]:
        """Return the columns of the clips of a batch."""
        number = self.segments.number
        labels, texts = (
            None if own is None else [one for one in own for _ in range(number)] for own in (labels, texts)
        )
        scores = self.scorer.score(batch, labels, texts)[self.segments.by]
        found: dict[str, list[Any]] = {name: [] for name in self.columns}
        for place, cuts in enumerate(batch.cuts or ()):
            own = scores[place * number : (place + 1) * number]
            known = [score for score in own if score is not None]
            best = int(np.argmax([-np.inf if score is None else score for score in own]))  # NaN counts as the highest
            values = (*cuts[best].tolist(), own[best]) if known else (None, None, None)
            for name, value in zip(self.columns, values, strict=True):
                found[name].append(value)
        return found
