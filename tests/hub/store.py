"""Repositories of the loopback Hub: files, commits, branches and tags, all in memory."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from uuid import uuid4

# The endings that the .gitattributes of a new dataset repository on the Hub sends to LFS.
_ENDINGS = (
    ".7z .arrow .avro .bin .bmp .bz2 .ckpt .flac .ftz .gif .gz .h5 .jpeg .jpg .joblib .lz4 .mds .mlmodel .model .mp3 .mp4 "
    ".msgpack .npy .npz .onnx .ogg .ot .parquet .pb .pcm .pickle .pkl .png .pt .pth .rar .raw .safetensors .sam .tar .tflite "
    ".tgz .tiff .wasm .wav .webm .webp .xz .zip .zst"
)
LFS_ENDINGS = frozenset(_ENDINGS.split())
LFS_SIZE = 10 * 1024 * 1024


class Refusal(Exception):
    """An answer of 400 or above, with the headers that the real clients read."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


@dataclass(frozen=True)
class Blob:
    """The content of one file, and how the Hub names it."""

    data: bytes = field(repr=False)
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        return text.encode()

    @cached_property
    def oid(self) -> str:
        """Return git's name: that of the pointer for an LFS file."""
        data = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    """One state of all files, and where it came from."""

    sha: str
    parent: str | None
    tree: dict[str, Blob] = field(repr=False)
    title: str
    message: str
    author: str
    time: float

    @property
    def date(self) -> str:
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.time))
        return f"{whole}.{int(self.time % 1 * 1000):03d}Z"


@dataclass
class Change:
    """What one commit request wants: files to put and paths to take away (a folder ends with a slash)."""

    title: str
    message: str = ""
    parent: str | None = None
    put: dict[str, Blob] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)

    def applied(self, tree: dict[str, Blob]) -> dict[str, Blob]:
        """Return the tree after this change."""
        tree = dict(tree)
        for path in self.gone:
            doomed = [name for name in tree if name == path or (path.endswith("/") and name.startswith(path))]
            if not doomed:
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            for name in doomed:
                del tree[name]
        tree.update(self.put)
        _check_paths(tree, self.put)
        return tree


def _check_paths(tree: dict[str, Blob], added: Iterable[str]) -> None:
    """Refuse paths that git could not hold."""
    for path in added:
        parts = path.split("/")
        if any(part in ("", ".", "..", ".git") for part in parts) or "\0" in path:
            raise Refusal(400, f"Invalid path: {path!r}")
        if any("/".join(parts[:depth]) in tree for depth in range(1, len(parts))):
            raise Refusal(400, f"A file stands where a folder is wanted: {path}")


class Repo:
    """One repository: its commits, what its names point to, and the large files handed in for it."""

    def __init__(self, kind: str, name: str, private: bool = False, gated: str | bool = False):
        self.kind, self.name, self.private, self.gated = kind, name, private, gated
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.large: dict[str, bytes] = {}
        self.granted: set[str] = set()
        self.parts: dict[str, dict[int, bytes]] = {}
        attributes = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in sorted(LFS_ENDINGS))
        self._record(
            {".gitattributes": Blob(attributes.encode())}, None, "initial commit", "", "system", "refs/heads/main"
        )

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    def find(self, revision: str = "main") -> Commit:
        """Return the commit that a branch, tag, full ref or (shortened) sha names."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        if len(revision) >= 7 and (found := [sha for sha in self.commits if sha.startswith(revision)]):
            return self.commits[found[0]]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str = "main") -> list[Commit]:
        """Return the commits of a revision, newest first."""
        commits = [self.find(revision)]
        while (parent := commits[-1].parent) is not None:
            commits.append(self.commits[parent])
        return commits

    def commit(self, change: Change, revision: str, author: str) -> Commit:
        """Put a change on top of a branch; the wanted parent must be its head."""
        ref = revision if revision.startswith("refs/") else f"refs/heads/{revision}"
        if ref not in self.refs:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head = self.commits[self.refs[ref]]
        if change.parent is not None and not head.sha.startswith(change.parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        return self._record(change.applied(head.tree), head.sha, change.title, change.message, author, ref)

    def open_pull_request(self, change: Change, revision: str, author: str) -> tuple[Commit, int]:
        """Put a change on a new refs/pr/N that starts at the wanted parent, or at the head."""
        start = self.find(change.parent or revision)
        number = 1 + sum(ref.startswith("refs/pr/") for ref in self.refs)
        tree = change.applied(start.tree)
        return self._record(tree, start.sha, change.title, change.message, author, f"refs/pr/{number}"), number

    def keep(self, oid: str, data: bytes) -> None:
        """Keep a large file, if it is what it says it is."""
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refusal(400, "BadDigest: the content does not have the sha256 it was announced with")
        self.large[oid] = data

    def _record(
        self, tree: dict[str, Blob], parent: str | None, title: str, message: str, author: str, ref: str
    ) -> Commit:
        sha = hashlib.sha1(f"{self.name}{parent}{title}{uuid4()}".encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, tree, title, message, author, time.time())
        self.refs[ref] = sha
        return self.commits[sha]


class Store:
    """All repositories; `lock` is held during every request that reads or changes one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repos: dict[tuple[str, str], Repo] = {}
        self.one_namespace = False  # the Hub lets a model and a dataset bear one name; True refuses it with a 409

    def create(self, kind: str, name: str, private: bool = False, gated: str | bool = False) -> Repo:
        """Make a repository, or refuse a name that is taken."""
        for taken, other in self.repos:
            if other.lower() == name.lower() and (taken == kind or self.one_namespace):
                raise Refusal(409, f"You already created this {taken} repo: {other}")
        self.repos[kind, name] = Repo(kind, name, private, gated)
        return self.repos[kind, name]


def upload_mode(path: str, size: int, sample: bytes) -> str:
    """Say how a file has to be handed in: by its ending, its size, or a zero byte in its head."""
    large = PurePosixPath(path).suffix.lower() in LFS_ENDINGS or size > LFS_SIZE or b"\0" in sample
    return "lfs" if large else "regular"


def listing(path: str, tree: dict[str, Blob], oid: str) -> dict:
    """Return size and ids of a file or a folder, as tree and siblings show them."""
    if path not in tree:
        inside = [(name, blob.oid) for name, blob in sorted(tree.items()) if name.startswith(f"{path}/")]
        return {"size": 0, oid: hashlib.sha1(repr(inside).encode()).hexdigest()}
    blob = tree[path]
    shown: dict = {"size": len(blob.data), oid: blob.oid}
    if blob.lfs:
        name = "oid" if oid == "oid" else "sha256"
        shown["lfs"] = {name: blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return shown
