"""Time find_subgroups against DivExplorer on the same tables, a million rows, and the matching of a pool.

Run from the repository root; the table of Fluent Speech Commands is read from ../shared where it is there:

    python tests/benchmarks/subgroups.py [--repeats 5] [--skip-million]

Both sides of a ratio are measured in turn in one run; medians are printed. The time of find_subgroups includes reading
the columns of the dataset, cutting numbers into bins, p, q, intervals, and the table as a pandas DataFrame; that of
DivExplorer (0.2.6) starts from a DataFrame that is cut into bins already. Compiling, which numba does once and keeps on
disk, is timed by itself.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(__file__).resolve().parents[3] / "shared"
FSC = (
    *("Self-reported fluency level ", "First Language spoken", "Current language used for work/school", "gender"),
    *("ageRange", "action", "object", "location", "total_silence", "total_duration", "trimmed_duration", "n_words"),
    *("speed_rate_word", "speed_rate_word_trimmed"),
)


def synthetic(rows: int, seed: int = 0) -> Any:
    """Make a table of 14 attributes of 2 to 4 values, unevenly spread, and an outcome that depends on two of them."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    columns = {}
    for attribute in range(14):
        values = 2 + attribute % 3
        columns[f"a{attribute:02d}"] = rng.choice([*"uvwx"[:values]], rows, p=rng.dirichlet([8.0] * values))
    weak = (columns["a00"] == "u") & (columns["a01"] == "v")
    return pd.DataFrame({**columns, "correct": (rng.random(rows) < 0.9 - 0.3 * weak).astype(int)})


