"""Faults, races and the log of the loopback Hub, seen through the real clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from .clients import REPO, commit, put, rows, status
from .server import Seen


@pytest.mark.parametrize(("how", "done"), [("drop-before", False), ("drop-after", True), ("truncate", True)])
def test_a_lost_answer_to_a_commit(hub, how, done):
    head = hub.create(REPO).find().sha
    hub.fault(how, method="POST", path="/commit/")
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        commit(put("a.txt"))
    assert (hub.head(REPO) != head, "a.txt" in hub.files(REPO)) == (done, done)
    assert [seen.fault for seen in hub.calls("POST", "/commit/")] == [how]


@pytest.mark.parametrize("code", [401, 403, 404, 409, 412, 429, 500, 503])
@pytest.mark.parametrize("after", [False, True])
def test_a_refused_commit(hub, code, after):
    head = hub.create(REPO).find().sha
    fault = hub.fault(code, method="POST", path="/commit/", after=after)
    assert status(commit, put("a.txt")) == code
    assert (hub.head(REPO) != head) == after
    assert fault.matched == 1
    commit(put("b.txt"))  # the fault is spent
    assert "b.txt" in hub.files(REPO)


def test_the_client_waits_as_long_as_it_is_told(hub, naps):
    hub.create(REPO)
    hub.fault(429, path="/preupload/", retry_after=7)
    hub.fault(503, path="/preupload/", nth=2, times=2)
    commit(put("a.txt"))
    assert [seen.status for seen in hub.calls("POST", "/preupload/")] == [429, 503, 503, 200]
    assert naps.asked == [8.0, 2, 4]
    assert "a.txt" in hub.files(REPO)


def test_faults_strike_by_index(hub):
    hub.create(REPO)
    api = HfApi()
    api.whoami()
    hub.forget()
    hub.fault(500, index=1)
    api.whoami()
    assert status(api.whoami) == 500
    api.whoami()
    assert [(seen.index, seen.status) for seen in hub.log] == [(0, 200), (1, 500), (2, 200)]
    with pytest.raises(ValueError, match="drop-before"):
        hub.fault("drop")


def test_a_cut_download_is_taken_up_again(hub, naps, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)  # what arrived is kept in steps of this, 10 MB
    data = os.urandom(300_000)
    hub.create(REPO, {"a.parquet": data, "b.txt": b"text" * 1000})
    hub.fault("truncate", path="/blob/")
    hub.fault("truncate", path="/b.txt", method="GET")
    for name in ("a.parquet", "b.txt"):
        assert Path(hf_hub_download(REPO, name, repo_type="dataset")).read_bytes() == hub.files(REPO)[name]
    ranges = [seen.headers.get("range") for seen in hub.calls("GET", "/blob/")]
    assert ranges == [None, "bytes=150000-"]
    assert [seen.status for seen in hub.calls("GET", "/blob/")] == [200, 206]


def test_a_stall_ends_with_the_clients_patience(hub):
    hub.create(REPO)
    hub.fault("stall", seconds=30, method="GET")
    start = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout):
        HfApi().repo_info(REPO, repo_type="dataset", timeout=0.2)
    hub.fault("stall", seconds=0.2, method="GET")
    HfApi().repo_info(REPO, repo_type="dataset", timeout=10)
    assert 0.4 < time.monotonic() - start < 5


def test_readers_see_the_old_or_the_new_state_between_any_two_requests(hub):
    rows(1, 2, 3).push_to_hub(REPO, "one")
    old, seen = hub.files(REPO), []
    hub.before = hub.after = lambda _: seen.append(hub.files(REPO))
    rows(4, 5).push_to_hub(REPO, "one")
    hub.before = hub.after = None
    assert len(seen) > 20 and hub.files(REPO) != old
    assert all(state in (old, hub.files(REPO)) for state in seen)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_at_its_commit(hub, when):
    hub.create(REPO)
    script = "from huggingface_hub import HfApi; HfApi().upload_file(path_or_fileobj=b'text', path_in_repo='a.txt', "
    script += f"repo_id={REPO!r}, repo_type='dataset')"
    process = subprocess.Popen([sys.executable, "-c", script], env=hub.env())

    def kill(seen: Seen) -> None:
        if "/commit/" in seen.path:
            process.kill()
            process.wait()

    setattr(hub, when, kill)
    assert process.wait(60) == -signal.SIGKILL
    deadline = time.monotonic() + 5  # a request that came in is carried out, whether or not its sender lives
    while "a.txt" not in hub.files(REPO) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "a.txt" in hub.files(REPO)
    assert len(hub.calls("POST", "/commit/")) == 1


def test_of_three_commits_on_one_parent_one_wins(hub):
    hub.create(REPO)
    gate = threading.Barrier(3)

    def race(number: int, parent: str) -> int:
        gate.wait(10)
        try:
            commit(CommitOperationAdd(f"{number}.txt", os.urandom(8)), parent_commit=parent)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(3) as pool:
        for turn in range(1, 9):
            parent = hub.head(REPO)
            assert sorted(pool.map(race, range(3), [parent] * 3)) == [200, 412, 412]
            assert len(hub.commits(REPO)) == 1 + turn and hub.commits(REPO)[0].parent == parent


def test_push_to_hub_of_three_at_once_loses_two(hub):
    """The trap that publishing has to avoid: datasets 5.2 does not retry the 412 that it means to retry."""
    rows(0).push_to_hub(REPO, "zero")
    gate = threading.Barrier(3)
    hub.before = lambda seen: gate.wait(30) if "/commit/" in seen.path else None

    def push(name: str) -> int:
        try:
            rows(1, 2).push_to_hub(REPO, name)
        except HfHubHTTPError as error:
            return error.response.status_code
        return 200

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(push, ("one", "two", "three"))) == [200, 412, 412]
    assert len(hub.commits(REPO)) == 3
    assert sum(path.endswith(".parquet") for path in hub.files(REPO)) == 2


def test_a_leaked_token_is_found(hub):
    hub.create(REPO)
    token = hub.token()
    commit(put("a.txt", b"nothing to see"))
    assert any(seen.headers.get("authorization") == f"Bearer {token}" for seen in hub.log)
    assert hub.leaks(token) == []
    for shift in range(3):
        hub.forget()
        commit(put(f"{shift}.txt", b"x" * shift + token.encode() + b" and more"))
        assert any("/commit/" in place and "body (base64" in place for place in hub.leaks(token))
    hub.forget()
    commit(put("a.parquet", token.encode()))
    assert any("PUT /upload/" in place and "body (plain)" in place for place in hub.leaks(token))
    assert HfApi().get_paths_info(REPO, [token], repo_type="dataset") == []
    assert any("/paths-info/" in place for place in hub.leaks(token))


def test_half_a_request_is_none(hub):
    import socket

    hub.create(REPO)
    lines = b'{"key": "header", "value": {"summary": "cut"}}\n'
    address = ("127.0.0.1", int(hub.url.rsplit(":", 1)[1]))
    with socket.create_connection(address) as connection:
        head = f"POST /api/datasets/{REPO}/commit/main HTTP/1.1\r\nAuthorization: Bearer {hub.token()}\r\n"
        connection.sendall(f"{head}Content-Length: {len(lines) + 1}\r\n\r\n".encode() + lines)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert len(hub.commits(REPO)) == 1 and not hub.crashes
