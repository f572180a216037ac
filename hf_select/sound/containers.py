"""What sound containers declare about their own length: headers are read, nothing is decoded.

libsndfile reports the frames it can reach, so that a WAV cut in half looks like a whole, shorter one.
Here the header's own claim is read, to be held against what the decoder gave.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from hf_select.sound.chunked import read_aiff, read_au, read_caf, read_nist, read_w64, read_wav
from hf_select.sound.claim import Claim, read_at
from hf_select.sound.mpeg import read_mp3
from hf_select.sound.ogg import read_ogg

__all__ = ["FOREIGN", "Claim", "read_claim", "sniff"]

FOREIGN = ("MP4", "MKV", "ASF", "ADTS")  # libsndfile does not read these

MAGIC = (
    (b"fLaC", "FLAC"),
    (b"RIFF", "WAV"),
    (b"RIFX", "WAV"),
    (b"RF64", "WAV"),
    (b"riff", "W64"),
    (b"FORM", "AIFF"),
    (b".snd", "AU"),
    (b"dns.", "AU"),
    (b"caff", "CAF"),
    (b"OggS", "OGG"),
    (b"NIST", "NIST"),
    (b"\x1a\x45\xdf\xa3", "MKV"),
    (b"\x30\x26\xb2\x75", "ASF"),
)

READERS = {
    "WAV": read_wav,
    "W64": read_w64,
    "AIFF": read_aiff,
    "AU": read_au,
    "CAF": read_caf,
    "NIST": read_nist,
    "OGG": read_ogg,
}


def sniff(head: bytes) -> str:
    """Name the container from its first 12 bytes; "" if it is none that we know."""
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return "MP4"
    if head[:3] == b"ID3":
        return "MP3"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "MP3" if head[1] & 0x06 else "ADTS"
    return ""


def read_claim(file: BinaryIO, size: int) -> Claim:
    """Read what the container in `file`, `size` bytes long, declares; leaves the file at its start."""
    head = read_at(file, 0, 12)
    kind, skip = sniff(head), 0
    if head[:3] == b"ID3" and len(head) >= 10:  # a tag that belongs before MP3; before anything else it is taken off
        skip = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
        if sniff(read_at(file, skip, 12)) not in ("MP3", ""):
            file.seek(0)
            return Claim("ID3", splice=(0, skip, b""))
    try:
        if kind == "FLAC":
            claim = Claim(kind, ask=True)
        elif kind == "MP3":
            claim = read_mp3(file, skip, size)
        else:
            claim = READERS[kind](file, size) if kind in READERS else Claim(kind)
    except struct.error:  # the file ends inside its header
        claim = Claim(kind)
    file.seek(0)
    return claim
