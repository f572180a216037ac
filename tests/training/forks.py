"""Several processes as under torchrun, but forks of one that has imported everything: that saves seconds each time.

forks.py LAB     # for each line of JSON on stdin, LAB.main(*line) in two forks; answers with a line of JSON
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

HUNG = 120.0


def run_forks(folder: Path, world: int, work: Callable[[int], object]) -> list[int]:
    """Run `work(rank)` in forks; when one has died the others are killed, as torchrun does. Return the exit codes.

    What they print goes to FOLDER/printed-RANK.
    """
    folder.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sys.stdout.flush()
    pids = {}
    for rank in range(world):
        pids[pid := os.fork()] = rank
        if pid == 0:
            _be(rank, world, port, folder, work)
    codes: list[int] = [0] * world
    while pids:
        pid, status = os.waitpid(-1, 0)
        codes[pids.pop(pid)] = os.waitstatus_to_exitcode(status)
        if any(codes):
            for other in pids:
                os.kill(other, signal.SIGKILL)
    return codes


def printed(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("printed-*")))


def _be(rank: int, world: int, port: int, folder: Path, work: Callable[[int], object]) -> None:
    code = 1
    try:
        faulthandler.dump_traceback_later(HUNG, exit=True)
        with (folder / f"printed-{rank}").open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if world > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world),
                MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true",
            )  # fmt: skip
        work(rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main(name: str) -> None:
    lab = importlib.import_module(name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        arguments = json.loads(line)
        folder = Path(arguments[0])
        codes = run_forks(folder, 2, lambda rank, arguments=arguments: lab.main(*arguments))
        print(json.dumps({"codes": codes, "printed": printed(folder)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
