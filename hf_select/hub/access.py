"""The repository that is published to: who may write there, what it holds already, and what must not be replaced."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from hf_select.errors import HubError, SelectionError
from hf_select.hub.commit import patiently, sentence_of, status_of
from hf_select.hub.front import read_front
from hf_select.hub.subset import MANIFEST, is_row_file, read_manifest
from hf_select.selection import Selection

__all__ = ["Repository", "client", "open_repository"]

_OWN = {"README.md", ".gitattributes"}


def client(token: str | bool | None, repo_id: str) -> Any:
    """Return the Hub's client, once it is known that this token may write there."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    api = HfApi(token=token)
    try:
        who = patiently(api.whoami)
    except LocalTokenNotFoundError as error:
        raise HubError("There is no token: log in first (`hf auth login`), or pass token=.") from error
    except HubError as error:
        if status_of(error.__cause__) not in (401, 403):
            raise
        raise HubError(
            f"The Hub does not know this token ({sentence_of(error.__cause__)}): log in again (`hf auth login`), or pass token=."
        ) from error
    role = who.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise HubError(f"The token of {who.get('name')} may only read: make one that may write to {repo_id}.")
    return api


def open_repository(api: Any, repo_id: str, *, private: bool) -> Repository:
    """Make the repository if it is not there, and return it, once it is known that we may write what we want to."""
    from huggingface_hub import CommitOperationAdd

    patiently(lambda: api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True))
    nothing = CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=b"")  # to ask for leave without sending data
    try:
        patiently(lambda: api.preupload_lfs_files(repo_id, [nothing], repo_type="dataset"))
    except HubError as error:
        if status_of(error.__cause__) != 404:
            raise
        raise HubError(
            f"{repo_id} can't be made, and is no dataset that can be written to: its name may be taken, by a model or a "
            f"repository that this token does not see. Choose another name. ({sentence_of(error.__cause__)})"
        ) from error
    info = patiently(lambda: api.repo_info(repo_id, repo_type="dataset"))
    if private and not info.private:
        raise HubError(
            f"{repo_id} is there already and is public, and what is published here has to be private: choose another repository, "
            "or make that one private."
        )
    return Repository.of(api, repo_id, info)


@dataclass(frozen=True)
class Repository:
    """A repository at one commit."""

    api: Any
    repo_id: str
    head: str
    paths: frozenset[str]

    @classmethod
    def of(cls, api: Any, repo_id: str, info: Any) -> Repository:
        """Make one of what the Hub says of it."""
        return cls(api, repo_id, str(info.sha), frozenset(file.rfilename for file in info.siblings or []))

    def read(self, path: str) -> bytes | None:
        """Return a small file; None where there is none."""
        if path not in self.paths:
            return None
        return Path(self.api.hf_hub_download(self.repo_id, path, repo_type="dataset", revision=self.head)).read_bytes()

    def card(self) -> str | None:
        """Return the README.md."""
        found = self.read("README.md")
        return None if found is None else found.decode("utf-8")

    def refuse_other_selection(self, name: str, record: Selection) -> None:
        """Raise a SelectionError if a config of this name holds another Selection."""
        found = self.read(f"{name}/selection/selection.json")
        if found is None:
            return
        there, same = json.loads(found), {**record.record(), "rows_kept": len(record)}
        if any(there.get(key) != json.loads(json.dumps(value)) for key, value in same.items()):
            raise SelectionError(
                f"{self.repo_id} has a config {name!r} with another Selection ({there.get('method')}, budget "
                f"{there.get('budget')}): choose another config_name=, or pass overwrite=True."
            )

    def refuse_other_rows(self, name: str, sha256: Mapping[str, str]) -> None:
        """Raise a SelectionError if a config of this name holds the same Selection and other rows: columns, sound."""
        found = self.read(f"{name}/{MANIFEST}")
        if found is None:
            return
        there = {path: digest for path, digest in read_manifest(found, self.repo_id).items() if is_row_file(path)}
        if there != {path: digest for path, digest in sha256.items() if is_row_file(path)}:
            raise SelectionError(
                f"{self.repo_id} has a config {name!r} with this Selection, but other columns or another content of its rows: "
                "choose another config_name=, or pass overwrite=True."
            )

    def unlisted(self) -> list[dict[str, Any]]:
        """Return the data files of a repository that lists no configs, as `datasets` finds them; ours would hide them."""
        from datasets import DownloadConfig
        from datasets.data_files import DataFilesPatternsDict, EmptyDatasetError, get_data_patterns

        if not self.paths - _OWN or "configs" in read_front(self.card() or "")[1]:
            return []
        base, options = f"hf://datasets/{self.repo_id}@{self.head}", DownloadConfig(token=self.api.token)
        try:
            patterns = get_data_patterns(base, options)
        except EmptyDatasetError:
            return []
        found = DataFilesPatternsDict.from_patterns(patterns).resolve(base, options)
        files = {str(split): [str(file).removeprefix(f"{base}/") for file in there] for split, there in found.items()}
        return [{"split": split, "path": _as_patterns(there, self.paths)} for split, there in files.items()]


def _as_patterns(files: list[str], paths: frozenset[str]) -> list[str]:
    """Write files as patterns that match them and no other file there is, one for each folder where that can be."""
    found = []
    for folder, group in groupby(sorted(files), key=_folder):
        names = list(group)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(names[0], names[-1], strict=False))
        pattern = glob.escape("".join(letter for letter, _ in same)) + "*"
        there = {path for path in paths if _folder(path) == folder and fnmatchcase(path, pattern)}
        found += [pattern] if len(names) > 1 and there == set(names) else [glob.escape(name) for name in names]
    return found


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
