"""What one process of a run knows of the others: what they work on, whether they live, and what they send."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hf_select.errors import ArgumentError, ProcessError
from hf_select.scoring.links import Link, Peer

__all__ = ["Watch"]

BEAT = 0.5  # seconds between two signs of life
SILENCE = 20.0  # seconds without a sign of life after which a process counts as lost
PATIENCE = 8.0  # seconds that a process gets to leave by itself after another one failed
FAREWELL = 3.0  # seconds for last messages, and for a stopped process to leave when it is told to
END = "the end"
TERMINATED = 128 + signal.SIGTERM  # the exit code that shells and schedulers know


class Watch:
    """A thread that listens to the other processes, and what it has heard.

    Rank 0 passes on what concerns all. Only the thread reads the links; only the main thread raises. Between them are
    queues written in C: an exception out of a signal can't leave one of those locked, as it can a Condition.

    Args:
        rank: of this process.
        peers: all processes, by rank.
        links: to all others in rank 0, to rank 0 in the others.
    """

    def __init__(self, rank: int, peers: list[Peer], links: dict[int, Link]) -> None:
        self.rank, self.peers, self.links = rank, peers, links
        self.near = [peer for peer in peers if peer.is_near(peers[rank])]
        self.failure: str | None = None
        self._failed_at = 0.0
        self._rows: dict[str, str] = {}  # by rank (JSON wants text for keys): the rows it last said to work on
        self._silent: list[Peer] = []
        self._numbers = 0  # of calls of gather and broadcast
        self._values: dict[int, dict[int, tuple[str, bytes]]] = {}  # in rank 0: what a gather has so far
        self._todo: queue.SimpleQueue[tuple[dict, bytes]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[int | None, list[str], bytes]] = queue.SimpleQueue()
        self._bell = Link.pair()  # wakes the thread
        self._ended = self._announced = False
        self._until: float | None = None  # when leaving: the latest time
        self._thread = threading.Thread(target=self._serve, name="hf_select-ranks", daemon=True)
        self._thread.start()

    # ---- called from the main thread

    def at(self, rows: Sequence[int]) -> None:
        """Say which rows this process works on now."""
        names = ", ".join(str(int(row)) for row in rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
        mine = {str(self.rank): f" while it worked on row{'s'[: len(rows) > 1]} {names}" if names else ""}
        self._rows.update(mine)
        for link in self.links.values():  # sent from here: the next instruction may be the one that kills us
            link.send({"rows": mine})

    def check(self) -> None:
        """Raise what the thread has found."""
        if self.failure:
            raise ProcessError(self.failure)

    def gather(self, value: Any, what: str) -> list[Any]:
        """Return the values of all processes, which must all be at the same place."""
        number = self._next()
        self._post({"gather": number, "rank": self.rank, "what": what}, json.dumps(value).encode())
        places, values = self._result(number)
        if len(set(places)) > 1:
            raise ProcessError(f"The processes are at different places: {places}. Do all run the same code and data?")
        return json.loads(values)

    def finish(self) -> None:
        """Wait for all at the end of the block; from here on nobody who leaves is missed."""
        self.gather(None, END)

    def broadcast(self, data: bytes | None, owner: int) -> bytes:
        """Return the bytes of the owner to each process."""
        number = self._next()
        if self.rank != owner:
            data = self._result(number)[1]
        elif data is None:
            raise ArgumentError("The owner of a broadcast must pass bytes, got None.")
        else:
            self._post({"bytes": number}, data)
        self.gather(None, "broadcast")  # so that no more than one is on its way: memory
        return data

    def leave(self, error: BaseException | None) -> None:
        """Tell the others what happened, end the thread, and processes of this machine that gave no sign."""
        if isinstance(error, ProcessError) and self.failure:
            if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun's SIGTERM may come before python prints the traceback
                self._announce(self.failure)
        elif error is not None:
            self._post({"failed": self._story(self.peers[self.rank], _reason(error))})
        self._until = time.monotonic() + FAREWELL
        self._ring()
        self._thread.join(2 * FAREWELL)
        for peer in self._silent:
            peer.end(FAREWELL)

    @contextlib.contextmanager
    def sigterm(self) -> Iterator[None]:
        """On SIGTERM say which process of this machine is gone, then leave: torchrun ends all when one has died."""
        before = signal.getsignal(signal.SIGTERM)
        main = threading.current_thread() is threading.main_thread()
        if not main or before in (None, signal.SIG_IGN):
            yield
            return
        signal.signal(signal.SIGTERM, lambda *args: self._terminate(before, *args))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _terminate(self, before: Any, *args: Any) -> None:
        """Handle SIGTERM; takes no lock and no buffered stream, for it may interrupt whoever holds them."""
        if os.getpid() != self.peers[self.rank].pid:  # a fork, such as a worker of a DataLoader
            signal.signal(signal.SIGTERM, before)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        until = time.monotonic() + BEAT
        gone: list[Peer] = []
        while not (self.failure or gone) and time.monotonic() < until:
            time.sleep(0.02)
            gone = [peer for peer in self.near if not peer.alive()]
        lost = "; ".join(self._story(peer, "died") for peer in gone)
        self._announce(self.failure or lost or self._story(self.peers[self.rank], "was told to end (SIGTERM)"))
        if callable(before):
            before(*args)
        elif self._until is None:
            raise SystemExit(TERMINATED)

    def _announce(self, text: str) -> None:
        """Print, once: of the processes of a machine that live the first does it for all."""
        first = next(
            peer for peer in self.near if peer.rank == self.rank or (peer not in self._silent and peer.alive())
        )
        if first.rank == self.rank and not self._announced:
            self._announced = True
            _print(text)

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _post(self, head: dict, body: bytes = b"") -> None:
        self._todo.put((head, body))
        self._ring()

    def _ring(self) -> None:
        self._bell[0].send({})

    def _result(self, number: int) -> tuple[list[str], bytes]:
        while True:
            self.check()
            with contextlib.suppress(queue.Empty):
                got, places, body = self._results.get(timeout=BEAT)
                if got == number:
                    return places, body
                if got is not None:
                    raise ProcessError("The processes call wait, gather and broadcast in different orders.")

    # ---- called from the thread

    def _serve(self) -> None:
        try:
            with contextlib.closing(Link.selector([self._bell[1], *self.links.values()])) as selector:
                self._listen(selector)
        except Exception as error:  # a watch that can't go on is a failure of this process
            self._fail(f"Rank {self.rank} can't watch the others any more: {error!r}")
        finally:
            for link in [*self._bell, *self.links.values()]:
                link.close()

    def _listen(self, selector: Any) -> None:
        last = beat = time.monotonic()
        while self._until is None or (self._busy() and time.monotonic() < self._until):
            for link in Link.ready(selector, BEAT / 5):
                for head, body in link.receive():
                    self._take(head, body, link)
            while not self._todo.empty():
                self._take(*self._todo.get(), None)
            now = time.monotonic()
            if now >= beat:
                beat = now + BEAT
                self._tell({"rows": dict(self._rows) if self.rank == 0 else {}})
                # Only a watch that runs can call others silent: a pause of the whole run (Ctrl-Z) is nobody's silence.
                self._judge_all(min(now - last, 2 * BEAT))
                last = now
            elif not all(link.open for link in self.links.values()):
                self._judge_all(0.0)
            if self.failure and self._until is None and now - self._failed_at > PATIENCE:
                _print(f"Rank {self.rank} did not leave within {PATIENCE:g} s and is ended. {self.failure}")
                os._exit(1)

    def _busy(self) -> bool:
        """Say whether last messages are still on their way; rank 0 leaves last when all is well."""
        if self._ended and self.rank == 0:
            return any(link.open for link in self.links.values())
        return not self._todo.empty() or any(link.open and link.pending for link in self.links.values())

    def _take(self, head: dict, body: bytes, link: Link | None) -> None:
        """Act on a message; those of this process itself come without a link."""
        if link is None and (self.rank != 0 or "failed" in head):
            self._tell(head, body)
        elif "rows" in head:
            self._rows.update(head["rows"])
        elif "failed" in head:
            self._fail(head["failed"])
        elif "gather" in head:
            self._collect(head["gather"], head["rank"], head["what"], body)
        elif "values" in head:
            self._finish(head["values"], head["places"], body)
        elif "bytes" in head:
            if self.rank == 0:
                self._tell(head, body, but=link)
            if link is not None:
                self._results.put((head["bytes"], [], body))

    def _collect(self, number: int, rank: int, what: str, value: bytes) -> None:
        got = self._values.setdefault(number, {})
        got[rank] = (what, value)
        if len(got) == len(self.peers):
            pairs = [pair for _, pair in sorted(self._values.pop(number).items())]
            places, values = [what for what, _ in pairs], b"[" + b",".join(value for _, value in pairs) + b"]"
            self._tell({"values": number, "places": places}, values)
            self._finish(number, places, values)

    def _finish(self, number: int, places: list[str], values: bytes) -> None:
        self._ended = set(places) == {END}
        self._results.put((number, places, values))

    def _tell(self, head: dict, body: bytes = b"", but: Link | None = None) -> None:
        for link in self.links.values():
            if link is not but:
                link.send(head, body)

    def _judge_all(self, awake: float) -> None:
        for rank, link in self.links.items():
            if not (self._ended or self.failure):
                self._judge(self.peers[rank], link, awake)

    def _judge(self, peer: Peer, link: Link, awake: float) -> None:
        link.silent += awake
        link.missing = link.missing + 1 if peer in self.near and not peer.alive() else 0
        if not link.open or link.missing > 1:  # only the second time: its last words may have just arrived
            self._fail(self._story(peer, "died"))
        elif link.silent > SILENCE:
            self._silent += [peer] if peer in self.near else []
            self._fail(self._story(peer, f"gave no sign of life for {SILENCE:g} s"))

    def _fail(self, text: str) -> None:
        if self.failure is None:
            self.failure, self._failed_at = text, time.monotonic()
            self._results.put((None, [], b""))  # wakes whoever waits
            self._tell({"failed": text})

    def _story(self, peer: Peer, what: str) -> str:
        verb, colon, reason = what.partition(": ")
        who = f"Rank {peer.rank} of {len(self.peers)} (host {peer.host}, pid {peer.pid})"
        where = self._rows.get(str(peer.rank), "")
        return f"{who} {verb}{where}{colon}{reason}; finished rows are kept: run again to continue."


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "was interrupted"
    if isinstance(error, SystemExit):
        return "was told to end (SIGTERM)" if error.code == TERMINATED else f"left with exit code {error.code}"
    return f"failed: {type(error).__name__}: {str(error)[:2000]}".rstrip(" .:")


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody to read it
        os.write(2, f"hf_select: {text}\n".encode())
