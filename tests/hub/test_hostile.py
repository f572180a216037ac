"""Rows written by a stranger, and what this machine must not give away: nothing of either is read, fetched or published."""

from __future__ import annotations

import getpass
import io
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, Image

import hf_select as hs
from hf_select.errors import ArgumentError, AudioError, ColumnError
from hf_select.hub.subset import load_subset

from .leaks import spellings
from .tiny import CONFIG, clips, send

CANARY = b"canary-4b1d-in-a-secret-file"

# {s}: the secret file, {d}: its folder, {r}: the folder of the dataset, {u}: a listening host
FORMS = r"""
{s}|{r}/../secret/secret.wav|../secret/secret.wav|./../secret/secret.wav|sub/../../secret/secret.wav|link.wav|{r}/link.wav
links/secret.wav|{r}/links/secret.wav|circle.wav|~/secret.wav|~root/secret.wav|$HOME/secret.wav|${{HOME}}/secret.wav
%USERPROFILE%/secret.wav|..\secret\secret.wav|C:\secret.wav|\\host\share\secret.wav|//host/share/secret.wav
\\?\C:\secret.wav|//{s}|file://{s}|file:{s}|FILE://{s}|file://localhost{s}|local://{s}|filecache::file://{s}
zip://secret.wav::{d}/secret.zip|zip://secret.wav::file://{d}/secret.zip|tar://secret.wav::{d}/secret.tar|gzip://secret::{s}
{s}::x|x::{s}|{u}/a.wav|{U}/a.wav|http:{u}|zip://a.wav::{u}/a.zip|simplecache::{u}/a.wav|ftp://{h}/a.wav|s3://bucket/a.wav
gs://bucket/a.wav|hf://datasets/me/secret/secret.wav|memory://a.wav|data:audio/wav;base64,UklGRg==|/proc/self/environ
/proc/self/cwd/secret.wav|/dev/stdin|/dev/zero|/etc/passwd|pipe|sub|.|..| {s}|{s}\n|%2e%2e/secret/secret.wav|{t}|a\0b.wav
"""


@pytest.fixture
def listener():
    """Listen on a host that nobody must ask; `hits` lists who did."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.hits.append(self.path)
            self.send_error(404)

        do_HEAD = do_PUT = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hits = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def places(tmp_path: Path, listener, home: Path) -> tuple[Path, list[str]]:
    """Make a dataset's folder beside a secret, and write down the paths that a row may try."""
    root, secret = tmp_path / "dataset", tmp_path / "secret"
    (root / "sub").mkdir(parents=True)
    secret.mkdir()
    for file in ("secret.wav", "secret.zip", "secret.tar"):
        (secret / file).write_bytes(CANARY)
    (root / "link.wav").symlink_to(secret / "secret.wav")
    (root / "links").symlink_to(secret)
    (root / "circle.wav").symlink_to(root / "circle.wav")
    os.mkfifo(root / "pipe")
    home.mkdir(parents=True, exist_ok=True)
    (home / "token").write_bytes(CANARY)
    url = f"http://127.0.0.1:{listener.server_port}"
    known = {"s": secret / "secret.wav", "d": secret, "r": root, "u": url, "U": url.upper(), "t": home / "token"}
    forms = [form.format(h=url[7:], **known) for line in FORMS.strip().split("\n") for form in line.split("|")]
    return root, [form.replace("\\n", "\n").replace("\\0", "\0") for form in forms]


def test_hostile_paths(quick, tmp_path, monkeypatch, listener):
    root, forms = places(tmp_path, listener, quick.home)
    monkeypatch.setenv("HOME", str(tmp_path / "secret"))
    assert len(forms) >= 50
    good = clips(11)["audio"][:]
    for number, form in enumerate(forms):
        rows = {"audio": [*good, {"bytes": None, "path": form}], "label": ["a", "b"] * 6}
        ds = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False))
        sel = hs.select_random(ds, budget=12)
        with pytest.raises(AudioError, match="row 11 of the rows to write, column 'audio'"):
            send(f"me/r{number}", sel, ds=ds, audio_root=str(root) if number % 4 else None)
            pytest.fail(repr(form))
        assert len(quick.commits(f"me/r{number}")) == 1, form
    bodies = b"".join(seen.body for seen in quick.log)
    assert len(bodies) > 10_000
    for place in ("plain", "hex", "base64+0", "base64+1", "base64+2"):
        assert spellings(CANARY.decode())[place] not in bodies
    assert len(quick.calls("PUT", "/upload/")) == len(forms)  # the rows before it
    assert not quick.calls("POST", "/commit/") and not listener.hits


@pytest.mark.parametrize("feature", [Audio(decode=False), Image(decode=False)], ids=["sound", "picture"])
def test_a_second_column_of_files(quick, tmp_path, listener, feature):
    """What `datasets` would open as a file is looked at in every column, not in that of the sound alone."""
    root, forms = places(tmp_path, listener, quick.home)
    for form in (forms[0], "file.wav"):
        rows = {"audio": clips(2)["audio"][:], "more": [None, {"bytes": None, "path": form}], "n": [1, 2]}
        ds = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False)).cast_column("more", feature)
        sel = hs.select_random(ds, budget=2, key="n")
        if form == "file.wav":
            (root / form).write_bytes(b"one of the dataset's own")
            send("me/r", sel, ds=ds, audio_root=str(root))
            found = pq.read_table(io.BytesIO(quick.files("me/r")[f"{CONFIG}/train-00000.parquet"]))["more"].to_pylist()
            assert found[1] == {"bytes": b"one of the dataset's own", "path": "file.wav"}
            continue
        with pytest.raises(AudioError, match="row 1 of the rows to write, column 'more'"):
            send("me/r", sel, ds=ds, audio_root=str(root))
    assert not told(quick, CANARY.decode(), str(tmp_path))


