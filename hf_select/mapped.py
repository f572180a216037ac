"""Let go of pages of memory-mapped files that have been read: they come back from the file when they are touched again."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pyarrow as pa

__all__ = ["MappedFiles"]


class MappedFiles:
    """The read-only file mappings of this process, as they are now. Where the system does not list them, there are none.

    A reader that goes through a mapped file once would otherwise look, to whoever watches the process, as if it held the
    whole file in memory.
    """

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        maps = Path("/proc/self/maps")
        if not maps.exists() or not hasattr(mmap, "MADV_DONTNEED"):
            return
        lines = [line.split(maxsplit=5)[:5] for line in maps.read_text(errors="replace").splitlines()]
        programs = {(device, inode) for _, access, _, device, inode in lines if "x" in access}
        for where, access, _, device, inode in lines:
            # what could be written, or was by the loader of programs, would be lost and not let go of
            if inode != "0" and "w" not in access and (device, inode) not in programs:
                start, stop = (int(end, 16) for end in where.split("-"))
                self.ranges.append((start, stop))

    def release(self, start: int, size: int) -> None:
        """Let go of the whole pages inside these addresses, as far as they are of a mapped file."""
        page = mmap.PAGESIZE
        for a, b in self.ranges:
            first, last = max(start, a), min(start + size, b)
            first, last = -(-first // page) * page, last // page * page
            if first < last:
                advise = ctypes.CDLL(None).madvise
                advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), ctypes.c_int(mmap.MADV_DONTNEED))

    def release_array(self, array: pa.Array) -> None:
        """Let go of all that an Arrow array refers to, also of what lies outside its slice."""
        for buffer in array.buffers():
            if buffer is not None:
                self.release(buffer.address, buffer.size)
