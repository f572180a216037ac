"""A Hub on loopback for tests: real HTTP, repositories in memory, a log of every request, and faults on demand.

with Hub() as hub:
    hub.create("me/corpus", {"README.md": b"..."})          # set up without a request
    hub.fault(429, path="/commit/", retry_after=2)           # the first commit is put off
    hub.fault("drop-after", index=7)                         # the eighth request is done but not answered
    ...                                                      # the real clients, pointed at hub.url
    hub.head("me/corpus"), hub.files("me/corpus"), hub.log
"""

from __future__ import annotations

import json
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from .access import OWNER, Tokens
from .api import Api
from .leaks import leaks
from .listener import Listener
from .messages import Answer, Request
from .storage import Storage
from .store import Blob, Change, Commit, Refusal, Repo, Store, upload_mode

SAYINGS = {
    401: ("Invalid credentials in Authorization header", None),
    403: ("Forbidden", None),
    404: ("Repository not found", "RepoNotFound"),
    409: ("A conflicting operation is in progress. Please try again.", None),
    412: ("A commit has happened since. Please refresh and try again.", None),
    429: ("We had to rate limit you.", None),
    500: ("Internal Error - We're working hard to fix this as soon as possible!", None),
    503: ("Service Unavailable", None),
}
WAYS = ("drop-before", "drop-after", "stall", "truncate")


@dataclass
class Seen:
    """One request of the log, in the order of arrival over both hosts. `status` is None where no answer went out."""

    index: int
    host: str  # "hub" or "storage"
    method: str
    path: str  # raw, with the query
    headers: dict[str, str]
    body: bytes = field(repr=False)
    status: int | None = None
    fault: str | None = None


@dataclass
class Fault:
    """What goes wrong, and with which requests: those of an index, or the nth and following that match."""

    how: str | int
    index: int | None = None
    method: str | None = None
    path: str = ""
    nth: int = 1
    times: int | None = 1
    seconds: float = 0.0
    retry_after: int | None = None
    after: bool = False  # the error is said although the request was done
    matched: int = 0

    def strikes(self, seen: Seen) -> bool:
        """Say whether this request is hit, and count it."""
        if self.index is not None:
            return seen.index == self.index
        if (self.method and seen.method != self.method) or not re.search(self.path, seen.path):
            return False
        self.matched += 1
        return self.nth <= self.matched and (self.times is None or self.matched < self.nth + self.times)


