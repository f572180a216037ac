"""Twenty thousand damaged clips: no crash, no exception, and no wrong length that goes unnoticed.

HF_SELECT_FUZZ=1000000 runs as many as that. The lengths that containers declare are read here by a second, independent reader.
"""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from hf_select.audio import STATUS, read_clip, wave_bytes

COUNT = int(os.environ.get("HF_SELECT_FUZZ", "20000"))
SEED = 20261

# ---------------------------------------------------------------- what a container declares: (frames, rate, tolerance in frames)

Declared = tuple[float, int, float] | None


def declared_wav(data: bytes) -> Declared:
    """Bytes of the first data chunk / block align, as the first fmt chunk has it.

    No claim: a size of 0, or one from 2 GiB less a page on that the file does not hold (both are what writers to a pipe leave).
    """
    order = "big" if data[:4] == b"RIFX" else "little"
    at, fmt = 12, b""
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], order)
        if name == b"fmt ":
            fmt = data[at + 8 : at + 8 + size]
        if name == b"data":
            there = len(data) - at - 8
            if len(fmt) < 16 or size == 0 or (size >= 0x7FFFF000 and size > there):
                return None
            tag, channels, rate, align, bits = (
                int.from_bytes(fmt[a:b], order) for a, b in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
            )
            align = align or channels * -(-bits // 8)
            if tag == 0xFFFE:
                tag = int.from_bytes(fmt[24:26], order)
            if tag in (1, 3, 6, 7) and align:
                return size // align, rate, 0
            if tag == 0x11 and len(fmt) >= 20 and align:
                block = int.from_bytes(fmt[18:20], order)
                return size / align * block, rate, block
            return None
        at += 8 + size + size % 2
    return None


def declared_aiff(data: bytes) -> Declared:
    """numSampleFrames of the last COMM chunk; 0, and what comes to some 2 GB, is what writers to a pipe leave."""
    at, found = 12, None
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        if name == b"COMM" and at + 26 <= len(data):
            channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", data[at + 8 : at + 26])
            rate = mantissa >> max(0, 63 - ((exponent & 0x7FFF) - 16383))  # 80-bit float, whole part
            small = 0 < frames * channels * -(-bits // 8) < 0x7F000000
            found = (frames, rate, 0) if small else None
        at += 8 + size + size % 2
    return found


def declared_flac(data: bytes) -> Declared:
    """Total samples of STREAMINFO; 0 is no claim."""
    if data[:4] != b"fLaC" or data[4] & 0x7F:
        return None
    packed = int.from_bytes(data[18:26], "big")  # 20 bits rate, 3 channels, 5 bits a sample, 36 total samples
    total = packed & ((1 << 36) - 1)
    return (total, packed >> 44, 0) if total else None


def crc_ogg(page: bytes) -> int:
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc = (crc << 8 & 0xFFFFFFFF) ^ OGG_TABLE[crc >> 24 ^ byte]
    return crc


def _table() -> list[int]:
    table = []
    for i in range(256):
        r = i << 24
        for _ in range(8):
            r = (r << 1 ^ 0x04C11DB7 if r & 0x80000000 else r << 1) & 0xFFFFFFFF
        table.append(r)
    return table


OGG_TABLE = _table()


def declared_ogg(data: bytes) -> Declared:
    """Position on the last page whose checksum is right."""
    if data[28:35] != b"\x01vorbis":
        return None
    at = len(data)
    while (at := data.rfind(b"OggS", 0, at)) >= 0:
        count = data[at + 26] if at + 26 < len(data) else 255
        page = data[at : at + 27 + count + sum(data[at + 27 : at + 27 + count])]
        if len(page) > 27 + count and crc_ogg(page) == int.from_bytes(page[22:26], "little"):
            return int.from_bytes(page[6:14], "little", signed=True), int.from_bytes(data[40:44], "little"), 0
    return None


def declared_mp3(data: bytes) -> Declared:
    """Frames of the Xing tag of the first frame x samples in a frame, less delay and padding; two MPEG frames of tolerance."""
    version = data[1] >> 3 & 3
    if data[0] != 0xFF or data[1] & 0xE6 != 0xE2 or version == 1 or data[2] >> 2 & 3 == 3 or data[2] >> 4 in (0, 15):
        return None
    rate = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}[version][data[2] >> 2 & 3]
    samples = 1152 if version == 3 else 576
    at = 4 + {True: {True: 17, False: 32}, False: {True: 9, False: 17}}[version == 3][data[3] >> 6 == 3]
    if data[at : at + 4] not in (b"Xing", b"Info") or data[at + 7] != 0x0F:
        return None
    lame = data[at + 120 : at + 144]
    spare = int.from_bytes(lame[21:24], "big") if lame[:1].strip(b"\0") else 0
    return int.from_bytes(data[at + 8 : at + 12], "big") * samples - (spare >> 12) - (spare & 0xFFF), rate, 2 * samples


READERS: dict[str, Callable[[bytes], Declared]] = {
    "WAV": declared_wav,
    "AIFF": declared_aiff,
    "FLAC": declared_flac,
    "OGG": declared_ogg,
    "MP3": declared_mp3,
}


# ---------------------------------------------------------------- clips, and what befalls them


def speech_like(frames: int, rate: int, channels: int, seed: int) -> np.ndarray:
    t = np.arange(frames) / rate
    noise = np.random.default_rng(seed).standard_normal(frames)
    x = (0.3 * np.sin(2 * np.pi * (150 + 300 * t) * t) + 0.03 * noise) * (0.6 + 0.4 * np.sin(9 * t))
    return x if channels == 1 else np.stack([x * (1 - 0.2 * c) for c in range(channels)], axis=1)


def originals() -> list[tuple[str, bytes]]:
    made = []
    for kind, subtypes in {
        "WAV": ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"],
        "AIFF": ["PCM_16", "PCM_24"],
        "FLAC": ["PCM_16", "PCM_24"],
        "OGG": ["VORBIS"],
        "MP3": [None],
    }.items():
        for rate, channels, frames in ((16000, 1, 4000), (8000, 1, 2001), (44100, 2, 5000)):
            x = speech_like(frames * (8 if kind == "OGG" else 1), rate, channels, frames)  # Ogg: several pages of sound
            made += [(kind, wave_bytes(x, rate, kind, subtype)) for subtype in subtypes]
    return made


NUMBERS = (
    0,
    1,
    2,
    255,
    1000,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFEFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        size, how = len(out), int(rng.integers(7))
        if size < 2:
            break
        head = rng.random() < 0.5
        at = int(rng.integers(min(size, 128) if head else size))
        if how == 0:
            for _ in range(int(rng.integers(1, 9))):
                out[int(rng.integers(min(size, 64) if head else size))] ^= 1 << int(rng.integers(8))
        elif how == 1:
            run = int(rng.integers(1, 200))
            fill = [rng.bytes(run), bytes(run), b"\xff" * run][int(rng.integers(3))]
            out[at : at + run] = fill[: size - at]
        elif how == 2:
            del out[int(rng.integers(size)) :]
        elif how == 3:
            out[at:at] = rng.bytes(int(rng.integers(1, 300)))
        elif how == 4:
            del out[at : at + int(rng.integers(1, 300))]
        elif how == 5:  # a number in the header becomes another
            width, order = ((2, "little"), (4, "little"), (4, "big"), (8, "big"))[int(rng.integers(4))]
            at = int(rng.integers(min(size, 80)))
            out[at : at + width] = (NUMBERS[int(rng.integers(len(NUMBERS)))] % (1 << 8 * width)).to_bytes(width, order)
        else:  # a piece stands somewhere else once more
            piece = out[at : at + int(rng.integers(1, 400))]
            to = int(rng.integers(size))
            out[to:to] = piece
    return bytes(out)


def check(kind: str, data: bytes) -> str:
    """Read one clip and hold it against what its header declares."""
    clip = read_clip({"bytes": data, "path": None}, max_seconds=60)
    assert clip.status in STATUS
    assert np.isfinite(clip.duration)
    if not clip.ok:
        assert clip.detail and clip.detail.isprintable()
        assert not len(clip.samples)
        return clip.status
    assert clip.samples.dtype == np.float32 and clip.samples.ndim == 1
    assert np.isfinite(clip.samples).all()
    assert 0 < clip.duration <= 60
    claim = READERS[kind](data)
    if claim is not None and (kind == "MP3" or data[:4] in MAGIC[kind]):
        frames, rate, tolerance = claim
        assert clip.source_rate == rate, (clip.source_rate, claim)
        assert abs(clip.duration * rate - frames) <= tolerance + 1e-6, (clip.duration * rate, claim)
        return "ok, length declared"
    return "ok"


MAGIC = {"WAV": (b"RIFF", b"RIFX"), "AIFF": (b"FORM",), "FLAC": (b"fLaC",), "OGG": (b"OggS",)}


def test_the_second_reader_agrees_on_whole_clips():
    for kind, data in originals():
        claim = READERS[kind](data)
        assert claim is not None
        assert check(kind, data) in ("ok, length declared", "ok")


@pytest.mark.slow
def test_damaged_clips_never_crash_and_never_have_an_unnoticed_wrong_length():
    whole = originals()
    rng = np.random.default_rng(SEED)
    seen: Counter[str] = Counter()
    slowest = 0.0
    for number in range(COUNT):
        kind, data = whole[number % len(whole)]
        damaged = mutate(data, rng)
        started = time.perf_counter()
        try:
            status = check(kind, damaged)
        except BaseException as error:
            raise AssertionError(f"clip {number} of seed {SEED}, {kind}: {error!r}") from error
        slowest = max(slowest, time.perf_counter() - started)
        seen[f"{kind} {status}"] += 1
        if not number % 20:  # a part of it never raises either
            read_clip(damaged, start=float(rng.random()) / 4, end=0.3, sampling_rate=(None, 16000)[number % 40 // 20])
    print(
        f"\n{COUNT} clips, slowest {slowest:.3f} s", *(f"{n:8d} {name}" for name, n in sorted(seen.items())), sep="\n"
    )
    assert slowest < 10
    for kind in READERS:  # the damage is neither harmless nor total
        share = sum(n for name, n in seen.items() if name.startswith(f"{kind} ok")) / sum(
            n for name, n in seen.items() if name.startswith(kind)
        )
        assert 0 < share < 0.9, (kind, share)
