"""The work of one process: decode ahead in threads, run the model batch by batch, hand over finished chunks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.audio import read_clip
from hf_select.errors import HfSelectError, TransformError
from hf_select.joining import to_arrow
from hf_select.rows import audio_key, base_column, take_rows
from hf_select.scoring.inputs import Inputs
from hf_select.scoring.outputs import Scorer
from hf_select.scoring.ranks import Ranks
from hf_select.scoring.segments import SegmentScorer
from hf_select.sound.own_files import printable

__all__ = ["CLASSES", "KEY", "STATUS", "Heard", "Job", "Worker"]

log = logging.getLogger("hf_select")

STATUS, KEY = "audio_status", "row_key"
CLASSES = b"hf_select.classes"  # under which the schema of scores has the model's classes
_NO_NUMBER = "nonfinite: the model gave NaN or infinity"  # another model's fault is none of the clip


_Passes = list[tuple[list[int], "Future[list[dict[str, Any]]]"]]  # the clips of each pass through the model, its rows


@dataclass(frozen=True)
class Job:
    """What is scored, the same in every process.

    Attributes:
        ds: the dataset.
        audio: its audio column.
        rows: rows of the base table, in the order of the plan.
        names: of these rows in `ds`, for messages.
        schema: of a finished chunk: scores, status, row key.
        labels, texts: of these rows, where they are needed.
        reasons: why a row was unusable before, where that is known.
        audio_root, max_seconds: see `hf_select.audio.read_clip`.
        batch_size: rows that share a forward pass, at most.
    """

    ds: Any
    audio: str
    rows: np.ndarray
    names: np.ndarray
    schema: pa.Schema
    labels: Sequence[int | None] | None
    texts: Sequence[str | None] | None
    reasons: Sequence[str | None] | None
    audio_root: Any
    max_seconds: float
    batch_size: int


@dataclass(frozen=True)
class Heard:
    """A clip as the model takes it, or why it can't."""

    key: str | None
    status: str
    samples: int = 0
    features: np.ndarray | None = None
    source_rate: int = 0
    cuts: np.ndarray | None = None