class Hub:
    """The Hub and its storage, listening from the start until `close`; `before` and `after` are called at each request.

    `before(seen)` comes ahead of the handling, `after(seen)` when the state has changed and the answer is not yet out:
    a process killed there never learns that it succeeded. A request that has come in whole is carried out even when its
    sender is killed in `before`, as on the public Hub; with a drop-before fault it is not.
    """

    def __init__(self) -> None:
        self.store, self.tokens = Store(), Tokens()
        self.log: list[Seen] = []
        self.faults: list[Fault] = []
        self.crashes: list[str] = []  # tracebacks of this server itself: a test with one has failed
        self.before: Callable[[Seen], None] | None = None
        self.after: Callable[[Seen], None] | None = None
        self.closing = threading.Event()
        self._noting = threading.Lock()
        self.api = Api(self.store, self.tokens)
        self._servers = [Listener(self, "hub", self.api.answer), Listener(self, "storage", Storage(self.store).answer)]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        self.api.url, self.api.storage_url = self.url, self.storage_url

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end every connection and stall, and wait for the threads."""
        self.closing.set()
        for server in self._servers:
            server.stop()

    def token(self, kind: str = "write") -> str | None:
        """Return a token: none, wrong, expired, read, write, fine (reaches no repository), or stranger (someone else's)."""
        return self.tokens.get(kind)

    def repo(self, name: str, kind: str = "dataset") -> Repo:
        """Return a repository to look at, or to change behind the clients' back."""
        return self.store.repos[kind, name]

    def create(
        self, name: str, files: dict[str, bytes] | None = None, *, kind: str = "dataset", **state: object
    ) -> Repo:
        """Make a repository (private=, gated=) with files, without a request."""
        with self.store.lock:
            repo = self.store.create(kind, name, **state)
        if files:
            self.commit(name, files, kind=kind)
        return repo

    def commit(self, name: str, files: dict[str, bytes], *, gone: tuple[str, ...] = (), kind: str = "dataset") -> str:
        """Commit to main behind the clients' back; return the sha."""
        with self.store.lock:
            repo, change = self.repo(name, kind), Change("behind your back", gone=list(gone))
            for path, data in files.items():
                change.put[path] = Blob(data, upload_mode(path, len(data), data[:512]) == "lfs")
                if change.put[path].lfs:
                    repo.large[change.put[path].sha256] = data
            return repo.commit(change, "main", OWNER).sha

    def head(self, name: str, revision: str = "main", *, kind: str = "dataset") -> str:
        """Return the sha of a revision."""
        with self.store.lock:
            return self.repo(name, kind).find(revision).sha

    def files(self, name: str, revision: str = "main", *, kind: str = "dataset") -> dict[str, bytes]:
        """Return all files of a revision."""
        with self.store.lock:
            return {path: blob.data for path, blob in sorted(self.repo(name, kind).find(revision).tree.items())}

    def commits(self, name: str, revision: str = "main", *, kind: str = "dataset") -> list[Commit]:
        """Return the commits of a revision, newest first, the Hub's own initial one last."""
        with self.store.lock:
            return self.repo(name, kind).history(revision)

    def fault(self, how: str | int, **where: object) -> Fault:
        """Ask for a fault: a status of 400 or above, drop-before, drop-after, stall (seconds=), or truncate; see Fault."""
        if how not in WAYS and not isinstance(how, int):
            raise ValueError(f"how is a status or one of {WAYS}, not {how!r}")
        self.faults.append(Fault(how, **where))
        return self.faults[-1]

    def calls(self, method: str | None = None, path: str = "") -> list[Seen]:
        """Return the requests of the log with this method, whose path holds this pattern."""
        return [seen for seen in list(self.log) if method in (None, seen.method) and re.search(path, seen.path)]

    def forget(self) -> None:
        """Clear log and faults, so that indices start at 0 again."""
        with self._noting:
            self.log, self.faults = [], []

    def leaks(self, secret: str) -> list[str]:
        """Return where a secret was seen other than in an Authorization header to the Hub, in any encoding."""
        return [place for seen in list(self.log) for place in leaks(seen, secret)]

    def serve(self, host: str, request: Request, answering: Callable[[Request], Answer]) -> tuple[Seen, Answer | None]:
        """Note a request, handle it, and let it fail as asked; no answer means a dropped connection."""
        with self._noting:
            seen = Seen(len(self.log), host, request.method, request.target, request.headers, request.body)
            self.log.append(seen)
            fault = next(iter([fault for fault in self.faults if fault.strikes(seen)]), None)  # each counts for itself
        if self.before:
            self.before(seen)
        if fault:
            seen.fault = str(fault.how)
            if fault.how == "stall":
                self.closing.wait(fault.seconds)
        answer = self._failed(fault) if fault and not fault.after else None
        if answer is None and not (fault and fault.how == "drop-before"):
            answer = self._handled(request, answering)
            if fault and fault.after:
                answer = self._failed(fault)
            if fault and fault.how == "drop-after":
                answer = None
        if self.after:
            self.after(seen)
        if answer is not None:
            seen.status = answer.status
        return seen, answer

    def _handled(self, request: Request, answering: Callable[[Request], Answer]) -> Answer:
        try:
            return answering(request)
        except Refusal as refusal:
            return _refused(refusal)
        except Exception:
            self.crashes.append(traceback.format_exc())
            return _refused(Refusal(500, "the test server itself failed"))

    def _failed(self, fault: Fault) -> Answer | None:
        if not isinstance(fault.how, int):
            return None
        text, code = SAYINGS.get(fault.how, (HTTPStatus(fault.how).phrase, None))
        wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        return _refused(Refusal(fault.how, text, code, wait))


def _refused(refusal: Refusal) -> Answer:
    """Return the answer of a refusal, as the Hub words it in headers and body."""
    headers = {**refusal.headers, "X-Error-Message": refusal.message.encode("ascii", "replace").decode()}
    if refusal.code:
        headers["X-Error-Code"] = refusal.code
    body = json.dumps({"error": refusal.message}).encode()
    return Answer(body, refusal.status, {"Content-Type": "application/json; charset=utf-8", **headers})
