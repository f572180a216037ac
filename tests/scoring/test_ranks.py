"""Real processes, started by torchrun and by hand: they talk, and when one is gone none is left waiting."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from hf_select.errors import ProcessError
from hf_select.scoring import links
from hf_select.scoring.ranks import Ranks

HERE = Path(__file__).parent
LIMIT = 30  # seconds within which all must be gone; on a quiet machine it takes 1 to 2
START = 120  # seconds that importing torch may take on a loaded machine


class Run:
    """Some processes of a script; what they print goes to one file each, or under torchrun to one for all."""

    def __init__(self, folder: Path, launcher: str, script: str, argument: str | dict, world: int, **env: str) -> None:
        self.folder, self.world, port = folder, world, str(free_port())
        command = [str(HERE / script), argument if isinstance(argument, str) else json.dumps(argument)]
        if launcher == "torchrun":
            torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(world), "--master_port", port]
            self.parts = [self._start("all", [*torchrun, *command], **{"ACCELERATE_USE_CPU": "true", **env})]
        else:
            env |= {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            self.parts = [self._start(str(r), command, RANK=str(r), LOCAL_RANK=str(r), **env) for r in range(world)]

    def _start(self, name: str, command: list[str], **variables: str) -> subprocess.Popen:
        cleared = {
            key: value for key, value in os.environ.items() if not key.endswith(("RANK", "WORLD_SIZE", "USE_CPU"))
        }
        environment = {**cleared, "OMP_NUM_THREADS": "1", **variables}
        with (self.folder / name).open("wb") as file:
            return subprocess.Popen([sys.executable, *command], stdout=file, stderr=subprocess.STDOUT, env=environment)

    def output(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.iterdir()))

    def lines(self, start: str) -> list[list[str]]:
        return [line.split() for line in self.output().splitlines() if f"{line} ".startswith(f"{start} ")]

    def until(self, *starts: str, times: int = 1) -> None:
        """Wait until each of these was printed so many times."""
        end = time.monotonic() + START
        while any(len(self.lines(start)) < times for start in starts):
            assert time.monotonic() < end, self.output()
            end = min(end, time.monotonic() + 5) if any(part.poll() for part in self.parts) else end
            time.sleep(0.05)

    def working(self) -> None:
        """Wait until all have had their second batch."""
        self.until(*(f"at {rank}" for rank in range(self.world)), times=2)

    def pid(self, rank: int) -> int:
        return next(int(words[2]) for words in self.lines("here") if words[1] == str(rank))

    def rows(self, rank: int) -> str:
        row = int(self.lines(f"at {rank}")[-1][2])
        return f"rows {row}, {row + 1}"

    def well(self) -> None:
        """Wait until all have ended, well."""
        assert [part.wait(START) for part in self.parts] == [0] * len(self.parts), self.output()

    def kill(self, rank: int, number: signal.Signals = signal.SIGKILL) -> float:
        """Send a signal to a rank and return after how many seconds all processes are gone."""
        os.kill(self.pid(rank), number)
        return self.seconds_until_gone(time.monotonic())

    def seconds_until_gone(self, since: float) -> float:
        """Return how long after `since` the last process ended."""
        pids = [self.pid(rank) for rank in range(self.world)]
        for part in self.parts:
            part.wait(LIMIT)
        while not all(gone(pid) for pid in pids):
            assert time.monotonic() < since + LIMIT, self.output()
            time.sleep(0.02)
        return time.monotonic() - since

    def close(self) -> None:
        for part in self.parts:
            for process in [*psutil.Process(part.pid).children(True), part] if part.poll() is None else []:
                process.kill()
            part.wait()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def launch(tmp_path):
    runs = []

    def start(launcher: str, script: str, argument: str | dict, world: int = 2, **environment: str) -> Run:
        runs.append(Run(tmp_path, launcher, script, argument, world, **environment))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


both = pytest.mark.parametrize("launcher", ["torchrun", "by hand"])
either = pytest.mark.parametrize("rank", [0, 1])
some = pytest.mark.parametrize(
    ("rank", "launcher"), [(0, "by hand"), (1, "torchrun")]
)  # a pair takes half a minute less


@both
def test_uneven_work_ends_together(launch, launcher):
    run = launch(launcher, "work.py", {"rows": 7, "seconds": 0.01})
    run.well()
    assert len(run.lines("done")) == 2 and "cpu" in run.lines("here")[0]
    assert {int(words[2]) for words in run.lines("at")} == {0, 2, 4, 6}
    assert not any(word in run.output() for word in ("Warning", "Traceback", "[W"))


@pytest.mark.slow
@pytest.mark.parametrize(("order", "launcher"), [("accelerator-first", "torchrun"), ("alone", "by hand")])
def test_they_talk_in_several_blocks(launch, launcher, order):
    run = launch(launcher, "talk.py", order, world=3 if launcher == "by hand" else 2, ACCELERATE_USE_CPU="true")
    run.well()
    assert sorted(run.lines("right")) == [["right", str(rank), str(run.world)] for rank in range(run.world)]


@some
def test_an_exception_ends_all_and_names_the_rows(launch, launcher, rank):
    row = 8 + 2 * rank
    run = launch(launcher, "work.py", {"fail": [rank, row]})
    run.until(f"at {rank} {row}")
    assert run.seconds_until_gone(time.monotonic()) < LIMIT
    what = f"failed while it worked on rows {row}, {row + 1}: ValueError: a bad row; finished rows are kept"
    assert f"Rank {rank} of 2 (host {socket.gethostname()}, pid {run.pid(rank)}) {what}" in run.output()


@both
@either
def test_a_killed_process_ends_all_and_is_named(launch, launcher, rank):
    run = launch(launcher, "work.py", {})
    run.working()
    assert run.kill(rank) < LIMIT
    what = f"died while it worked on {run.rows(rank)}; finished rows are kept: run again to continue."
    assert f"Rank {rank} of 2 (host {socket.gethostname()}, pid {run.pid(rank)}) {what}" in run.output()


@pytest.mark.slow
@some
def test_those_who_wait_notice(launch, launcher, rank):
    run = launch(launcher, "work.py", {"rows": 2, "seconds": 600})  # rank 0 works, rank 1 has nothing to do
    run.until("at 0")
    time.sleep(1)
    assert run.kill(rank) < LIMIT
    what = " while it worked on rows 0, 1" if rank == 0 else ""
    assert f"pid {run.pid(rank)}) died{what}; finished" in run.output()


@pytest.mark.slow
def test_of_three_processes_all_hear_which_one_died(launch):
    run = launch("by hand", "work.py", {}, world=3)
    run.working()
    assert run.kill(1) < LIMIT
    assert run.output().count(f"ProcessError: Rank 1 of 3 (host {socket.gethostname()}, pid {run.pid(1)}) died") == 2


@pytest.mark.slow
@either
def test_a_killed_process_whose_children_hold_its_sockets_is_noticed(launch, rank):
    run = launch("by hand", "work.py", {"forks": True})
    run.working()
    children = [child for part in run.parts for child in psutil.Process(part.pid).children()]
    assert run.kill(rank) < 20  # before its silence says so
    for child in children:
        child.terminate()  # it has inherited our way with SIGTERM, but must not speak for its parent
    until = time.monotonic() + LIMIT
    while not all(gone(child.pid) for child in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert len(children) == 2 and all(gone(child.pid) for child in children)
    assert f"pid {run.pid(rank)}) died while" in run.output() and "was told to end" not in run.output()


@pytest.mark.slow
@some
def test_a_stopped_process_ends_all(launch, launcher, rank):
    run = launch(launcher, "work.py", {"silence": 4})
    run.working()
    assert 3 < run.kill(rank, signal.SIGSTOP) < LIMIT
    assert f"pid {run.pid(rank)}) gave no sign of life for 4 s while it worked on rows " in run.output()


@pytest.mark.slow
@both
def test_a_pause_of_the_whole_run_is_nobodys_silence(launch, launcher):
    run = launch(launcher, "work.py", {"silence": 4, "rows": 200})
    run.working()
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for rank in (0, 1):
            os.kill(run.pid(rank), number)
        time.sleep(6 if number == signal.SIGSTOP else 0)
    run.well()
    assert len(run.lines("done")) == 2


@pytest.mark.parametrize(("rows", "launcher"), [(100_000, "torchrun"), (2, "by hand")])
def test_control_c_gives_the_prompt_back(launch, launcher, rows):
    run = launch(launcher, "work.py", {"rows": rows, "seconds": 30})
    run.until("at 0")
    time.sleep(1)
    for part in run.parts:  # torchrun's ranks have sessions of their own: the terminal's signal reaches torchrun alone
        part.send_signal(signal.SIGINT)
    assert run.seconds_until_gone(time.monotonic()) < 10  # 1 to 1.5 s on a quiet machine
    assert "KeyboardInterrupt" in run.output()


def test_a_scheduler_that_ends_a_run_is_obeyed(launch):
    run = launch("by hand", "work.py", {"seconds": 30})
    run.until("at 0", "at 1")
    for part in run.parts:
        part.send_signal(signal.SIGTERM)
    assert [part.wait(LIMIT) for part in run.parts] == [143, 143]
    assert "was told to end (SIGTERM) while it worked on rows" in run.output() and "Traceback" not in run.output()


@pytest.mark.slow
def test_a_process_that_never_checks_is_ended(launch):
    run = launch("by hand", "work.py", {"deaf": 0, "fail": [1, 6]})
    run.until("at 1 6")
    assert 7 < run.seconds_until_gone(time.monotonic()) < LIMIT
    assert "Rank 0 did not leave within 8 s and is ended. Rank 1 of 2" in run.output()


@either
def test_a_failure_before_the_block_is_said(launch, rank):
    run = launch("by hand", "work.py", {"early": rank})
    run.until("here 0", "here 1")
    assert run.seconds_until_gone(time.monotonic()) < LIMIT
    assert f"ProcessError: Rank {1 - rank} of 2 could not meet the others: has one of them failed" in run.output()


def test_processes_that_believe_to_be_alone_are_refused(launch):
    run = launch("by hand", "talk.py", "accelerator-first")  # without GPU and ACCELERATE_USE_CPU accelerate says 0 of 1
    assert [part.wait(START) for part in run.parts] == [1, 1]
    assert run.output().count("ArgumentError: WORLD_SIZE=2 says") == 2
    assert "ACCELERATE_USE_CPU=true torchrun" in run.output()


def test_plain_python_opens_no_port_and_leaves_no_trace():
    code = """if True:
        import psutil, threading, torch
        from accelerate import PartialState
        from hf_select.scoring.ranks import Ranks
        ranks = Ranks()
        with ranks.watching():
            ranks.at([1]), ranks.check(), ranks.wait("a"), ranks.broadcast(b"x", 0)
            print(psutil.Process().net_connections(), threading.active_count(), torch.distributed.is_initialized())
        print(ranks.gather((1,)), ranks.rank, ranks.world, PartialState._shared_state == {})
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[] 1 False", "[[1]] 0 1 True"], done.stderr


