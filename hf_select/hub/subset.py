"""load_subset: a published subset again, from its rows or through its index from the pinned source."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hf_select.errors import ArgumentError, HubError
from hf_select.hub.commit import patiently
from hf_select.rows import audio_column
from hf_select.selection import Selection

__all__ = [
    "MANIFEST",
    "is_row_file",
    "load_rows",
    "load_selection",
    "load_source",
    "load_subset",
    "manifest_of",
    "read_manifest",
]

MANIFEST = "selection/files.json"  # SHA-256 of every file of a config


def load_subset(
    repo_id: str,
    config_name: str | None = None,
    *,
    revision: str | None = None,
    streaming: bool = False,
    token: str | bool | None = None,
) -> Any:
    """Load a subset that `publish` made: the same rows, whether they or an index of them were published.

    Args:
        repo_id: the repository. config_name: which subset; None: the default, or the only one.
        revision: commit, tag or branch of it; None: the newest.
        streaming: give an IterableDataset. Of rows it is what the Hub holds, unchecked; of an index rows are matched by key.
        token: see huggingface_hub.

    Returns:
        The rows, in the order of the source, as a Dataset (every file checked against its SHA-256) or an IterableDataset.

    Raises:
        HubError: no such repository or subset, or a file is damaged. SelectionError: rows of the source are no longer those
            that were selected from, with their number.
    """
    from datasets import load_dataset

    name, selection, manifest, commit = load_selection(repo_id, config_name, revision=revision, token=token)
    if not selection.source.get("rows_published", True):
        return selection.apply(load_source(selection, streaming=streaming, token=token))
    if streaming:
        return load_dataset(repo_id, name, split="train", revision=commit, streaming=True, token=token)
    return load_rows(repo_id, name, manifest, commit, token)


def load_source(selection: Selection, *, streaming: bool = False, token: str | bool | None = None) -> Any:
    """Load the dataset that a published Selection was made on, at the pinned commit, its audio undecoded."""
    from datasets import Audio, load_dataset

    source = selection.source
    if not source.get("repo_id") or not source.get("revision"):
        raise ArgumentError(
            "The source of this subset is not pinned to a repository on the Hub: pass the dataset as ds=."
        )
    asked = {"revision": source["revision"], "split": source.get("split") or "train", "token": token}
    rows = load_dataset(source["repo_id"], source.get("config"), streaming=streaming, **asked)
    audio = audio_column(rows)
    return rows.cast_column(audio, Audio(decode=False)) if audio and not streaming else rows


def load_rows(repo_id: str, name: str, manifest: dict[str, str], commit: str, token: str | bool | None) -> Any:
    """Load the published rows of a subset, every file checked."""
    from datasets import load_dataset

    paths = [path for path in sorted(manifest) if is_row_file(path)]
    local = [str(_checked(repo_id, path, commit, manifest[path], token)) for path in paths]
    return load_dataset("parquet", data_files={"train": local}, split="train")


def load_selection(
    repo_id: str, config_name: str | None, *, revision: str | None, token: str | bool | None
) -> tuple[str, Selection, dict[str, str], str]:
    """Return (config, its Selection, path -> SHA-256 of its files, commit), every byte of the record checked."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        info = patiently(lambda: api.dataset_info(repo_id, revision=revision))
    except HubError as error:
        raise HubError(f"{repo_id} can't be read from the Hub. {error}") from error
    head = str(info.sha)
    there = [file.rfilename for file in info.siblings or []]
    names = sorted(path.removesuffix(f"/{MANIFEST}") for path in there if path.endswith(f"/{MANIFEST}"))
    if config_name is None and names:
        config_name = names[0] if len(names) == 1 else _default_of(info, names)
        if config_name is None:
            raise HubError(f"{repo_id} has several subsets: name one with config_name=, of {', '.join(names)}.")
    if config_name not in names:
        raise HubError(f"{repo_id} has no subset {config_name!r}. Subsets there are: {', '.join(names) or 'none'}.")
    manifest = read_manifest(_download(repo_id, f"{config_name}/{MANIFEST}", head, token).read_bytes(), repo_id)
    with tempfile.TemporaryDirectory() as scratch:
        for file in ("selection.json", "selection.parquet"):
            path = f"{config_name}/selection/{file}"
            (Path(scratch) / file).write_bytes(_checked(repo_id, path, head, manifest.get(path), token).read_bytes())
        return config_name, Selection.load(scratch), manifest, head


def is_row_file(path: str) -> bool:
    """Say whether a file of a config holds rows, and is not a part of the record."""
    return path.endswith(".parquet") and "/selection/" not in path


def _default_of(info: Any, names: list[str]) -> str | None:
    """Return the subset that the card calls the default, if it is one of these."""
    card = info.card_data.to_dict() if info.card_data is not None else {}
    entries = card.get("configs") or []
    return next((e["config_name"] for e in entries if e.get("default") and e.get("config_name") in names), None)


def manifest_of(sha256: dict[str, str]) -> bytes:
    """Write path -> SHA-256 of every file, and the SHA-256 of that list, in one fixed form."""
    files = dict(sorted(sha256.items()))
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return (json.dumps({"files": files, "sha256": digest}, indent=2) + "\n").encode()


def read_manifest(text: bytes, repo_id: str) -> dict[str, str]:
    """Read path -> SHA-256 from a manifest, every byte of which is checked."""
    try:
        files = dict(json.loads(text)["files"])
        intact = manifest_of(files) == text
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise HubError(f"The list of files of {repo_id} is damaged: its checksum differs. Publish the subset again.")
    return files


def _checked(repo_id: str, path: str, commit: str, wanted: str | None, token: str | bool | None) -> Path:
    """Download a file, once more where the cache holds a damaged one, and check its SHA-256."""
    for force in (False, True):
        try:
            file = _download(repo_id, path, commit, token, force=force)
        except OSError as error:
            if "Consistency check failed" not in str(error):  # how the client says that a file has another size
                raise
            continue
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() == wanted:
            return file
    raise HubError(
        f"{path} of {repo_id} is damaged: its checksum differs from the one it was published with. Publish the subset again, "
        "or load another revision."
    )


def _download(repo_id: str, path: str, commit: str, token: str | bool | None, *, force: bool = False) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    where: dict[str, Any] = {"repo_type": "dataset", "revision": commit, "token": token, "force_download": force}
    try:
        return Path(patiently(lambda: hf_hub_download(repo_id, path, **where)))
    except EntryNotFoundError as error:
        raise HubError(f"{path} is missing in {repo_id}: the subset is not whole. Publish it again.") from error
