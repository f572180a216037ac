"""The processes of a run: who they are, what each works on, and that none waits for one that is gone.

The processes find each other through accelerate, once; after that they talk over sockets of their own. A collective of
torch.distributed would wait 10 to 30 minutes for a process that died; the end of a socket is noticed at once.
Rank 0 listens, all others connect to it (on the loopback interface alone when they share a machine; each has to
show a secret that it got through the process group), and a thread in each process passes on short JSON messages.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_select.errors import ArgumentError, ProcessError
from hf_select.scoring.links import meet
from hf_select.scoring.watch import Watch

if TYPE_CHECKING:
    import torch

__all__ = ["Ranks"]


class Ranks:
    """The processes of this run: one in plain python, several under torchrun, accelerate launch or srun.

    Everything but `rank`, `world`, `local_rank`, `host` and `device` works inside `with ranks.watching():` only. There,
    every process must make the same calls of wait, gather and broadcast in the same order.

    Args:
        device: where this process computes; None takes what accelerate chose.

    Raises:
        ArgumentError: the environment says that several processes were started, but this one believes to be alone.

    >>> ranks = Ranks(device="cpu")
    >>> with ranks.watching():
    ...     ranks.at([0, 1, 2])
    ...     ranks.check()
    ...     ranks.rank, ranks.world, ranks.gather("mine")
    (0, 1, ['mine'])
    """

    def __init__(self, device: str | torch.device | None = None) -> None:
        self.rank, self.world, self.local_rank, self.device = _join(device)
        self.host = socket.gethostname()
        self._watch: Watch | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[Ranks]:
        """Watch over each other until the block ends; all leave it together, or none waits for another.

        A process that fails in the block tells the others, whose next `check` raises. One that gave no sign for 20 s on
        this machine is told to end (SIGTERM, then SIGKILL): a stopped process would otherwise keep the run for ever.
        A process that is deaf for 8 s after another failed (in a computation that never checks) is ended.
        """
        if self.world == 1:
            yield self
            return
        self._watch = watch = Watch(*meet(self.rank, self.world))
        try:
            with watch.sigterm():
                try:
                    yield self
                    watch.finish()
                except BaseException as error:
                    atexit.unregister(_part)  # may wait for those who are gone
                    watch.leave(error)
                    raise
                watch.leave(None)
        finally:
            self._watch = None

    def at(self, rows: Sequence[int]) -> None:
        """Say which rows this process works on now."""
        if self.world > 1:
            self._inside().at(rows)

    def check(self) -> None:
        """Raise ProcessError if another process failed, died, or gave no sign for 20 s."""
        if self.world > 1:
            self._inside().check()

    def wait(self, what: str) -> None:
        """Wait until every process is here; `what` names the place."""
        if self.world > 1:
            self._inside().gather(None, what)

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes, in the order of ranks, to each of them; through JSON."""
        if self.world == 1:
            return [json.loads(json.dumps(value))]  # a tuple becomes a list here too
        return self._inside().gather(value, "gather")

    def broadcast(self, data: bytes | None, owner: int) -> bytes:
        """Return the bytes of the process `owner` to each process; the others' `data` is ignored."""
        if self.world > 1:
            return self._inside().broadcast(data, owner)
        if data is None:
            raise ArgumentError("The owner of a broadcast must pass bytes, got None.")
        return data

    def _inside(self) -> Watch:
        if self._watch is None:
            raise ProcessError("The processes of a run can talk inside `with ranks.watching():` only.")
        return self._watch


def _join(device: str | torch.device | None) -> tuple[int, int, int, torch.device]:
    """Return (rank, world, local rank, device) from the process group that is there, or that the launcher announced."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import get_int_from_env, parse_flag_from_env

    wanted = None if device is None else torch.device(device)
    # of torchrun, accelerate launch and what people export under srun; of MPI's launchers
    started = get_int_from_env(["WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"], 1)
    fresh, grouped = not PartialState._shared_state, torch.distributed.is_initialized()
    on_cpu = wanted is not None and wanted.type == "cpu"
    # Alone PartialState takes processes on a machine without GPU for as many runs of one process.
    cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or on_cpu or ((started > 1 or grouped) and not _has_gpus())
    state = PartialState(cpu=cpu)
    if started > 1 and state.num_processes == 1:
        raise ArgumentError(
            f"WORLD_SIZE={started} says that so many processes were started, but accelerate's state in this one says that "
            "it is rank 0 of 1: each would do all the work. Without GPUs start with `ACCELERATE_USE_CPU=true torchrun "
            f"--nproc_per_node {started} SCRIPT` (`accelerate launch --multi_gpu` can't do it; a PartialState that the "
            "script makes itself needs cpu=True). Under srun export RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and "
            "MASTER_PORT in each task. If this process was started alone, unset WORLD_SIZE."
        )
    found = state.process_index, state.num_processes, max(state.local_process_index, 0), state.device
    if fresh and state.num_processes == 1 and not torch.distributed.is_initialized():
        PartialState._shared_state.clear()  # leave no trace: the user's own Accelerator(...) may want something else
    elif torch.distributed.is_initialized() and not grouped:
        atexit.register(_part)
    if wanted is None or (wanted.type == found[3].type and wanted.index is None):
        return found
    return *found[:3], wanted


def _has_gpus() -> bool:
    import torch

    kind = torch.accelerator.current_accelerator(check_available=True)
    return kind is not None and kind.type != "mps"  # processes on Apple's GPU can't talk to each other


def _part() -> None:
    """Take the process group apart at exit, as torch asks for, after a run that went well."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
