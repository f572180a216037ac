"""Start a script of this folder in two real processes, by torchrun."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def torchrun(script: str | Path, *arguments: str, limit: int = 240) -> str:
    """Wait until both processes have ended, well, and return what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", port]
    kept = {key: value for key, value in os.environ.items() if not key.endswith(("RANK", "WORLD_SIZE"))}
    folder = Path(arguments[0]) if Path(arguments[0]).is_dir() else Path(arguments[0]).parent
    done = subprocess.run(
        [*command, str(HERE / script), *arguments], capture_output=True, text=True, timeout=limit,
        env={**kept, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
