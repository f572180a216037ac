"""publish: a Selection as a named subset on the Hub, with its record, figures and card, in one commit."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from hf_select.budget import Budget
from hf_select.errors import ArgumentError
from hf_select.export import parquet_shards
from hf_select.hub.access import Repository, client, open_repository
from hf_select.hub.card import card_of
from hf_select.hub.commit import Change, Uploads, commit, patiently
from hf_select.hub.facts import config_facts
from hf_select.hub.kept_alone import NOT_COUNTED, kept_rows, with_known_hours, without_source
from hf_select.hub.pictures import draw_pictures
from hf_select.hub.policy import Origin, Terms, columns_to_publish, origin_of, shareable, terms_of
from hf_select.hub.subset import MANIFEST, manifest_of
from hf_select.rows import require_dataset
from hf_select.selection import Selection

__all__ = ["Published", "check_publish", "config_of", "publish"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


@dataclass(frozen=True)
class Published:
    """What was published: where, at which commit, whether anything changed, and sentences about what was decided."""

    repo_id: str
    config_name: str
    revision: str
    rows: bool
    changed: bool
    said: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "rows" if self.rows else "index"
        how = "" if self.changed else " (nothing had changed)"
        lines = [f"{self.repo_id}, config {self.config_name} ({what}), at commit {self.revision}{how}"]
        return "\n".join(lines + [f"  note: {sentence}" for sentence in self.said])


def publish(
    ds: Any,
    selection: Selection,
    repo_id: str,
    *,
    config_name: str | None = None,
    rows: bool | None = None,
    columns: Sequence[str] | None = None,
    source: str | None = None,
    source_revision: str | None = None,
    licence: str | None = None,
    private: bool | None = None,
    label: str | None = None,
    by: Sequence[str] = (),
    card: str | None = None,
    token: str | bool | None = None,
    default: bool = False,
    overwrite: bool = False,
    audio_root: str | None = None,
    shard_bytes: int = 500_000_000,
) -> Published | None:
    """Publish the rows (or the index) of a Selection as a named config of a dataset repository on the Hub.

    Args:
        ds: the dataset that was selected from, in any order of rows; or the kept rows alone: then the card says that it
            can't tell what was lost per value.
        selection: what to keep of it.
        repo_id: "name/repository"; made if it is not there.
        config_name: letters, digits, ".", "_" and "-"; None: method and budget, such as "kmeans-70".
        rows: publish rows; False: keys, ranks and scores with the pinned source. None: as the source's licence, gate and
            privacy allow.
        columns: columns to publish; None: all but vectors and speakers.
        source, source_revision: repository and commit that `ds` came from, where the cache does not show it.
        licence: as the Hub writes it; None: the source's.
        private: of a repository that is made now. None: as the source is.
        label: the column of classes; None: "label", or the first column of classes.
        by: columns to count kept and total rows by, in the card.
        card: text to open the card with.
        token: see huggingface_hub; None: of the `hf` login.
        default: make this the config that `load_dataset` takes without a name; else the first one published is.
        overwrite: replace a config of this name that holds another Selection, or other rows.
        audio_root: folder of the dataset's own files; rows that name files elsewhere are refused.
        shard_bytes: about as large as a file of rows becomes.

    Returns:
        What was published; None in all processes but the first.

    Raises:
        ArgumentError, SelectionError: it does not fit together. HubError: no permission, or the Hub could not be reached.
    """
    if os.environ.get("RANK", "0") != "0":
        return None
    require_dataset(ds, "publish")
    name = config_of(selection) if config_name is None else config_name
    _check(selection, repo_id, name)
    kept, whole = kept_rows(ds, selection), len(ds) == selection.num_rows
    api = client(token, repo_id)
    origin = _origin(ds, selection, source, source_revision)
    terms = _terms(api, ds, origin, rows=rows, licence=licence, private=private)
    names, said = columns_to_publish(kept, columns) if terms.rows else ([], ())
    record = shareable(selection, origin, terms)
    repository = open_repository(api, repo_id, private=terms.private)
    if not overwrite:
        patiently(lambda: repository.refuse_other_selection(name, record))
    uploads, size = Uploads(api, repo_id), 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if terms.rows:
            published = kept.select_columns(names)
            for file in parquet_shards(published, folder, audio_root=audio_root, shard_bytes=shard_bytes):
                size += _bytes_of(file)
                uploads.add(f"{name}/{file.name}", file)
                file.unlink()
        record.save(folder / "selection")
        facts = config_facts(
            ds,
            record,
            config_name=name,
            rows=terms.rows,
            features=kept.select_columns(names).features if terms.rows else None,
            by=by,
            label=label,
            licence=terms.licence,
            source=record.source,
            source_card=terms.card,
            num_bytes=size,
            download_size=sum(uploads.size.values()),
            text=card or "",
            mask=None if whole else np.ones(len(ds), dtype=bool),
        )
        (folder / "figures").mkdir()
        if whole:
            facts = replace(facts, pictures=draw_pictures(ds, record, folder / "figures", tables=facts.tables))
        facts = with_known_hours(facts if whole else without_source(facts, ds, record), record)
        for part in ("selection", "figures"):
            for file in sorted((folder / part).glob("*")):
                uploads.add(f"{name}/{part}/{file.name}", file)

        def change(info: Any) -> Change:
            there = Repository.of(api, repo_id, info)
            if not overwrite:  # somebody else may have been quicker
                there.refuse_other_selection(name, record)
                there.refuse_other_rows(name, uploads.sha256)
            wanted = name if default else None
            page = card_of([facts], repo_id, existing=there.card(), default=wanted, unlisted=there.unlisted())
            return Change(name, {f"{name}/{MANIFEST}": manifest_of(uploads.sha256), "README.md": page.encode()})

        revision, changed = commit(api, repo_id, uploads, change, f"Publish {name} by hf_select")
    unknown = () if whole else (f"{NOT_COUNTED} Publish the source with this Selection to count it.",)
    return Published(repo_id, name, revision, terms.rows, changed, (*terms.said, *said, *unknown))


def check_publish(
    ds: Any,
    repo_id: str,
    *,
    config_name: str | None = None,
    rows: bool | None = None,
    licence: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
) -> None:
    """Raise now, before long work, what `publish` would raise after it: no login, no licence, names the Hub refuses."""
    _check_names(repo_id, "subset" if config_name is None else config_name)
    _terms(client(token, repo_id), ds, origin_of(ds, None, None), rows=rows, licence=licence, private=private)


def config_of(selection: Selection) -> str:
    """Return a name for a config: the method and what it keeps, such as "kmeans-70" (per cent), "random-2.5h" or "random-500rows"."""
    budget = "all" if selection.budget == "all" else Budget.parse(selection.budget)
    if isinstance(budget, Budget):
        kinds = {
            "share": f"{float(budget.amount * 100):g}",
            "rows": f"{int(budget.amount)}rows",
            "seconds": str(budget),
        }
        budget = kinds[budget.kind]
    words = f"{selection.method.removeprefix('select_')}-{budget}".replace(" ", "")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", words).strip("-.")[:96]


def _check(selection: Selection, repo_id: str, name: str) -> None:
    _check_names(repo_id, name)
    if not len(selection):
        raise ArgumentError(f"The Selection keeps none of {selection.num_rows} rows: there is nothing to publish.")


def _check_names(repo_id: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ArgumentError(
            f"config_name= is made of letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 96; got {name!r}."
        )
    if repo_id.count("/") != 1 or not all(_NAME.fullmatch(part) for part in repo_id.split("/")):
        raise ArgumentError(f"repo_id= is 'name/repository' as on the Hub; got {repo_id!r}.")


def _origin(ds: Any, selection: Selection, source: str | None, revision: str | None) -> Origin:
    """Say where the rows come from: what the caller says, else what the cache shows, else what the Selection recorded."""
    found, noted = origin_of(ds, source, revision), selection.source
    if noted.get("repo_id") is None or (found.repo_id or noted["repo_id"]) != noted["repo_id"]:
        return found
    known = Origin(*(noted.get(name) for name in ("repo_id", "revision", "config", "split")))
    return known if revision is None else replace(known, revision=revision)


def _terms(api: Any, ds: Any, origin: Origin, *, rows: bool | None, licence: str | None, private: bool | None) -> Terms:
    terms = terms_of(api, origin, rows=rows, licence=licence, private=private, ds_licence=ds.info.license)
    if not terms.rows and not origin.pinned:
        raise ArgumentError(
            "An index names the source that its rows are in: pass source='name/repository' and source_revision=, a commit (40 hex digits)."
        )
    return terms


def _bytes_of(file: Path) -> int:
    """Return how large the rows of a parquet file are before compression."""
    footer = pq.read_metadata(file)
    return sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
