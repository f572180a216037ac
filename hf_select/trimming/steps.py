"""Both steps of MelTrim in one call."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from hf_select.budget import Budget
from hf_select.choice import Choice
from hf_select.errors import ArgumentError
from hf_select.joining import append_columns
from hf_select.methods import select_meltrim
from hf_select.readers import read_seconds, read_values
from hf_select.rows import column_names
from hf_select.scoring import score_segments
from hf_select.scoring.model import load_model
from hf_select.selection import EXCLUDED, Selection

__all__ = ["meltrim"]

_SECONDS = "segment_seconds"


def meltrim(
    ds: Any,
    judge: Any,
    processor: Any = None,
    *,
    budget: Any,
    per: str | None = None,
    coarse_budget: Any = 0.5,
    column: str = "mfcc",
    n_segments: int = 5,
    ratio: float = 0.25,
    by: Literal["grad_norm", "loss", "grad_norm_head"] = "grad_norm",
    label: str = "label",
    seed: int = 0,
    coarse: Mapping[str, Any] | None = None,
    key: str | None = None,
    duration: str = "duration",
    status: str | None = "audio_status",
    **options: Any,
) -> Selection:
    """Prune rows by density, then cut what is left to the segments that a judge can learn most from.

    Reads:
        `column`: MFCC frames (`hs.MFCC(n_mfcc=20)`) or vectors, as `select_meltrim`. The audio column, and `label` (or texts of
        a CTC judge), as `score_segments`. `duration`, where it is there: seconds of whole clips, for the report.

    Args:
        ds: a map-style dataset.
        judge, processor: a classifier or CTC model that knows the task (`train_judge`), in any form that `score` takes.
        budget: what is kept in the end, see `hf_select.budget`. An amount of audio is one of segments, not of clips.
        per: the budgets hold inside each group of this column: "label" is what the paper ran; None is over all rows, as its
            equation 16 says.
        coarse_budget: what step 1 leaves (the paper's m~, which it does not give; half of the rows is ours). Step 2 runs the
            judge forward and backward over `n_segments` segments of each of these rows.
        n_segments, ratio, by: segments, see `score_segments`.
        seed: whole number of at least 0; of both steps.
        coarse: further arguments of `select_meltrim`: reducer, eps, frames, ...
        key, duration, status: columns, see `hf_select.choice.Choice`.
        options: further arguments of `score_segments`: batch_size, dtype, device, audio, audio_root, max_seconds, out.

    Returns:
        A Selection of rows with `segment_start` and `segment_end` (seconds), which `apply` adds as columns and publishing
        carries along; its `score` is the judge's. A row that step 1 left out has the group "excluded: coarse step: ..."; a row
        without a segment the reason why. Facts: what step 1 chose by its rules, the judge, and the seconds kept: of
        clips after step 1, of clips in the end, of segments in the end.

    Raises:
        ArgumentError: `coarse_budget` keeps less than `budget` asks for; and as the two steps. ColumnError: as the two steps.

    Reference:
        Wang et al., "MelTrim: Coarse-to-Fine Data Pruning for Speech Classification", section 2. What it leaves open, and how
        it is filled here, is said in the two steps.

    Relations:
        `select_meltrim` and `score_segments` are the steps. `select_kmeans`, `select_by_score` and `select_random` keep whole
        clips.

    Example:
        >>> from datasets import Audio, Dataset
        >>> from hf_select.audio import wave_bytes
        >>> from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification
        >>> clips = [{"bytes": wave_bytes(np.sin(np.arange(16000) * (0.1 + i / 50)), 16000), "path": f"{i}"} for i in range(8)]
        >>> ds = Dataset.from_dict({"audio": clips, "label": list("ab" * 4), "x": [[i % 4 / 9] for i in range(8)]})
        >>> ds = ds.cast_column("audio", Audio(decode=False))
        >>> judge = LeNetForAudioClassification(LeNetConfig(size="tiny", id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1}))
        >>> sel = meltrim(ds, judge, LeNetFeatureExtractor(), budget=1, per="label", column="x", coarse={"reducer": "pca"})
        >>> len(sel), sel.apply(ds).column_names[-2:]
        (2, ['segment_start', 'segment_end'])
    """
    started = time.perf_counter()
    _check_budgets(budget, coarse_budget, len(ds))
    loading = {name: options.pop(name) for name in ("revision", "trust_remote_code") if name in options}
    known = load_model(judge, processor, **loading)
    first = select_meltrim(
        ds,
        budget=coarse_budget,
        column=column,
        per=per,
        seed=seed,
        key=key,
        duration=duration,
        status=status,
        **(coarse or {}),
    )
    cut = score_segments(
        first.apply(ds), known.module, processor if processor is not None else known.extractor, n_segments=n_segments,
        ratio=ratio, by=by, label=label, seed=seed, overwrite=True, **options,
    )  # fmt: skip
    start, end, score = (np.full(len(ds), np.nan) for _ in range(3))
    names = ("segment_start", "segment_end", "segment_score")
    for whole, name in zip((start, end, score), names, strict=True):
        whole[first.indices] = read_values(cut, name)

    params = {"column": column, "n_segments": n_segments, "ratio": ratio, "by": by, "label": label}
    params |= {"coarse_budget": coarse_budget if isinstance(coarse_budget, int | float | str) else str(coarse_budget)}
    params |= {"coarse": dict(coarse or {}), "judge": known.name, "judge_digest": known.digest}
    timed = append_columns(ds, pa.table({_SECONDS: pa.array(end - start)}))
    choice = Choice(
        timed, "meltrim", params, budget=budget, seed=seed, per=per, key=key, duration=_SECONDS, status=status
    )
    for reason, rows in _reasons(first, cut["audio_status"][:], score).items():
        choice.exclude(np.isin(np.arange(len(ds)), rows), reason)
    found = choice.close(score, group=first.group, warnings=first.warnings)
    facts = {"coarse": {"rows": len(first), **first.facts}, **_seconds(ds, first, found, start, end, duration)}
    return replace(
        found,
        segment_start=start[found.indices],
        segment_end=end[found.indices],
        seconds=round(time.perf_counter() - started, 3),
        facts={name: value for name, value in found.facts.items() if not name.endswith("_hours")} | facts,
    )


def _check_budgets(budget: Any, coarse_budget: Any, rows: int) -> None:
    last, first = Budget.parse(budget), Budget.parse(coarse_budget)
    same = last.kind == first.kind != "seconds"
    if same and last.amount > first.amount:
        raise ArgumentError(
            f"Step 1 would leave {first}, and {last} are to be kept: coarse_budget is the larger of the two. {rows} rows are there."
        )


def _reasons(first: Selection, statuses: Sequence[str], score: np.ndarray) -> dict[str, list[int]]:
    """Return reason -> rows that can't be chosen for it: what step 1 left out, and what has no segment."""
    found: dict[str, list[int]] = {}
    kept = dict(zip(first.indices.tolist(), statuses, strict=True))
    for row, group in enumerate(first.group):
        if row not in kept:
            why = (
                str(group).removeprefix(EXCLUDED)
                if str(group).startswith(EXCLUDED)
                else "not near enough to its centroid"
            )
            found.setdefault(f"coarse step: {why}", []).append(row)
        elif np.isnan(score[row]):
            found.setdefault(kept[row] if kept[row] != "ok" else "no label", []).append(row)
    return found


def _seconds(
    ds: Any, first: Selection, found: Selection, start: np.ndarray, end: np.ndarray, duration: str
) -> dict[str, float]:
    """Return the seconds kept at both levels."""
    facts = {"segment_hours": float(np.nansum((end - start)[found.indices])) / 3600}
    if duration in column_names(ds):
        seconds = read_seconds(ds, duration)
        facts["total_hours"] = float(np.nansum(seconds)) / 3600
        facts["coarse_hours"] = float(np.nansum(seconds[first.indices])) / 3600
        facts["kept_hours"] = float(np.nansum(seconds[found.indices])) / 3600
    return facts
