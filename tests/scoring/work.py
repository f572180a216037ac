"""Fake work shared out among the processes of a run, two rows at a time; the argument is JSON, see `main`."""

import json
import os
import sys
import time

from hf_select.scoring import watch
from hf_select.scoring.ranks import Ranks


def say(*words):
    """Print whole lines: under torchrun, which takes buffers away, the processes' words would mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(rows=100_000, seconds=0.1, silence=20.0, fail=(), deaf=-1, early=-1, forks=False):
    """Say "here RANK PID", "at RANK ROW" and "done RANK".

    `fail`: [rank, row] that raises; `deaf`: rank that never checks; `early`: rank that fails before the block.
    """
    watch.SILENCE = silence
    ranks = Ranks()
    say("here", ranks.rank, os.getpid(), ranks.device.type)
    if early == ranks.rank:
        raise ValueError("no such file")
    with ranks.watching():
        if forks and os.fork() == 0:  # as a DataLoader's worker: it holds the parent's sockets open
            time.sleep(600)
        for row in range(2 * ranks.rank, rows, 2 * ranks.world):
            ranks.at([row, row + 1])
            ranks.check()
            say("at", ranks.rank, row)
            if list(fail) == [ranks.rank, row]:
                raise ValueError("a bad row")
            time.sleep(600 if deaf == ranks.rank else seconds)
        ranks.wait("work")
    say("done", ranks.rank)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
