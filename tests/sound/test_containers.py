"""Truth about length: cut clips, headers that lie, headers that honestly do not know."""

from __future__ import annotations

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf

from hf_select.audio import read_clip, wave_bytes
from hf_select.sound.claim import Claim
from hf_select.sound.clip import StopReading, check_count
from hf_select.sound.containers import read_claim, sniff

RATE = 16000
SOUND = 0.3 * np.sin(np.arange(32000) * 0.05) + 0.01 * np.random.default_rng(0).standard_normal(32000)
PCM = (SOUND[:8000] * 32767).astype("<i2").tobytes()
KINDS = [
    *(("WAV", s) for s in ("PCM_16", "PCM_24", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
    *(("AIFF", s) for s in ("PCM_16", "FLOAT", "IMA_ADPCM")),
    *(("CAF", s) for s in ("PCM_16", "ALAC_16")),
    *((kind, "PCM_16") for kind in ("WAVEX", "RF64", "W64", "AU", "NIST", "FLAC")),
    *(("OGG", s) for s in ("VORBIS", "OPUS")),
    ("MP3", None),
]


def wav(
    data: bytes = PCM, size: int | None = None, fmt: bytes = b"", before: bytes = b"", after: bytes = b"", **fields: int
) -> bytes:
    """A WAV by hand: any field of it may lie."""
    f = {"tag": 1, "channels": 1, "rate": RATE, "bits": 16} | fields
    align = f.get("align", f["channels"] * f["bits"] // 8)
    per_second = f["rate"] * align & 0xFFFFFFFF
    fmt = fmt or struct.pack("<HHIIHH", f["tag"], f["channels"], f["rate"], per_second, align, f["bits"])
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data + after
    return b"RIFF" + struct.pack("<I", f.get("riff", len(body))) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


INFO = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"a writer"))
FLOAT = {"tag": 3, "bits": 32}
TABLE = {
    # name: (bytes, status, what the detail holds, seconds decoded, seconds declared)
    "plain": (wav(), "ok", "", 0.5, 0.5),
    "chunks before and after": (wav(before=INFO, after=INFO), "ok", "", 0.5, 0.5),
    "odd chunk, padded": (wav(before=chunk(b"junk", b"abc")), "ok", "", 0.5, 0.5),
    "junk after": (wav(after=b"\0\1\2\3\4"), "ok", "", 0.5, 0.5),
    "RIFF size 0": (wav(riff=0), "ok", "", 0.5, 0.5),
    "RIFF size too large": (wav(riff=0xFFFFFFFF), "ok", "", 0.5, 0.5),
    "odd data size": (wav(size=len(PCM) - 1), "ok", "", 7999 / RATE, 7999 / RATE),
    "less than there is": (wav(size=1000), "ok", "", 500 / RATE, 500 / RATE),
    "streamed, size 0": (wav(size=0), "ok", "", 0.5, None),
    "streamed, size 0xFFFFFFFF": (wav(size=0xFFFFFFFF, riff=0xFFFFFFFF), "ok", "", 0.5, None),
    "streamed, size 0x7FFFF000": (wav(size=0x7FFFF000), "ok", "", 0.5, None),
    "streamed, size 0x80000000": (wav(size=0x80000000), "ok", "", 0.5, None),
    "empty, with a chunk after it": (wav(b"", after=INFO), "empty", "no sound in it", 0, 0),
    "empty": (wav(b""), "empty", "no sound in it", 0, 0),
    "one byte": (wav(b"a"), "empty", "", 0, 0),
    "header alone": (wav()[:44], "truncated", "0 of 8000 frames", 0, 0.5),
    "more than there is": (wav(size=50000), "truncated", "8000 of 25000 frames", 0.5, 25000 / RATE),
    "just under 2 GiB": (wav(size=0x7FFFEFFE), "truncated", "8000 of 1073739775 frames", 0.5, 1073739775 / RATE),
    "wide alignment": (wav(align=4), "implausible", "declares 4000 frames and 8000 are there", 0.5, 0.25),
    "narrow alignment": (wav(align=1), "truncated", "8000 of 16000 frames", 0.5, 1.0),
    "24 bits in 4 bytes": (
        wav(bits=24, align=4),
        "implausible",
        "declares 4000 frames and 5333 are there",
        5333 / RATE,
        0.25,
    ),
    "rate 0": (wav(rate=0), "unreadable", "", 0, None),
    "rate 1": (wav(rate=1), "implausible", "sampling rate 1 Hz", 0, 8000.0),
    "rate 999": (wav(rate=999), "implausible", "sampling rate 999 Hz", 0, 8000 / 999),
    "rate 1000": (wav(rate=1000), "ok", "", 8.0, 8.0),
    "rate 768000": (wav(rate=768000), "ok", "", 8000 / 768000, 8000 / 768000),
    "rate 768001": (wav(rate=768001), "implausible", "sampling rate 768001 Hz", 0, 8000 / 768001),
    "rate 2^31 - 1": (wav(rate=2**31 - 1), "implausible", "sampling rate 2147483647 Hz", 0, 8000 / (2**31 - 1)),
    "no channel": (wav(channels=0, align=2), "unreadable", "", 0, None),
    "64 channels": (wav(channels=64), "ok", "", 125 / RATE, 125 / RATE),
    "65 channels": (wav(channels=65), "implausible", "65 channels", 0, 123 / RATE),
    "255 channels": (wav(channels=255), "implausible", "255 channels", 0, 31 / RATE),
    "65535 channels": (wav(channels=65535, align=2), "unreadable", "", 0, None),
    "no bits": (wav(bits=0, align=2), "unreadable", "", 0, None),
    "unknown encoding": (wav(tag=0x1234), "unreadable", "", 0, None),
    "fmt too short": (wav(fmt=b"\1\0\1\0"), "unreadable", "", 0, None),
    "no fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"data", PCM), "unreadable", "", 0, None),
    "no data": (wav()[:36], "unreadable", "", 0, None),
    "all zero": (wav(bytes(16000)), "silent", "peak to peak 0", 0.5, 0.5),
    "constant": (wav(b"\0\x40" * 8000), "silent", "", 0.5, 0.5),
    "NaN": (wav(np.full(99, np.nan, "<f4").tobytes(), **FLOAT), "nonfinite", "no numbers", 99 / RATE, 99 / RATE),
    "Inf": (wav(np.array([0, np.inf], "<f4").tobytes(), **FLOAT), "nonfinite", "peak of inf", 2 / RATE, 2 / RATE),
    "1e30": (wav(np.array([0, -1e30], "<f4").tobytes(), **FLOAT), "nonfinite", "peak of 1e+30", 2 / RATE, 2 / RATE),
    "1e300": (
        wav(np.array([0, 1e300], "<f8").tobytes(), tag=3, bits=64),
        "nonfinite",
        "peak of inf",
        2 / RATE,
        2 / RATE,
    ),
    "RIFX": (b"RIFX" + wav()[4:], "unreadable", "", 0, None),
}


@pytest.mark.parametrize("name", TABLE)
def test_crafted_wavs(name: str):
    data, status, detail, duration, declared = TABLE[name]
    clip = read_clip(data)
    assert (clip.status, clip.duration) == (status, pytest.approx(duration)), clip
    assert detail in clip.detail
    assert clip.declared == (None if declared is None else pytest.approx(declared))
    part = read_clip(data, end=0.001)  # a part of it is no worse than the whole
    assert part.status in (status, "ok", "silent"), part


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_every_cut_is_noticed(kind: str, subtype: str | None):
    data = wave_bytes(SOUND, RATE, kind, subtype)
    assert read_clip(data).ok
    spare = 1 if subtype == "ALAC_16" else 0  # a byte after the last packet
    points = {
        *range(0, len(data), len(data) // 100),
        *range(min(128, len(data))),
        *range(len(data) - 128, len(data) - spare),
    }
    for point in sorted(points):
        clip = read_clip(data[:point])
        assert clip.status in ("empty", "truncated", "unreadable"), (point, len(data), clip)
        assert clip.status != "empty" or point < 105, (point, clip)  # within the header
    half = read_clip(data[: len(data) // 2])
    assert half.status == "truncated"
    assert half.duration <= 1.1


def test_the_size_of_a_cut_is_told():
    data = wave_bytes(SOUND, RATE, "WAV")
    assert read_clip(data[: 44 + 2 * 10000 + 1]).detail == "10000 of 32000 frames"
    assert read_clip(wave_bytes(SOUND, RATE, "FLAC")[:-1]).detail == "28672 of 32000 frames"
    mp3 = read_clip(wave_bytes(SOUND, RATE, "MP3")[:-1])
    assert mp3.status == "truncated" and mp3.detail.endswith("of 32000 frames")
    ogg = wave_bytes(SOUND, RATE, "OGG")
    assert "the last page is cut or damaged" in read_clip(ogg[:-1]).detail
    assert "last page is not there" in read_clip(ogg[: ogg.rindex(b"OggS")]).detail


def test_a_hole_in_the_middle_is_noticed():
    for kind in ("FLAC", "OGG", "MP3"):
        data = wave_bytes(SOUND, RATE, kind)
        middle = len(data) // 2
        for damaged in (data[:middle] + data[middle + 1500 :], data[:middle] + bytes(1500) + data[middle + 1500 :]):
            clip = read_clip(damaged)
            assert not clip.ok, (kind, clip)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "OGG", "MP3"])
def test_fresh_files_have_no_false_flags(kind: str):
    for rate in (8000, 11025, 16000, 22050, 44100, 48000):
        for frames in (20, 575, 577, 1105, 1151, 1153, 4095, 4097, 11111):
            for channels in (1, 2):
                x = SOUND[:frames] if channels == 1 else np.stack([SOUND[:frames]] * 2, axis=1)
                clip = read_clip(wave_bytes(x, rate, kind))
                assert clip.ok and clip.declared == clip.duration == frames / rate, (rate, frames, channels, clip)


@pytest.mark.parametrize("kind", ["MP3", "FLAC", "OGG", "WAV", "AIFF"])
def test_tags_around_a_file_do_no_harm(kind: str):
    data = wave_bytes(SOUND, RATE, kind)
    before = b"ID3\4\0\0\0\0\2\x0a" + b"TIT2\0\0\0\5\0\0\0abcd".ljust(266, b"\0")
    after = b"TAG" + b"x" * 125
    for tagged in (before + data, data + after, before + data + after, data + bytes(1000)):
        clip = read_clip(tagged)
        assert clip.ok and clip.duration == clip.declared == 2.0, clip
    assert read_clip(before + before + data).status in ("ok", "unreadable")


# ---------------------------------------------------------------- MP3


def mp3_frames(data: bytes) -> list[int]:
    """Where the frames of an MPEG-2 layer III file at 16 kHz begin."""
    kbits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    at, starts = 0, []
    while data[at : at + 1] == b"\xff":
        starts.append(at)
        at += 72 * kbits[data[at + 2] >> 4] // 16 + (data[at + 2] >> 1 & 1)
    return starts


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_count_is_read_to_its_end(mode: str):
    file = io.BytesIO()
    x = np.r_[SOUND, np.zeros(32000)]  # loud first: the first bit rates are high, and the guess too short
    with sf.SoundFile(file, "w", RATE, 1, format="MP3", bitrate_mode=mode, compression_level=0.5) as writer:
        writer.write(x)
    data = file.getvalue()
    starts = mp3_frames(data)
    bare = data[starts[1] :]
    clip = read_clip(bare)
    there = 576 * (len(starts) - 1)
    assert clip.ok and clip.declared is None
    assert there - 529 <= round(clip.duration * RATE) <= there
    if mode == "VARIABLE":  # soundfile guesses from the first bit rate, and cuts
        assert sf.info(io.BytesIO(bare)).frames < there / 2
    shift = round(clip.duration * RATE) - there + 1105  # the encoder's delay is still in it
    np.testing.assert_allclose(clip.samples[shift : shift + len(x)], read_clip(data).samples, atol=1e-6)
    part = read_clip(bare, start=1.5, end=2.0)
    np.testing.assert_allclose(part.samples, clip.samples[24000:32000], atol=1e-6)
    tagged = bytearray(data)
    tagged[data.index(b"Xing" if mode == "VARIABLE" else b"Info") + 7] = 0  # a tag that holds no count
    again = read_clip(bytes(tagged))
    assert again.ok and again.declared is None and there - 529 <= round(again.duration * RATE) <= there
    assert read_clip(bare, max_seconds=3.9).status == "too_long"
    assert read_clip(bare[: len(bare) // 2]).ok  # nothing says how long it was


def test_the_count_in_an_mp3_is_held_against_the_frames():
    data = bytearray(wave_bytes(SOUND, RATE, "MP3"))
    at = data.index(b"Xing") + 8
    count = struct.unpack(">I", data[at : at + 4])[0]
    for more, status in ((0, "ok"), (1, "truncated"), (1000, "truncated"), (2**31, "implausible")):
        data[at : at + 4] = struct.pack(">I", count + more)
        assert read_clip(bytes(data)).status == status
    # without the encoder's delay and padding one frame may be missing: some writers count the frame with the tag
    data[at - 1] = 1
    data[at + 4 : at + 136] = bytes(132)
    for more, status in ((0, "ok"), (1, "ok"), (3, "truncated")):
        data[at : at + 4] = struct.pack(">I", count + more)
        assert read_clip(bytes(data)).status == status, more


# ---------------------------------------------------------------- lies, and honest ignorance


def flac_with(total: int) -> bytes:
    data = bytearray(wave_bytes(SOUND, RATE, "FLAC"))
    data[21] = data[21] & 0xF0 | total >> 32
    data[22:26] = (total & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def test_a_flac_of_unknown_length_is_read_to_its_end():
    data = flac_with(0)
    assert sf.info(io.BytesIO(data)).frames == 2**63 - 1
    clip = read_clip(data)
    assert clip.ok and clip.declared is None and clip.duration == 2.0
    np.testing.assert_array_equal(clip.samples, read_clip(wave_bytes(SOUND, RATE, "FLAC")).samples)
    np.testing.assert_array_equal(read_clip(data, start=0.5, end=1.0).samples, clip.samples[8000:16000])
    assert read_clip(data, start=3.0).status == "empty"
    assert read_clip(data, max_seconds=1.9).status == "too_long"
    assert read_clip(data[:-100]).status == "truncated"
    assert read_clip(flac_with(31999)).duration == 31999 / RATE


def liars() -> dict[str, bytes]:
    w64, rf64, caf, aiff = (bytearray(wave_bytes(SOUND, RATE, kind)) for kind in ("W64", "RF64", "CAF", "AIFF"))
    at = w64.index(b"data") + 16
    w64[at : at + 8] = (1 << 60).to_bytes(8, "little")
    at = rf64.index(b"ds64") + 16
    rf64[at : at + 8] = (1 << 60).to_bytes(8, "little")
    at = caf.index(b"data") + 4
    caf[at : at + 8] = (1 << 60).to_bytes(8, "big")
    at = aiff.index(b"COMM") + 10
    aiff[at : at + 4] = (1 << 29).to_bytes(4, "big")
    mp3 = bytearray(wave_bytes(SOUND, RATE, "MP3"))
    at = mp3.index(b"Xing") + 8
    mp3[at : at + 4] = b"\x07\xff\xff\xff"
    return {
        "FLAC of 2^36 frames": flac_with(2**36 - 1),
        "FLAC of 2^35 frames": flac_with(2**35),
        "WAV of 2 GiB": wav(size=0x7FFFEFFE),
        "W64 of 2^60 bytes": bytes(w64),
        "RF64 of 2^60 bytes": bytes(rf64),
        "CAF of 2^60 bytes": bytes(caf),
        "AIFF of 2^29 frames": bytes(aiff),
        "MP3 of 2^27 MPEG frames": bytes(mp3),
        "64 channels, 2^36 frames": flac_with(2**36 - 1),
    }


GUARDED = """
import pickle, resource, sys, time
from hf_select.audio import read_clip, wave_bytes
read_clip(wave_bytes([0.0, 0.5] * 4000, 16000, "FLAC")), read_clip(wave_bytes([0.0, 0.5] * 4000, 16000, "MP3"))
rows = pickle.load(sys.stdin.buffer)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 100_000_000,) * 2)
for name, data in rows.items():
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    clip = read_clip(data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(name, clip.status, round(time.perf_counter() - started, 4), grown // 1024, clip.detail, sep="\\t")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space, as Linux does")
def test_a_header_that_lies_takes_neither_time_nor_memory():
    import pickle

    rows = liars()
    rows["bomb: 9 minutes of silence"] = bomb = wave_bytes(np.zeros(16000 * 540, np.int16), RATE, "FLAC")
    assert len(bomb) < 100_000
    rows["bomb: 11 minutes of silence"] = wave_bytes(np.zeros(16000 * 660, np.int16), RATE, "FLAC")
    rows["cut bomb"] = bomb[:-50]
    run = subprocess.run([sys.executable, "-c", GUARDED], input=pickle.dumps(rows), capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    told = {name: rest for name, *rest in (line.split("\t") for line in run.stdout.decode().splitlines())}
    assert told.keys() == rows.keys()
    for name, (status, seconds, grown, _) in told.items():
        assert status in ("truncated", "too_long", "implausible", "silent"), (name, told[name])
        assert int(grown) < 100
        if "bomb: 9" not in name and "cut bomb" not in name:  # which are read: nine minutes are allowed
            assert float(seconds) < 0.1, (name, told[name])
    assert told["FLAC of 2^36 frames"][0] == told["FLAC of 2^35 frames"][0] == "implausible"
    assert told["bomb: 11 minutes of silence"][0] == "too_long"


def test_the_other_byte_order():
    file = io.BytesIO()
    sf.write(file, SOUND, RATE, format="WAV", endian="BIG")
    data = file.getvalue()
    assert data[:4] == b"RIFX"
    assert read_clip(data).declared == 2.0
    assert read_clip(data[:-100]).detail == "31950 of 32000 frames"


def test_writers_that_could_not_go_back():
    caf, aiff, au = (bytearray(wave_bytes(SOUND, RATE, kind)) for kind in ("CAF", "AIFF", "AU"))
    for size in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        au[8:12] = size
        clip = read_clip(bytes(au))
        assert clip.ok and clip.declared is None and clip.duration == 2.0
    at = aiff.index(b"COMM") + 10
    aiff[at : at + 4] = (0x7F000000 // 2).to_bytes(4, "big")
    at = aiff.index(b"SSND") + 4
    aiff[at : at + 4] = (0x7F000008).to_bytes(4, "big")
    clip = read_clip(bytes(aiff))
    assert clip.ok and clip.declared is None and clip.duration == 2.0
    at = caf.index(b"data") + 4
    caf[at : at + 8] = b"\xff" * 8
    assert read_clip(bytes(caf)).status in ("ok", "unreadable")  # libsndfile 1.2 does not take -1


def test_mp3_inside_a_wav_is_no_clip():
    assert read_clip(wav(wave_bytes(SOUND, RATE, "MP3"), tag=0x55, bits=0, align=1)).status == "unreadable"


def test_another_ogg_stream_behind_the_first_is_noticed():
    both = wave_bytes(SOUND, RATE, "OGG") + wave_bytes(SOUND[:9000], RATE, "OGG")
    clip = read_clip(both)
    assert clip.status == "truncated" and "another stream" in clip.detail


def test_garbage_in_every_container():
    noise = np.random.default_rng(1)
    for kind, subtype in KINDS:
        head = wave_bytes(SOUND, RATE, kind, subtype)[:12]
        for garbage in (b"", head, head + bytes(5000), head + noise.bytes(5000), head + b"\xff" * 5000):
            assert not read_clip(garbage).ok
    for garbage in (
        b"a",
        b"hello, world",
        bytes(100),
        noise.bytes(100_000),
        b"<html>",
        b"\xff",
        b"ID3",
        b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(9),
    ):
        assert read_clip(garbage).status in ("unreadable", "silent"), garbage[:20]


def test_a_header_of_endless_chunks_ends():
    data = b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 200_000
    assert read_claim(io.BytesIO(data), len(data)).frames is None
    assert read_clip(data).status == "unreadable"


def test_containers_are_known_by_their_first_bytes():
    for kind, subtype in KINDS:
        expected = {"WAVEX": "WAV", "RF64": "WAV"}.get(kind, kind)
        assert sniff(wave_bytes(SOUND, RATE, kind, subtype)[:12]) == expected
    assert [sniff(b) for b in (b"", b"\xff", b"\xff\xf1\0", b"\0\0\0\x20ftypM4A ", b"#EXTM3U")] == [
        "",
        "",
        "ADTS",
        "MP4",
        "",
    ]


def test_a_count_made_at_another_rate_or_for_another_length_is_noticed():
    # a million damaged clips held one in which mpg123 skipped the frame with the count and went on at another rate
    claim = Claim("MP3", 5000, ask=True, rate=32000)
    check_count(claim, 5000, 32000, {})
    check_count(claim, 5000 - 529, 32000, {})
    for found, rate in ((5000, 44100), (5000 - 530, 32000), (5530, 32000)):
        with pytest.raises(StopReading) as stop:
            check_count(claim, found, rate, {})
        assert stop.value.clip.status == "implausible" and f"{found} at {rate} Hz" in stop.value.clip.detail
    check_count(Claim("FLAC", ask=True), 5000, 44100, {})
