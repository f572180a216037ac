"""p, q and intervals against exact arithmetic, scipy, brute force and simulation."""

from __future__ import annotations

import importlib.util
import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import hf_select as hs
from hf_select.subgroups import speakers as by_speaker
from hf_select.subgroups.significance import (
    benjamini_hochberg,
    exact_p,
    moments,
    permutation_p,
    t_interval,
    wilson_interval,
)
from hf_select.subgroups.speakers import STATISTICS, speaker_interval, speaker_p, speaker_spread, speaker_statistics

SHARED = Path(__file__).resolve().parents[3] / "shared"


# -- 0/1 outcomes by rows


def test_exact_p_by_hand():
    # 3 of 3 right against 0 of 3: one draw of C(6, 3) = 20, both sides; 2 of 3: P(X >= 2) = 10 / 20, doubled is 1
    assert exact_p([3, 3, 3, 3], [3, 2, 1, 0], size=6, ones=3) == pytest.approx([0.1, 1, 1, 0.1])
    assert np.isnan(exact_p([0, 6], [0, 3], size=6, ones=3)).all()  # no row, every row: nothing to compare
    assert exact_p([2, 5], [0, 0], size=6, ones=0) == pytest.approx([1, 1])  # all alike
    assert exact_p([2, 5], [2, 5], size=6, ones=6) == pytest.approx([1, 1])


def two_sided_exactly(n: int, k: int, size: int, ones: int) -> Fraction:
    first, last = max(0, n + ones - size), min(n, ones)
    ways = {j: math.comb(ones, j) * math.comb(size - ones, n - j) for j in range(first, last + 1)}
    lower, upper = sum(w for j, w in ways.items() if j <= k), sum(w for j, w in ways.items() if j >= k)
    return min(Fraction(1), Fraction(2 * min(lower, upper), math.comb(size, n)))


