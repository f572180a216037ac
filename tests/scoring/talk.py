"""Several watching blocks in one run, as a script that uses Accelerator itself may have them; prints "right RANK WORLD"."""

import hashlib
import os
import random
import sys
import threading
import time
from pathlib import Path

from hf_select.errors import ProcessError
from hf_select.scoring.ranks import Ranks


def main(order):
    if order == "accelerator-first":
        from accelerate import Accelerator

        Accelerator()
    files = []
    for turn in range(6):
        ranks = Ranks()
        with ranks.watching():
            talk(ranks, 1_000_000 if turn == 0 else 10)
        assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
        files.append(len(list(Path("/proc/self/fd").iterdir())))
    assert files[-1] < files[2] + 3, files  # no socket is left: there are 3 or more in a block
    try:
        ranks.wait("outside")
    except ProcessError:
        os.write(1, f"right {ranks.rank} {ranks.world}\n".encode())


def talk(ranks, size):
    for row in range(ranks.rank * 10):  # the last rank has most to do
        ranks.at([row])
        ranks.check()
        time.sleep(0.01)
    everyone = list(range(ranks.world))
    ranks.wait(f"size {size}")
    assert ranks.gather({"rank": ranks.rank, "pair": (1, None)}) == [{"rank": r, "pair": [1, None]} for r in everyone]
    values = ranks.gather([ranks.rank] * size)
    assert [len(value) for value in values] == [size] * ranks.world and [value[-1] for value in values] == everyone
    for owner in everyone:
        for length in (0, 1, 10 * size):
            data = random.Random(owner * length).randbytes(length)
            got = ranks.broadcast(data if ranks.rank == owner else None, owner)
            assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


if __name__ == "__main__":
    main(sys.argv[1])
