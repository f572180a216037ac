"""verify: is a published subset what it says it is? By its keys, by its scores, or by doing it all again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hf_select.budget import Budget, cut
from hf_select.choice import package_versions, rank
from hf_select.errors import ArgumentError, HfSelectError
from hf_select.hub.calls import calls_of, run_again
from hf_select.hub.subset import load_rows, load_selection, load_source
from hf_select.matching import locate
from hf_select.readers import read_groups, read_seconds
from hf_select.rows import RowKey
from hf_select.selection import EXCLUDED, Selection

__all__ = ["LEVELS", "Verification", "verify"]

LEVELS = ("keys", "scores", "full")


@dataclass(frozen=True)
class Verification:
    """The outcome of `verify`: what was looked at, whether all of it was identical, and sentences about the rest."""

    repo_id: str
    config_name: str
    level: str
    identical: bool
    checked: tuple[str, ...]
    differences: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.identical

    def __str__(self) -> str:
        title = f"{self.repo_id}, {self.config_name}: {'identical' if self.identical else 'NOT identical'} (level {self.level})"
        lines = [f"  same: {sentence}" for sentence in self.checked]
        return "\n".join([title, *lines, *(f"  differs: {sentence}" for sentence in self.differences)])


def verify(
    repo_id: str,
    config_name: str | None = None,
    *,
    level: Literal["keys", "scores", "full"] = "keys",
    ds: Any = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Verification:
    """Check a published subset against its source.

    Args:
        repo_id, config_name, revision, token: see `load_subset`.
        level: "keys": every file is whole, every row is one of the source, and the published rows are the kept ones;
            "scores": also, the Selection cut again from the published scores keeps the same rows; "full": also, the method run
            again with the recorded parameters, on `ds`, gives the same scores and rows.
        ds: the source with the thin columns that the method read; None: the source from the Hub, at the pinned commit.

    Returns:
        A Verification: it is true when all is identical, and says what differs and why it may.

    Raises:
        ArgumentError: the source is not pinned, and `ds` is not given. HubError: no such subset, or a file is damaged.
    """
    if level not in LEVELS:
        raise ArgumentError(f"level= is 'keys', 'scores' or 'full'; got {level!r}.")
    name, selection, manifest, commit = load_selection(repo_id, config_name, revision=revision, token=token)
    source = load_source(selection, token=token) if ds is None else ds
    steps = [lambda: _keys(selection, source)]
    if selection.source.get("rows_published", True):
        steps.append(lambda: _rows(selection, load_rows(repo_id, name, manifest, commit, token)))
    several = len(calls_of(selection)) > 1  # then there are no scores of the first of them
    if level == "scores" and several:
        raise ArgumentError(f"{selection.method} can't be cut again from its scores alone: use level='full'.")
    if level != "keys" and not several:
        steps.append(lambda: _scores(selection, source))
    if level == "full":
        steps.append(lambda: _again(selection, source))
    checked: list[str] = []
    differences: list[str] = []
    for step in steps:
        said, same = step()
        (checked if same else differences).append(said)
    return Verification(repo_id, name, level, not differences, tuple(checked), tuple(differences))


def _row_key(selection: Selection) -> RowKey:
    return RowKey(selection.source["key"]["kind"], tuple(selection.source["key"]["columns"]))


def _keys(selection: Selection, source: Any) -> tuple[str, bool]:
    """Compare the rows of the source with those that were selected from."""
    there = _row_key(selection).of(source)
    if selection.key.equals(there):
        return f"the {len(there)} rows of the source", True
    then, now = set(selection.key.to_pylist()), set(there.to_pylist())
    if then == now and len(selection.key) == len(there):
        return f"the {len(there)} rows of the source, in another order", True
    return (
        f"the source had {len(selection.key)} rows and has {len(there)}; {len(then - now)} are gone and {len(now - then)} are new",
        False,
    )


def _rows(selection: Selection, rows: Any) -> tuple[str, bool]:
    """Compare the published rows with the kept ones."""
    key = _row_key(selection)
    if key.kind == "content" or any(column not in rows.column_names for column in key.columns):
        return f"{len(rows)} published rows (they hold no key to compare)", len(rows) == len(selection)
    wanted, found = selection.key.take(pa.array(selection.indices)), key.of(rows)
    if wanted.equals(found):
        return f"the {len(found)} published rows", True
    missing = set(wanted.to_pylist()) - set(found.to_pylist())
    return f"of {len(wanted)} kept rows {len(missing)} are not published ({len(found)} rows are)", False


def _scores(selection: Selection, source: Any) -> tuple[str, bool]:
    """Cut the ranking of the published scores again."""
    chosen = np.array([group is None or not group.startswith(EXCLUDED) for group in selection.group])
    candidates = np.flatnonzero(chosen & ~np.isnan(selection.score))
    ranking = candidates[rank(selection.score[candidates])]
    if selection.budget == "all":
        kept: NDArray[np.int64] = ranking
    else:
        budget, params = Budget.parse(selection.budget), selection.params
        kept = cut(
            budget,
            ranking,
            num_rows=selection.num_rows,
            per=_of_source(selection, source, read_groups(source, params["per"])) if params.get("per") else None,
            clusters=_clusters(selection) if selection.method == "select_kmeans" else None,
            seconds=_seconds(selection, source) if budget.kind == "seconds" else None,
        ).rows
    if np.array_equal(np.sort(kept), selection.indices):
        return f"the {len(kept)} rows that the published scores and the budget give", True
    apart = len(set(kept.tolist()) ^ set(selection.indices.tolist()))
    return f"cutting the published scores again gives {len(kept)} rows, {apart} of them other ones", False


def _clusters(selection: Selection) -> NDArray[np.int64]:
    return np.array([int(g) if g is not None and g.lstrip("-").isdecimal() else -1 for g in selection.group])


def _seconds(selection: Selection, source: Any) -> NDArray[np.float64]:
    return _of_source(selection, source, read_seconds(source, selection.params.get("duration") or "duration"))


def _of_source(selection: Selection, source: Any, values: NDArray[Any]) -> NDArray[Any]:
    there = _row_key(selection).of(source)
    return values[locate(selection.key, np.arange(selection.num_rows), there)]


def _again(selection: Selection, source: Any) -> tuple[str, bool]:
    """Run the method again."""
    if strange := [call.method for call in calls_of(selection) if not call.is_known]:
        return f"{strange[0]} is no method of this version: it can't be run again", False
    try:
        made = run_again(selection, source)
    except (HfSelectError, TypeError) as error:
        return f"{selection.method} can't be run again here: {error}", False
    mine = made.key.take(pa.array(made.ranked)).to_pylist()
    theirs = selection.key.take(pa.array(selection.ranked)).to_pylist()
    if mine == theirs:
        return f"{selection.method} run again: the same {len(mine)} rows in the same order", True
    versions = package_versions()
    other = [
        f"{name} {was}, here {versions.get(name)}"
        for name, was in selection.versions.items()
        if versions.get(name) != was
    ]
    why = f" Versions differ: {', '.join(other)}." if other else " The versions are the same."
    return f"{selection.method} run again keeps {len(set(mine) ^ set(theirs))} other rows.{why}", False
