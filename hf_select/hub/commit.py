"""One atomic commit to a repository on the Hub: readers see the old state or the new one, never a mixture.

Large files are uploaded first; nobody sees them until the commit that names them. The commit says which state it was
made for; if somebody else was quicker it is made again for theirs. What fails in passing is tried again, and since files are
known by their content, a second call after a failure uploads only what is missing.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hf_select.errors import HubError

__all__ = ["Change", "Uploads", "commit", "patiently"]

T = TypeVar("T")
ATTEMPTS = 8
_LONGEST_WAIT = 60.0  # seconds
_PASSING = {408, 409, 412, 429, 500, 502, 503, 504}


@dataclass
class Change:
    """What a commit changes.

    Attributes:
        files: path -> content of small files.
        folder: the folder that the commit owns: files there that are not named are deleted.
    """

    folder: str
    files: dict[str, bytes] = field(default_factory=dict)


class Uploads:
    """Large files, uploaded one by one while they are made, committed later."""

    def __init__(self, api: Any, repo_id: str) -> None:
        self._api, self._repo_id = api, repo_id
        self.additions: dict[str, Any] = {}
        self.sha256: dict[str, str] = {}
        self.size: dict[str, int] = {}

    def add(self, path: str, file: Path) -> None:
        """Upload a file that is to stand at `path`; content that the Hub has already is not sent again."""
        from huggingface_hub import CommitOperationAdd

        addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(file))
        self.sha256[path], self.size[path] = addition.upload_info.sha256.hex(), addition.upload_info.size
        patiently(
            lambda: self._api.preupload_lfs_files(
                self._repo_id, [addition], repo_type="dataset", free_memory=False, num_threads=1
            )
        )
        if addition._upload_mode == "regular":  # too small for that kind of storage: it travels with the commit
            addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=file.read_bytes())
        self.additions[path] = addition


def commit(
    api: Any, repo_id: str, uploads: Uploads, change: Callable[[str | None], Change], message: str
) -> tuple[str, bool]:
    """Commit uploads and small files in one step: (revision, whether there was anything to change).

    Args:
        change: given the text of the card as it stands at the head (None: there is none), returns what to change;
            it is asked again when the head has moved.
    """
    last: Exception | None = None
    for attempt in range(ATTEMPTS):
        try:
            head = api.repo_info(repo_id, repo_type="dataset").sha
            wanted = change(_card(api, repo_id, head))
            there = _files(api, repo_id, head, wanted.folder)
            operations = _operations(uploads, wanted, there)
            if not operations:
                return head, False
            done = api.create_commit(
                repo_id, operations, commit_message=message, repo_type="dataset", parent_commit=head
            )
            return done.oid, True
        except Exception as error:
            last = error
            _wait_or_raise(error, attempt)
    raise _given_up(last)


def patiently(call: Callable[[], T]) -> T:
    """Call the Hub, again where it fails in passing (too many requests, server errors, dropped connections)."""
    last: Exception | None = None
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except Exception as error:
            last = error
            _wait_or_raise(error, attempt)
    raise _given_up(last)


def _operations(uploads: Uploads, wanted: Change, there: dict[str, tuple[str, str | None]]) -> list[Any]:
    """Return what differs from the state at the head: additions, and deletions of what is no longer wanted."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = []
    for path, addition in uploads.additions.items():
        if there.get(path, ("", None))[1] != uploads.sha256[path] and not _same_blob(addition, there.get(path)):
            operations.append(addition)
    for path, content in wanted.files.items():
        if there.get(path, ("", None))[0] != _blob_id(content):
            operations.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=content))
    named = {*uploads.additions, *wanted.files}
    old = [path for path in there if path.startswith(wanted.folder + "/") and path not in named]
    return [*operations, *(CommitOperationDelete(path_in_repo=path) for path in old)]


def _files(api: Any, repo_id: str, head: str, folder: str) -> dict[str, tuple[str, str | None]]:
    """Return path -> (git blob id, sha256 of a large file) of the files in a folder and at the top."""
    from huggingface_hub.errors import EntryNotFoundError

    found: dict[str, tuple[str, str | None]] = {}
    for path, deep in ((None, False), (folder, True)):
        try:
            for entry in api.list_repo_tree(repo_id, path, recursive=deep, revision=head, repo_type="dataset"):
                if hasattr(entry, "blob_id"):
                    found[entry.path] = (entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        except EntryNotFoundError:
            continue
    return found


def _card(api: Any, repo_id: str, head: str) -> str | None:
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = api.hf_hub_download(repo_id, "README.md", repo_type="dataset", revision=head)
    except EntryNotFoundError:
        return None
    return Path(path).read_text(encoding="utf-8")


def _blob_id(content: bytes) -> str:
    """Return the id that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _same_blob(addition: Any, there: tuple[str, str | None] | None) -> bool:
    return (
        there is not None
        and isinstance(addition.path_or_fileobj, bytes)
        and there[0] == _blob_id(addition.path_or_fileobj)
    )


def _wait_or_raise(error: Exception, attempt: int) -> None:
    """Wait before the next attempt where an error may pass; else raise it in our words."""
    from huggingface_hub.errors import EntryNotFoundError

    if isinstance(error, EntryNotFoundError):
        raise error
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and not _is_connection(error):
        raise error
    if status is not None and status not in _PASSING:
        raise HubError(f"The Hub refused: {_sentence(error)}") from error
    if attempt == ATTEMPTS - 1:
        raise _given_up(error)
    time.sleep(_pause(error, attempt))


def _pause(error: Exception, attempt: int) -> float:
    asked = getattr(getattr(error, "response", None), "headers", {}).get("Retry-After", "")
    wait = float(asked) if asked.replace(".", "", 1).isdigit() else 0.5 * 2**attempt
    return min(_LONGEST_WAIT, wait) * random.uniform(0.75, 1.25)


def _is_connection(error: Exception) -> bool:
    return any(
        kind.__name__ in ("TransportError", "ConnectionError", "TimeoutError", "OSError")
        for kind in type(error).__mro__
    )


def _given_up(error: Exception | None) -> HubError:
    return HubError(
        f"The Hub could not be reached in {ATTEMPTS} attempts ({_sentence(error)}). What was uploaded is kept: call again to complete it."
    )


def _sentence(error: Exception | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
