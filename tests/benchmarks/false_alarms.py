"""How often chance alone makes a subgroup significant (any q <= .05), by rows and by speakers; and what is still found.

    python tests/benchmarks/false_alarms.py [runs] [shared folder]

Every line is a world in which no attribute matters: outcomes shuffled over the rows; error rates permuted between the
speakers; speakers drawn anew; speakers whom single values, or pairs of them, suit better or worse, by chance. The upper
limit is that of the two-sided 95 % interval of Clopper and Pearson. Then the power: a planted subgroup, over speakers.
Without the shared folder only the made-up tables are run.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from scipy.special import betaincinv, expit, logit

from hf_select.subgroups.significance import benjamini_hochberg, exact_p, moments, permutation_p
from hf_select.subgroups.speakers import STATISTICS, speaker_p, speaker_spread, speaker_statistics


@njit
def measure(count: Any, totals: Any, rows: Any, all_totals: Any, statistics: Any) -> None:
    for i in range(len(count)):
        speaker_statistics(count[i], totals[i], rows, all_totals, statistics[i])


class Table:
    """Rows in the order of their speakers, and every pattern of attribute values that is frequent enough."""

    def __init__(self, columns: list[Any], speakers: Any, outcomes: Any, support: float = 0.03) -> None:
        order = np.argsort(speakers, kind="stable")
        self.speaker, self.outcomes = np.unique(speakers, return_inverse=True)[1][order], np.asarray(outcomes)[order]
        values = [np.asarray(column)[order] for column in columns]
        self.attributes = [[column == value for value in np.unique(column)] for column in values]
        self.rows = np.bincount(self.speaker).astype(float)
        self.starts = np.r_[0, np.cumsum(self.rows)].astype(int)
        self.patterns = np.array(list(self._frequent(None, 0, np.ceil(support * len(self.speaker)))))
        self._weights = self.patterns.astype(np.float32)
        self.count = self.per_speaker(np.ones(len(self.speaker)))

    def _frequent(self, mask: Any, first: int, least: float) -> Iterator[Any]:
        for attribute in range(first, len(self.attributes)):
            for value in self.attributes[attribute]:
                both = value if mask is None else mask & value
                if both.sum() >= least:
                    yield both
                    yield from self._frequent(both, attribute + 1, least)

    def per_speaker(self, values: Any) -> Any:
        """Return the sum of the values in each pattern, by speaker."""
        pairs = zip(self.starts, self.starts[1:], strict=False)
        return np.stack([self._weights[:, a:b] @ values[a:b].astype(np.float32) for a, b in pairs], 1).astype(float)

    def p(self, outcomes: Any) -> tuple[Any, Any]:
        """Return p by rows and p by speakers of every pattern."""
        totals, all_totals = self.per_speaker(outcomes), np.add.reduceat(outcomes, self.starts[:-1])
        statistics = np.empty((len(self.patterns), len(STATISTICS)))
        measure(self.count, totals, self.rows, all_totals, statistics)
        n, y = self.count.sum(1), totals.sum(1)
        if np.isin(outcomes, (0, 1)).all():
            rows_p = exact_p(n, np.rint(y), len(outcomes), int(outcomes.sum()))
        else:
            rows_p = permutation_p(n, y / n, moments(outcomes))
        return rows_p, speaker_p(statistics, rows_p, speaker_spread(outcomes, self.speaker))

    @property
    def within(self) -> list[Any]:
        """The attributes that vary within most speakers."""
        most = 0.7 * len(self.rows)
        return [values for values in self.attributes if any(len(set(self.speaker[v])) >= most for v in values)]

    @property
    def means(self) -> Any:
        return np.add.reduceat(self.outcomes, self.starts[:-1]) / self.rows


# -- worlds in which no attribute matters: (table, generator) -> outcomes


def shuffled(table: Table, rng: Any) -> Any:
    return rng.permutation(table.outcomes)


def draw(chance: Any, rng: Any) -> Any:
    return (rng.random(len(chance)) < chance).astype(float)


def rates_permuted(table: Table, rng: Any) -> Any:
    return draw(rng.permutation(table.means)[table.speaker], rng)


def errors_permuted(table: Table, rng: Any) -> Any:
    """Give each speaker another's share of errors, exactly, on rows at random."""
    outcomes, rates = np.ones(len(table.speaker)), rng.permutation(1 - table.means)
    for rate, a, b in zip(rates, table.starts, table.starts[1:], strict=False):
        outcomes[a + rng.permutation(b - a)[: round(rate * (b - a))]] = 0
    return outcomes


def speakers_redrawn(table: Table, rng: Any) -> Any:
    return draw(rng.choice(table.means, len(table.rows))[table.speaker], rng)


def beta_speakers(table: Table, rng: Any) -> Any:
    return draw(rng.beta(4.6, 0.4, len(table.rows))[table.speaker], rng)


