"""The one plan of a run: which rows share a batch, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from hf_select.audio import claimed_seconds
from hf_select.rows import base_column, take_rows
from hf_select.scoring.ranks import Ranks
from hf_select.sound.own_files import file_stamp

__all__ = ["ScorePlan", "audio_bytes", "chunk_rows", "claimed_lengths", "missing_chunks"]

_READ_ROWS = 512


@dataclass(frozen=True)
class ScorePlan:
    """What a run of `score` will take, estimated before it starts.

    Attributes:
        rows: to score, of `total`; the others were finished by an earlier run.
        hours: of audio, as headers claim, in `rows`.
        gigabytes: of encoded audio in them.
        minutes: by the time a batch of middle length took.
        processes: that share the work.
    """

    rows: int
    total: int
    hours: float
    gigabytes: float
    minutes: float
    processes: int

    def __str__(self) -> str:
        if not self.rows:
            return f"all {self.total} rows are finished"
        left = "" if self.rows == self.total else f" ({self.total - self.rows} are finished)"
        return (
            f"{self.rows} rows{left}, {self.hours:.2f} hours and {self.gigabytes:.2f} GB of audio, about "
            f"{max(self.minutes, 0.1):.1f} min on {self.processes} process{'es' if self.processes > 1 else ''}"
        )


def chunk_rows(rows: int) -> int:
    """Return how many rows are finished together, which depends on nothing but how many there are."""
    return min(1024, max(32, -(-rows // 256)))


def missing_chunks(num_rows: int, finished: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the chunks (start, stop) that are not finished yet, in order.

    >>> missing_chunks(70, [(32, 64)])
    [(0, 32), (64, 70)]
    """
    step = chunk_rows(num_rows)
    there = {start for start, _ in finished}
    return [(start, min(start + step, num_rows)) for start in range(0, num_rows, step) if start not in there]


def claimed_lengths(ds: Any, column: str, rows: np.ndarray, audio_root: Any, ranks: Ranks) -> np.ndarray:
    """Return the seconds that each clip's header claims, read by all processes together; 0 where it claims nothing.

    Reads:
        `column`; or `duration`, if the dataset has such a column of numbers, which saves the look at the headers.
    """
    thin = _durations(ds, rows)
    if thin is not None:
        return thin
    share = np.array_split(np.arange(len(rows)), ranks.world)
    found = []
    with ThreadPoolExecutor(1) as worker:  # so that Ctrl-C is not lost in a callback of libsndfile
        for start in range(0, len(share[ranks.rank]), _READ_ROWS):
            ranks.check()
            block = rows[share[ranks.rank][start : start + _READ_ROWS]]
            values = take_rows(base_column(ds, column), block).to_pylist()
            found.append(
                worker.submit(lambda clips: [claimed_seconds(clip, audio_root) for clip in clips], values).result()
            )
    own = np.array([seconds for block in found for seconds in block], dtype=np.float32)
    parts = [
        np.frombuffer(ranks.broadcast(own.tobytes() if ranks.rank == r else None, r), np.float32)
        for r in range(ranks.world)
    ]
    return np.nan_to_num(np.concatenate(parts), nan=0.0)


def audio_bytes(ds: Any, column: str, rows: np.ndarray, audio_root: Any) -> float:
    """Return the bytes of encoded audio of these rows of the base table, in the table or in files."""
    audio = base_column(ds, column)
    inside = pc.fill_null(pc.binary_length(pc.struct_field(audio, "bytes")), -1).to_numpy().astype(np.int64)[rows]
    size = float(np.maximum(inside, 0).sum())
    if (inside < 0).any():
        for path in take_rows(pc.struct_field(audio, "path"), rows[inside < 0]).to_pylist():
            stamp = file_stamp(path, audio_root).split()[0]
            size += int(stamp) if stamp.isdigit() else 0
    return size


def _durations(ds: Any, rows: np.ndarray) -> np.ndarray | None:
    import pyarrow as pa

    if "duration" not in ds.column_names:
        return None
    values = base_column(ds, "duration")
    if not pa.types.is_floating(values.type):
        return None
    seconds = take_rows(values, rows).to_numpy().astype(np.float32)
    return np.nan_to_num(seconds, nan=0.0, posinf=0.0, neginf=0.0)
