"""Sockets between the processes of a run: how they meet, whole messages that never block, and who is alive."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import selectors
import signal
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_select.errors import ProcessError

__all__ = ["Link", "Peer", "meet"]

MEETING = 60.0  # seconds that the processes may need to connect, once all are there
SIZES = struct.Struct("!IQ")  # bytes of the head and of the body
GREETING = struct.Struct("!32sI")  # the secret, the rank


@dataclass(frozen=True)
class Peer:
    """A process of the run; `processes` and `network` name the machine as far as containers can tell."""

    rank: int
    host: str
    pid: int
    processes: str
    network: str

    @classmethod
    def me(cls, rank: int) -> Peer:
        """Describe this process."""
        host = socket.gethostname()
        return cls(rank, host, os.getpid(), f"{host} {_namespace('pid')}", f"{host} {_namespace('net')}")

    def is_near(self, other: Peer) -> bool:
        """Say whether each can see the other's process number: the same machine, not apart in containers."""
        return self.processes == other.processes

    def alive(self) -> bool:
        """Say whether this process, which is near, runs (a zombie does not)."""
        if os.name != "posix":  # no way to ask without harm: there the end of its socket must do
            return True
        try:
            os.kill(self.pid, 0)
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except ProcessLookupError:
            return False
        except OSError:  # another user's process, or no /proc here
            return True

    def end(self, seconds: float) -> None:
        """Tell this process, which is near and silent, to end; kill it when it does not."""
        if os.name != "posix":
            return
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)  # a stopped process acts on SIGTERM when it goes on
            until = time.monotonic() + seconds
            while self.alive() and time.monotonic() < until:
                time.sleep(0.05)
            if self.alive():
                os.kill(self.pid, signal.SIGKILL)


def _namespace(kind: str) -> str:
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:  # not Linux: the name of the host must do
        return ""


