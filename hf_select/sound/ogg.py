"""Ogg (Vorbis, Opus): the position on the last page is the length."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from hf_select.sound.claim import MAX_CHUNKS, TAIL, Claim, read_at

__all__ = ["read_ogg"]

REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _is_page(page: bytes) -> bool:
    """Say whether a page of Ogg is whole. Its checksum is that of zlib with the bits of each byte in the other order."""
    if len(page) < 28:
        return False
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2) == int.from_bytes(page[22:26], "little")


def read_ogg(file: BinaryIO, size: int) -> Claim:
    """Read the last page, and whether it is there."""
    tail = read_at(file, max(0, size - TAIL), TAIL)
    at = tail.rfind(b"OggS")
    page = tail[max(at, 0) :]
    count = page[26] if len(page) > 26 else 255
    page = page[: 27 + count + sum(page[27 : 27 + count])]
    if at < 0 or not _is_page(page):
        return Claim("OGG", ask=True, cut="the last page is cut or damaged")
    if page[14:18] != read_at(file, 14, 4):
        return Claim("OGG", ask=True, cut="another stream follows the first, which alone is read")
    frames, slack = _ogg_frames(file, struct.unpack("<q", page[6:14])[0])
    return Claim(
        "OGG", frames, ask=frames is None, slack=slack, cut="" if page[5] & 4 else "the last page is not there"
    )


def _ogg_frames(file: BinaryIO, last: int) -> tuple[int | None, int]:
    """Return (frames, slack) of a stream whose last page stands at position `last`; None if it does not begin at 0.

    libsndfile's own count can't be asked: it shrinks with every page that is lost.
    """
    at, packets, position = 0, 0, 0
    for _ in range(MAX_CHUNKS):  # to the first page with sound in it
        page = read_at(file, at, TAIL)
        count = page[26] if len(page) > 26 else 255
        page = page[: 27 + count + sum(page[27 : 27 + count])]
        if not page.startswith(b"OggS") or not _is_page(page):
            break
        packets += sum(length < 255 for length in page[27 : 27 + count])
        position = struct.unpack("<q", page[6:14])[0]
        if position > 0:
            break
        at += len(page)
    if position > packets * 8192:  # more than these packets can hold: a piece of a longer stream
        return None, 0
    head = read_at(file, 28, 19)
    if head[:8] != b"OpusHead":
        return last, 0
    skip, rate = struct.unpack("<HI", head[10:16])
    rate = next((r for r in (8000, 12000, 16000, 24000) if rate <= r), 48000)  # those that Opus decodes to
    return (last - skip) * rate // 48000, 1
