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

__all__ = ["PartStore", "file_digest", "spread"]

log = logging.getLogger("hf_select")


class PartStore:
    """The finished parts of one computation, and the one file that they become.

    Args:
        path: folder and name, without suffix: `path.parts/` holds the parts, `path.arrow` the result.
        num_rows: rows of the whole result.
    """

    def __init__(self, path: Path, num_rows: int) -> None:
        self.final, self.folder, self.num_rows = path.with_suffix(".arrow"), path.with_suffix(".parts"), num_rows

    def done(self) -> bool:
        """Say whether the result is there, byte for byte as it was written."""
        note = self.final.with_suffix(".sha256")
        if not (self.final.exists() and note.exists()):
            return False
        if note.read_text() == file_digest(self.final):
            return True
        log.warning("The checksum of %s differs from what was written: it is computed again.", self.final)
        return False

    def result(self) -> Any:
        """Return the result as a memory-mapped table of `datasets`."""
        from datasets.table import MemoryMappedTable

        return MemoryMappedTable.from_file(str(self.final))

    def open(self) -> int:
        """Make the folder and return how many rows, from row 0 on, an earlier run has finished."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"Can't write to {self.folder.parent}: {error}. Pass cache_dir= naming a folder you may write to."
            ) from error
        finished = self._finished()
        return finished[-1][1] if finished else 0

    def write(self, start: int, table: pa.Table) -> None:
        """Keep finished rows, the first of which is row `start` of the result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"{os.getpid()}.tmp"
        _write_stream(temporary, table.schema, [table])
        stop = start + table.num_rows
        temporary.replace(self.folder / f"{start:09d}-{stop:09d}-{file_digest(temporary)[:16]}.arrow")

    def assemble(self, schema: pa.Schema | None, rows: np.ndarray | None, length: int) -> None:
        """Put the parts together into the result and remove them.

        Args:
            schema: of the result; None takes what all parts can be converted to.
            rows: for each row of the result its place in a longer table of `length` rows, ascending; the other places
                hold nulls. None when the result is that table.
            length: rows of the longer table.
        """
        files = self._finished()
        if (files[-1][1] if files else 0) != self.num_rows:
            raise OutputError(f"Finished rows vanished from {self.folder}: is another program cleaning it? Run again.")
        if schema is None:  # a part of nothing but nulls has no type of its own; whole numbers and others may mix
            schema = pa.unify_schemas([_read(file).schema for *_, file in files], promote_options="permissive")
        temporary = self.final.with_suffix(f".{os.getpid()}.tmp")
        _write_stream(temporary, schema, self._spread(files, schema, rows, length))
        self.final.with_suffix(".sha256").write_text(file_digest(temporary))
        temporary.replace(self.final)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finished(self) -> list[tuple[int, int, Path]]:
        """Return the intact parts that join up from row 0 on: (start, stop, file)."""
        found = {}
        for file in self.folder.glob("*-*-*.arrow"):
            start, stop, digest = file.stem.split("-")
            if file_digest(file)[: len(digest)] == digest:
                found[int(start)] = (int(start), int(stop), file)
            else:
                log.warning("The checksum of %s differs: these rows are computed again.", file)
        joined, row = [], 0
        while row in found:
            joined.append(found[row])
            row = found[row][1]
        return joined

    @staticmethod
    def _spread(
        files: list[tuple[int, int, Path]], schema: pa.Schema, rows: np.ndarray | None, length: int
    ) -> Iterator[pa.Table]:
        at = 0
        for start, stop, file in files:
            table = _read(file).cast(schema)
            if rows is None:
                yield table
                continue
            end = length if stop == len(rows) else int(rows[stop])
            yield spread(table, rows[start:stop] - at, end - at)
            at = end


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
    return pa.ipc.open_stream(path.read_bytes()).read_all()


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
