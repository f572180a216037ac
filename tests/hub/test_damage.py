"""A bit that flips in a published file is noticed when the subset is loaded, whichever file and bit it is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from huggingface_hub import constants

from hf_select.errors import HubError
from hf_select.hub.subset import load_subset

from .store import Blob
from .tiny import CONFIG, clips, selection, send

FILES = ("train-00001.parquet", "selection/selection.json", "selection/selection.parquet", "selection/files.json")


@pytest.fixture
def published(quick):
    send("me/r")
    return quick


def put(hub, path: str, data: bytes) -> None:
    """Change the content of a file where it is stored, and nothing else: no commit, no address, no name."""
    tree = hub.repo("me/r").find().tree
    if tree[path].lfs:
        sha256 = tree[path].sha256  # worked out before, and kept
        hub.repo("me/r").large[sha256] = data
    else:
        tree[path] = Blob(data)


def content(hub, path: str) -> bytes:
    blob = hub.repo("me/r").find().tree[path]
    return hub.repo("me/r").large[blob.sha256] if blob.lfs else blob.data


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_bit_is_noticed(published, monkeypatch, tmp_path, file):
    path, chance = f"{CONFIG}/{file}", random.Random(0)
    whole = content(published, path)
    size = 8 * len(whole)
    bits = {0, 7, size - 1, size - 8, *range(8 * 40, 8 * 41), *(chance.randrange(size) for _ in range(60))}
    for number, bit in enumerate(sorted(bits)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        put(published, path, bytes(damaged))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / f"cache{number}"))
        with pytest.raises(HubError, match="damaged"):
            load_subset("me/r")
            pytest.fail(f"bit {bit} of {file}")
    put(published, path, whole)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert load_subset("me/r")["label"][:] == selection().apply(clips())["label"][:]


@pytest.mark.parametrize("file", FILES[:3])
@pytest.mark.parametrize("how", ["cut", "empty", "another", "gone"])
def test_files_that_are_not_whole(published, monkeypatch, tmp_path, file, how):
    path = f"{CONFIG}/{file}"
    whole = content(published, path)
    other = content(published, f"{CONFIG}/{FILES[(FILES.index(file) + 1) % 3]}")
    if how == "gone":
        del published.repo("me/r").find().tree[path]
    else:
        put(published, path, {"cut": whole[:-9], "empty": b"", "another": other}[how])
    with pytest.raises(HubError, match="missing" if how == "gone" else "damaged"):
        load_subset("me/r")


def test_damage_of_the_cache_is_mended(published):
    from huggingface_hub import hf_hub_download

    load_subset("me/r")
    path = Path(hf_hub_download("me/r", f"{CONFIG}/{FILES[0]}", repo_type="dataset", revision=published.head("me/r")))
    data = bytearray(content(published, f"{CONFIG}/{FILES[0]}"))
    data[100] ^= 4
    path.resolve().write_bytes(data)
    assert load_subset("me/r")["label"][:] == selection().apply(clips())["label"][:]
    assert path.read_bytes() == content(published, f"{CONFIG}/{FILES[0]}")


def test_a_subset_that_is_not_there(published):
    for repo, name in (("me/r", "other"), ("me/none", None)):
        with pytest.raises(HubError, match=r"no subset 'other'. Subsets there are: words|can't be read"):
            load_subset(repo, name)