class Link:
    """One connection. Messages are a JSON head and bytes; they are sent as far as they go, the rest with `flush`."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if connection.family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a short message waits 40 ms
        self.socket, self.open, self.silent, self.missing = connection, True, 0.0, 0
        self._in, self._out = bytearray(), deque[memoryview]()
        self._lock = threading.Lock()

    @classmethod
    def pair(cls) -> tuple[Link, Link]:
        """Return two ends of one connection inside this process."""
        one, other = socket.socketpair()
        return cls(one), cls(other)

    @property
    def pending(self) -> bool:
        """Say whether something waits to be sent."""
        return bool(self._out)

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Send a message, or as much of it as the connection takes now."""
        text = json.dumps(head).encode()
        with self._lock:
            self._out.append(memoryview(SIZES.pack(len(text), len(body)) + text))
            if body:
                self._out.append(memoryview(body))
        self.flush()

    def flush(self) -> None:
        """Send as much of what is pending as the connection takes now."""
        with self._lock:
            while self._out:
                try:
                    sent = self.socket.send(self._out[0])
                except BlockingIOError:
                    return
                except OSError:  # gone; whoever receives will notice, after the last words that may lie there
                    self._out.clear()
                    return
                self._out[0] = self._out[0][sent:]
                if not self._out[0]:
                    self._out.popleft()

    def receive(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Take what has come and yield the messages that are complete; at the end of the connection `open` is False."""
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.open, self.silent = bool(data), 0.0
        self._in += data
        while len(self._in) >= SIZES.size:
            text, body = SIZES.unpack_from(self._in)
            start, stop = SIZES.size + text, SIZES.size + text + body
            if len(self._in) < stop:
                break
            message = json.loads(self._in[SIZES.size : start]), bytes(self._in[start:stop])
            del self._in[:stop]
            yield message

    def close(self) -> None:
        """Close the connection."""
        self.open = False
        self.socket.close()

    @staticmethod
    def selector(links: Iterable[Link]) -> selectors.BaseSelector:
        """Return what `ready` needs to look after these links."""
        selector = selectors.DefaultSelector()
        for link in links:
            selector.register(link.socket, selectors.EVENT_READ, link)
        return selector

    @staticmethod
    def ready(selector: selectors.BaseSelector, seconds: float) -> list[Link]:
        """Wait for at most so long, send what can be sent, and return the links on which something came."""
        for key in list(selector.get_map().values()):
            if not key.data.open:
                selector.unregister(key.fileobj)
                continue
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if key.data.pending else 0)
            if events != key.events:
                selector.modify(key.fileobj, events, key.data)
        found = selector.select(seconds)
        for key, events in found:
            if events & selectors.EVENT_WRITE:
                key.data.flush()
        return [key.data for key, events in found if events & selectors.EVENT_READ]


def meet(rank: int, world: int) -> tuple[int, list[Peer], dict[int, Link]]:
    """Return this rank, all processes, and the links: rank 0 to all others, the others to rank 0.

    Once in here the processes talk through accelerate, so all must come.
    """
    from accelerate.utils import broadcast_object_list, gather_object

    try:
        found = (Peer(**entry) for entry in gather_object([asdict(Peer.me(rank))]))
        peers = sorted(found, key=lambda peer: peer.rank)
        if rank != 0:
            offer = broadcast_object_list([None])[0]
            return rank, peers, {0: Link(_connect(rank, peers[0], *offer))}
        together = len({peer.network for peer in peers}) == 1
        with _server(together) as server:
            secret = secrets.token_bytes(32)
            hosts = ["127.0.0.1"] if together else [os.environ.get("MASTER_ADDR", ""), peers[0].host, socket.getfqdn()]
            broadcast_object_list([(hosts, server.getsockname()[1], secret)])
            return rank, peers, _accept(server, secret, peers)
    except ProcessError:
        raise
    except RuntimeError as error:  # of torch.distributed
        raise ProcessError(
            f"Rank {rank} of {world} could not meet the others: has one of them failed before? {error}"
        ) from error


def _server(together: bool) -> socket.socket:
    if together:
        return socket.create_server(("127.0.0.1", 0), backlog=128)
    both = socket.has_dualstack_ipv6()
    return socket.create_server(
        ("", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both, backlog=128
    )


def _accept(server: socket.socket, secret: bytes, peers: list[Peer]) -> dict[int, Link]:
    links: dict[int, Link] = {}
    until = time.monotonic() + MEETING
    while len(links) < len(peers) - 1:
        server.settimeout(max(0.01, until - time.monotonic()))
        try:
            connection, _ = server.accept()
        except TimeoutError as error:
            missing = [f"rank {peer.rank} (host {peer.host})" for peer in peers[1:] if peer.rank not in links]
            raise ProcessError(
                f"Not connected after {MEETING:g} s: {', '.join(missing)}. Is it still alive?"
            ) from error
        rank = _greeted(connection, secret)
        if rank in range(1, len(peers)) and rank not in links:
            links[rank] = Link(connection)
        else:
            connection.close()
    return links


def _greeted(connection: socket.socket, secret: bytes) -> int:
    """Return the rank of who connects, or -1 for a stranger."""
    connection.settimeout(5.0)
    try:
        greeting = b""
        while len(greeting) < GREETING.size:  # no byte more: the first message may follow at once
            more = connection.recv(GREETING.size - len(greeting))
            if not more:
                return -1
            greeting += more
        shown, rank = GREETING.unpack(greeting)
    except (OSError, struct.error):
        return -1
    return rank if hmac.compare_digest(shown, secret) else -1


def _connect(rank: int, zero: Peer, hosts: list[str], port: int, secret: bytes) -> socket.socket:
    problems = []
    for host in filter(None, hosts):
        try:
            connection = socket.create_connection((host, port), timeout=MEETING / 4)
            connection.sendall(GREETING.pack(secret, rank))
            return connection
        except OSError as error:
            problems.append(f"{host}: {error}")
    raise ProcessError(
        f"Rank {rank} can't reach rank 0 (host {zero.host}) at port {port}: {'; '.join(problems)}. "
        "Do the machines of this run let connections between them through?"
    )
