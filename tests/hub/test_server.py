"""The loopback Hub answers the real clients as the public one does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import (
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    constants,
    get_session,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    RevisionNotFoundError,
)

from .clients import REPO, commit, put, rows, status
from .server import Hub
from .wiring import point_clients


def test_two_configs_live_side_by_side(either_hub):
    from datasets import load_dataset

    name = either_hub.name("two")
    rows(1, 2, 3).push_to_hub(name, "one", set_default=True)
    first = either_hub.head(name)
    rows(4, 5).push_to_hub(name, "two", set_default=True)
    assert load_dataset(name, "one", split="train")["x"][:] == [1, 2, 3]
    assert load_dataset(name, "two", split="train")["x"][:] == [4, 5]
    assert load_dataset(name, split="train")["x"][:] == [4, 5]
    assert [row["x"] for row in load_dataset(name, "one", split="train", streaming=True)] == [1, 2, 3]
    assert load_dataset(name, "one", split="train", revision=first)["x"][:] == [1, 2, 3]
    with pytest.raises(ValueError, match="two"):
        load_dataset(name, "two", revision=first)
    assert "two/train-00000-of-00001.parquet" not in either_hub.files(name, first)
    assert len(either_hub.commits(name)) == 3  # the Hub's own, and one for each push


def test_pushing_again_takes_old_shards_away(either_hub):
    from datasets import load_dataset

    name = either_hub.name("again")
    rows(*range(6)).push_to_hub(name, "one", num_shards=3)
    before = either_hub.head(name)
    assert sum(path.startswith("one/") for path in either_hub.files(name)) == 3
    rows(7).push_to_hub(name, "one")
    assert [path for path in either_hub.files(name) if path.startswith("one/")] == ["one/train-00000-of-00001.parquet"]
    assert load_dataset(name, "one", split="train")["x"][:] == [7]
    assert load_dataset(name, "one", split="train", revision=before)["x"][:] == list(range(6))


def test_a_stale_parent_is_refused(either_hub):
    name = either_hub.name("stale")
    HfApi().create_repo(name, repo_type="dataset")
    old = either_hub.head(name)
    new = commit(put("a.txt"), name=name, parent_commit=old).oid
    assert either_hub.head(name) == new
    assert status(commit, put("b.txt"), name=name, parent_commit=old) == 412
    assert either_hub.head(name) == new
    assert set(either_hub.files(name)) == {".gitattributes", "a.txt"}


def test_unchanged_files_make_no_commit(either_hub):
    name = either_hub.name("same")
    HfApi().create_repo(name, repo_type="dataset")
    files = {"a.txt": b"text", "b.parquet": b"PAR1" * 100}
    first = commit(*(put(path, data) for path, data in files.items()), name=name)
    assert (
        commit(*(put(path, data) for path, data in files.items()), name=name).oid == first.oid == either_hub.head(name)
    )
    assert len(either_hub.commits(name)) == 2


def test_an_empty_commit_is_taken_by_the_server(hub):
    hub.create(REPO, {"a.txt": b"text"})
    lines = b'{"key": "header", "value": {"summary": "nothing"}}\n'
    answer = get_session().post(
        f"{hub.url}/api/datasets/{REPO}/commit/main", content=lines, headers={"Authorization": f"Bearer {hub.token()}"}
    )
    assert answer.json()["commitOid"] == hub.head(REPO)
    assert [c.title for c in hub.commits(REPO)] == ["nothing", "behind your back", "initial commit"]


def test_large_files_must_be_what_they_say(hub):
    hub.create(REPO)
    forged = put("a.parquet", b"PAR1 one")
    forged.upload_info.sha256 = put("a.parquet", b"PAR1 two").upload_info.sha256
    with pytest.raises(RuntimeError, match="uploading 'a") as caught:
        commit(forged)
    assert "sha256" in str(caught.value.__cause__)
    missing = put("a.parquet", b"PAR1 one")
    missing._upload_mode, missing._is_uploaded = "lfs", True  # as if another had handed it in
    with pytest.raises(BadRequestError, match="LFS pointer"):
        commit(missing)
    assert len(hub.commits(REPO)) == 1


def test_large_files_go_to_storage_without_the_token(hub):
    hub.create(REPO)
    hub.api.part_size = 1000
    data = {"small.parquet": b"PAR1" * 100, "parts.parquet": bytes(range(256)) * 10}
    commit(*(put(path, content) for path, content in data.items()))
    assert {path: hub.files(REPO)[path] for path in data} == data
    sent = [seen for seen in hub.log if seen.host == "storage"]
    assert sorted(len(seen.body) for seen in sent) == [400, 560, 1000, 1000]
    path = hf_hub_download(REPO, "parts.parquet", repo_type="dataset")
    assert Path(path).read_bytes() == data["parts.parquet"]
    assert all("authorization" not in seen.headers for seen in hub.log if seen.host == "storage")
    assert hub.calls("GET", "/blob/") and not hub.leaks(hub.token())
    address = hub.storage_url + hub.calls("GET", "/blob/")[0].path
    assert get_session().get(address).content == data["parts.parquet"]
    refused = get_session().get(address, headers={"Authorization": f"Bearer {hub.token()}"})
    assert refused.status_code == 400 and hub.leaks(hub.token())


def test_info_tree_and_paths(hub):
    card = b"---\nlicense: cc-by-4.0\nlanguage: [en]\ntags: [hf_select]\n---\n# Corpus\n"
    hub.create(REPO, {"README.md": card, "a/b/c.txt": b"text", "a/d.parquet": b"PAR1"}, gated="auto")
    api = HfApi()
    info = api.repo_info(REPO, repo_type="dataset", files_metadata=True)
    assert (info.sha, info.private, info.gated, info.card_data.license) == (hub.head(REPO), False, "auto", "cc-by-4.0")
    assert info.tags == ["license:cc-by-4.0", "language:en", "hf_select"]
    sizes = {file.rfilename: (file.size, file.lfs is not None) for file in info.siblings}
    assert sizes["a/b/c.txt"] == (4, False) and sizes["a/d.parquet"] == (4, True)
    for hub.api.page_size in (None, 2):
        found = [entry.path for entry in api.list_repo_tree(REPO, repo_type="dataset", recursive=True)]
        assert found == [".gitattributes", "README.md", "a", "a/b", "a/b/c.txt", "a/d.parquet"]
    assert [e.path for e in api.list_repo_tree(REPO, "a", repo_type="dataset", expand=True)] == ["a/b", "a/d.parquet"]
    assert len(hub.calls("GET", "/tree/.*cursor=")) == 2
    assert [e.path for e in api.get_paths_info(REPO, ["a", "a/d.parquet", "no"], repo_type="dataset")] == [
        "a",
        "a/d.parquet",
    ]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "no", repo_type="dataset"))


def test_commits_are_listed_over_pages(hub):
    hub.create(REPO)
    for number in range(4):
        hub.commit(REPO, {"n.txt": str(number).encode()})
    hub.api.page_size = 2
    listed = HfApi().list_repo_commits(REPO, repo_type="dataset")
    assert [c.commit_id for c in listed] == [c.sha for c in hub.commits(REPO)]
    assert [hub.files(REPO, c.commit_id).get("n.txt") for c in listed] == [b"3", b"2", b"1", b"0", None]


def test_branches_and_tags(hub):
    old = hub.create(REPO, {"a.txt": b"old"}).find().sha
    api = HfApi()
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    api.create_branch(REPO, branch="side/way", revision=old, repo_type="dataset")
    assert status(api.create_tag, REPO, tag="v1", repo_type="dataset") == 409
    api.create_tag(REPO, tag="v1", repo_type="dataset", exist_ok=True)
    commit(put("a.txt", b"new"))
    commit(put("a.txt", b"side"), revision="side/way")
    read = [
        Path(hf_hub_download(REPO, "a.txt", repo_type="dataset", revision=r)).read_text()
        for r in ("v1", "main", "side/way")
    ]
    assert read == ["old", "new", "side"]
    refs = api.list_repo_refs(REPO, repo_type="dataset", include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": old}
    assert {ref.name for ref in refs.branches} == {"main", "side/way"} and refs.pull_requests == []
    api.delete_tag(REPO, tag="v1", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "b.txt", repo_type="dataset", revision="v1")
    assert status(api.delete_branch, REPO, branch="main", repo_type="dataset") == 403


def test_deletions(hub):
    hub.create(REPO, {"a/1.txt": b"1", "a/2.txt": b"2", "b.txt": b"b"})
    commit(CommitOperationDelete("a/"), put("c.txt"))
    assert set(hub.files(REPO)) == {".gitattributes", "b.txt", "c.txt"}
    with pytest.raises(EntryNotFoundError, match="doesn't exist"):
        commit(CommitOperationDelete("a/1.txt"), put("d.txt"))
    assert set(hub.files(REPO)) == {".gitattributes", "b.txt", "c.txt"}


def test_cards(hub):
    hub.create(REPO)
    card = DatasetCard("---\nlicense: mit\npretty_name: Corpus\n---\n# Corpus\n")
    card.push_to_hub(REPO)
    rows(1, 2).push_to_hub(REPO, "one")
    loaded = DatasetCard.load(REPO)
    assert (loaded.data.license, loaded.data.configs[0]["config_name"]) == ("mit", "one")
    assert "# Corpus" in loaded.text
    for wrong in ("license: my own", "language: [English]", "size_categories: [many]", "configs: [{a: 1}]", "a: [b"):
        bad = f"---\n{wrong}\n---\n"
        with pytest.raises(ValueError, match="Invalid metadata"):
            commit(put("README.md", bad.encode()))
    with pytest.warns(UserWarning, match="empty or missing yaml"):
        commit(put("README.md", b"# No metadata\n"))


def test_a_snapshot_is_what_was_committed(hub):
    files = {
        "a.txt": b"text",
        "b/c.parquet": b"PAR1" * 1000,
        "b/d e \N{GREEK SMALL LETTER PI}.txt": b"",
        "f#%?.txt": b"odd",
    }
    hub.create(REPO)
    commit(*(put(path, data) for path, data in files.items()))
    folder = Path(snapshot_download(REPO, repo_type="dataset"))
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == hub.files(REPO)
    assert files.items() <= found.items()


def test_another_process_finds_the_hub(hub):
    script = "from huggingface_hub import HfApi as A; a = A(); a.create_repo('me/new', repo_type='dataset');"
    script += "a.upload_file(path_or_fileobj=b'PAR1', path_in_repo='a.parquet', repo_id='me/new', repo_type='dataset')"
    subprocess.run([sys.executable, "-c", script], env=hub.env(), check=True, timeout=60)
    assert hub.files("me/new")["a.parquet"] == b"PAR1"
    refused = subprocess.run([sys.executable, "-c", script], env=hub.env("read"), capture_output=True, timeout=60)
    assert refused.returncode and b"403" in refused.stderr and hub.token("read").encode() not in refused.stderr
    assert not hub.leaks(hub.token()) and not hub.leaks(hub.token("read"))


def test_servers_start_at_once_and_leave_nothing():
    before, start = set(threading.enumerate()), time.perf_counter()
    hubs = [Hub() for _ in range(20)]
    taken = time.perf_counter() - start
    assert len({hub.url for hub in hubs}) == 20
    hubs[0].create(REPO, {"a.txt": b"0"})
    assert hubs[0].files(REPO) and not hubs[1].store.repos
    hubs[0].fault("stall", seconds=60, path="whoami")
    with httpx2.Client() as client, ThreadPoolExecutor(1) as pool:
        assert client.get(f"{hubs[0].url}/api/datasets/{REPO}").status_code == 200  # and the connection stays open
        stalled = pool.submit(httpx2.get, f"{hubs[0].url}/api/whoami-v2")
        while not hubs[0].calls(path="whoami"):
            time.sleep(0.001)
        hubs[0].close()
        assert {thread for thread in threading.enumerate() if thread.name.endswith("serve")} <= before
        assert stalled.exception(10) or stalled.result()
    for hub in hubs[1:]:
        hub.close()
    assert taken < 20 * 0.05
    assert set(threading.enumerate()) <= before


def test_the_wiring_is_undone(tmp_path):
    import datasets

    def state() -> list:
        return [
            constants.ENDPOINT,
            constants.HF_HUB_OFFLINE,
            constants.HF_HUB_CACHE,
            constants.HF_TOKEN_PATH,
            datasets.config.HF_ENDPOINT,
            HfApi().endpoint,
        ]

    before = state()
    with pytest.MonkeyPatch.context() as patch:
        point_clients(patch, "http://127.0.0.1:9", tmp_path)
        assert all(one != other for one, other in zip(before, state(), strict=True))
    assert state() == before
