"""Paths in rows were written by strangers: nothing outside the dataset's own files is ever opened."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import datasets.config
import numpy as np
import pytest
from huggingface_hub import constants

from hf_select.audio import load_embedded, read_clip, wave_bytes
from hf_select.errors import AudioError
from hf_select.sound.own_files import MissingFileError, RefusedPathError, open_own_file, own_name, printable

CLIP = wave_bytes(np.sin(np.arange(1000) * 0.1), 16000, "WAV")
WATCH: dict[str, list[str]] = {}


def _audit(event: str, args: tuple[object, ...]) -> None:
    if "seen" in WATCH and (event in ("open", "os.listdir") or event.startswith(("socket.", "subprocess.", "urllib."))):
        WATCH["seen"].append(f"{event} {args[0]!r}")


sys.addaudithook(_audit)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a dataset, a secret beside it, and caches that are elsewhere."""
    home = tmp_path / "home"
    for name in ("hub", "downloads/extracted"):
        (home / name).mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", home / "downloads")
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", home / "downloads" / "extracted")
    (home / "token").write_bytes(CLIP)
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for place in (root / "a.wav", root / "sub" / "b.wav", tmp_path / "secret.wav", tmp_path / "root2.wav"):
        place.write_bytes(CLIP)
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "a.wav").write_bytes(CLIP)
    (root / "leaves.wav").symlink_to(tmp_path / "secret.wav")
    (root / "out").symlink_to(tmp_path)
    (root / "proc").symlink_to("/proc/self/environ")
    (root / "stays.wav").symlink_to("sub/b.wav")
    (root / "circle").symlink_to("circle")
    (root / "broken").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    (tmp_path / "alias").symlink_to(root)
    yield tmp_path
    WATCH.pop("seen", None)


HOSTILE = [
    "{top}/secret.wav", "{root}/../secret.wav", "../secret.wav", "sub/../../secret.wav", "./././../secret.wav",
    "leaves.wav", "out/secret.wav", "{root}/leaves.wav", "{root}2/a.wav", "{root}2.wav", "{root}", ".", "..", "sub",
    "sub/", "/", "{top}/home/token", "out/home/token", "/etc/passwd", "/proc/self/environ", "proc", "/proc/self/fd/0",
    "/dev/zero", "/dev/stdin", "pipe", "{root}/pipe", "circle", "broken", "nothing.wav", "a.wav/b", "a.wav\0.txt",
    "\0", "~/.ssh/id_rsa", "~root/a.wav", "$HOME/a.wav", "%USERPROFILE%/a.wav", "file:///etc/passwd",
    "file:/etc/passwd", "FILE://localhost/etc/passwd", "file://{root}/a.wav", "http://127.0.0.1:9/a.wav",
    "https://example.org/a.wav", "ftp://a/b.wav", "s3://bucket/a.wav", "hf://datasets/me/private/a.wav", "gs://b/a",
    "zip://a.wav::/etc/a.zip", "zip://a.wav::https://example.org/a.zip", "simplecache::http://127.0.0.1/a",
    "filecache::file:///etc/passwd", "data:audio/wav;base64,UklGRg==", "memory://a.wav", "//server/share/a.wav",
    "\\\\server\\share\\a.wav", "\\\\?\\C:\\secret.wav", "C:\\secret.wav", "..\\secret.wav", "\ud800.wav", "a" * 5000,
    "x/" * 3000 + "a.wav", b"a.wav", 7,
]  # fmt: skip


@pytest.mark.parametrize("form", HOSTILE, ids=lambda form: repr(form)[:40])
def test_hostile_paths_are_never_opened(places: Path, form: object):
    root = places / "root"
    path = form.replace("{top}", str(places)).replace("{root}", str(root)) if isinstance(form, str) else form
    for audio_root in (root, str(root) + "/", places / "alias", None):
        WATCH["seen"] = []
        clip = read_clip({"bytes": None, "path": path}, audio_root=audio_root)
        seen = WATCH.pop("seen")
        assert clip.status in ("refused", "missing", "unreadable"), clip
        assert not len(clip.samples) and clip.detail.isprintable() and len(clip.detail) < 400
        assert not seen
        with pytest.raises(AudioError):
            load_embedded({"bytes": None, "path": path}, audio_root)
        if clip.status != "refused":  # only what would be inside, were it there
            assert audio_root is not None and isinstance(path, str) and ".." not in path.split("/")


def test_there_are_at_least_forty_forms():
    assert len(set(HOSTILE)) >= 40


