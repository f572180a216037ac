"""Finished rows on disk: results that are computed part by part, survive an interruption, and end as one Arrow file.

A part is named by its rows and the checksum of its bytes, and comes into being by a rename: a killed run leaves whole
parts only, and a damaged one is noticed and computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hf_select.errors import OutputError
from hf_select.rows import take_rows

__all__ = ["PartStore", "file_digest", "spread"]

log = logging.getLogger("hf_select")

_BLOCK_BYTES = 64_000_000  # put in their place at a time


class PartStore:
    """The finished parts of one computation, and the one file that they become.

    Args:
        path: folder and name, without suffix: `path.parts/` holds the parts, `path.arrow` the result.
        num_rows: rows of the whole result.
        final: another name for the result.
    """

    def __init__(self, path: Path, num_rows: int, final: Path | None = None) -> None:
        self.final, self.folder = final or path.with_suffix(".arrow"), path.with_suffix(".parts")
        self.num_rows = num_rows

    def done(self) -> bool:
        """Say whether the result is there, byte for byte as it was written."""
        note = self.final.with_suffix(".sha256")
        if not (self.final.exists() and note.exists()):
            return False
        if note.read_bytes() == file_digest(self.final).encode():
            return True
        log.warning("The checksum of %s differs from what was written: it is computed again.", self.final)
        return False

    def result(self) -> Any:
        """Return the result as a memory-mapped table of `datasets`."""
        from datasets.table import MemoryMappedTable

        return MemoryMappedTable.from_file(str(self.final))

    def open(self, hint: str = "cache_dir=", *, joined: bool = True) -> list[tuple[int, int]]:
        """Make the folder and return the rows (start, stop) that an earlier run has finished, in order.

        `joined`: only those that join up from row 0 on; the others are removed.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"Can't write to {self.folder.parent}: {error}. Pass {hint} naming a folder you may write to."
            ) from error
        kept: list[tuple[int, int]] = []
        for start, stop, file in self._finished():
            if joined and start != (kept[-1][1] if kept else 0):
                file.unlink()
            else:
                kept.append((start, stop))
        return kept

    def write(self, start: int, table: pa.Table) -> None:
        """Keep finished rows, the first of which is row `start` of the result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{os.getpid()}.tmp"
        _write_stream(temporary, table.schema, [table])
        stop = start + table.num_rows
        temporary.replace(self.folder / f"{start:09d}-{stop:09d}-{file_digest(temporary)[:16]}.arrow")

    def part(self, start: int) -> Path:
        """Return the file of the finished rows that begin with row `start`."""
        return next(file for first, _, file in self._finished() if first == start)

    def assemble(self, schema: pa.Schema | None, rows: np.ndarray | None, length: int) -> None:
        """Put the parts together into the result.

        Args:
            schema: of the result; None takes what all parts can be converted to.
            rows: for each row of the parts its place in a table of `length` rows, in any order; the other places hold
                nulls. None when the parts together are that table.
            length: rows of that table.
        """
        finished = self._finished()
        if sum(stop - start for start, stop, _ in finished) != self.num_rows:
            raise OutputError(f"Finished rows vanished from {self.folder}: is another program cleaning it? Run again.")
        if schema is None:  # a part of nothing but nulls has no type of its own; whole numbers and others may mix
            schema = pa.unify_schemas([_read(file).schema for *_, file in finished], promote_options="permissive")
        tables = [_read(file).cast(schema) for *_, file in finished]
        temporary = self.folder / f"{os.getpid()}.tmp"
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = pa.concat_tables(tables) if tables else schema.empty_table()
        _write_stream(temporary, schema, [whole] if rows is None else _spread(whole, rows, length))
        self.final.with_suffix(".sha256").write_text(file_digest(temporary))
        temporary.replace(self.final)

    def clear(self) -> None:
        """Remove the parts, once the result is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finished(self) -> list[tuple[int, int, Path]]:
        """Return the intact parts in order: (start, stop, file)."""
        found = {}
        for file in sorted(self.folder.glob("*-*-*.arrow")):
            start, stop, digest = file.stem.split("-")
            if file_digest(file)[: len(digest)] == digest:
                found[int(start)] = (int(start), int(stop), file)
            else:
                log.warning("The checksum of %s differs: these rows are computed again.", file)
                file.unlink()
        return list(found.values())


def _spread(table: pa.Table, rows: np.ndarray, length: int) -> Iterator[pa.Table]:
    """Yield a table of `length` rows, some MB at a time, in which row i of `table` stands at `rows[i]`."""
    source = np.full(length, -1, dtype=np.int64)
    source[rows] = np.arange(len(rows))
    step = max(1, _BLOCK_BYTES // max(1, table.nbytes // max(1, len(rows))))
    for start in range(0, length, step):
        block = source[start : start + step]
        there = np.flatnonzero(block >= 0)
        taken = pa.table({name: take_rows(table.column(name), block[there]) for name in table.column_names})
        yield taken if len(there) == len(block) else spread(taken, there, len(block))


def spread(table: pa.Table, rows: np.ndarray, length: int) -> pa.Table:
    """Put the rows of a table at `rows` of a longer one; the other rows are null (which costs a list no space)."""
    source = np.full(length, -1, dtype=np.int64)
    source[rows] = np.arange(table.num_rows)
    taker = pa.array(source, mask=source < 0)
    return pa.table({name: table.column(name).combine_chunks().take(taker) for name in table.column_names})


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> pa.Table:
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _write_stream(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    try:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            for table in tables:
                writer.write_table(table.cast(schema))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise OutputError(
            f"Writing {path} failed: {error}. Finished rows are kept: make room and run again."
        ) from error
