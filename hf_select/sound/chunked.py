"""Containers made of chunks or of one header: WAV (RIFF, RIFX, RF64), W64, AIFF, AU, CAF, NIST."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from hf_select.sound.claim import MAX_CHUNKS, Claim, read_at

__all__ = ["read_aiff", "read_au", "read_caf", "read_nist", "read_w64", "read_wav"]

# Writers to a pipe can't know the length: they leave 0, or a size from here to 0xFFFFFFFF (2 GiB less a page).
PLACEHOLDER = 0x7FFFF000
AIFF_PLACEHOLDER = 0x7F000000  # those of AIFF begin a little lower


def _chunks(
    file: BinaryIO, offset: int, size: int, form: str, pad: int = 2, own: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, offset of the body, length of the body); `own` bytes of each stated length are its header."""
    header = struct.Struct(form)
    for _ in range(MAX_CHUNKS):
        if offset + header.size > size:
            return
        name, length = header.unpack(read_at(file, offset, header.size))
        length -= own
        body = offset + header.size
        yield name, body, length
        if length < 0:
            return
        offset = body + length + (-(length + own) % pad)


def _cut(stated: int, there: int) -> str:
    return f"{there} of {stated} bytes of sound" if there < stated else ""


def _fmt_frames(fmt: bytes, order: str, length: int) -> tuple[int | None, int]:
    """Return (frames, slack) of `length` bytes of sound under a `fmt ` chunk."""
    tag, channels, _, _, align, bits = struct.unpack(order + "HHIIHH", fmt[:16])
    if tag == 0xFFFE and len(fmt) >= 26:
        tag = struct.unpack(order + "H", fmt[24:26])[0]
    width = align or channels * ((bits + 7) // 8)
    if not width:
        return None, 0
    if tag in (1, 3, 6, 7):  # PCM, float, A-law, mu-law
        return length // width, 0
    if tag in (2, 0x11) and len(fmt) >= 20:  # ADPCM: blocks of a stated number of frames, the last may be short
        block = struct.unpack(order + "H", fmt[18:20])[0]
        return length // width * block, block
    if tag == 0x31:  # GSM 6.10: 65 bytes hold 320 frames
        return length // 65 * 320, 320
    return None, 0


def read_wav(file: BinaryIO, size: int) -> Claim:
    """Read the size of the first data chunk (in RF64, of the ds64 chunk), in frames of the fmt chunk before it."""
    magic = read_at(file, 0, 4)
    order = ">" if magic == b"RIFX" else "<"
    fmt, large = b"", 0
    for name, body, length in _chunks(file, 12, size, order + "4sI"):
        if name == b"ds64":
            large = struct.unpack("<Q", read_at(file, body + 8, 8))[0]
        elif name == b"fmt ":
            fmt = read_at(file, body, min(length, 40))
        elif name == b"data" and len(fmt) >= 16:
            there = size - body
            if magic == b"RF64" and length == 0xFFFFFFFF:
                length = large
            elif length == 0 and there and not _is_chunk(file, body, size, order):
                return Claim("WAV", splice=(body - 4, body, struct.pack(order + "I", min(there, 0xFFFFFFFF))))
            if length >= PLACEHOLDER and length > there and magic != b"RF64":
                return Claim("WAV")
            frames, slack = _fmt_frames(fmt, order, length)
            return Claim("WAV", frames, slack=slack, cut=_cut(length, there))
    return Claim("WAV")


def _is_chunk(file: BinaryIO, offset: int, size: int, order: str) -> bool:
    """Say whether what stands here is one more chunk that ends where the file ends."""
    *_, (name, body, length) = [(b"", offset, size), *_chunks(file, offset, size, order + "4sI")]
    return name.strip().isalnum() and size - 1 <= body + length <= size


def read_w64(file: BinaryIO, size: int) -> Claim:
    """Read the size of the data chunk, which counts its own header, in frames of the fmt chunk before it."""
    fmt = b""
    for name, body, length in _chunks(file, 40, size, "<16sQ", pad=8, own=24):
        if name[:4] == b"fmt ":
            fmt = read_at(file, body, min(max(length, 0), 40))
        elif name[:4] == b"data" and len(fmt) >= 16:
            if length <= 0:
                return Claim("W64")
            frames, slack = _fmt_frames(fmt, "<", length)
            return Claim("W64", frames, slack=slack, cut=_cut(length, size - body))
    return Claim("W64")


def read_aiff(file: BinaryIO, size: int) -> Claim:
    """Read the frames of the COMM chunk, and whether the SSND chunk is all there."""
    frames, cut = None, ""
    for name, body, length in _chunks(file, 12, size, ">4sI"):
        if name == b"COMM":
            comm = read_at(file, body, min(length, 22))
            channels, frames, bits = struct.unpack(">HIH", comm[:8])
            if comm[18:22] == b"ima4" or not 0 < frames * channels * ((bits + 7) // 8) < AIFF_PLACEHOLDER:
                frames = None  # writers count the packets of ima4 in several ways
        elif name == b"SSND" and length < AIFF_PLACEHOLDER:
            cut = _cut(length, size - body)
    return Claim("AIFF", frames, cut=cut)


def read_au(file: BinaryIO, size: int) -> Claim:
    """Read the size of the sound in the header."""
    order = ">" if read_at(file, 0, 1) == b"." else "<"
    offset, length, encoding, _, channels = struct.unpack(order + "5I", read_at(file, 4, 20))
    if length == 0 and size > offset:
        return Claim("AU", splice=(8, 12, b"\xff" * 4))
    if length == 0xFFFFFFFF:
        return Claim("AU")
    bits = {1: 8, 2: 8, 3: 16, 4: 24, 5: 32, 6: 32, 7: 64, 27: 8}.get(encoding, 0) * channels
    return Claim("AU", length * 8 // bits if bits else None, cut=_cut(length, size - offset))


def read_caf(file: BinaryIO, size: int) -> Claim:
    """Read the valid frames of the packet table, or the size of the data chunk."""
    packet_bytes = packet_frames = 0
    frames: int | None = None
    cut = ""
    for name, body, length in _chunks(file, 8, size, ">4sq", pad=1):
        if name == b"desc":
            packet_bytes, packet_frames = struct.unpack(">II", read_at(file, body + 16, 8))
        elif name == b"pakt":
            frames = struct.unpack(">q", read_at(file, body + 8, 8))[0]
        elif name == b"data" and length > 4:
            cut = _cut(length, size - body)
            if packet_bytes and frames is None:
                frames = (length - 4) // packet_bytes * packet_frames
    return Claim("CAF", frames, cut=cut)


def read_nist(file: BinaryIO, size: int) -> Claim:
    """Read sample_count, which is per channel."""
    found = re.search(rb"^sample_count\s+-i\s+(\d{1,18})", read_at(file, 0, 1024), re.MULTILINE)
    return Claim("NIST", int(found[1]) if found else None)