def test_the_device_that_was_asked_for():
    assert Ranks(device="meta").device.type == "meta" and Ranks(device="cpu").world == 1


def test_messages_of_any_size_arrive_whole_and_in_order():
    one, other = links.Link.pair()
    sent = [({"number": n}, os.urandom(size)) for n, size in enumerate([0, 1, 3_000_000, 5, 0, 70_000])]
    for head, body in sent:
        one.send(head, body)
    assert one.pending  # no send waited for the other side
    got = []
    with links.Link.selector([one, other]) as selector:
        while len(got) < len(sent):
            for link in links.Link.ready(selector, 1.0):
                got += link.receive()
    assert got == sent
    one.close()
    assert list(other.receive()) == [] and not other.open
    other.close()


@pytest.mark.parametrize("together", [True, False])
def test_strangers_are_not_let_in(together):
    peers = [links.Peer(rank, "here", 1, "here", "here") for rank in range(3)]
    with links._server(together) as server:
        port = server.getsockname()[1]
        secret, found = b"s" * 32, {}
        thread = threading.Thread(target=lambda: found.update(links._accept(server, secret, peers)))
        thread.start()
        wrong = [links.GREETING.pack(b"x" * 32, 1), links.GREETING.pack(secret, 7), b"GET / HTTP/1.1\r\n\r\n" * 9]
        strangers = [socket.create_connection(("127.0.0.1", port)) for _ in wrong]
        for stranger, words in zip(strangers, wrong, strict=True):
            stranger.sendall(words)
        friends = [links._connect(rank, peers[0], ["", "127.0.0.1"], port, secret) for rank in (2, 1)]
        thread.join(30)
        assert sorted(found) == [1, 2]
        for end in [*strangers, *friends, *(link.socket for link in found.values())]:
            end.close()


def test_a_process_that_does_not_come_is_named(monkeypatch):
    monkeypatch.setattr(links, "MEETING", 0.1)
    peers = [links.Peer(rank, "here", 1, "here", "here") for rank in range(2)]
    with links._server(together=True) as server, pytest.raises(ProcessError, match=r"rank 1 \(host here\)"):
        links._accept(server, b"s" * 32, peers)
