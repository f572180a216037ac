"""The public Hub behind the same few calls as the loopback one, for tests that must hold on both."""

from __future__ import annotations

import os
from uuid import uuid4

TOKEN, NAMESPACE = "HF_SELECT_TEST_TOKEN", "HF_SELECT_TEST_NAMESPACE"
REAL = bool(os.environ.get(TOKEN) and os.environ.get(NAMESPACE))


class RealHub:
    """The part of Hub that the public one can give: no faults, no log, two kinds of token that are no real ones."""

    def __init__(self) -> None:
        from huggingface_hub import HfApi

        self.url = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        self.api = HfApi(endpoint=self.url, token=self.token())
        self.run = uuid4().hex[:8]
        self.made: set[str] = set()

    def token(self, kind: str = "write") -> str | None:
        """Return the given token as write, and none or wrong."""
        return {"none": None, "wrong": "hf_" + "x" * 34, "write": os.environ[TOKEN]}[kind]

    def name(self, short: str) -> str:
        """Return a repository name that no other run uses; deleted at the end."""
        self.made.add(f"{os.environ[NAMESPACE]}/hf-select-test-{self.run}-{short}")
        return f"{os.environ[NAMESPACE]}/hf-select-test-{self.run}-{short}"

    def create(self, name: str, files: dict[str, bytes]) -> None:
        """Make a repository with these files, in one commit."""
        from huggingface_hub import CommitOperationAdd

        self.api.create_repo(name, repo_type="dataset")
        added = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in files.items()]
        self.api.create_commit(name, added, commit_message="Add files", repo_type="dataset")

    def head(self, name: str, revision: str = "main") -> str:
        return self.api.repo_info(name, repo_type="dataset", revision=revision).sha

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        from pathlib import Path

        from huggingface_hub import hf_hub_download

        def read(path: str) -> bytes:
            local = hf_hub_download(
                name, path, repo_type="dataset", revision=revision, endpoint=self.url, token=self.token()
            )
            return Path(local).read_bytes()

        return {
            path: read(path) for path in sorted(self.api.list_repo_files(name, repo_type="dataset", revision=revision))
        }

    def commits(self, name: str, revision: str = "main") -> list:
        return self.api.list_repo_commits(name, repo_type="dataset", revision=revision)

    def close(self) -> None:
        for name in self.made:
            self.api.delete_repo(name, repo_type="dataset", missing_ok=True)