class Worker:
    """Scores chunks of a job in this process.

    Attributes:
        units, filled: how much was in the batches, and how much of it clips were filled up with.
        rates: sampling rates that were met.
    """

    def __init__(
        self, job: Job, inputs: Inputs, scorer: Scorer | SegmentScorer, ranks: Ranks, num_threads: int
    ) -> None:
        self.job, self.inputs, self.scorer, self.ranks = job, inputs, scorer, ranks
        self.num_threads = num_threads
        self.units = self.filled = 0
        self.rates: set[int] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._depth = 2  # batches that are under way in the model, and as many that are being decoded

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Put hooks into the model and set up threads while the block runs; only there anything can be scored."""
        import torch

        cores = torch.get_num_threads()
        alone = self.inputs.device.type != "cpu" or self.scorer.gradients
        alone = alone or self.scorer.model.kind == "seq2seq"  # generate keeps a state
        side_by_side = 1 if alone else min(cores, self.job.batch_size)
        self._depth = max(2, side_by_side)
        torch.set_num_threads(max(1, cores // side_by_side))
        try:
            with self.scorer.hooked(), ThreadPoolExecutor(side_by_side, thread_name_prefix="score") as self._pool:
                yield
        finally:
            torch.set_num_threads(cores)

    def chunks(self, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (start, table) of each chunk of the plan."""
        size = self.job.batch_size
        batches = [(a, min(a + size, stop)) for start, stop in bounds for a in range(start, stop, size)]
        starts, held = {stop: start for start, stop in bounds}, []
        for stop, columns in self._batches(batches):
            held.append(columns)
            if stop in starts:
                yield starts[stop], self._table(held)
                held = []

    def _batches(self, bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """Yield (stop, columns) of batches in order; some are being decoded while others are under way in the model."""
        decoded: deque[list[Future[Heard]]] = deque()
        passing: deque[tuple[int, int, list[Heard], _Passes]] = deque()
        waiting = iter(bounds)
        with ThreadPoolExecutor(self.num_threads, thread_name_prefix="decode") as pool:
            try:
                decoded.extend(self._decode(pool, *pair) for pair in islice(waiting, self._depth))
                for a, b in bounds:
                    heard = [future.result() for future in decoded.popleft()]
                    decoded.extend(self._decode(pool, *pair) for pair in islice(waiting, 1))
                    under_way = [self.job.names[c:d] for c, d, *_ in passing] + [self.job.names[a:b]]
                    self.ranks.at(np.concatenate(under_way).tolist())
                    passing.append((a, b, heard, self._submit(heard, a)))
                    if len(passing) == self._depth:
                        yield self._finish(*passing.popleft())
                while passing:
                    yield self._finish(*passing.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for future in (future for *_, passes in passing for _, future in passes):
                    future.cancel()

    def hear(self, audio: Any) -> Heard:
        """Decode one clip and make its features."""
        clip = read_clip(
            audio, sampling_rate=self.inputs.rate, audio_root=self.job.audio_root, max_seconds=self.job.max_seconds
        )
        stored = audio if isinstance(audio, dict) else {}
        key = audio_key(stored.get("path"), stored.get("bytes"))
        if not clip.ok:
            return Heard(key, f"{clip.status}: {clip.detail}")
        if self.inputs.grid is None and len(clip.samples) < self.inputs.shortest:
            return Heard(key, f"too_short: {len(clip.samples)} samples, and the model needs {self.inputs.shortest}")
        try:
            features, cuts = self.inputs.take(clip.samples, key)
        except Exception as error:  # it did well on a second of noise: this clip is too short for it, or the like
            name = type(self.inputs.extractor).__name__
            why = f"{name} fails on these {len(clip.samples)} samples: {type(error).__name__}: {error}"
            return Heard(key, f"unusable: {printable(why)}")
        return Heard(key, "ok", len(clip.samples), features, clip.source_rate or 0, cuts)

    def scores(self, heard: Sequence[Heard], start: int) -> list[dict[str, Any] | None]:
        """Return the scores of clips that were heard, None of the others; clip i is row `start` + i of the plan."""
        return self._collect(heard, self._submit(heard, start))

    def _submit(self, heard: Sequence[Heard], start: int) -> _Passes:
        """Send the clips of a batch through the model, those that share a pass together."""
        if self._pool is None:
            raise RuntimeError("Clips are scored inside `with worker.ready()` only.")
        usable = [place for place, clip in enumerate(heard) if clip.features is not None]
        groups = self.inputs.groups([_features(heard[place]) for place in usable])
        places = [[usable[member] for member in group] for group in groups]
        return [(own, self._pool.submit(self._forward, heard, own, start)) for own in places]

    def _collect(self, heard: Sequence[Heard], passes: _Passes) -> list[dict[str, Any] | None]:
        found: list[dict[str, Any] | None] = [None] * len(heard)
        try:
            for places, rows in passes:
                for place, row in zip(places, rows.result(), strict=True):
                    found[place] = row
        finally:
            for _, rows in passes:  # after an error or Ctrl-C, what has not begun
                rows.cancel()
        for places, _ in passes:
            lengths = self.inputs.lengths([_features(heard[place]) for place in places])
            self.units += max(lengths, default=0) * len(lengths)
            self.filled += max(lengths, default=0) * len(lengths) - sum(lengths)
        return found

    def _decode(self, pool: ThreadPoolExecutor, start: int, stop: int) -> list[Future[Heard]]:
        column = base_column(self.job.ds, self.job.audio)
        return [pool.submit(self.hear, audio) for audio in take_rows(column, self.job.rows[start:stop]).to_pylist()]

    def _finish(self, start: int, stop: int, heard: list[Heard], passes: _Passes) -> tuple[int, dict[str, list[Any]]]:
        """Return (stop, columns) of one batch of the plan, bad clips among them."""
        self.ranks.check()
        self.rates |= {clip.source_rate for clip in heard if clip.source_rate}
        rows = self._collect(heard, passes)
        columns: dict[str, list[Any]] = {
            name: [None if row is None else row[name] for row in rows] for name in self.scorer.columns
        }
        columns[STATUS] = [self._status(start + place, clip, rows[place]) for place, clip in enumerate(heard)]
        columns[KEY] = [clip.key for clip in heard]
        for place in (place for place, row in enumerate(rows) if row is not None and _broken(row)):
            for name in self.scorer.columns:
                columns[name][place] = None
        return stop, columns

    def _status(self, place: int, clip: Heard, row: dict[str, Any] | None) -> str:
        before = self.job.reasons[place] if self.job.reasons is not None else None
        if before not in (None, "ok") and not before.startswith(_NO_NUMBER):  # the first reason found stays
            return str(before)
        if row is None:
            return clip.status
        broken = _broken(row)
        return f"{_NO_NUMBER} as {broken[0]}" if broken else clip.status

    def _forward(self, heard: Sequence[Heard], places: Sequence[int], start: int) -> list[dict[str, Any]]:
        """Score clips that share a batch; what can't be scored in company is tried in halves, then named."""
        job = self.job
        rows = [start + place for place in places]
        try:
            batch = self.inputs.batch_of([heard[p] for p in places])
            labels = None if job.labels is None else [job.labels[row] for row in rows]
            texts = None if job.texts is None else [job.texts[row] for row in rows]
            columns = self.scorer.score(batch, labels, texts)
        except HfSelectError:
            raise
        except Exception as error:
            if len(places) == 1:
                raise TransformError(
                    f"{self.scorer.model.name} failed at row {job.names[rows[0]]} ({heard[places[0]].samples / self.inputs.rate:.2f} "
                    f"s of sound): {type(error).__name__}: {error}. Finished rows are kept: run again to continue."
                ) from error
            if "out of memory" in str(error).lower():
                log.warning(
                    "Out of memory with %d clips in a batch: halving it. A smaller batch_size is faster.", len(places)
                )
            batch = None
        if batch is None:  # here, where the exception no longer holds what fills the memory
            half = len(places) // 2
            return self._forward(heard, places[:half], start) + self._forward(heard, places[half:], start)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _table(self, batches: Sequence[dict[str, list[Any]]]) -> pa.Table:
        names = [*self.scorer.columns, STATUS, KEY]
        arrays = [
            to_arrow([value for batch in batches for value in batch[name]], field.type)
            for name, field in zip(names, self.job.schema, strict=True)
        ]
        return pa.table(arrays, schema=self.job.schema)


def _broken(row: dict[str, Any]) -> list[str]:
    """Return the columns in which a row's scores are no numbers."""
    return [n for n, value in row.items() if isinstance(value, float | np.ndarray) and not np.isfinite(value).all()]


def _features(clip: Heard) -> np.ndarray:
    if clip.features is None:
        raise TransformError(f"A clip without features was to be scored: {clip.status}.")
    return clip.features
