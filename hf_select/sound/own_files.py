"""Open only what belongs to the dataset: the path in a row was written by a stranger."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import Any

from hf_select.errors import AudioError

__all__ = ["MissingFileError", "RefusedPathError", "open_own_file", "own_name", "printable"]

SCHEME = re.compile(
    r"[A-Za-z][A-Za-z0-9+.\-]*://|(file|data|https?|ftps?|s3|gs|gcs|hf|abfss?|az|hdfs|zip|tar|memory):", re.IGNORECASE
)


# not through a link, not waiting for a pipe: both were looked at before, and may have changed since
FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class RefusedPathError(AudioError):
    """A path that leads outside the dataset's own files, or that is a URL; it was not opened."""


class MissingFileError(AudioError):
    """A path inside the dataset's own files at which there is no file."""


def printable(text: str, width: int = 200) -> str:
    """Return one printable line of at most `width` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 3] + "..."


def open_own_file(path: Any, audio_root: str | os.PathLike[str] | None = None) -> io.FileIO:
    """Open a regular file inside `audio_root`, the Hub's cache, or the downloads of `datasets`; see `own_path`."""
    real = own_path(path, audio_root)
    try:
        return io.FileIO(os.open(real, FLAGS))
    except FileNotFoundError:
        raise MissingFileError(f"there is no file {printable(repr(str(path)))}") from None


def file_stamp(path: Any, audio_root: str | os.PathLike[str] | None = None) -> str:
    """Return size and time of the last change of a file that may be opened, or why it may not: for fingerprints."""
    try:
        found = own_path(path, audio_root).stat()
    except (RefusedPathError, MissingFileError, OSError) as error:
        return type(error).__name__
    return f"{found.st_size} {found.st_mtime_ns}"


def own_path(path: Any, audio_root: str | os.PathLike[str] | None = None) -> Path:
    """Return where a regular file inside `audio_root`, the Hub's cache, or the downloads of `datasets` really lies.

    A relative path is relative to `audio_root`; links are followed on both sides before the two are compared, so that a link in the
    Hub's cache to its own blob is inside and a link that leaves the root is not. `~` and variables are not expanded.

    Raises:
        RefusedPathError: a URL, a network path, or anything outside, which is never opened; a folder, device or pipe.
        MissingFileError: nothing is there.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(text := os.fspath(path), bytes):
        raise RefusedPathError("the path is no text")
    name = printable(repr(text))
    if "\0" in text:
        raise RefusedPathError(f"path {name} holds a NUL character")
    if "::" in text or SCHEME.match(text):
        raise RefusedPathError(f"path {name} is a URL, and none is followed")
    if text.startswith(("//", "\\\\")):  # before any look at the file system: Windows would log in there
        raise RefusedPathError(f"path {name} is a network path")
    if audio_root is None and not Path(text).is_absolute():
        raise RefusedPathError(f"path {name} is relative: say audio_root=, the folder it is relative to")
    try:
        real = Path(audio_root or "", text).resolve()
        if not _is_own(real, audio_root):
            raise RefusedPathError(
                f"path {name} leads outside the dataset's own files (audio_root and the caches of the Hub client)"
            )
        if not stat.S_ISREG(real.stat().st_mode):  # a device or a pipe is not even opened
            raise RefusedPathError(f"path {name} is no regular file")
        return real
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"there is no file {name}") from None
    except (UnicodeError, RuntimeError):  # no file name at all; a circle of links
        raise RefusedPathError(f"path {name} leads nowhere") from None


def own_name(path: Any) -> str | None:
    """Return the file name at the end of `path`, printable and without folders; None if there is none."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
    if not isinstance(text, str):
        return None
    name = printable(re.split(r"[\\/]", text.split("::")[0])[-1])
    return None if name in ("", ".", "..") else name


def _is_own(real: Path, audio_root: str | os.PathLike[str] | None) -> bool:
    if audio_root is not None and any(
        root in real.parents for root in (Path(audio_root).resolve(), _blobs(Path(audio_root).absolute()))
    ):
        return True
    import datasets.config
    from huggingface_hub import constants

    secrets = [Path(constants.HF_TOKEN_PATH).resolve(), Path(constants.HF_STORED_TOKENS_PATH).resolve()]
    for cache in (
        constants.HF_HUB_CACHE,
        datasets.config.DOWNLOADED_DATASETS_PATH,
        datasets.config.EXTRACTED_DATASETS_PATH,
    ):
        root = Path(cache).resolve()
        # a cache that was set to hold the token too (HF_HOME itself) opens nothing
        if root in real.parents and not any(root in secret.parents for secret in secrets):
            return True
    return False


def _blobs(root: Path) -> Path | None:
    """A snapshot of a Hub cache, `datasets--me--speech/snapshots/1234/...`, links to the blobs beside it: they are its own files."""
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("datasets--"):
            return (folder.parent.parent / "blobs").resolve()
    return None