def test_exact_p_against_whole_numbers():
    for size in range(2, 10):  # every table of up to 9 rows
        for ones in range(size + 1):
            cells = [(n, k) for n in range(1, size) for k in range(max(0, n + ones - size), min(n, ones) + 1)]
            expected = [float(two_sided_exactly(n, k, size, ones)) for n, k in cells]
            assert exact_p(*np.transpose(cells), size, ones) == pytest.approx(expected, rel=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(60):
        size = int(rng.choice([100, 1000, 2000]))
        n, ones = int(rng.integers(1, size)), int(rng.integers(0, size + 1))
        k = int(rng.integers(max(0, n + ones - size), min(n, ones) + 1))
        exact = two_sided_exactly(n, k, size, ones)
        if exact > Fraction(1, 10**300):
            assert exact_p([n], [k], size, ones)[0] == pytest.approx(float(exact), rel=1e-11)


def test_exact_p_far_out_and_at_scale():
    n = np.repeat([300, 3000, 20000], 40)
    k = np.concatenate([np.linspace(0, 300, 40), np.linspace(0, 2000, 40), np.linspace(200, 6000, 40)]).astype(int)
    size, ones = 100_000, 8_000
    lower, upper = stats.hypergeom.cdf(k, size, ones, n), stats.hypergeom.sf(k - 1, size, ones, n)
    expected = np.minimum(1, 2 * np.minimum(lower, upper))
    ours = exact_p(n, k, size, ones)
    seen = expected > 1e-300
    assert (ours[seen] < 1e-200).any() and seen.sum() > 50
    assert ours[seen] == pytest.approx(expected[seen], rel=1e-10)
    assert (ours[~seen] < 1e-299).all() and (ours >= 0).all()


def test_exact_p_is_rarely_small_by_chance():
    rng = np.random.default_rng(1)
    p = exact_p(np.full(20_000, 114), rng.hypergeometric(314, 3479, 114, 20_000), 3793, 314)
    for level in (0.2, 0.05, 0.01, 0.001):
        assert (p <= level).mean() <= level * 1.15 + 1e-4


# -- numbers by rows


def test_moments_leave_missing_out():
    values = np.array([0.0, 1.0, 5.0, np.nan, 2.0])
    found, kept = moments(values), values[~np.isnan(values)]
    assert (found.size, found.mean) == (4, kept.mean())
    assert found.variance == pytest.approx(kept.var()) and found.skewness == pytest.approx(stats.skew(kept))
    assert moments([2.0, 2.0]).skewness == 0


def test_permutation_moments_are_those_of_all_draws(monkeypatch):
    values, n = np.array([0.0, 0, 0, 1, 2, 7, 11, 3]), 3
    means = np.array([np.mean(drawn) for drawn in itertools.combinations(values, n)])
    seen = {}
    monkeypatch.setattr("hf_select.subgroups.significance._tail", lambda z, skew: seen.update(z=z, skew=skew) or z * 0)
    permutation_p(np.full(len(means), n), means, moments(values))
    assert seen["z"] == pytest.approx((means - means.mean()) / means.std())
    assert seen["skew"] == pytest.approx(stats.skew(means))


def test_permutation_p_of_edges():
    population = moments(np.arange(10.0))
    assert np.isnan(permutation_p([0, 10], [np.nan, 4.5], population)).all()
    assert np.isnan(permutation_p([3], [1.0], moments([1.0, 1.0, 1.0, 1.0]))).all()
    assert permutation_p([5, 5], [4.5, 2.0], population) == pytest.approx(
        [1, 2 * stats.norm.cdf(-2.5 / math.sqrt(8.25 / 9))]
    )


def test_permutation_p_mirrors_and_scales():
    rng = np.random.default_rng(2)
    values = rng.exponential(1, 500) * (rng.random(500) < 0.4)
    n, means = np.array([20, 100, 400]), np.array([0.8, 0.5, 0.35])
    p = permutation_p(n, means, moments(values))
    assert permutation_p(n, -means, moments(-values)) == pytest.approx(p)
    assert permutation_p(n, 3 + 7 * means, moments(3 + 7 * values)) == pytest.approx(p)


def word_error_rates(rng) -> np.ndarray:
    return np.where(rng.random(2000) < 0.45, 0, rng.lognormal(-2.4, 0.9, 2000)).round(3)


def drawn(values: np.ndarray, n: int, runs: int, rng) -> np.ndarray:
    """Return (means, variances) of n values drawn without replacement, many times."""
    picked = [values[np.argpartition(rng.random((1000, len(values))), n, axis=1)[:, :n]] for _ in range(runs // 1000)]
    return np.concatenate([[rows.mean(1), rows.var(1, ddof=1)] for rows in picked], axis=1)


@pytest.mark.parametrize("n", [60, 400])
def test_permutation_p_is_right_where_welch_is_not(n):
    rng = np.random.default_rng(3)
    values = word_error_rates(rng)
    means, variances = drawn(values, n, 30_000, rng)
    check_permutation(values, n, means, variances, (0.05, 0.01, 1e-3))


def check_permutation(values, n, means, variances, levels) -> None:
    p, high = permutation_p(np.full(len(means), n), means, moments(values)), means > values.mean()
    for level in levels:
        expected, slack = level / 2 * len(means), 4 * math.sqrt(level / 2 * len(means))
        assert 0.5 * expected - slack < (p[high] <= level).sum() < 1.5 * expected + slack  # the long tail: right
        assert (p[~high] <= level).sum() < 1.1 * expected + slack  # the short tail: never too many
    if n < 100:
        rest = len(values) - n
        others = (values.sum() - n * means) / rest
        squares = (values**2).sum() - (n - 1) * variances - n * means**2
        spread = (squares - rest * others**2) / (rest - 1)
        t = (means - others) / np.sqrt(variances / n + spread / rest)
        welch = 2 * stats.t.sf(abs(t), n - 1)
        assert (welch <= 1e-3).mean() > 3e-3


@pytest.mark.slow
@pytest.mark.parametrize("n", [79, 600])
def test_permutation_p_on_librispeech(n, simulation):
    if not SHARED.exists():
        pytest.skip("shared data is absent beside the checkout")
    values = simulation.librispeech(SHARED).outcomes
    means, variances = drawn(values, n, 100_000, np.random.default_rng(4))
    check_permutation(values, n, means, variances, (0.01, 1e-3, 1e-4))


# -- q and intervals by rows


def test_benjamini_hochberg_against_scipy():
    rng = np.random.default_rng(5)
    p = np.round(rng.random(500) ** 3, 3)
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    holes = p.copy()
    holes[::7] = np.nan
    q = benjamini_hochberg(holes)
    tested = ~np.isnan(holes)
    assert np.isnan(q[~tested]).all() and q[tested] == pytest.approx(stats.false_discovery_control(p[tested]))
    assert benjamini_hochberg([]).shape == (0,) and np.isnan(benjamini_hochberg([np.nan])).all()


def test_wilson_against_scipy():
    for n, k in ((10, 5), (7, 0), (7, 7), (119, 72), (1, 1)):
        expected = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert np.ravel(wilson_interval([n], [k / n])) == pytest.approx([expected.low, expected.high], abs=1e-12)
    assert np.isnan(wilson_interval([0, np.nan], [np.nan, 0.5])).all()


def test_t_interval_against_scipy():
    values = np.array([0.0, 0.1, 0.7, 0.2])
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    found = t_interval([4], [values.mean()], [values.var(ddof=1)])
    assert np.ravel(found) == pytest.approx([expected.low, expected.high])
    assert np.isnan(t_interval([1, 0], [0.3, np.nan], [np.nan, np.nan])).all()


# -- over speakers


def measured(n, y, rows, total) -> dict[str, float]:
    out = np.empty(len(STATISTICS))
    speaker_statistics(*(np.asarray(each, float) for each in (n, y, rows, total)), out)
    return dict(zip(STATISTICS, out, strict=True))


def jackknife(estimate, speakers: int) -> float:
    everyone = np.ones(speakers, dtype=bool)
    return sum((estimate(np.arange(speakers) != left_out) - estimate(everyone)) ** 2 for left_out in range(speakers))


def covariance(rows: np.ndarray) -> np.ndarray:
    """Return the covariance of the jackknife's shifts of a mean, when each speaker has an effect of variance 1."""
    share = rows / rows.sum()
    shifts = np.zeros((len(rows), len(rows)))  # as linear functions of the effects
    for left_out in range(len(rows)):
        others = np.where(np.arange(len(rows)) == left_out, 0, rows)
        shifts[left_out] = others / others.sum() - share
    return shifts @ shifts.T


def test_speaker_statistics_against_brute_force():
    rng = np.random.default_rng(6)
    for speakers in (2, 3, 10, 40):
        rows = rng.integers(2, 60, speakers)
        n = np.where(rng.random(speakers) < 0.7, rng.binomial(rows, 0.4), 0)
        n[:2] = 1
        left = rows - n
        y, rest = rng.binomial(n, 0.7), rng.binomial(left, 0.9)
        found = measured(n, y, rows, y + rest)

        def difference(who, n=n, y=y, left=left, rest=rest):
            return y[who].sum() / n[who].sum() - rest[who].sum() / left[who].sum()

        inside, outside, share, share_rest = covariance(n), covariance(left), n / n.sum(), left / left.sum()
        true, true_rest = (share**2).sum(), (share_rest**2).sum()
        assert (found["speakers"], found["rows"]) == ((n > 0).sum(), n.sum())
        assert found["difference"] == pytest.approx(difference(np.ones(speakers, bool)))
        both = inside + outside
        fair = (true + true_rest) / np.trace(both)
        assert found["variance"] == pytest.approx(jackknife(difference, speakers) * fair)
        own, own_rest = 1 / true - 1, 1 / true_rest - 1
        assert found["df"] == pytest.approx((true + true_rest) ** 2 / (true**2 / own + true_rest**2 / own_rest))
        fair_mean = true / np.trace(inside)
        assert found["variance_mean"] == pytest.approx(
            jackknife(lambda who, n=n, y=y: y[who].sum() / n[who].sum(), speakers) * fair_mean
        )
        assert found["df_mean"] == pytest.approx(own)
        assert found["overlap"] == pytest.approx(((share - share_rest) ** 2).sum())
        assert found["overlap_mean"] == pytest.approx(true)


def test_equal_speakers_give_the_t_test():
    # five speakers with 4 rows each in the subgroup, and one row each that is not: the paired t test of their means
    y, rest = np.array([4, 3, 3, 1, 2.0]), np.array([1, 1, 0, 1, 1.0])
    found = measured(np.full(5, 4), y, np.full(5, 5), y + rest)
    paired = stats.ttest_rel(y / 4, rest)
    assert found["difference"] / math.sqrt(found["variance"]) == pytest.approx(paired.statistic)
    assert found["df_mean"] == pytest.approx(4)


def test_one_speaker_can_not_be_tested():
    alone = measured([5, 0, 0], [1, 0, 0], [5, 5, 5], [1, 4, 5])
    assert alone["speakers"] == 1 and np.isnan([alone["variance"], alone["df"], alone["variance_mean"]]).all()
    rest_alone = measured([5, 5, 0], [1, 4, 0], [5, 5, 5], [1, 4, 5])
    assert np.isnan(rest_alone["variance"]) and rest_alone["variance_mean"] > 0
    everything = measured([5, 5, 5], [1, 4, 5], [5, 5, 5], [1, 4, 5])
    assert np.isnan([everything["difference"], everything["variance"]]).all() and everything["variance_mean"] > 0
    assert measured([0, 0], [0, 0], [5, 5], [1, 4])["rows"] == 0
    lopsided = measured([10_000, 1, 0], [9_000, 1, 0], [10_000, 10, 10], [9_000, 9, 9])
    assert 0 < lopsided["df_mean"] < 0.001 and np.isfinite(lopsided["variance"])


def test_spread_against_scipy():
    rng = np.random.default_rng(7)
    speakers = np.repeat([0, 2, 5], [4, 9, 20])  # codes need not follow each other
    values = rng.normal(speakers, 1.0)
    spread = speaker_spread(np.r_[values, np.nan], np.r_[speakers, 1])
    expected = stats.f_oneway(*(values[speakers == code] for code in (0, 2, 5)))
    assert spread.between / spread.within == pytest.approx(expected.statistic)
    assert (spread.rows, spread.speakers) == (33, 3) and spread.variance == pytest.approx(values.var(ddof=1))
    even = speaker_spread(rng.normal(np.repeat(rng.normal(0, 2, 4000), 5), 3.0), np.repeat(np.arange(4000), 5))
    assert even.effect == pytest.approx(4, rel=0.15) and even.alike == pytest.approx(4 / 13, rel=0.15)


def test_what_is_borrowed_is_recovered():
    rng = np.random.default_rng(8)
    df = rng.integers(2, 30, 20_000).astype(float)
    level, with_borrowed = by_speaker._borrow(2 * stats.f.rvs(df, 12, random_state=rng), np.ones(len(df)), df)
    assert level == pytest.approx(2, rel=0.1)
    assert with_borrowed == pytest.approx(df + np.minimum(12, 3 * df), rel=0.12)
    _, all_alike = by_speaker._borrow(rng.chisquare(df) / df, np.ones(len(df)), df)
    assert (all_alike == 4 * df).mean() > 0.9
    few, own = by_speaker._borrow(np.full(10, 0.5), np.ones(10), np.full(10, 3.0))
    assert few == 1 and (own == 3).all()


def people(rng, speakers=30, each=20):
    """Make rows of speakers with a rate each of about .9, and 60 subgroups of rows that mean nothing."""
    who = np.repeat(np.arange(speakers), each)
    right = (rng.random(len(who)) < rng.beta(18, 2, speakers)[who]).astype(float)
    return who, right, rng.random((60, len(who))) < 0.25


def measure_all(masks, right, who):
    count = lambda weights: np.bincount(who, weights, minlength=who.max() + 1)  # noqa: E731
    rows, total = count(np.ones(len(who))), count(right)
    statistics = np.empty((len(masks), len(STATISTICS)))
    for mask, out in zip(masks, statistics, strict=True):
        speaker_statistics(count(mask * 1.0), count(mask * right), rows, total, out)
    n, ones = masks.sum(1), masks @ right
    rows_p = exact_p(n, ones, len(right), int(right.sum()))
    return statistics, rows_p, speaker_spread(right, who), n, ones / n


def test_one_bad_speaker_is_not_a_bad_subgroup():
    rng = np.random.default_rng(9)
    who, right, masks = people(rng)
    masks[0] = (who < 6) & (rng.random(len(who)) < 0.9)
    right[masks[0] & (who == 0)] = 0
    statistics, rows_p, spread, _, _ = measure_all(masks, right, who)
    assert rows_p[0] < 1e-4
    assert speaker_p(statistics, rows_p, spread)[0] > 0.2


def test_a_subgroup_of_nearly_one_speaker_proves_nothing():
    rng = np.random.default_rng(16)
    who, right, masks = people(rng, each=60)
    masks[0] = (who == 0) | (np.arange(len(who)) < 62)  # two rows of a second speaker, who agrees by luck
    right[masks[0]] = rng.random(masks[0].sum()) < 0.4
    right[60:62] = (0, 1)
    statistics, rows_p, spread, n, mean = measure_all(masks, right, who)
    assert rows_p[0] < 1e-12 and statistics[0, 0] == 2
    assert speaker_p(statistics, rows_p, spread)[0] > 0.2
    low, high = speaker_interval(statistics, n, mean, spread)
    assert high[0] - low[0] > 0.6


def test_a_subgroup_that_is_bad_for_all_its_speakers_is_found():
    rng = np.random.default_rng(10)
    who, right, masks = people(rng)
    masks[0] = (who < 8) & (rng.random(len(who)) < 0.6)
    right[masks[0]] = rng.random(masks[0].sum()) < 0.4
    statistics, rows_p, spread, _, _ = measure_all(masks, right, who)
    p = speaker_p(statistics, rows_p, spread)
    assert p[0] < 1e-3 and benjamini_hochberg(p)[0] <= 0.05
    assert (p >= rows_p * (1 - 1e-9)).all()
    assert (benjamini_hochberg(p)[1:] > 0.05).all()


def test_names_and_units_do_not_matter():
    rng = np.random.default_rng(11)
    who, right, masks = people(rng)
    statistics, rows_p, spread, n, mean = measure_all(masks, right, who)
    p = speaker_p(statistics, rows_p, spread)
    renamed = rng.permutation(30)[who]
    again, _, spread_again, _, _ = measure_all(masks, right, renamed)
    assert speaker_p(again, rows_p, spread_again) == pytest.approx(p)
    wrong, _, spread_wrong, _, _ = measure_all(masks, 1 - right, who)
    assert speaker_p(wrong, rows_p, spread_wrong) == pytest.approx(p)
    low, high = speaker_interval(statistics, n, mean, spread)
    low_wrong, high_wrong = speaker_interval(wrong, n, 1 - mean, spread_wrong)
    assert 1 - low_wrong == pytest.approx(high) and 1 - high_wrong == pytest.approx(low)
    assert ((low <= mean) & (mean <= high)).all()


def test_untestable_subgroups_have_no_p():
    rng = np.random.default_rng(12)
    who, right, masks = people(rng)
    masks[0], masks[1], masks[2] = who == 3, who != 3, True
    statistics, rows_p, spread, n, mean = measure_all(masks, right, who)
    p = speaker_p(statistics, rows_p, spread)
    assert np.isnan(p[:3]).all() and not np.isnan(p[3:]).any()
    low, _ = speaker_interval(statistics, n, mean, spread)
    assert np.isnan(low[0]) and not np.isnan(low[1:]).any()
    one = speaker_spread(right, np.zeros(len(right), int))
    assert np.isnan(speaker_p(statistics, rows_p, one)).all()


def test_a_row_per_speaker_is_close_to_rows():
    rng = np.random.default_rng(13)
    right, masks = (rng.random(600) < 0.8).astype(float), rng.random((50, 600)) < 0.4
    statistics, rows_p, spread, n, mean = measure_all(masks, right, np.arange(600))
    p = speaker_p(statistics, rows_p, spread)
    assert (p >= rows_p * (1 - 1e-9)).all() and np.median(p / rows_p) < 1.1
    ours, rows = speaker_interval(statistics, n, mean, spread), wilson_interval(n, mean)
    assert np.ravel(ours) == pytest.approx(np.ravel(rows), abs=0.01)


@pytest.mark.parametrize("zero_one", [True, False])
def test_intervals_over_speakers_cover(zero_one):
    rng = np.random.default_rng(14)
    covered, by_rows, truth = [], [], 0.9 if zero_one else 1.0
    for _ in range(60):
        who, right, masks = people(rng, speakers=20, each=40)
        masks &= rng.random((60, 20))[:, who] < 0.5  # some ten speakers each
        values = right if zero_one else rng.exponential(rng.gamma(4, 0.25, 20)[who])
        statistics, _, spread, n, mean = measure_all(masks, values, who)
        mean = masks @ values / n
        low, high = speaker_interval(statistics, n, mean, spread, zero_one=zero_one)
        covered.append((low <= truth) & (truth <= high))
        around = np.array([values[mask].std(ddof=1) for mask in masks]) * 1.96 / np.sqrt(n)
        by_rows.append(abs(mean - truth) <= around)
    assert 0.94 < np.mean(covered) < 0.995
    assert np.mean(by_rows) < 0.89


# -- false alarms, as tests/benchmarks/false_alarms.py counts them


@pytest.fixture(scope="module")
def simulation():
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "false_alarms.py"
    spec = importlib.util.spec_from_file_location("false_alarms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_false_alarms_on_fluent_speech_commands(simulation):
    if not SHARED.exists():
        pytest.skip("shared data is absent beside the checkout")
    table, runs = simulation.fluent_speech_commands(SHARED), 100
    assert len(table.patterns) == 5965
    by_rows, over_speakers = simulation.false_alarms(table, simulation.shuffled, runs)
    assert by_rows <= 8 and over_speakers <= 3
    for world in (simulation.rates_permuted, simulation.errors_permuted):
        by_rows, over_speakers = simulation.false_alarms(table, world, runs)
        assert by_rows >= 80  # the trap
        assert over_speakers <= 3  # of 100: the upper limit of the 95 % interval is 8.5 %
    assert simulation.false_alarms(table, simulation.speaker_x_pairs, runs)[1] <= 5


@pytest.mark.slow
def test_false_alarms_and_power_on_made_up_speakers(simulation):
    rng = np.random.default_rng(15)
    for table in (simulation.made_up(40, 60, rng), simulation.made_up(12, 100, rng, uneven=True)):
        for world in (simulation.rates_permuted, simulation.one_awful_speaker, simulation.speaker_x_attribute):
            by_rows, over_speakers = simulation.false_alarms(table, world, 100)
            assert by_rows >= 30 and over_speakers <= 4
    by_rows, found, _, _ = simulation.power(48, 40, 1, 40)
    assert by_rows == 40 and found >= 34


@pytest.mark.slow
def test_find_subgroups_has_the_p_of_the_simulation_and_no_false_alarm(simulation):
    if not SHARED.exists():
        pytest.skip("shared data is absent beside the checkout")
    import pandas as pd
    from datasets import Dataset

    frame = pd.read_csv(SHARED / "data" / "tables" / "FSC_for_DivExplorer_wav2vec2-base.csv")
    by = ["gender", "ageRange", "action", "object", "location", "total_silence", "total_duration", "trimmed_duration"]
    by += ["n_words", "speed_rate_word", "speed_rate_word_trimmed"]
    ds = Dataset.from_pandas(frame, preserve_index=False)
    table = simulation.fluent_speech_commands(SHARED)
    _, expected = table.p(table.outcomes)
    found = hs.find_subgroups(ds, by, "prediction", speaker="speakerId")
    assert np.sort(found.columns["p"]) == pytest.approx(np.sort(expected), rel=1e-9, nan_ok=True)
    rng = np.random.default_rng(3)
    who = np.unique(frame["speakerId"], return_inverse=True)[1]
    rates = np.bincount(who, frame["prediction"]) / np.bincount(who)
    alarms = {"speakerId": 0, None: 0}
    for _ in range(30):
        drawn = (rng.random(len(who)) < rng.permutation(rates)[who]).astype(int)
        again = ds.remove_columns("prediction").add_column("prediction", drawn)
        for speaker in alarms:
            alarms[speaker] += bool(
                (hs.find_subgroups(again, by, "prediction", speaker=speaker).columns["q"] <= 0.05).any()
            )
    assert alarms["speakerId"] <= 1
    assert alarms[None] >= 20  # the trap