def test_own_files_are_read(places: Path):
    root = places / "root"
    WATCH["seen"] = []
    assert read_clip("a.wav", audio_root=root).ok
    assert WATCH.pop("seen")  # the watch does see what is opened
    for path in (
        "a.wav",
        "sub/b.wav",
        "sub/../a.wav",
        "./a.wav",
        "stays.wav",
        str(root / "a.wav"),
        root / "a.wav",
        str(places / "alias" / "a.wav"),
    ):
        for audio_root in (root, str(root), f"{root}/", f"{root}/sub/..", places / "alias"):
            assert read_clip({"bytes": None, "path": path}, audio_root=audio_root).ok, path
            assert load_embedded({"bytes": None, "path": path}, audio_root)["bytes"] == CLIP
    assert read_clip({"bytes": CLIP, "path": "/etc/passwd"}).ok  # with bytes the path is a name, no place
    (root / "a:b;c d é.wav").write_bytes(CLIP)
    assert read_clip("a:b;c d é.wav", audio_root=root).ok


def test_a_relative_path_needs_a_root(places: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(places / "root")
    clip = read_clip({"bytes": None, "path": "a.wav"})
    assert clip.status == "refused" and "audio_root" in clip.detail
    assert read_clip({"bytes": None, "path": "a.wav"}, audio_root=".").ok


def hub_snapshot(cache: Path) -> Path:
    """The layout of a Hub cache: a snapshot that links to blobs."""
    repo = cache / "datasets--me--speech"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "1234").write_bytes(CLIP)
    snapshot = repo / "snapshots" / "abcd" / "clips"
    snapshot.mkdir(parents=True)
    (snapshot / "a.wav").symlink_to("../../../blobs/1234")
    return snapshot


def test_the_caches_are_own_and_the_token_is_not(places: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = hub_snapshot(places / "home" / "hub")
    assert read_clip(str(snapshot / "a.wav")).ok
    assert read_clip("a.wav", audio_root=snapshot).ok
    for folder in ("downloads", "downloads/extracted"):
        (places / "home" / folder / "c.wav").write_bytes(CLIP)
        assert read_clip(str(places / "home" / folder / "c.wav")).ok
    (snapshot / "token.wav").symlink_to(places / "home" / "token")
    for path in (places / "home" / "token", snapshot / "token.wav", snapshot / "../../../../../token"):
        assert read_clip(str(path)).status == "refused"
        assert read_clip(str(path), audio_root=snapshot).status == "refused"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(places / "home"))  # a cache set to HF_HOME itself opens nothing
    assert read_clip(str(places / "home" / "token")).status == "refused"
    assert read_clip(str(snapshot / "a.wav")).status == "refused"


def test_a_cache_of_ones_own_links_to_its_own_blobs_only(places: Path):
    snapshot = hub_snapshot(places / "elsewhere")
    (places / "elsewhere" / "other").write_bytes(CLIP)
    (snapshot / "other.wav").symlink_to(places / "elsewhere" / "other")
    for audio_root in (snapshot, snapshot.parent):
        assert read_clip(str(snapshot / "a.wav"), audio_root=audio_root).ok
        assert read_clip(str(snapshot / "other.wav"), audio_root=audio_root).status == "refused"
    assert read_clip(str(snapshot / "a.wav")).status == "refused"


def test_a_file_that_may_not_be_read_is_unreadable(places: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    clip = read_clip("a.wav", audio_root=places / "root")
    monkeypatch.undo()
    assert clip.status == "unreadable" and "Permission denied" in clip.detail


def test_errors_name_the_path_and_what_to_do(places: Path):
    with pytest.raises(RefusedPathError, match=r"relative.*audio_root"):
        open_own_file("a.wav")
    with pytest.raises(MissingFileError, match="nothing"):
        open_own_file("nothing", places / "root")
    with pytest.raises(AudioError, match="/etc/passwd"):
        load_embedded({"bytes": None, "path": "/etc/passwd"}, places / "root")
    with pytest.raises(AudioError, match=r"no encoded audio.*decode=False"):
        load_embedded({"array": np.zeros(3), "sampling_rate": 16000})
    assert "\x1b" not in read_clip({"path": "\x1b[2J/../../x"}, audio_root=places / "root").detail


def test_load_embedded_gives_bytes_and_a_bare_name(places: Path):
    root = places / "root"
    assert load_embedded({"bytes": None, "path": "sub/b.wav"}, root) == {"bytes": CLIP, "path": "b.wav"}
    assert load_embedded({"bytes": b"x", "path": "/home/someone/a.wav"}) == {"bytes": b"x", "path": "a.wav"}
    assert load_embedded(None) == load_embedded({"bytes": None, "path": None}) == {"bytes": None, "path": None}
    assert load_embedded(CLIP) == {"bytes": CLIP, "path": None}
    assert load_embedded(root / "a.wav", root)["path"] == "a.wav"


def test_names_lose_their_folders_and_what_can_not_be_printed():
    names = {
        "a/b.wav": "b.wav",
        "C:\\x\\b.wav": "b.wav",
        "zip://in/b.wav::/x/y.zip": "b.wav",
        "a/": None,
        "..": None,
        "": None,
        None: None,
        7: None,
    }
    assert {path: own_name(path) for path in names} == names
    assert own_name("a/\x1b[31mb\n.wav") == "[31mb .wav"
    assert own_name(b"a") is None
    assert printable("a" * 300) == "a" * 197 + "..."
