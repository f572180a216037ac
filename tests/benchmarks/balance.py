"""The paper's Table 1 on a dataset of yours: class balance after hard and simple pruning, over seeds.

    python tests/benchmarks/balance.py ../shared/data/speech_commands_dev.parquet [clusters] [seeds]

MFCC statistics, features standardised. Balance is 1 for equally frequent classes; the random control shows what is chance.
"""

from __future__ import annotations

import sys

import numpy as np

import hf_select as hs
from hf_select.readers import read_groups
from hf_select.sources import open_dataset


def main() -> None:
    import datasets

    datasets.disable_progress_bars()
    path, clusters, seeds = sys.argv[1], int((sys.argv[2:3] or ["155"])[0]), int((sys.argv[3:4] or ["5"])[0])
    ds = hs.with_columns(open_dataset(path).ds, hs.MFCC(pool="stats"))
    labels = read_groups(ds, "label")
    classes = set(labels)
    print(f"{path.split('/')[-1]}: {len(ds)} rows, {len(classes)} classes, {clusters} clusters, {seeds} seeds")
    print(f"balance of all rows {hs.balance(labels, classes):.5f}")
    print(f"{'pruned':>7}{'kept':>7}   {'hard':<19}{'simple':<19}{'random':<19}{'least kept class, hard / simple'}")
    for removed in (10, 20, 30, 40):
        budget = f"{100 - removed}%"
        found: dict[str, list[float]] = {"hard": [], "simple": [], "random": []}
        least: dict[str, list[float]] = {"hard": [], "simple": []}
        for seed in range(seeds):
            for name in found:
                if name == "random":
                    sel = hs.select_random(ds, budget=budget, seed=seed)
                else:
                    sel = hs.select_kmeans(
                        ds,
                        budget=budget,
                        n_clusters=clusters,
                        column="mfcc_stats",
                        standardize="features",
                        drop=name,
                        seed=seed,
                    )
                    least[name].append(sel.describe(ds, by="label")["kept_share"].min())
                found[name].append(hs.balance(labels[sel.indices], classes))
        cells = "".join(f"{np.mean(v):.5f} ± {np.std(v, ddof=1):.5f}  " for v in found.values())
        print(f"{removed:>6}%{len(sel):>7}   {cells} {np.mean(least['hard']):.2f} / {np.mean(least['simple']):.2f}")


if __name__ == "__main__":
    main()
