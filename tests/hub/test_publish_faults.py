"""Whatever goes wrong at whichever request of a publish: readers see the old state or the new one, and a second call ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from datasets import Audio

from hf_select.errors import ArgumentError, HubError, SelectionError
from hf_select.hub.subset import MANIFEST, load_subset, read_manifest

from .server import Seen
from .tiny import CONFIG, be_patient, clips, selection, send

FAULTS = {
    "dropped before": {"how": "drop-before"},
    "dropped after": {"how": "drop-after"},
    "429": {"how": 429, "retry_after": 1},
    "500": {"how": 500},
    "500 after": {"how": 500, "after": True},
    "503": {"how": 503},
    "stall": {"how": "stall", "seconds": 0.3},
    "truncated": {"how": "truncate"},
    "401": {"how": 401},
}
CARD = "---\nlicense: cc-by-nd-4.0\n---\n# A source\n"


def complete(hub, repo: str, *configs: str) -> None:
    """Check that a repository holds these configs whole, that no other files lie there, and that its card lists them."""
    files = hub.files(repo)
    known = {"README.md", ".gitattributes"}
    for name in configs:
        manifest = read_manifest(files[f"{name}/{MANIFEST}"], repo)
        tree = hub.repo(repo).find().tree
        assert {path: tree[path].sha256 for path in manifest} == manifest
        known |= {*manifest, f"{name}/{MANIFEST}"}
        assert f"- config_name: {name}\n" in files["README.md"].decode()
    assert set(files) == known


class Case:
    """A repository with a config `words` of four files and another config, over which `words` of three is published."""

    def __init__(self, hub, rows: bool) -> None:
        self.hub, self.kwargs = hub, {}
        if not rows:
            hub.create("me/source", {"README.md": CARD.encode()})
            self.kwargs = {"source": "me/source", "source_revision": hub.head("me/source"), "licence": None}
        send("me/model", selection(16, 2), **self.kwargs)
        send("me/model", selection(12, 1), name="other", **self.kwargs)
        self.old = hub.files("me/model")
        hub.forget()
        send("me/model", **self.kwargs)
        self.requests, self.new = len(hub.log), hub.files("me/model")
        complete(hub, "me/model", CONFIG, "other")
        assert sum(path.startswith(f"{CONFIG}/train") for path in self.new) == 3 * rows
        assert f"{CONFIG}/figures/kept-0.png" in self.new
        assert len(hub.commits("me/model")) == 4

    def repo(self, name: str) -> str:
        """Make a repository in the old state."""
        self.hub.create(name, self._named(self.old, name))
        self.hub.forget()
        return name

    def state(self, name: str) -> str:
        files = self.hub.files(name)
        found = [word for word in ("old", "new") if files == self._named(getattr(self, word), name)]
        return found[0] if found else f"neither old nor new: {sorted(files)}"

    def ends(self, name: str, where: str) -> None:
        """Publish again without a fault: that completes it, in one commit, and sends nothing that the Hub has."""
        had = set(self.hub.repo(name).large)
        self.hub.forget()
        send(name, **self.kwargs)
        assert self.state(name) == "new", where
        assert not [seen for seen in self.hub.calls("PUT", "/upload/") if seen.path.split("?")[0][-64:] in had], where
        assert len(self.hub.commits(name)) == 3, where

    def _named(self, files: dict[str, bytes], name: str) -> dict[str, bytes]:
        def named(data: bytes) -> bytes:
            title = f"\n# {name.removeprefix('me/')}\n"
            return data.replace(b"me/model", name.encode()).replace(b"\n# model\n", title.encode())

        return {path: named(data) if path == "README.md" else data for path, data in files.items()}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "index"])
def test_a_fault_at_every_request(quick, naps, monkeypatch, rows, fault):
    case, failed = Case(quick, rows), 0
    assert case.requests >= (28 if rows else 16)  # with nine faults more than 400 in all
    if fault == "stall":
        be_patient(monkeypatch, naps, 0.07)
    for index in range(case.requests):
        where, name = f"{fault} at request {index}", f"me/r{index:03d}"
        case.repo(name)
        quick.fault(index=index, **FAULTS[fault])
        try:
            send(name, **case.kwargs)
        except HubError as error:
            failed += 1
            assert case.state(name) == "old", where
            assert "hf auth login" in str(error), where
        else:
            assert fault != "401" or "repos/create" in quick.log[index].path, where  # it is there already
            assert case.state(name) == "new", where
        hit = quick.log[index]
        assert hit.fault is not None, where
        if case.state(name) == "old" or index % 12 == 0:
            case.ends(name, f"{where}: {hit.method} {hit.path}")
        assert len(quick.commits(name)) == 3, where
    assert failed == (case.requests - 1 if fault == "401" else 0)
    if fault == "stall":
        time.sleep(0.3)  # requests that were given up are carried out late
        assert all(len(quick.commits(f"me/r{index:03d}")) == 3 for index in range(case.requests))
        assert {case.state(f"me/r{index:03d}") for index in range(case.requests)} == {"new"}


WHERE = (
    "whoami",
    "repos/create",
    "/preupload/",
    "objects/batch",
    "/upload/",
    "/tree/",
    "README.md",
    "/commit/",
)


def test_what_never_ends_is_told(quick):
    """A fault that stays: given up with the command to resume; the old state; later it is completed."""
    case = Case(quick, True)
    for number, path in enumerate(WHERE):
        name = case.repo(f"me/r{number}")
        quick.fault(503, path=path, times=None)
        with pytest.raises(HubError, match="call again to complete it") as caught:
            send(name)
            pytest.fail(path)
        assert caught.value.__cause__, path
        assert case.state(name) == "old", path
        case.ends(name, path)


def test_a_card_that_could_not_be_read_is_not_lost(quick):
    """The client says "not found" both for a missing file and for one that it could not ask for."""
    case = Case(quick, True)
    name = case.repo("me/r")
    quick.fault(503, path="README.md", times=12)  # longer than the client itself tries
    send(name)
    assert case.state(name) == "new"


def test_an_index_needs_a_commit(quick):
    quick.create("me/source", {"README.md": CARD.encode()})
    for revision in ("main", None, quick.head("me/source")[:8]):
        with pytest.raises(ArgumentError, match="a commit"):
            send("me/r", source="me/source", source_revision=revision, licence=None)


def test_the_client_does_not_wait_for_ever(quick):
    import huggingface_hub

    send("me/r")
    assert huggingface_hub.get_session().timeout.read == 20


def test_waiting_is_as_long_as_asked(quick, naps):
    case = Case(quick, True)
    case.repo("me/r")
    quick.fault(429, path="/commit/", retry_after=77)
    naps.asked.clear()
    send("me/r")
    assert len(naps.asked) == 1 and 77 <= naps.asked[0] <= 97


PUBLISHER = """
import os, sys
import pytest
from tests.hub.tiny import make_quick, send
from tests.hub.wiring import forget_connections
make_quick(pytest.MonkeyPatch())
print(send("me/model").changed, flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        forget_connections()
        print(os.getpid(), flush=True)
        send(line.strip())
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def test_a_kill_after_every_request(quick):
    """SIGKILL when a request was carried out and its answer is on the way. The killed processes are forks of one."""
    case = Case(quick, True)
    env = {**quick.env(), "PYTHONPATH": os.pathsep.join(sys.path), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    root = Path(__file__).resolve().parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", PUBLISHER], env=env, cwd=root, **pipes) as publisher:
        assert publisher.stdout.readline() == "False\n", "unchanged content made a commit from another process"
        states = []
        for index in range(case.requests):
            name, born, dead, victim = case.repo(f"me/r{index:03d}"), threading.Event(), threading.Event(), []

            def kill(seen: Seen, index=index, born=born, dead=dead, victim=victim) -> None:
                if seen.index == index and born.wait(10):
                    os.kill(victim[0], signal.SIGKILL)
                    dead.wait(10)

            quick.after = kill
            print(name, file=publisher.stdin, flush=True)
            victim.append(int(publisher.stdout.readline()))
            born.set()
            assert int(publisher.stdout.readline()) == signal.SIGKILL, index
            dead.set()
            quick.after = None
            states.append(case.state(name))
            case.ends(name, f"killed after request {index}")
        publisher.stdin.close()
    assert states == ["old"] * (case.requests - 1) + ["new"]


def test_unchanged_content_makes_no_commit(quick):
    assert send("me/r").changed
    head = quick.head("me/r")
    quick.forget()
    again = send("me/r", selection())
    assert not again.changed and again.revision == head == quick.head("me/r")
    assert not quick.calls("PUT") and not quick.calls("POST", "/commit/")


@pytest.mark.parametrize("kind", ["none", "wrong", "expired", "read", "fine", "stranger"])
@pytest.mark.parametrize("there", [True, False], ids=["there", "new"])
def test_a_bad_token_fails_before_the_first_byte(quick, kind, there):
    if there:
        quick.create("me/r")
    quick.login(kind)
    with pytest.raises(HubError) as caught:
        send("me/r")
    assert not quick.calls("PUT") and not quick.calls("POST", "/commit/") and not quick.calls("POST", "objects/batch")
    for seen in quick.calls("POST", "/preupload/"):
        assert [file["sample"] for file in json.loads(seen.body)["files"]] == [""]
    token = quick.token(kind)
    assert token is None or token not in str(caught.value)
    assert quick.login("write") is None and send("me/r").changed


def test_a_name_that_a_model_has(quick):
    """Where a model and a dataset can't share a name, the Hub's refusal is told, and nothing was sent."""
    from huggingface_hub import HfApi

    HfApi().create_repo("me/words", repo_type="model")
    quick.store.one_namespace = True
    with pytest.raises(HubError, match=r"me/words can't be made.* by a model"):
        send("me/words")
    assert not quick.calls("PUT") and not quick.calls("POST", "/commit/")


def test_private_is_never_public(quick):
    quick.create("me/open")
    with pytest.raises(HubError, match="is public"):
        send("me/open", private=True)
    assert not quick.calls("PUT") and len(quick.commits("me/open")) == 1
    send("me/closed", private=True)
    assert quick.repo("me/closed").private


def test_three_at_once_sixty_times(quick):
    """Publishers of different configs: all commit on one parent at first, and all of them end up there."""
    chosen, done, gate = [selection(12, seed) for seed in range(3)], {}, threading.Barrier(3)

    def publish_one(repo: str, number: int, sel) -> None:
        gate.wait(60)
        send(repo, sel, name=f"c{number}", ds=clips(), overwrite=False)

    with ThreadPoolExecutor(3) as pool:
        for turn in range(20):
            repo, first = f"me/r{turn}", 3 * turn
            waiting = iter(range(3))

            def together(seen: Seen, waiting=waiting) -> None:
                if "/commit/" in seen.path and next(waiting, None) is not None:
                    gate.wait(60)

            quick.before = together
            list(pool.map(publish_one, [repo] * 3, range(first, first + 3), chosen))
            quick.before = None
            done.setdefault(repo, []).extend(f"c{number}" for number in range(first, first + 3))
    for repo, names in done.items():
        complete(quick, repo, *names)
        assert len(quick.commits(repo)) == 1 + len(names) == 4
    assert len([seen for seen in quick.calls("POST", "/commit/") if seen.status == 412]) >= 40


@pytest.mark.parametrize("same", [True, False], ids=["same", "other"])
def test_two_publishers_of_one_config(quick, naps, monkeypatch, same):
    """The second finds it there: the same content is no change, other content is refused, not replaced."""
    be_patient(monkeypatch, naps, 300)  # who gets no answer can't know whose commit it finds, and calls it a change
    gate, both = threading.Barrier(2), threading.Barrier(2)
    left = iter(range(2))

    def together(seen: Seen) -> None:
        if "/commit/" in seen.path and next(left, None) is not None:
            gate.wait(60)

    def one(sel) -> object:
        both.wait(60)
        try:
            return send("me/r", sel, overwrite=False).changed
        except SelectionError as error:
            return str(error)

    quick.create("me/r")
    quick.before = together
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, [selection(12, 0), selection(12, 0 if same else 1)]))
    assert True in found
    assert found.count(False) == same
    assert same or any("pass overwrite=True" in str(outcome) for outcome in found)
    assert len(quick.commits("me/r")) == 2
    complete(quick, "me/r", CONFIG)


def test_other_content_is_refused_and_replaced_when_told(quick):
    send("me/r", selection(16))
    before, files = quick.head("me/r"), quick.files("me/r")
    assert sum(path.startswith(f"{CONFIG}/train") for path in files) == 4
    quick.forget()
    with pytest.raises(SelectionError, match="pass overwrite=True"):
        send("me/r", selection(12), overwrite=False)
    assert not quick.calls("PUT") and quick.files("me/r") == files
    send("me/r", selection(12), overwrite=True)
    complete(quick, "me/r", CONFIG)
    assert sum(path.startswith(f"{CONFIG}/train") for path in quick.files("me/r")) == 3
    for revision, rows in ((before, 16), (None, 12)):
        kept = load_subset("me/r", revision=revision).cast_column("audio", Audio(decode=False))
        assert [row["bytes"] for row in kept["audio"]] == [
            row["bytes"] for row in selection(rows).apply(clips())["audio"]
        ]
