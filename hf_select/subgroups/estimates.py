"""What is said of each combination: mean, divergence, t, p, q, interval, and which speakers it rests on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_select.subgroups.bits import BitSets, pack
from hf_select.subgroups.measuring import count_ones, macro_f1, sum_by_speaker, sum_numbers
from hf_select.subgroups.mining import Mined
from hf_select.subgroups.outcomes import Outcome
from hf_select.subgroups.significance import (
    benjamini_hochberg,
    exact_p,
    moments,
    permutation_p,
    t_interval,
    wilson_interval,
)
from hf_select.subgroups.speakers import STATISTICS, speaker_interval, speaker_p, speaker_spread

__all__ = ["Columns", "estimate", "overall_mean"]

Columns = dict[str, NDArray[Any]]
_BLOCKS = 50  # of rows, for the jackknife of macro F1 where there are no speakers


def estimate(
    sets: BitSets, mined: Mined, outcome: Outcome, direction: str, speakers: NDArray[np.int32] | None
) -> Columns:
    """Estimate all that a table of subgroups holds, one array entry per combination.

    Args:
        sets, mined: the combinations. outcome: of each row. direction: the bad side.
        speakers: code of each row's speaker, 0 or more; None: rows are independent.
    """
    judged = pack(outcome.judged)
    kinds = {"zero_one": _zero_one, "number": _number, "macro_f1": _macro_f1}
    columns, rows_p = kinds[outcome.kind](sets, mined, judged, outcome, speakers)
    if speakers is not None and len(mined):
        values, zero_one = outcome.values, outcome.kind != "number"
        found, worst, share = sum_by_speaker(sets, mined, judged, values, speakers, _wrong(outcome, direction))
        columns |= {
            "speakers": found[:, STATISTICS.index("speakers")].astype(np.int64),
            "worst_speaker": worst,
            "worst_speaker_share": share,
        }
        if outcome.kind != "macro_f1":
            spread = speaker_spread(values, speakers)
            columns["p"] = speaker_p(found, rows_p, spread)
            low, high = speaker_interval(found, columns["judged"], columns["mean"], spread, zero_one=zero_one)
            columns |= {"low": low, "high": high}
    columns["q"] = benjamini_hochberg(columns["p"])
    return columns


def overall_mean(outcome: Outcome) -> float:
    """Return the mean outcome (or macro F1) of all rows that have one."""
    if outcome.labels is None or outcome.predicted is None:
        return float(np.nanmean(outcome.values))
    known = outcome.labels >= 0
    size = int(max(outcome.labels.max(), outcome.predicted.max())) + 1
    labels, predicted = outcome.labels[known], outcome.predicted[known]
    sizes = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    right = np.bincount(labels[labels == predicted], minlength=size)
    return float((2 * right[sizes > 0] / sizes[sizes > 0]).mean())


def _zero_one(
    sets: BitSets, mined: Mined, judged: NDArray[np.uint64], outcome: Outcome, speakers: Any
) -> tuple[Columns, NDArray[np.float64]]:
    count, known, ones = count_ones(sets, mined, judged, pack(outcome.values == 1))
    size, positive = int(outcome.judged.sum()), int(np.nansum(outcome.values))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = ones / known
    low, high = wilson_interval(known, mean)
    p = exact_p(known, ones, size, positive)
    t = _beta_t(ones, known - ones, positive, size - positive)
    divergence = mean - positive / size
    columns = {"count": count, "judged": known, "mean": mean, "divergence": divergence, "t": t, "p": p}
    return {**columns, "low": low, "high": high}, p


def _number(
    sets: BitSets, mined: Mined, judged: NDArray[np.uint64], outcome: Outcome, speakers: Any
) -> tuple[Columns, NDArray[np.float64]]:
    population = moments(outcome.values)
    centred = np.nan_to_num(outcome.values - population.mean)  # small sums: nothing is lost to rounding
    count, known, total, squares = sum_numbers(sets, mined, judged, centred)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = total / known
        variance = np.maximum(squares / known - divergence**2, 0.0)
        t = np.abs(divergence) / np.sqrt(variance / known + population.variance / population.size)
        sample = variance * known / (known - 1)
    mean = divergence + population.mean
    low, high = t_interval(known, mean, sample)
    p = permutation_p(known, mean, population)
    columns = {"count": count.astype(np.int64), "judged": known.astype(np.int64), "mean": mean}
    return {**columns, "divergence": divergence, "t": t, "p": p, "low": low, "high": high}, p


def _macro_f1(
    sets: BitSets, mined: Mined, judged: NDArray[np.uint64], outcome: Outcome, speakers: NDArray[np.int32] | None
) -> tuple[Columns, NDArray[np.float64]]:
    from scipy.special import stdtr, stdtrit

    rows = len(outcome.values)
    groups = speakers
    if groups is None:  # blocks of rows as chance deals them
        groups = np.random.default_rng(0).permutation(np.arange(rows, dtype=np.int32) % min(_BLOCKS, rows))
    labels, predicted = outcome.labels, outcome.predicted
    found = macro_f1(sets, mined, judged, labels, predicted, groups)  # type: ignore[arg-type]
    count, known, mean, error, apart, error_apart, df = found
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error_apart > 0, np.abs(apart) / error_apart, np.nan)  # no error at all: nothing is known of it
        p = np.where(df >= 1, np.minimum(1.0, 2 * stdtr(np.maximum(df, 1), -t)), np.nan)
    half = stdtrit(np.maximum(df, 1), 0.975) * error
    low, high = (np.where(df >= 1, np.clip(edge, 0, 1), np.nan) for edge in (mean - half, mean + half))
    columns = {"count": count.astype(np.int64), "judged": known.astype(np.int64), "mean": mean}
    divergence = mean - overall_mean(outcome)
    return {**columns, "divergence": divergence, "t": t, "p": p, "low": low, "high": high}, p


def _beta_t(ones: Any, zeros: Any, all_ones: int, all_zeros: int) -> NDArray[np.float64]:
    """Return t between two Beta(1 + ones, 1 + zeros), of the subgroup and of all rows, without a sign (DivExplorer's)."""

    def beta(a: Any, b: Any) -> tuple[Any, Any]:
        size = a + b
        return a / size, a * b / (size**2 * (size + 1))

    mean, variance = beta(1.0 + ones, 1.0 + zeros)
    mean_of_all, variance_of_all = beta(1.0 + all_ones, 1.0 + all_zeros)
    return np.asarray(np.abs(mean - mean_of_all) / np.sqrt(variance + variance_of_all))


def _wrong(outcome: Outcome, direction: str) -> tuple[float, float]:
    """Return (a, b): the errors in n rows whose outcomes sum to y are a * n + b * y, never negative."""
    if direction == "lower":
        return float(np.nanmax(outcome.values)), -1.0
    return -min(0.0, float(np.nanmin(outcome.values))), 1.0
