"""MP3: the count of frames in the Xing or Info tag, where there is one."""

from __future__ import annotations

import struct
from typing import BinaryIO

from hf_select.sound.claim import TAIL, Claim, read_at

__all__ = ["read_mp3"]

MAX_FRAMES = 100_000  # of one bit rate, three quarters of an hour: it will not change any more
TAGS = (b"Xing", b"Info")
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
KBITS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _layer3(head: bytes) -> tuple[int, int, int] | None:
    """Return (bytes in the frame, samples in the frame, offset of a Xing tag) of an MPEG layer III header, or None."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or rate == 3 or bitrate in (0, 15):
        return None
    full = version == 3
    length = (144 if full else 72) * 1000 * KBITS[full][bitrate - 1] // RATES[version][rate] + (head[2] >> 1 & 1)
    mono = head[3] >> 6 == 3
    return length, 1152 if full else 576, 4 + ((17 if mono else 32) if full else (9 if mono else 17))


def _first_frame(data: bytes, size: int) -> int:
    """Return where the first frame stands: one with a Xing tag, or followed by another of its kind or the end; -1 if none."""
    for at in range(max(0, len(data) - 3)):
        frame = _layer3(data[at : at + 4]) if data[at] == 0xFF else None
        if frame is None:
            continue
        after = at + frame[0]
        following = data[after : after + 4]
        alike = len(following) == 4 and following[1] == data[at + 1] and not (following[2] ^ data[at + 2]) & 0x0C
        if data[at + frame[2] : at + frame[2] + 4] in TAGS or after >= size or (alike and _layer3(following)):
            return at
    return -1


def _padding(tag: bytes) -> tuple[int, bool]:
    """Return the samples that the encoder added (delay and padding), and whether the tag says so at all."""
    flags = tag[7]
    lame = 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if len(tag) < lame + 24 or not tag[lame]:
        return 0, False
    high, middle, low = tag[lame + 21 : lame + 24]
    return (high << 4 | middle >> 4) + ((middle & 15) << 8 | low), True


def read_mp3(file: BinaryIO, skip: int, size: int) -> Claim:
    """Read the Xing/Info count.

    Without one libsndfile guesses the length from the first bit rate and stops there. Where the bit rate varies, a count
    that can't be too small is put in, so that it reads to the end.
    """
    data = read_at(file, skip, TAIL)
    at = _first_frame(data, size - skip)
    frame = _layer3(data[at : at + 4]) if at >= 0 else None
    if frame is None:
        return Claim("MP3")
    length, samples, tag_at = frame
    tag = data[at + tag_at : at + length]
    marked = tag[:4] in TAGS
    if marked and len(tag) >= 12 and tag[7] & 1:
        count, (padding, exact) = struct.unpack(">I", tag[8:12])[0], _padding(tag)
        frames, rate = max(0, count * samples - padding), RATES[data[at + 1] >> 3 & 3][data[at + 2] >> 2 & 3]
        return Claim("MP3", frames, ask=True, slack=0 if exact else samples, rate=rate)
    start = at + (length if marked or data[at + 36 : at + 40] == b"VBRI" else 0)
    if not marked and not _varies(file, skip + start, data[at : at + 4]):
        return Claim("MP3")
    most = min((size - skip) // 24 + 1, 0xFFFFFFFF)  # no frame is shorter
    header = bytes((0xFF, data[at + 1] | 1, data[at + 2] & 0x0C | 0x90, data[at + 3]))  # no checksum, 80 or 128 kbit/s
    body = header + bytes(tag_at - 4) + b"Xing" + struct.pack(">II", 1, most)
    ours = _layer3(header)
    return Claim("MP3", splice=(0, skip + start, body.ljust(ours[0] if ours else 0, b"\0")))


def _varies(file: BinaryIO, at: int, first: bytes) -> bool:
    """Say whether the bit rate changes from frame to frame."""
    for _ in range(MAX_FRAMES):
        head = read_at(file, at, 4)
        frame = _layer3(head)
        if frame is None:
            return False
        if (head[2] ^ first[2]) & 0xF0:
            return True
        at += frame[0]
    return False
