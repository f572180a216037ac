"""What a container says about its own length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

__all__ = ["MAX_CHUNKS", "TAIL", "Claim", "read_at"]

MAX_CHUNKS = 1000  # a header of more chunks than this is not followed to its end
TAIL = 65307  # bytes: the largest page of Ogg


@dataclass(frozen=True)
class Claim:
    """What a container says about its length.

    `frames` is None where it says nothing. `ask` means that the decoder hands on the header's own count. `slack` frames
    may be missing or surplus. `rate` is the Hz of the frame that holds the count, where others may have another. `cut`
    tells how one sees that the end is not there. `splice` is (start, stop, new bytes): a change of the header that lets
    the decoder read a stream of unknown length to its end.
    """

    kind: str
    frames: int | None = None
    ask: bool = False
    slack: int = 0
    rate: int | None = None
    cut: str = ""
    splice: tuple[int, int, bytes] | None = None


def read_at(file: BinaryIO, offset: int, count: int) -> bytes:
    """Return up to `count` bytes from `offset` on."""
    file.seek(offset)
    return file.read(count)
