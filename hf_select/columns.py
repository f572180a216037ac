"""Thin columns: compute them beside the audio without rewriting it, and read them as numbers.

`with_columns` runs transforms and joins what they return to the dataset. Finished rows are kept on disk as it goes, so
that a run that was interrupted continues where it stopped.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hf_select.errors import AudioError, ColumnError, TransformError
from hf_select.joining import join, to_arrow
from hf_select.parts import PartStore
from hf_select.rows import RawBatch, base_positions, column_names, plain, raw_column, require_dataset, take_rows

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["default_cache", "status_columns", "with_columns"]

log = logging.getLogger("hf_select")

Transform = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_PART_ROWS = 1024  # at most this many finished rows are lost when a run is killed,
_PART_BYTES = 64_000_000  # or about this much of what was made of them


def with_columns(
    ds: Dataset,
    *transforms: Transform,
    overwrite: bool = False,
    batch_size: int = 64,
    num_threads: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Add the columns that transforms compute, leaving the audio where it lies.

    Unlike `ds.map(transform)`, which writes every column of the dataset once more, this writes the new columns only,
    also after `select`, `shuffle` or `train_test_split`; and rows that are finished stay finished when the run is
    interrupted or a transform fails.

    Reads:
        What the transforms read, as it is stored (audio as bytes and path).

    Args:
        ds: a map-style dataset.
        *transforms: each takes a batch (column name to list of values) and returns new columns of the same length.
            `hs.MFCC()` and its siblings; or any function of yours. A column named by a transform's `status_column`
            collects the reason why a clip can't be used: the first reason found stays.
        overwrite: replace columns of the same name instead of raising.
        batch_size: rows that are handed to a transform at a time; their values don't depend on it.
        num_threads: threads that run the transforms; audio decoding and numpy let each other run. None means one.
        cache_dir: where finished rows and results are kept; by default beside the caches of `datasets`.

    Returns:
        The dataset with the new columns, in the same order of rows.

    Raises:
        ColumnError: a column exists already, or a transform returns another number of rows.
        TransformError: a transform failed; the message names the row. Run again to continue from there.
        AudioError: every row was refused, because its path lies outside the dataset's own files.

    Example:
        >>> from datasets import Dataset
        >>> ds = Dataset.from_dict({"text": ["turn it on", "stop"]}).shuffle(seed=0)
        >>> ds = with_columns(ds, lambda batch: {"words": [len(text.split()) for text in batch["text"]]})
        >>> sorted(ds["words"])
        [1, 3]
    """
    require_dataset(ds, "with_columns")
    _check_names(ds, transforms, overwrite)
    folder = Path(cache_dir) if cache_dir is not None else default_cache()
    fingerprint = _fingerprint(ds, transforms)
    job = _Job(ds, transforms, batch_size, folder / fingerprint, overwrite)
    started = time.perf_counter()
    if not job.store.done():
        job.run(num_threads or 1)
    features = {k: v for t in transforms for k, v in (getattr(t, "features", None) or {}).items()}
    result = job.store.result()
    for name in result.column_names:  # of an earlier run, maybe one that was allowed to overwrite
        _refuse_existing(ds, transforms, name, overwrite)
    joined = join(ds, result, fingerprint, features)
    log.info("with_columns: %d rows in %.1f s", len(ds), time.perf_counter() - started)
    _refused_all(joined, transforms)
    return joined


def status_columns(transforms: tuple[Transform, ...]) -> list[str]:
    """Return the names of the columns in which these transforms say why a clip can't be used."""
    return list(dict.fromkeys(name for t in transforms if (name := getattr(t, "status_column", None))))


def _check_names(ds: Dataset, transforms: tuple[Transform, ...], overwrite: bool) -> None:
    if not transforms:
        raise ColumnError("with_columns got no transform: pass at least one, such as hs.MFCC().")
    made: dict[str, Transform] = {}
    shared = status_columns(transforms)
    for transform in transforms:
        for name in getattr(transform, "features", None) or {}:
            if name in shared:
                continue
            if name in made:
                raise ColumnError(f"Two transforms make the column {name!r}: {made[name]!r} and {transform!r}.")
            made[name] = transform
            _refuse_existing(ds, transforms, name, overwrite)


