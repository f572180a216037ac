"""Tokens, private and gated repositories on the loopback Hub, as the real clients meet them."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import (
    HfApi,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .clients import REPO, commit, put, rows, status


def test_names_that_are_taken(hub):
    api = HfApi()
    first = api.create_repo(REPO, repo_type="dataset")
    assert status(api.create_repo, REPO, repo_type="dataset") == 409
    assert api.create_repo(REPO, repo_type="dataset", exist_ok=True) == first == f"{hub.url}/datasets/{REPO}"
    api.create_repo(REPO)  # a model of the same name, as on the public Hub
    hub.store.one_namespace = True
    api.create_repo("me/other")
    assert status(api.create_repo, "me/other", repo_type="dataset") == 409
    assert not api.repo_exists("me/other", repo_type="dataset")
    api.delete_repo("me/other")
    api.create_repo("me/other", repo_type="dataset", private=True)
    assert hub.repo("me/other").private


@pytest.mark.parametrize(
    ("kind", "code"), [("none", 401), ("wrong", 401), ("expired", 401), ("read", 403), ("fine", 403)]
)
def test_tokens_that_may_not_write(hub, kind, code):
    hub.create(REPO)
    hub.login(kind)
    assert status(commit, put("a.txt")) == code
    assert status(HfApi().create_repo, "me/new", repo_type="dataset") == code
    assert len(hub.commits(REPO)) == 1 and ("dataset", "me/new") not in hub.store.repos


def test_tokens_that_may(hub):
    hub.create(REPO)
    api = HfApi(token=hub.tokens.fine(REPO))
    api.upload_file(path_or_fileobj=b"text", path_in_repo="a.txt", repo_id=REPO, repo_type="dataset")
    assert "a.txt" in hub.files(REPO)
    roles = [HfApi().whoami(token)["auth"]["accessToken"]["role"] for token in (hub.token("read"), api.token)]
    assert roles == ["read", "fineGrained"]
    assert HfApi().whoami()["name"] == "me"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        HfApi().whoami(hub.token("expired"))


def test_private_repositories_are_hidden(hub):
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    rows(1).push_to_hub(REPO, private=True)
    for kind, code in {"none": 401, "stranger": 404, "fine": 404}.items():
        hub.login(kind)
        for name in (REPO, "me/none"):
            assert status(HfApi().repo_info, name, repo_type="dataset") == code
            with pytest.raises(RepositoryNotFoundError):
                get_hf_file_metadata(hf_hub_url(name, "README.md", repo_type="dataset"), token=hub.token(kind))
        with pytest.raises(DatasetNotFoundError):
            load_dataset(REPO)
    hub.login("read")
    assert load_dataset(REPO, split="train")["x"][:] == [1]  # last: a cached copy is given to those who may not
    assert HfApi().repo_info(REPO, repo_type="dataset").private


def test_gated_repositories_show_but_do_not_give(hub):
    hub.create(REPO, {"a.txt": b"text"})
    HfApi().update_repo_settings(REPO, gated="manual", repo_type="dataset")
    for kind, code in {"none": 401, "stranger": 403, "fine": 403}.items():
        hub.login(kind)
        assert HfApi().repo_info(REPO, repo_type="dataset").gated == "manual"
        with pytest.raises(GatedRepoError) as caught:
            hf_hub_download(REPO, "a.txt", repo_type="dataset")
        assert caught.value.response.status_code == code
    hub.repo(REPO).granted.add("stranger")
    hub.login("stranger")
    assert Path(hf_hub_download(REPO, "a.txt", repo_type="dataset")).read_text() == "text"


def test_pull_requests(hub):
    head = hub.create(REPO, {"a.txt": b"old"}).find().sha
    mine = commit(put("a.txt", b"mine"), create_pr=True)
    assert (mine.pr_num, mine.pr_revision, hub.head(REPO)) == (1, "refs/pr/1", head)
    hub.login("stranger")
    assert commit(put("a.txt", b"theirs"), create_pr=True).pr_revision == "refs/pr/2"
    assert status(commit, put("a.txt", b"theirs")) == 403
    assert status(commit, put("a.parquet", b"PAR1"), create_pr=True) == 403
    shown = Path(hf_hub_download(REPO, "a.txt", repo_type="dataset", revision="refs/pr/2")).read_text()
    assert (shown, hub.files(REPO)["a.txt"], hub.head(REPO)) == ("theirs", b"old", head)


def test_what_is_not_there(hub):
    hub.create(REPO)
    for error, name, revision in ((RevisionNotFoundError, "a.txt", "no"), (EntryNotFoundError, "a.txt", "main")):
        with pytest.raises(error):
            hf_hub_download(REPO, name, repo_type="dataset", revision=revision)
    with pytest.raises(RevisionNotFoundError):
        HfApi().repo_info(REPO, repo_type="dataset", revision="no")
    with pytest.raises(RepositoryNotFoundError):
        commit(put("a.txt"), name="me/none")