def test_hostile_names_beside_sound_are_cut(quick, tmp_path, listener):
    """A row with its own sound is published, whatever its path says, and the path is no more than a file name."""
    _, forms = places(tmp_path, listener, quick.home)
    sound = clips(1)["audio"][0]["bytes"]
    rows = {"audio": [{"bytes": sound, "path": form} for form in forms], "number": range(len(forms))}
    ds = Dataset.from_dict(rows).cast_column("audio", Audio(decode=False))
    send("me/r", hs.select_random(ds, budget=len(forms), key="number"), ds=ds)
    again = load_subset("me/r").cast_column("audio", Audio(decode=False))["audio"][:]
    assert [row["bytes"] for row in again] == [sound] * len(forms)
    for row in again:
        assert row["path"] is None or not (set("/\\\0\n") & set(row["path"]) or row["path"] in ("", ".", ".."))
    assert not listener.hits and not told(quick, str(tmp_path), CANARY.decode())


def told(hub, *words: str) -> list[str]:
    """Return which words stand in what the Hub was sent or holds: bodies, texts, tables with their metadata."""
    import PIL.Image

    found = []
    for repo in [name for kind, name in hub.store.repos if kind == "dataset"]:
        for path, data in hub.files(repo).items():
            text = data.decode(errors="replace") + path
            if path.endswith(".parquet"):
                table = pq.read_table(io.BytesIO(data))
                text += str(table.to_pylist()) + str(pq.read_metadata(io.BytesIO(data)).metadata) + str(table.schema)
            if path.endswith(".png"):
                text += str(PIL.Image.open(io.BytesIO(data)).info)
            found += [f"{path}: {word}" for word in words if word in text]
    for seen in hub.log:
        found += [f"{seen.path}: {word}" for word in words if word.encode() in seen.body]
    return found


def test_nothing_of_this_machine_is_published(quick, tmp_path, monkeypatch):
    """No path, user or host: not in rows, record, figures, card or the metadata of any file."""
    monkeypatch.setenv("USER", "canaryuser")
    folder = tmp_path / "home" / "canaryuser" / "clips"
    folder.mkdir(parents=True)
    for row in clips(6)["audio"]:
        (folder / row["path"]).write_bytes(row["bytes"])
    files = [str(folder / row["path"]) for row in clips(6)["audio"]]
    columns = {
        "audio": files, "label": ["a", "b"] * 3, "file": files, "id": [f"id{row}" for row in range(6)],
        "midi": [f"/m/0{row}x" for row in range(6)],
    }  # fmt: skip
    ds = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    sel = hs.select_random(ds, budget=4, key="id")
    here = f"the model of {folder}/model.pt was read"
    group = sel.group.copy()
    group[0] = f"excluded: unreadable: {files[0]}"
    sel = replace(
        sel, group=group, warnings=(here,), params={**sel.params, "model": f"{folder}/model", "more": [here]},
        facts={"model": {"where": [here]}}, source={**sel.source, "name": f"{folder}/data"},
    )  # fmt: skip
    done = send("me/r", sel, ds=ds, audio_root=str(folder))
    assert any("file (paths of this machine)" in sentence for sentence in done.said)
    assert load_subset("me/r").column_names == ["audio", "label", "id", "midi"]
    words = [str(tmp_path), "canaryuser", str(Path.home()) + "/", socket.gethostname(), str(Path(__file__).parents[2])]
    words += [getpass.getuser()] if len(getpass.getuser()) > 5 else []
    assert not told(quick, *words)
    with pytest.raises(ColumnError, match="holds paths of this machine"):
        send("me/r", sel, ds=ds, audio_root=str(folder), columns=["audio", "file"])
    with pytest.raises(ArgumentError, match="row key 'file' holds paths of this machine"):
        send("me/other", hs.select_random(ds, budget=4, key="file"), ds=ds, audio_root=str(folder))


SCRIPT = """
import traceback
from pathlib import Path
import pytest
from hf_select.hub.subset import load_subset
from hf_select.hub.verify import verify
from tests.hub.tiny import clips, make_quick, send
make_quick(pytest.MonkeyPatch())
print(send("me/r"))
for repo in ("someone/r", "me/r"):
    try:
        print(send(repo))
    except Exception:
        traceback.print_exc()
Path("loaded").write_text(str(load_subset("me/r")) + str(verify("me/r", ds=clips())))
print("done")
"""


def test_a_token_is_told_to_nobody_but_the_hub(quick, tmp_path):
    token, other = quick.token(), "canary-of-another-secret-77"
    env = {
        **quick.env(),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]),
        "OTHER_SECRET": other,
    }
    env |= {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "DATASETS_VERBOSITY": "debug"}
    place = tmp_path / "place"
    place.mkdir()
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, cwd=place, capture_output=True, check=True)
    assert b"HubError" in run.stderr and b"done" in run.stdout and quick.calls("POST", "/commit/")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 5
    for secret in (token, other):
        for how, spelling in spellings(secret).items():
            assert spelling not in run.stdout + run.stderr, how
            assert not [file for file in files if spelling in file.read_bytes()], how
        assert not quick.leaks(secret)
        assert not told(quick, secret)
    assert any(seen.headers.get("authorization") == f"Bearer {token}" for seen in quick.log)
    assert not [seen for seen in quick.log if seen.host == "storage" and "authorization" in seen.headers]
    assert f"{CONFIG}/train-00000.parquet" in quick.files("me/r")