def one_awful_speaker(table: Table, rng: Any) -> Any:
    rates = np.full(len(table.rows), 0.95)
    rates[rng.integers(len(rates))] = 0.5
    return draw(rates[table.speaker], rng)


def _effects(table: Table, rng: Any, spread: float, chosen: list[Any]) -> Any:
    """Sum effects, one for each of these values and each speaker."""
    return sum((value * rng.normal(0, spread, len(table.rows))[table.speaker] for value in chosen), start=0.0)


def speaker_x_values(table: Table, rng: Any) -> Any:
    chosen = [value for values in table.within for value in values]
    return draw(expit(2.4 + _effects(table, rng, 0.5, [True]) + _effects(table, rng, 0.7, chosen)), rng)


def speaker_x_attribute(table: Table, rng: Any) -> Any:
    chosen = table.within[rng.integers(len(table.within))]
    return draw(expit(2.4 + _effects(table, rng, 0.3, [True]) + _effects(table, rng, 1.5, chosen)), rng)


def speaker_x_pairs(table: Table, rng: Any) -> Any:
    """Give the cells of about every third pair of attributes an effect on each speaker."""
    pairs = [(a, b) for i, a in enumerate(table.within) for b in table.within[:i] if rng.random() < 0.3]
    chosen = [one & other for a, b in pairs for one in a for other in b]
    return draw(expit(2.6 + _effects(table, rng, 0.4, [True]) + _effects(table, rng, 0.7, chosen)), rng)


def means_permuted(table: Table, rng: Any) -> Any:
    """Shuffle numbers within each speaker, scaled to another speaker's mean."""
    factor = rng.permutation(table.means) / table.means
    shuffled_within = np.concatenate([rng.permutation(part) for part in np.split(table.outcomes, table.starts[1:-1])])
    return shuffled_within * factor[table.speaker]


def rows_of_another(table: Table, rng: Any) -> Any:
    """Draw each speaker's rows, with replacement, from those of another."""
    parts = np.split(table.outcomes, table.starts[1:-1])
    order = rng.permutation(len(parts))
    return np.concatenate([rng.choice(parts[other], len(own)) for own, other in zip(parts, order, strict=True)])


def number_x_values(table: Table, rng: Any) -> Any:
    chosen = [True, *(value for values in table.within for value in values)]
    return rng.permutation(table.outcomes) * np.exp(_effects(table, rng, 0.4, chosen))


World = Callable[[Table, Any], Any]
RIGHT_OR_WRONG: list[World] = [shuffled, rates_permuted, errors_permuted, speakers_redrawn, beta_speakers]
RIGHT_OR_WRONG += [one_awful_speaker, speaker_x_values, speaker_x_attribute, speaker_x_pairs]
NUMBERS: list[World] = [shuffled, means_permuted, rows_of_another, number_x_values]


# -- tables


def fluent_speech_commands(shared: Path) -> Table:
    """3,793 rows of 10 speakers, 5,965 patterns."""
    rows, edges = _read(shared, "FSC", "fsc_divergence.json")
    columns = [[row[name] for row in rows] for name in ("gender", "ageRange", "action", "object", "location")]
    columns += [np.searchsorted(cut, [float(row[name]) for row in rows]) for name, cut in edges.items()]
    return Table(columns, [row["speakerId"] for row in rows], [float(row["prediction"]) for row in rows])


def librispeech(shared: Path) -> Table:
    """2,620 rows of 40 speakers, with a word error rate each; 2,413 patterns."""
    rows, edges = _read(shared, "LibriSpeech", "librispeech_wer.json")
    columns = [[row["gender"] for row in rows]]
    columns += [np.searchsorted(cut, [float(row[name]) for row in rows]) for name, cut in edges.items()]
    return Table(columns, [row["speaker_id"] for row in rows], [float(row["WER"]) for row in rows])


