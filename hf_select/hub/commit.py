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

__all__ = ["Change", "Uploads", "commit", "patiently", "sentence_of", "status_of"]

T = TypeVar("T")
ATTEMPTS = 8
PATIENCE = 120.0  # seconds without a byte after which an answer is given up
_LONGEST_WAIT, _LONGEST_ASKED = 60.0, 600.0  # seconds; the Hub counts requests over five minutes
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
        if addition._should_ignore:
            raise HubError(f"{path} is ignored by the .gitignore of {self._repo_id}: remove it there, then call again.")
        if addition._upload_mode == "regular":  # too small for that kind of storage: it travels with the commit
            addition = CommitOperationAdd(path_in_repo=path, path_or_fileobj=file.read_bytes())
        self.additions[path] = addition


def commit(api: Any, repo_id: str, uploads: Uploads, change: Callable[[Any], Change], message: str) -> tuple[str, bool]:
    """Commit uploads and small files in one step: (revision, whether there was anything to change).

    Args:
        change: given what the Hub says of the repository (its commit, its files), returns what to change, or raises; it is
            asked again when the head has moved.
    """
    unsure = False  # whether a commit went out of which it is not known if it arrived

    def attempt() -> tuple[str, bool]:
        nonlocal unsure
        info = api.repo_info(repo_id, repo_type="dataset")
        head, wanted = info.sha, change(info)
        operations = _operations(uploads, wanted, _files(api, repo_id, head, wanted.folder))
        if not operations:
            return head, unsure
        try:
            done = api.create_commit(
                repo_id, operations, commit_message=message, repo_type="dataset", parent_commit=head
            )
        except Exception as error:
            unsure = unsure or (status_of(error) or 500) >= 500
            raise
        return done.oid, True

    return patiently(attempt)


def patiently(call: Callable[[], T]) -> T:
    """Call the Hub, again where it fails in passing (too many requests, server errors, dropped connections, no answer).

    Raises:
        HubError: the Hub refused, or did not answer in several attempts. EntryNotFoundError: there is no such file. What else
            `call` raises.
    """
    for attempt in range(ATTEMPTS):
        _limit_waiting()
        try:
            return call()
        except Exception as error:
            _raise_unless_passing(error)
            if attempt == ATTEMPTS - 1:
                raise HubError(
                    f"The Hub could not be reached in {ATTEMPTS} attempts ({sentence_of(error)}). What is done is kept: call again "
                    "to complete it."
                ) from error
            time.sleep(_pause(error, attempt))
    raise AssertionError("unreachable")


def status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error stands for; None if it is not the answer of a server."""
    return getattr(getattr(_reason(error), "response", None), "status_code", None)


def sentence_of(error: BaseException | None) -> str:
    """Return an error of the Hub's client in one line, with what the server said."""
    reason = _reason(error)
    line = (str(reason).strip().splitlines() or [type(reason).__name__])[0].rstrip(":")
    said = getattr(reason, "server_message", None) or ""
    line = f"{line}: {said.strip().splitlines()[0]}" if said.strip() and said not in line else line
    return line.rstrip(". ")


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


def _blob_id(content: bytes) -> str:
    """Return the id that git gives to a content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _same_blob(addition: Any, there: tuple[str, str | None] | None) -> bool:
    return (
        there is not None
        and isinstance(addition.path_or_fileobj, bytes)
        and there[0] == _blob_id(addition.path_or_fileobj)
    )


def _limit_waiting() -> None:
    """Make the Hub's client, which would wait for an answer for ever, give up in the end."""
    from huggingface_hub import get_session

    session = get_session()
    if session.timeout.read is None:
        session.timeout = PATIENCE


def _reason(error: BaseException | None) -> BaseException | None:
    """Return what went wrong where the client says no more than that a file is not in the cache, or was not uploaded."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    return error.__cause__ or error if isinstance(error, LocalEntryNotFoundError | RuntimeError) else error


def _raise_unless_passing(error: Exception) -> None:
    """Raise an error that will not pass, one of the Hub's in our words."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, OfflineModeIsEnabled

    reason, status = _reason(error), status_of(error)
    if isinstance(reason, OfflineModeIsEnabled) or (reason is error and isinstance(error, LocalEntryNotFoundError)):
        raise HubError(f"The Hub can't be reached: {sentence_of(error)}.") from error
    if isinstance(reason, EntryNotFoundError):
        raise error
    if status is None and not _is_connection(reason):
        raise error
    if status is not None and status not in _PASSING:
        advice = " Is this token one that may do it? `hf auth login` takes another." if status in (401, 403) else ""
        raise HubError(f"The Hub refused. {sentence_of(error)}.{advice}") from error


def _pause(error: Exception, attempt: int) -> float:
    """Return how many seconds to wait: at least what the Hub asks for, else longer from attempt to attempt."""
    asked = getattr(getattr(_reason(error), "response", None), "headers", {}).get("Retry-After", "")
    if asked.replace(".", "", 1).isdigit():
        return min(_LONGEST_ASKED, float(asked)) * random.uniform(1, 1.25)
    return min(_LONGEST_WAIT, 0.5 * 2**attempt) * random.uniform(0.75, 1.25)


def _is_connection(error: BaseException | None) -> bool:
    kinds = ("TransportError", "ConnectionError", "TimeoutError")  # of the Hub's HTTP client, which changes its package
    return any(kind.__name__ in kinds for kind in type(error).__mro__)
