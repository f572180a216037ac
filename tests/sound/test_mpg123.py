"""A thousand broken MP3s leave stderr clean, and what others write there meanwhile arrives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from hf_select.sound.mpg123 import OURS

BROKEN = """
import numpy as np
from hf_select.audio import read_clip, wave_bytes
rng = np.random.default_rng(0)
x = 0.3 * np.sin(np.arange(32000) * 0.05) + 0.05 * rng.standard_normal(32000)
whole = wave_bytes(x, 16000, "MP3")
def broken(n):
    data = bytearray(whole)
    for at in rng.integers(200, len(data), 20):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data[: int(rng.integers(len(data) // 2, len(data)))] if n % 2 else data)
"""


def run(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BROKEN + code], capture_output=True, text=True, timeout=120, check=False, **options
    )  # type: ignore[call-overload, no-any-return]


def test_a_thousand_broken_mp3s_print_nothing():
    noisy = run("import io, soundfile\nfor n in range(50):\n    soundfile.read(io.BytesIO(broken(n)))")
    assert len(noisy.stderr.splitlines()) > 50  # this is what there is to silence
    done = run("print(sum(not read_clip(broken(n)).ok for n in range(1000)))")
    assert done.returncode == 0 and done.stderr == "", done.stderr[:1000]
    assert int(done.stdout) > 400


def test_what_others_write_arrives_in_order_and_once():
    code = """
import os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
done = threading.Event()
def progress():
    for n in range(200):
        print(f"\\rstep {n}", end="" if n % 3 else "\\n", file=sys.stderr, flush=True)
        os.write(2, f"Warning: step {n} of mine\\n".encode())
        time.sleep(0.001)
    done.set()
writer = threading.Thread(target=progress)
writer.start()
with ThreadPoolExecutor(4) as pool:
    while not done.is_set():
        list(pool.map(lambda data: read_clip(data), [broken(n) for n in range(20)]))
writer.join()
print("after", file=sys.stderr)
"""
    done = run(code)
    assert done.returncode == 0
    assert "mpg123" not in done.stderr and "Frankenstein" not in done.stderr
    for what in (r"Warning: step (\d+) of mine\n", r"\bstep (\d+)(?!\d| of)"):
        found = [int(n) for n in re.findall(what, done.stderr)]
        assert sorted(found) == list(range(200))
        assert sum(a > b for a, b in pairwise(found)) <= 2  # what is written in the instant of handing over may pass it
    assert done.stderr.endswith("after\n")


def test_stderr_may_be_closed():
    done = run(
        "import os\nos.close(2)\nprint(read_clip(whole).status, [read_clip(broken(n)).status for n in range(20)].count('ok') < 20)"
    )
    assert (done.returncode, done.stdout.split()) == (0, ["ok", "True"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_forked_meanwhile_has_its_stderr_back():
    code = """
import os, sys
from hf_select.sound.mpg123 import quiet_mpg123
read_clip(broken(1))
with quiet_mpg123:
    child = os.fork()
    if not child:
        os.write(2, b"from the child\\n")
        read_clip(broken(1))
        os.write(2, b"and again\\n")
        os._exit(0)
    os.write(2, b"from the parent\\n")
    assert os.waitpid(child, 0)[1] == 0
print("at last", file=sys.stderr)
"""
    done = run(code)
    assert done.returncode == 0
    assert done.stderr == "from the child\nand again\nfrom the parent\nat last\n"


def test_no_descriptor_is_left_open():
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts descriptors in /proc")
    code = """
import os
read_clip(whole)
before = len(os.listdir("/proc/self/fd"))
for n in range(50):
    read_clip(broken(n))
print(len(os.listdir("/proc/self/fd")) - before)
"""
    assert run(code).stdout == "0\n"


def test_only_the_lines_of_mpg123_are_taken_out():
    theirs = b"Warning: disk almost full\nNote: 3 rows\n\rstep 1[src/mine.c] error: x\n"
    ours = (
        b"[src/libmpg123/layer3.c:INT123_do_layer3():1774] error: part2_3_length (1088) too large for available bit count (1048)\n"
        b"\nWarning: Encountered more data after announced end of track (frame 3/3). Frankenstein!\n"
        b"Note: Illegal Audio-MPEG-Header 0x00000000 at offset 77.\nNote: Trying to resync...\nNote: Skipped 24 bytes in input.\n"
        b"Note: Hit end of (available) data during resync.\n"
        b"Warning: Xing stream size off by more than 1%, fuzzy seeking may be even more fuzzy than by design!\n"
    )
    assert OURS.sub(b"", ours + theirs + ours) == theirs
    started = time.perf_counter()
    OURS.sub(b"", b"Note: " + b"a" * 1_000_000)
    assert time.perf_counter() - started < 5  # no explosion on a long line