def _read(shared: Path, name: str, golden: str) -> tuple[list[dict[str, str]], dict[str, list[float]]]:
    with (shared / "data" / "tables" / f"{name}_for_DivExplorer_wav2vec2-base.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((shared / "golden" / golden).read_text())["wav2vec2-base"]["edges"]


def made_up(speakers: int, rows: int, rng: Any, *, uneven: bool = False) -> Table:
    """Make two attributes of speakers and four of rows, which each speaker favours differently; .92 are right."""
    each = np.maximum(3, rng.lognormal(0, 1, speakers) * rows).astype(int) if uneven else np.full(speakers, rows)
    who = np.repeat(np.arange(speakers), each)
    columns = [rng.permutation(np.arange(speakers) % size)[who] for size in (2, 3)]
    for _ in range(4):
        limits = rng.dirichlet([2.0, 2.0, 2.0], speakers).cumsum(1)[who]
        columns.append((rng.random(len(who))[:, None] > limits[:, :2]).sum(1))
    return Table(columns, who, draw(expit(logit(0.92) + rng.normal(0, 0.8, speakers)[who]), rng))


def planted(speakers: int, rows: int, noise: int, rng: Any) -> tuple[Table, Any]:
    """Make gender x age x speed, and attributes that say nothing; return the table and the planted subgroup's rows."""
    who = np.repeat(np.arange(speakers), rows)
    columns = [who % 2, who // 2 % 3, *rng.integers(0, 3, (1 + noise, len(who)))]
    table = Table(columns, who, np.zeros(len(who)))
    return table, (columns[0] == 0) & (columns[1] == 0) & (columns[2] == 2)


# -- measurements


def false_alarms(table: Table, world: World, runs: int, seed: int = 0) -> tuple[int, int]:
    """Return in how many runs any q is <= .05, by rows and by speakers."""
    rng, hits = np.random.default_rng(seed), np.zeros(2, int)
    for _ in range(runs):
        hits += [bool((benjamini_hochberg(p) <= 0.05).any()) for p in table.p(world(table, rng))]
    return int(hits[0]), int(hits[1])


def power(
    speakers: int, rows: int, noise: int, runs: int, *, inside: float = 0.6, spread: float = 0.0, seed: int = 0
) -> tuple[int, int, float, int]:
    """Return in how many runs the planted subgroup has q <= .05, by rows and by speakers; median p; patterns."""
    rng, hits, p_planted = np.random.default_rng(seed), np.zeros(2, int), []
    for _ in range(runs):
        table, target = planted(speakers, rows, noise, rng)
        which = int((table.patterns == target).all(1).argmax())
        level = np.where(target, logit(inside), logit(0.92)) + rng.normal(0, spread, speakers)[table.speaker]
        found = table.p(draw(expit(level), rng))
        hits += [bool(benjamini_hochberg(p)[which] <= 0.05) for p in found]
        p_planted.append(found[1][which])
    return int(hits[0]), int(hits[1]), float(np.median(p_planted)), len(table.patterns)


def upper_limit(hits: int, runs: int) -> float:
    """Return the upper end of the 95 % interval of Clopper and Pearson."""
    return 1.0 if hits == runs else float(betaincinv(hits + 1, runs - hits, 0.975))


def main() -> None:
    runs = int((sys.argv[1:2] or ["400"])[0])
    shared = Path((sys.argv[2:3] or [Path(__file__).resolve().parents[3] / "shared"])[0])
    rng = np.random.default_rng(1)
    tables = [
        ("40 speakers x 60", made_up(40, 60, rng), RIGHT_OR_WRONG),
        ("20 speakers, uneven", made_up(20, 100, rng, uneven=True), RIGHT_OR_WRONG),
        ("6 speakers x 300", made_up(6, 300, rng), RIGHT_OR_WRONG),
    ]
    if shared.exists():
        tables.insert(0, ("LibriSpeech, WER", librispeech(shared), NUMBERS))
        tables.insert(0, ("FSC", fluent_speech_commands(shared), RIGHT_OR_WRONG))
    print(f"{runs} runs a line; share of runs with any q <= .05")
    print(f"{'table':<22}{'patterns':>9}  {'world':<22}{'by rows (limit)':>19}{'by speakers (limit)':>21}")
    for name, table, worlds in tables:
        for world in worlds:
            rows, speakers = false_alarms(table, world, runs)
            cells = "".join(f"{hits / runs:>10.1%} ({upper_limit(hits, runs):>6.1%})" for hits in (rows, speakers))
            print(f"{name:<22}{len(table.patterns):>9}  {world.__name__:<22}{cells}", flush=True)
    print(
        "\npower: accuracy .92, inside the planted subgroup (a sixth of the speakers) less; share of runs with its q <= .05"
    )
    print(f"{'speakers':>9}{'inside':>8}{'spread':>8}{'patterns':>10}{'by rows':>9}{'by speakers':>13}{'median p':>10}")
    few = max(20, runs // 4)
    for count, rows, noise, inside, spread in (
        (48, 40, 0, 0.6, 0.0),
        (48, 40, 2, 0.6, 0.0),
        (48, 40, 4, 0.6, 0.0),
        (48, 40, 2, 0.6, 0.5),
        (96, 40, 4, 0.6, 0.5),
        (96, 40, 4, 0.75, 0.0),
        (24, 80, 4, 0.6, 0.0),
        (12, 160, 4, 0.6, 0.0),
    ):
        rows_hit, hit, p, patterns = power(count, rows, noise, few, inside=inside, spread=spread)
        cells = f"{rows_hit / few:>9.0%}{hit / few:>13.0%}{p:>10.0e}"
        print(f"{count:>9}{inside:>8}{spread:>8}{patterns:>10}{cells}", flush=True)


if __name__ == "__main__":
    main()