def in_turn(repeats: int, **jobs: Callable[[], Any]) -> dict[str, float]:
    """Run all jobs in turn, `repeats` times; return the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def by_divexplorer(frame: Any, by: list[str], outcome: str) -> Any:
    """Find the same subgroups with DivExplorer."""
    from divexplorer import DivergenceExplorer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DivergenceExplorer(frame).get_pattern_divergence(
            min_support=0.03, boolean_outcomes=[outcome], attributes=by
        )


def compare(name: str, frame: Any, cut: Any, by: list[str], outcome: str, repeats: int) -> None:
    """Print both times and how far apart the numbers are; `cut` is `frame` in bins, for DivExplorer."""
    from datasets import Dataset

    import hf_select as hs

    ds = Dataset.from_pandas(frame, preserve_index=False)

    def ours() -> Any:
        groups = hs.find_subgroups(ds, by, outcome, min_support=0.03, keep_constant=True)
        return groups, groups.to_pandas()

    groups, _ = ours()
    theirs = by_divexplorer(cut, by, outcome)
    theirs = theirs[theirs["itemset"].str.len() > 0]
    expected = dict(
        zip(theirs["itemset"], zip(theirs[f"{outcome}_div"], theirs[f"{outcome}_t"], strict=True), strict=True)
    )
    apart = 0.0
    for group in groups:
        items = frozenset(f"{attribute}={value}" for attribute, value in group.pattern.items())
        divergence, t = expected.pop(items)
        apart = max(apart, abs(divergence - group.divergence), abs(t - group.t))
    missing = f"{len(expected)} missing" if expected else "none missing"
    found = in_turn(repeats, ours=ours, theirs=lambda: by_divexplorer(cut, by, outcome))
    print(
        f"{name}: {len(groups):,} subgroups, {missing}, divergences and t at most {apart:.1e} apart; "
        f"hf_select {found['ours'] * 1e3:.1f} ms, DivExplorer {found['theirs'] * 1e3:.0f} ms: {found['theirs'] / found['ours']:.0f} x"
    )


def fsc() -> tuple[Any, Any] | None:
    """Return the FSC table, as it is and cut into bins."""
    import pandas as pd
    from datasets import Dataset

    import hf_select as hs

    path = SHARED / "data" / "tables" / "FSC_for_DivExplorer_wav2vec2-base.csv"
    if not path.exists():
        return None
    frame = pd.read_csv(path)[[*FSC, "prediction"]]
    groups = hs.find_subgroups(Dataset.from_pandas(frame), [*FSC], "prediction", keep_constant=True)
    cut = frame.copy()
    for attribute in groups.attributes:
        if attribute.edges is not None:
            places = np.searchsorted(attribute.edges, frame[attribute.name].to_numpy(), side="left")
            cut[attribute.name] = np.array(attribute.values)[places]
    return frame, cut


class Peak:
    """The most memory this process takes while a block runs, above what it had."""

    def __enter__(self) -> Peak:
        """Start to look every 10 ms."""
        import psutil

        self.process, self.stop = psutil.Process(), threading.Event()
        self.start = self.most = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self.stop.set()
        self.thread.join()

    @property
    def gigabytes(self) -> float:
        """What was taken."""
        return (self.most - self.start) / 2**30


def many_rows() -> None:
    """Print time and memory for 125,000 to 1,000,000 rows, by 0/1 outcomes, numbers and speakers."""
    from datasets import Dataset

    import hf_select as hs

    for rows in (125_000, 250_000, 500_000, 1_000_000):
        frame = synthetic(rows, seed=1)
        by = [name for name in frame if name.startswith("a")]
        rng = np.random.default_rng(2)
        frame["wer"] = rng.gamma(0.5, 0.2, rows)
        frame["speaker"] = rng.integers(0, 500, rows)
        ds = Dataset.from_pandas(frame, preserve_index=False)
        del frame
        for what, arguments in (
            ("0/1", {"outcome": "correct"}),
            ("numbers", {"outcome": "wer"}),
            ("0/1, 500 speakers", {"outcome": "correct", "speaker": "speaker"}),
        ):
            with Peak() as peak:
                start = time.perf_counter()
                groups = hs.find_subgroups(ds, by, min_support=0.01, **arguments)
                groups.to_pandas()
                seconds = time.perf_counter() - start
            print(
                f"{rows:>9,} rows x 14, min_support .01, {what}: {len(groups):,} subgroups in {seconds:.2f} s, {peak.gigabytes:.2f} GB"
            )


def matching(repeats: int) -> None:
    """Print the time of matching a pool of a million rows against 20 subgroups."""
    from datasets import Dataset

    import hf_select as hs
    from hf_select.methods.subgroups import _masks

    validation = Dataset.from_pandas(synthetic(30_000), preserve_index=False)
    pool = Dataset.from_pandas(synthetic(1_000_000, seed=3).assign(id=np.arange(1_000_000)), preserve_index=False)
    by = [name for name in pool.column_names if name.startswith("a")]
    worst = hs.find_subgroups(validation, by, "correct").worst(20)
    wanted = list(worst)
    found = in_turn(
        repeats,
        masks=lambda: _masks(pool, wanted),
        selection=lambda: hs.select_subgroups(pool, worst, budget=10_000, key="id"),
    )
    columns = len({name for g in wanted for name in g.pattern})
    print(
        f"1,000,000 rows against 20 subgroups ({columns} columns): matched in {found['masks']:.2f} s; select_subgroups with a budget "
        f"of 10,000 rows, ids and record: {found['selection']:.2f} s"
    )


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-million", action="store_true")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {platform.machine()}")

    from datasets import Dataset

    import hf_select as hs

    start = time.perf_counter()
    hs.find_subgroups(
        Dataset.from_pandas(synthetic(1000), preserve_index=False), ["a00", "a01"], "correct", min_support=0.1
    )
    print(
        f"first call in this process, with imports (and compiling, where nothing is kept yet): {time.perf_counter() - start:.1f} s"
    )
    frame = synthetic(30_000)
    by = [name for name in frame if name.startswith("a")]
    compare("30,000 rows x 14 attributes, min_support .03", frame, frame, by, "correct", options.repeats)
    if (tables := fsc()) is not None:
        compare("FSC, 3,793 rows x 14 attributes", *tables, [*FSC], "prediction", options.repeats)
    matching(options.repeats)
    if not options.skip_million:
        many_rows()


if __name__ == "__main__":
    main()
