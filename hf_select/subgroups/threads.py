"""Threads for compiled code, which runs without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["in_chunks", "num_threads"]

_PARTS = 4  # that each thread gets, so that none waits long for another


def num_threads() -> int:
    """Return how many threads to work with: the processors that this process may use, or OMP_NUM_THREADS of them."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(own, int(asked)) if asked.isdecimal() else own)


def in_chunks(total: int, work: Callable[[int, int], None]) -> None:
    """Call work(first, end) for consecutive ranges that make up `total`, on several threads."""
    threads = num_threads()
    edges = np.linspace(0, total, threads * _PARTS + 1).astype(np.int64).tolist()
    if threads == 1:
        work(0, total)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
