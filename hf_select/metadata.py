"""What to measure from the sound, where columns that subgroups are made of are missing from a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hf_select.errors import ColumnError
from hf_select.sources import Source
from hf_select.transforms.speech import TEXT, SpeechMetadata

__all__ = ["missing_metadata"]


def missing_metadata(
    source: Source, names: Iterable[str], *, text: str | None = None, max_seconds: float = 600.0
) -> SpeechMetadata | None:
    """Return the transform that makes the columns among `names` that a dataset lacks, such as snr_db; None: not needed.

    Args:
        source: a dataset, its audio column and where its files lie. names: columns that are asked for.
        text: the column of what is said, for words per second; None: "text", if there is one.
        max_seconds: longer clips are not measured.

    Raises:
        ColumnError: a column counts words, and there is no column of text.
    """
    there: list[str] = source.ds.column_names
    missing = set(names) - set(there)
    said = text or ("text" if "text" in there else None)
    where: dict[str, Any] = {"audio_root": source.audio_root, "max_seconds": max_seconds}
    wanted = SpeechMetadata(column=source.audio or "audio", text_column=said, **where)
    if source.audio is None or not missing & {*wanted.features, *TEXT}:
        return None
    if said is None and (spoken := sorted(missing & TEXT.keys())):
        raise ColumnError(f"{spoken[0]} is counted in what is said: name its column with text=.")
    return wanted