def _refuse_existing(ds: Dataset, transforms: tuple[Transform, ...], name: str, overwrite: bool) -> None:
    if name in column_names(ds) and not overwrite and name not in status_columns(transforms):
        raise ColumnError(
            f"There is a column {name!r} already: pass overwrite=True, or give the new one another name "
            f"(made by {_names(transforms)})."
        )


def default_cache() -> Path:
    """Return the folder in which finished rows are kept, beside the caches of `datasets`."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_select"


def _fingerprint(ds: Dataset, transforms: tuple[Transform, ...]) -> str:
    from datasets.fingerprint import Hasher

    outside = [transform.depends_on(ds) for transform in transforms if hasattr(transform, "depends_on")]
    return Hasher.hash(
        [ds._fingerprint, [Hasher.hash(transform) for transform in transforms], outside, "with_columns", 1]
    )


class _Job:
    """One run of transforms over the rows of a dataset."""

    def __init__(
        self, ds: Dataset, transforms: tuple[Transform, ...], batch_size: int, path: Path, overwrite: bool
    ) -> None:
        self.ds, self.transforms, self.batch_size, self.overwrite = ds, transforms, batch_size, overwrite
        positions = base_positions(ds)
        self.rows = None if positions is None else np.unique(positions)  # rows of the base table, each once
        self.num_rows = len(ds) if self.rows is None else len(self.rows)
        self.schema = _declared_schema(transforms)
        self.store = PartStore(path, self.num_rows)

    def run(self, num_threads: int) -> None:
        """Compute what is missing, part by part, and put the parts together."""
        from datasets.utils import tqdm

        if self.schema is None and not self.num_rows:
            raise ColumnError(
                f"There are no rows from which to learn what {_names(self.transforms)} makes: give it `features`."
            )
        finished = self.store.open()
        start = finished[-1][1] if finished else 0
        if start:
            log.info("with_columns: %d of %d rows were finished by an earlier run", start, self.num_rows)
        with tqdm(total=self.num_rows, initial=start, unit=" rows", desc=_names(self.transforms)) as bar:
            for table in _gather(self._batches(start, num_threads)):
                self.store.write(start, table)
                start += table.num_rows
                bar.update(table.num_rows)
        self.store.assemble(self.schema, self.rows, self.ds.data.num_rows)
        self.store.clear()

    def _batches(self, start: int, num_threads: int) -> Iterator[pa.Table]:
        """Yield the transformed batches in order, a bounded number of them under way at a time.

        Even one thread is a worker: Ctrl-C then reaches the waiting main thread, not a callback of libsndfile, where it
        would be lost.
        """
        bounds = [(a, min(a + self.batch_size, self.num_rows)) for a in range(start, self.num_rows, self.batch_size)]
        with ThreadPoolExecutor(num_threads) as pool:
            waiting = iter(bounds)
            under_way = deque(pool.submit(self._transform, a, b) for a, b in islice(waiting, 2 * num_threads))
            try:
                while under_way:
                    table = under_way.popleft().result()
                    under_way.extend(pool.submit(self._transform, a, b) for a, b in islice(waiting, 1))
                    yield table
            finally:
                pool.shutdown(cancel_futures=True)

    def _transform(self, start: int, stop: int) -> pa.Table:
        try:
            return self._apply(start, stop)
        except ColumnError:
            raise
        except Exception as error:
            done, row = self._before_failure(start, stop)
            raise _Failure(done, self._message(row, error)) from error

    def _apply(self, start: int, stop: int) -> pa.Table:
        """Run the transforms over rows start to stop (counted among the rows that are wanted)."""
        batch = RawBatch(self._wanted(start, stop))
        shared = status_columns(self.transforms)
        columns: dict[str, Any] = {name: batch[name] for name in shared if name in self.ds.column_names}
        for transform in self.transforms:
            for name, values in transform(batch).items():
                if len(values) != stop - start:
                    raise ColumnError(
                        f"{transform!r} returned {len(values)} values of {name!r} for {stop - start} rows."
                    )
                _refuse_existing(self.ds, self.transforms, name, self.overwrite)
                if name in columns and name not in shared:
                    raise ColumnError(f"Two transforms make the column {name!r}: {_names(self.transforms)}.")
                if name in columns:  # the first reason found stays
                    values = [
                        new if old in (None, "ok") else old for old, new in zip(columns[name], values, strict=True)
                    ]
                columns[name] = values
        if self.schema is None:
            return pa.table({name: to_arrow(values) for name, values in columns.items()})
        return pa.table([to_arrow(columns[f.name], f.type) for f in self.schema], schema=self.schema)

    def _wanted(self, start: int, stop: int) -> pa.Table:
        if self.rows is None:
            return plain(self.ds.data.table.slice(start, stop - start))
        rows = self.rows[start:stop]
        window = self.ds.data.table.slice(int(rows[0]), int(rows[-1]) - int(rows[0]) + 1)
        return _Taken(plain(window), rows - rows[0])

    def _before_failure(self, start: int, stop: int) -> tuple[list[pa.Table], int]:
        """Go through a failed batch row by row: (the rows before the failing one, the failing row)."""
        tables: list[pa.Table] = []
        for row in range(start, stop):
            try:
                tables.append(self._apply(row, row + 1))
            except Exception:
                return tables, row
        return [], start  # it fails in company only: the batch is named by its first row

    def _message(self, row: int, error: Exception) -> str:
        positions = base_positions(self.ds)
        index = row if positions is None or self.rows is None else int(np.flatnonzero(positions == self.rows[row])[0])
        column = getattr(self.transforms[0], "column", None)
        where = f"row {index}" + (f", column {column!r}" if column else "")
        kept = f"{row} finished rows are kept: run again to continue from there."
        return f"{_names(self.transforms)} failed at {where}: {type(error).__name__}: {error}. {kept}"


class _Failure(Exception):
    """A transform failed inside a batch; the rows before the failing one were fine."""

    def __init__(self, done: list[pa.Table], message: str) -> None:
        super().__init__(message)
        self.done = done


class _Taken:
    """Some rows of a table, taken column by column as they are asked for: audio that nobody reads is not copied."""

    def __init__(self, table: pa.Table, rows: np.ndarray) -> None:
        self.table, self.rows = table, rows
        self.column_names, self.num_columns = table.column_names, table.num_columns

    def column(self, name: str) -> pa.ChunkedArray:
        return take_rows(self.table.column(name), self.rows)


def _gather(batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Gather batches into parts; on a failure or an interrupt the finished rows come out first."""
    held: list[pa.Table] = []
    failure: BaseException | None = None
    while True:
        try:
            table = next(batches, None)
        except (_Failure, KeyboardInterrupt) as error:
            held += error.done if isinstance(error, _Failure) else []
            failure, table = error, None
        held += [] if table is None else [table]
        full = sum(t.num_rows for t in held) >= _PART_ROWS or sum(t.nbytes for t in held) >= _PART_BYTES
        if held and (table is None or full):
            yield pa.concat_tables(held, promote_options="permissive")
            held = []
        if isinstance(failure, _Failure):
            raise TransformError(str(failure)) from failure.__cause__
        if failure is not None:
            raise failure
        if table is None:
            return


def _names(transforms: tuple[Transform, ...]) -> str:
    return ", ".join(str(getattr(t, "__name__", type(t).__name__)) for t in transforms)


def _declared_schema(transforms: tuple[Transform, ...]) -> pa.Schema | None:
    declared = [features for t in transforms if (features := getattr(t, "features", None)) is not None]
    if len(declared) < len(transforms):
        return None
    fields = {field.name: field for features in declared for field in features.arrow_schema}
    return pa.schema(list(fields.values()))


def _refused_all(ds: Dataset, transforms: tuple[Transform, ...]) -> None:
    for name in status_columns(transforms):
        status = raw_column(ds, name).to_pylist()
        if status and all(str(value).startswith("refused") for value in status):
            raise AudioError(
                f"All {len(ds)} rows were refused, the first with {status[0]!r}. "
                "Pass audio_root= naming the folder that holds the files, if you trust it."
            )
