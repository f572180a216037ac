"""Sound that libsndfile does not decode: arrays, torchcodec's decoders, and containers that are left to torchcodec."""

from __future__ import annotations

import functools
from typing import Any, BinaryIO

import numpy as np

from hf_select.sound.claim import Claim
from hf_select.sound.clip import Clip, Part, StopReading, check_end, check_header, check_length, judge

__all__ = ["read_array", "read_decoder", "read_foreign", "torchcodec_decoder"]

IN_MEMORY = 1 << 30  # bytes of a file that is handed over whole


def read_array(array: Any, rate: Any, part: Part) -> Clip:
    """Take what something else has decoded: (frames,), or two axes of which the shorter one is the channels."""
    x = np.asarray(array)
    if x.dtype.kind not in "fiu" or x.ndim not in (1, 2) or not isinstance(rate, (int, float, np.number)):
        raise StopReading("unreadable", f"an array of {x.dtype} with {x.ndim} axes at a sampling rate of {rate!r}")
    x = x[:, None] if x.ndim == 1 else x if x.shape[0] >= x.shape[1] else x.T
    rate, scale = int(rate), 1.0 if x.dtype not in (np.int16, np.int32) else -1.0 / np.iinfo(x.dtype).min
    known = {"source_rate": rate, "channels": x.shape[1]}
    check_header(rate, x.shape[1], known)
    first, last = part.frames(rate)
    check_length(first, last, len(x), rate, part, known)
    with np.errstate(over="ignore", invalid="ignore"):
        block = x[first:last].astype(np.float32) * np.float32(scale)
        return judge(block.mean(axis=1), float(np.abs(block).max(initial=0.0)), rate, first, known)


def read_foreign(file: BinaryIO, kind: str, part: Part) -> Clip:
    """Read a whole file through torchcodec: its bytes, never its path, since FFmpeg would follow what stands in one."""
    decoder = torchcodec_decoder()
    if decoder is None:
        raise StopReading("unreadable", f"{kind} needs torchcodec and FFmpeg, which do not load here")
    return read_decoder(decoder(file.read(IN_MEMORY)), part)


def read_decoder(decoder: Any, part: Part) -> Clip:
    """Read through a torchcodec AudioDecoder."""
    told = decoder.metadata
    rate, declared = int(told.sample_rate), getattr(told, "duration_seconds_from_header", None)
    known: dict[str, Any] = {"source_rate": rate, "channels": int(told.num_channels), "declared": declared}
    check_header(rate, known["channels"], known)
    first, last = part.frames(rate)
    there = None if declared is None else round(declared * rate)
    want = check_length(first, last, there, rate, part, known)
    got = decoder.get_samples_played_in_range(part.start, part.start + want / rate)
    block = got.data.numpy()
    claim = Claim("torchcodec", there, slack=rate // 10)  # its seconds are those of whole packets
    check_end(first, block.shape[1], last, there, claim, known)
    return judge(block.mean(axis=0), float(np.abs(block).max(initial=0.0)), int(got.sample_rate), first, known)


@functools.cache
def torchcodec_decoder() -> Any:
    """Return torchcodec's AudioDecoder, or None; that it is installed does not mean that it loads."""
    try:
        from torchcodec.decoders import AudioDecoder
    except (ImportError, OSError, RuntimeError):
        return None
    return AudioDecoder
