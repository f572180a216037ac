"""What may be published of a source: its rows or an index alone, which columns, under which licence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_select.errors import ArgumentError, ColumnError, HubError
from hf_select.hub.commit import patiently
from hf_select.report.markdown import without_paths
from hf_select.rows import base_column
from hf_select.selection import Selection

__all__ = [
    "Origin",
    "Terms",
    "columns_to_publish",
    "holds_local_paths",
    "names_speakers",
    "origin_of",
    "shareable",
    "terms_of",
    "with_origin",
]

_COMMIT = re.compile(r"[0-9a-f]{40}")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_PEOPLE = {"speaker", "speakers", "spk", "client", "reader", "talker", "participant", "user"}
_NAMES = {"", "id", "ids", "name", "names", "key", "uuid", "hash", "code", "no", "number", "index", "idx", "label"}
_LIKE_A_PATH = r"^\s*(file:|[~/]|\\\\|[A-Za-z]:[/\\])"
_NO_DERIVATIVES = re.compile(r"(^|-)nd(-|$)|no-?deriv", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """Where a dataset was loaded from: a repository on the Hub, its commit, configuration and split; None where unknown."""

    repo_id: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether this names one state of the rows: a branch or a tag may move."""
        return self.repo_id is not None and _COMMIT.fullmatch(self.revision or "") is not None


@dataclass(frozen=True)
class Terms:
    """Under which terms a subset is published.

    Attributes:
        licence: as the Hub writes it, such as "cc-by-4.0". rows: rows, or (False) the index alone. private: of the new
            repository. card: front matter of the source. said: sentences about what was decided.
    """

    licence: str
    rows: bool
    private: bool
    card: dict[str, Any]
    said: tuple[str, ...]


def origin_of(ds: Any, source: str | None, revision: str | None) -> Origin:
    """Say where a dataset comes from: what the caller says, else what the cache of `datasets` shows."""
    found = _from_cache(ds)
    config, split = ds.info.config_name, str(ds.split) if ds.split is not None else None
    if source is None:
        return Origin(found[0], revision or found[1], config if found[0] else None, split if found[0] else None)
    return Origin(source, revision or (found[1] if found[0] == source else None), config, split)


def with_origin(selection: Selection, ds: Any) -> Selection:
    """Note the repository and commit of a dataset of the Hub: who publishes the smaller one has to keep to its terms."""
    origin = origin_of(ds, None, None)
    if origin.repo_id is None:
        return selection
    noted = {name: value for name, value in vars(origin).items() if value is not None}
    return replace(selection, source={**selection.source, **noted})


def _from_cache(ds: Any) -> tuple[str | None, str | None]:
    """Return (repository, commit) from paths such as .../datasets/google___speech_commands/v0.02/0.0.0/<commit>/x.arrow."""
    for file in getattr(ds, "cache_files", None) or []:
        parts = str(file["filename"]).replace("\\", "/").split("/")
        name, commit = (parts[-5], parts[-2]) if len(parts) >= 5 else ("", "")  # folders above may hold "___" too
        if "___" in name and _COMMIT.fullmatch(commit):
            return name.replace("___", "/", 1), commit
    return None, None


def terms_of(
    api: Any, origin: Origin, *, rows: bool | None, licence: str | None, private: bool | None, ds_licence: str | None
) -> Terms:
    """Decide, from the terms of the source, what may be published.

    Raises:
        ArgumentError: the licence is not known and not given; or rows are asked for that must not be published.
    """
    card, gated, hidden = _of_source(api, origin)
    known = licence or card.get("license") or ds_licence or None
    known = known[0] if isinstance(known, list) else known
    if not known:
        where = f"The source {origin.repo_id} states none" if origin.repo_id else "The dataset states none"
        raise ArgumentError(
            f"publish needs a licence. {where}: pass licence=, such as 'cc-by-4.0', or 'other' if none of the Hub's fits."
        )
    said = []
    closed = bool(_NO_DERIVATIVES.search(str(known)))
    if closed and rows:
        raise ArgumentError(f"The licence {known} allows no derivatives: publish with rows=False (the index alone).")
    allowed = not (closed or gated or hidden) if rows is None else rows
    if rows is None and not allowed:
        why = f"its licence ({known}) allows no derivatives" if closed else "it is gated" if gated else "it is private"
        said.append(f"Only the index is published, since {why}: keys, ranks and scores, with the pinned source.")
    if hidden and private is False and allowed:
        raise ArgumentError(
            "The source is private: its rows are not published openly. Pass private=True or rows=False."
        )
    if hidden and allowed and private is None:
        said.append("The repository is private, as its source is.")
    return Terms(str(known), allowed, bool(hidden and allowed) if private is None else private, card, tuple(said))


