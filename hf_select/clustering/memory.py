"""How much memory a clustering takes, and whether the matrix of vectors has to go to disk for it."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_select.clustering.centres import GATHER_BYTES
from hf_select.clustering.lloyd import seeding_rows
from hf_select.clustering.matrix import block_rows
from hf_select.clustering.prepare import SPECTRUM_ROWS
from hf_select.errors import ArgumentError

__all__ = ["Need", "check_room", "folder_for", "parse_memory"]

log = logging.getLogger("hf_select")

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_LIBRARIES = 128 << 20  # what importing scikit-learn, the threads of BLAS and blocks of Arrow take, measured
_BYTES_PER_ROW = 256  # keys, scores, labels, order of choice, from the dataset to the Selection, measured


def parse_memory(memory: Any) -> int | None:
    """Read a limit in bytes: a whole number, or text such as "2GB" (10^9 bytes) or "2GiB" (2^30).

    >>> parse_memory("1.5 GB"), parse_memory("2GiB"), parse_memory(None)
    (1500000000, 2147483648, None)
    """
    if memory is None:
        return None
    if isinstance(memory, (int, np.integer)) and not isinstance(memory, bool) and memory > 0:
        return int(memory)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*", memory) if isinstance(memory, str) else None
    if found is None or found[2].lower() not in _UNITS or float(found[1]) <= 0:
        raise ArgumentError(f'memory is a number of bytes, text such as "2GB" or "500MiB", or None; got {memory!r}.')
    return int(float(found[1]) * _UNITS[found[2].lower()])


@dataclass(frozen=True)
class Need:
    """The memory, in bytes, that a clustering takes of its own at its peak, estimated from above.

    Attributes:
        rows, dimensions: of the matrix. clusters: how many. components: dimensions after PCA, None without it.
        spectrum: whether principal components are looked for.
        gathers: whether the rows of a cluster are brought together (medians and medoids).
    """

    rows: int
    dimensions: int
    clusters: int
    components: int | None
    spectrum: bool
    gathers: bool

    @property
    def matrix(self) -> int:
        """Bytes of the vectors."""
        return 4 * self.rows * self.dimensions

    @property
    def reduced(self) -> int:
        """Bytes of the vectors after PCA, which are there beside the others for a while."""
        return 4 * self.rows * (self.components or 0)

    @property
    def on_disk(self) -> int:
        """Peak with the matrix on disk: what every row, every block and the work on them takes."""
        block = 4 * block_rows(self.dimensions) * self.dimensions
        products = 8 * block_rows(self.components or self.dimensions) * self.clusters
        work = 6 * block + products + 28 * self.clusters * self.dimensions + GATHER_BYTES * 3 * self.gathers
        start = 8 * min(self.rows, seeding_rows(self.dimensions, self.clusters)) * self.dimensions
        return _LIBRARIES + _BYTES_PER_ROW * self.rows + block + max(work, start, self._spectrum)

    @property
    def in_memory(self) -> int:
        """Peak with the matrix in memory."""
        return self.on_disk + self.matrix + self.reduced

    @property
    def _spectrum(self) -> int:
        if not self.spectrum:
            return 0
        side = min(self.dimensions, SPECTRUM_ROWS)
        sample = 8 * min(self.rows, SPECTRUM_ROWS) * self.dimensions if self.dimensions > SPECTRUM_ROWS else 0
        return 32 * side * side + sample


def folder_for(
    need: Need, limit: int | None, cache_dir: str | os.PathLike[str] | None
) -> tuple[Path | None, dict[str, Any]]:
    """Return (the folder for the matrix, or None for memory; facts), and log which and why.

    Raises:
        ArgumentError: the limit is too small even with the matrix on disk.
    """
    to_disk = limit is not None and need.in_memory > limit
    peak = need.on_disk if to_disk else need.in_memory
    check_room(need, limit, on_disk=to_disk)
    log.info(
        "Clustering %s rows x %s numbers (%.2f GB) %s: about %.2f GB of memory at most.",
        f"{need.rows:,}",
        f"{need.dimensions:,}",
        need.matrix / 1e9,
        "on disk, block by block" if to_disk else "in memory",
        peak / 1e9,
    )
    facts = {"matrix": "on disk" if to_disk else "in memory", "matrix_bytes": need.matrix, "peak_bytes_estimated": peak}
    return (_folder(cache_dir) if to_disk else None), facts


def check_room(need: Need, limit: int | None, *, on_disk: bool) -> None:
    """Raise an ArgumentError when the limit is too small."""
    peak = need.on_disk if on_disk else need.in_memory
    if limit is not None and peak > limit:
        raise ArgumentError(
            f"memory={limit / 1e9:.3g} GB is too little: {need.rows:,} rows x {need.dimensions:,} numbers in {need.clusters} clusters "
            f"need about {np.ceil(need.on_disk / 1e6) / 1e3:.3f} GB, with the vectors on disk. Raise memory=."
        )


def _folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir)
    import datasets  # its caches are on a disk; the folder for temporary files is memory on many systems

    return Path(datasets.config.HF_DATASETS_CACHE) / "hf_select"
