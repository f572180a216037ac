"""Records: finished cells on disk, a line each, found again whoever wrote them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hf_select.errors import ArgumentError, OutputError

__all__ = ["Records", "name_of", "plain"]


def name_of(*things: Any) -> str:
    """Return 16 hex digits that depend on all of these arrays and JSON values.

    >>> name_of({"seed": 1}, np.arange(3)) == name_of({"seed": 1}, np.arange(3)) != name_of({"seed": 2}, np.arange(3))
    True
    """
    sha = hashlib.sha256()
    for thing in things:
        if isinstance(thing, np.ndarray):
            sha.update(f"{thing.dtype.str}{thing.shape}".encode())
            sha.update(np.ascontiguousarray(thing).data)
        else:
            sha.update(json.dumps(thing, sort_keys=True, default=plain).encode())
    return sha.hexdigest()[:16]


def plain(value: Any) -> Any:
    """Return a number of numpy as one of Python: what `json.dumps` asks of `default=`.

    >>> json.dumps({"rows": np.int64(3), "loss": np.float32(0.5)}, default=plain)
    '{"rows": 3, "loss": 0.5}'
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")


class Records(Mapping[str, dict[str, Any]]):
    """Finished cells by their names, kept in `records*.jsonl` of a folder: a file for each process that writes.

    Args:
        folder: where they are kept; it is made if need be.
        rank: which process this is.

    Raises:
        OutputError: the folder can't be written to or read.

    Relations:
        `run_cells` fills it. What other processes write after this one looked is seen by a new `Records(folder)` only.
    """

    def __init__(self, folder: str | os.PathLike[str], rank: int = 0) -> None:
        self.folder = Path(folder)
        self.path = self.folder / (f"records-{rank}.jsonl" if rank else "records.jsonl")
        self._found: dict[str, dict[str, Any]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.folder.glob("records*.jsonl")):
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    self._read(line)
        except OSError as error:
            raise OutputError(f"The records in {folder} can't be read: {error}.") from error

    def keep(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record of JSON values and numbers of numpy down, on disk before this returns."""
        if "name" in record:
            raise ArgumentError("A record can't hold 'name', which is what it is found by: call that value otherwise.")
        line = json.dumps({"name": name, **record}, default=plain).encode()
        try:
            with self.path.open("ab") as file:
                file.write((b"\n" if self._torn() else b"") + line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"A record can't be written to {self.path}: {error}.") from error
        self._read(line.decode())

    def _torn(self) -> bool:
        """Say whether the last line was cut off by a crash."""
        with self.path.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def _read(self, line: str) -> None:
        try:
            record = json.loads(line)
            self._found[record.pop("name")] = record
        except (ValueError, KeyError, AttributeError):
            return  # cut off by a crash: that cell is run again

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)
