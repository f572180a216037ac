"""One run of `score`: what is to do, which process does it, and putting it together."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.columns import default_cache
from hf_select.errors import AudioError, ProcessError
from hf_select.joining import join
from hf_select.rows import audio_key, base_column, base_positions, column_names, take_rows
from hf_select.scoring.columns import needs, schema_of
from hf_select.scoring.folder import ScoreFolder
from hf_select.scoring.inputs import Inputs
from hf_select.scoring.model import SpeechModel, at_work
from hf_select.scoring.outputs import Scorer
from hf_select.scoring.padding import find_padding
from hf_select.scoring.plan import ScorePlan, audio_bytes, chunk_rows, claimed_lengths, missing_chunks
from hf_select.scoring.ranks import Ranks
from hf_select.scoring.request import Request
from hf_select.scoring.segments import SegmentInputs, SegmentScorer
from hf_select.scoring.targets import match_labels, read_texts
from hf_select.scoring.transcripts import Transcriber
from hf_select.scoring.work import CLASSES, KEY, STATUS, Job, Worker
from hf_select.transforms.clips import file_stamps
from hf_select.transforms.inputs import say_resampled

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Run"]

log = logging.getLogger("hf_select")

_REVISION = 1  # raised whenever a score changes, so that no cache serves old numbers


class Run:
    """A run of `score` on this process; all processes of the run make the same calls in the same order.

    Args:
        ds: the dataset. model: the model. request: the arguments. ranks: the processes, watching each other.
        out: folder for the result; None keeps it in the cache.
    """

    def __init__(self, ds: Dataset, model: SpeechModel, request: Request, ranks: Ranks, out: Path | None) -> None:
        self.ds, self.model, self.request, self.ranks, self.out = ds, model, request, ranks, out
        self.audio = request.audio_column(ds)
        positions = base_positions(ds)
        if positions is None:
            self.rows = self.names = np.arange(len(ds))
        else:
            self.rows, self.names = np.unique(positions, return_index=True)  # rows of the base table, each once
        wanted = {needs(name, model.kind) for name in request.columns}
        self.labels = match_labels(ds, request.label, self.rows, self._label2id()) if "label" in wanted else None
        self.texts = read_texts(ds, request.text, self.rows) if "text" in wanted else None
        speaks = model.kind in ("ctc", "seq2seq")
        self.transcriber = Transcriber(model, request.columns, request.generate, request.normalize) if speaks else None
        if self.transcriber is not None and self.texts is not None:
            self.transcriber.check(self.texts)
        self.fingerprint = self._agree()
        self.folder = ScoreFolder(
            out or default_cache(),
            self.fingerprint,
            len(self.rows),
            ranks,
            named=out is not None,
            overwrite=request.overwrite,
        )

    def result(self, on_plan: Callable[[ScorePlan], None] | None = None) -> Dataset:
        """Score what is missing and return the dataset with the new columns."""
        started = time.perf_counter()
        if self.folder.done():
            log.info("score: the scores of these %d rows were found in %s", len(self.rows), self.folder.store.final)
        else:
            self._work(on_plan)
        self.folder.clear()
        if self.out is not None and self.folder.leader == self.ranks.rank:
            self._write_record(self.out / "scores.json")
        found = self.folder.store.result().drop([KEY])
        self._say_unusable(found)
        joined = join(self.ds, found, self.fingerprint, self._features())
        log.info("score: %d rows in %.1f s", len(self.rows), time.perf_counter() - started)
        return joined

    def plan(self) -> ScorePlan:
        """Return what is to do, timing one batch of middle length."""
        if self.folder.done():
            return ScorePlan(0, len(self.rows), 0.0, 0.0, 0.0, self.ranks.world)
        with at_work(self.model.module, self.ranks.device):
            worker, seconds, finished = self._prepare()
            with worker.ready():
                return self._plan(worker, seconds, finished)

    def _work(self, on_plan: Callable[[ScorePlan], None] | None) -> None:
        with at_work(self.model.module, self.ranks.device):
            worker, seconds, finished = self._prepare()
            with worker.ready():
                if on_plan is not None:
                    on_plan(self._plan(worker, seconds, finished))
                self._loop(worker, missing_chunks(len(self.rows), finished))
        self.folder.assemble(worker.job.schema, worker.job.rows, self.ds.data.num_rows)
        for rate in worker.rates - {self.model.rate}:
            say_resampled(rate, self.model.rate)
        if worker.units:
            log.info("score: %.1f %% of what the model was given was padding", 100 * worker.filled / worker.units)

    def _prepare(self) -> tuple[Worker, np.ndarray, list[tuple[int, int]]]:
        """Return (what scores, seconds of each row in the order of the plan, finished chunks)."""
        finished = self.folder.open()
        seconds = claimed_lengths(self.ds, self.audio, self.rows, self.request.audio_root, self.ranks)
        order = np.argsort(-seconds, kind="stable")  # the longest first: what does not fit fails at once
        segments, place = self.request.segments, (self.model, self.ranks.device, self.request.grid)
        inputs = Inputs(*place) if segments is None else SegmentInputs(segments, *place)
        scorer = Scorer(
            self.model, self.request.columns, self.request.layer, self.request.pool, self.transcriber,
            whole=self.request.grid is not None,
        )  # fmt: skip
        width = None
        if len(self.rows):
            width = self._probe(inputs, scorer)
            self._say_cut(inputs, seconds)
        scores = scorer if segments is None else SegmentScorer(scorer, segments)
        worker = Worker(self._job(order, width), inputs, scores, self.ranks, self._threads())
        return worker, seconds[order], finished

    def _loop(self, worker: Worker, missing: list[tuple[int, int]]) -> None:
        from datasets.utils import tqdm

        mine = missing[self.ranks.rank :: self.ranks.world]
        total = sum(stop - start for start, stop in mine)
        with tqdm(total=total, unit=" rows", desc="score", disable=self.ranks.rank != 0 or None) as bar:
            for start, table in worker.chunks(mine):
                self.folder.store.write(start, table)
                bar.update(table.num_rows)

    def _plan(self, worker: Worker, seconds: np.ndarray, finished: list[tuple[int, int]]) -> ScorePlan:
        bounds = missing_chunks(len(self.rows), finished)
        left = np.concatenate([np.arange(*pair) for pair in bounds]) if bounds else np.arange(0)
        size = audio_bytes(self.ds, self.audio, worker.job.rows[left], self.request.audio_root)
        spent = self._time_a_batch(worker, seconds, left) if len(left) else 0.0
        plan = ScorePlan(
            len(left),
            len(self.rows),
            float(seconds[left].sum()) / 3600,
            size / 1e9,
            spent / 60 / self.ranks.world,
            self.ranks.world,
        )
        self.ranks.wait("the plan")
        return plan

    def _time_a_batch(self, worker: Worker, seconds: np.ndarray, left: np.ndarray) -> float:
        """Return the seconds that all rows take one process, by a batch from the middle of those that are left."""
        middle = len(left) // 2
        some = left[max(0, middle - self.request.batch_size) : middle + 1]
        column = take_rows(base_column(self.ds, self.audio), worker.job.rows[some]).to_pylist()
        spent = 0.0
        for _ in range(2):  # the first call loads libraries
            started = time.perf_counter()
            worker.scores([worker.hear(audio) for audio in column], int(some[0]))
            spent = time.perf_counter() - started
        timed = float(seconds[some].sum())
        return spent * (float(seconds[left].sum()) / timed if timed else len(left) / len(some))

    def _probe(self, inputs: Inputs, scorer: Scorer) -> int:
        """Find out whether clips of several lengths may share a batch, and return the size of an embedding."""
        probe = Scorer(self.model, ("embedding",), scorer.layer)

        def values(clips: list[np.ndarray]) -> np.ndarray:
            return probe.vectors(inputs.batch([inputs.features(clip) for clip in clips], [len(clip) for clip in clips]))

        with probe.hooked():
            if inputs.grid is not None:
                inputs.mode = "exact"
            else:
                inputs.mode = find_padding(values, lambda clip: inputs.features(clip).shape, inputs.rate)
            log.debug("score: padding of %s is %s", self.model.name, inputs.mode)
            return int(values([np.ones(inputs.rate, np.float32) / 8]).shape[-1]) if scorer.pool == "none" else 0

    def _job(self, order: np.ndarray, width: int | None) -> Job:
        request, ds = self.request, self.ds
        scores = schema_of(request.written, request.prefix, request.pool, width)
        classes = json.dumps(self.model.labels if self.model.kind == "classifier" else None)
        schema = pa.schema([*scores, (STATUS, pa.string()), (KEY, pa.string())], {CLASSES: classes.encode()})
        reasons = None
        if STATUS in column_names(ds):
            reasons = take_rows(base_column(ds, STATUS), self.rows[order]).to_pylist()
        labels, texts = (None if own is None else [own[row] for row in order] for own in (self.labels, self.texts))
        return Job(
            ds,
            audio=self.audio,
            rows=self.rows[order],
            names=self.names[order],
            schema=schema,
            labels=labels,
            texts=texts,
            reasons=reasons,
            audio_root=request.audio_root,
            max_seconds=request.max_seconds,
            batch_size=min(request.batch_size, chunk_rows(len(order))),
        )

    def _agree(self) -> str:
        """Return rank 0's fingerprint, once all processes are seen to have the same model, data and arguments."""
        from datasets.fingerprint import Hasher

        root = None if self.request.audio_root is None else Path(self.request.audio_root)
        stamps = file_stamps(self.ds, self.audio, root)
        values: list[Any] = [self.model.digest, self.request.values(), _REVISION]
        if "grad_norm" in self.request.columns:
            values.append([name for name, own in self.model.module.named_parameters() if own.requires_grad])
        fingerprint = Hasher.hash([self.ds._fingerprint, stamps, *values])
        some = np.unique(np.linspace(0, len(self.rows) - 1, min(16, len(self.rows))).astype(int))
        clips = take_rows(base_column(self.ds, self.audio), self.rows[some]).to_pylist()
        keys = [audio_key((clip or {}).get("path"), (clip or {}).get("bytes")) for clip in clips]
        seen = {"rows": len(self.rows), "clips": keys, "model": self.model.digest, "arguments": Hasher.hash(values)}
        everyone = self.ranks.gather([seen, fingerprint])
        for rank, (other, _) in enumerate(everyone):
            wrong = [name for name in seen if other[name] != everyone[0][0][name]]
            if wrong:
                raise ProcessError(
                    f"Rank {rank} was given another {', '.join(wrong)} than rank 0: every process must call score with the same."
                )
        return str(everyone[0][1])

    def _write_record(self, path: Path) -> None:
        """Write down what made the scores, for people and for `load_scores`."""
        record = {
            "format": 1,
            "fingerprint": self.fingerprint,
            "rows": len(self.rows),
            "model": {"name": self.model.name, "revision": self.model.revision, "digest": self.model.digest},
            "classes": self.model.labels if self.model.kind == "classifier" else None,
            "parameters": {**self.request.values(), "sampling_rate": self.model.rate},
            "columns": list(self.request.written),
            "versions": {name: version(name) for name in ("hf-select", "torch", "transformers", "datasets", "numpy")},
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
        temporary.replace(path)

    def _label2id(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.model.labels)}

    def _features(self) -> dict[str, Any]:
        from datasets import ClassLabel

        if "predicted" not in self.request.columns:
            return {}
        return {self.request.prefix + "predicted": ClassLabel(names=self.model.labels)}

    def _threads(self) -> int:
        import torch

        if self.request.num_threads is not None:
            return self.request.num_threads
        cores = (
            torch.get_num_threads() if self.ranks.device.type == "cpu" else (os.cpu_count() or 1) // self.ranks.world
        )
        return max(1, min(8, cores // 4 if self.ranks.device.type == "cpu" else cores))

    def _say_cut(self, inputs: Inputs, seconds: np.ndarray) -> None:
        longer = 0 if inputs.hears is None else int((seconds > inputs.hears + 0.02).sum())
        if longer and self.ranks.rank == 0:
            log.warning(
                "%d of %d clips are longer than the %g s that %s hears: what comes after has no part in their scores.",
                longer, len(seconds), inputs.hears, self.model.name,
            )  # fmt: skip

    def _say_unusable(self, found: Any) -> None:
        status = [text for text in found.column(STATUS).to_pylist() if text not in (None, "ok")]
        if status and len(status) == len(self.rows) and all(text.startswith("refused") for text in status):
            raise AudioError(
                f"All {len(status)} rows were refused, the first with {status[0]!r}. "
                "Pass audio_root= naming the folder that holds the files, if you trust it."
            )
        if status and self.ranks.rank == 0:
            log.warning(
                "%d of %d rows have no scores, for a reason that stands in %s, such as %r.",
                len(status),
                len(self.rows),
                STATUS,
                status[0],
            )