def _of_source(api: Any, origin: Origin) -> tuple[dict[str, Any], bool, bool]:
    """Return (card, whether it is gated, whether it is private) of the source."""
    if origin.repo_id is None:
        return {}, False, False
    try:
        info = patiently(lambda: api.dataset_info(origin.repo_id, revision=origin.revision))
    except HubError as error:
        raise HubError(f"The source {origin.repo_id} can't be read from the Hub. {error}") from error
    card = info.card_data.to_dict() if info.card_data is not None else {}
    return card, bool(info.gated), bool(info.private)


def columns_to_publish(ds: Any, columns: Sequence[str] | None) -> tuple[list[str], tuple[str, ...]]:
    """Choose the columns: (names, sentences about what is left out).

    Vectors and speakers only where they are named; local paths never.
    """
    import pyarrow as pa

    strange = [name for name in columns or () if name not in ds.column_names]
    if strange:
        raise ColumnError(
            f"columns=: there is no column {strange[0]!r}. Columns there are: {', '.join(ds.column_names)}."
        )
    paths = {name for name in ds.column_names if holds_local_paths(base_column(ds, name))}
    if columns is not None:
        if named := sorted(paths & set(columns)):
            raise ColumnError(
                f"columns=: {named[0]!r} holds paths of this machine, which are not published: leave it out, or cut it down to "
                "file names."
            )
        return [name for name in ds.column_names if name in columns], ()
    kept: list[str] = []
    left: list[str] = []
    for name in ds.column_names:
        kind = base_column(ds, name).type
        vectors = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        (left if vectors or name in paths or names_speakers(name) else kept).append(name)
    said = []
    if others := [name for name in left if name not in paths]:
        said.append(
            f"Left out: {', '.join(others)} (vectors and speakers are published only where columns= names them)."
        )
    if paths:
        said.append(f"Left out: {', '.join(name for name in left if name in paths)} (paths of this machine).")
    return kept, tuple(said)


def names_speakers(column: str) -> bool:
    """Say whether a column of this name holds speakers, and not something about them.

    >>> [names_speakers(name) for name in ("speaker", "speakerId", "client_id", "spkid", "speaker_age", "native_speaker")]
    [True, True, True, True, False, False]
    """
    *before, last = [word.lower() for word in _WORDS.findall(column)] or [""]
    if last in _NAMES and before:
        return before[-1] in _PEOPLE
    kinds = {"native", "nonnative", "fluent", "loud"}  # of speakers, or of devices: no names
    return last in {"speaker", "speakers", "spk", "spkr", "spkid", "speakerid", "clientid"} and not kinds & {*before}


def holds_local_paths(column: Any) -> bool:
    """Say whether a text in an Arrow column, at any depth, is a path of this machine, and not a name or an address."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_struct(kind):
        if {field.name for field in kind} == {"bytes", "path"}:  # sound: its paths are cut down where it is written
            return False
        return any(holds_local_paths(pc.struct_field(column, field.name)) for field in kind)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_local_paths(pc.list_flatten(column))
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    found = pc.unique(column.filter(pc.match_substring_regex(column, _LIKE_A_PATH)))
    return any(without_paths(value) != value for value in found.to_pylist())


def shareable(selection: Selection, origin: Origin, terms: Terms) -> Selection:
    """Return the Selection as it may be shared and made again: with its pinned source, without local paths and timing."""
    if holds_local_paths(selection.key):
        raise ArgumentError(
            f"The row key {selection.source['key']['columns'][0]!r} holds paths of this machine, which are not published: select "
            "with another key=, such as names of files."
        )
    group = selection.group.copy()
    for row, name in enumerate(group):
        if name is not None and ("/" in name or "\\" in name):
            group[row] = without_paths(name)
    pinned = {"repo_id": origin.repo_id, "revision": origin.revision, "config": origin.config, "split": origin.split}
    source = {
        **_without_paths(selection.source),
        **{name: value for name, value in pinned.items() if value is not None},
    }
    source.pop("fingerprint", None)  # of a cache: other on each machine
    source["licence"], source["rows_published"] = terms.licence, terms.rows
    clean = {name: _without_paths(getattr(selection, name)) for name in ("params", "facts")}
    warnings = tuple(without_paths(warning) for warning in selection.warnings)
    return replace(selection, group=group, source=source, warnings=warnings, seconds=0.0, **clean)


def _without_paths(value: Any) -> Any:
    """Replace local paths in the strings of a JSON value."""
    if isinstance(value, str):
        return without_paths(value)
    if isinstance(value, Mapping):
        return {_without_paths(name): _without_paths(item) for name, item in value.items()}
    return [_without_paths(item) for item in value] if isinstance(value, list | tuple) else value
