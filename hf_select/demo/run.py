"""What `hf-select demo` does: make the corpus, prune it, train on the pruned, a random and the full set, compare."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_select.columns import with_columns
from hf_select.compare import paired
from hf_select.counts import balance
from hf_select.demo.corpus import make_corpus
from hf_select.export import check_output, new_folder, write_parquet
from hf_select.methods import select_kmeans, select_random
from hf_select.prune import clusters_for
from hf_select.report import write_report
from hf_select.transforms import MFCC

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict

    from hf_select.selection import Selection

__all__ = ["run_demo"]

FRAMES = 249  # 2.5 s at one frame every 10 ms: most commands whole
EPOCHS = 18
BATCH = 32


def run_demo(
    out: Path, *, clips: int = 2000, budget: str = "0.7", seeds: int = 3, seed: int = 0, overwrite: bool = False
) -> str:
    """Run the demo and return its table as text.

    Args:
        out: folder that receives the pruned dataset (`load_dataset(out)` reads it), the Selection, the report, pictures
            and comparison.csv.
        clips: size of the corpus, in all splits together.
        budget: what to keep of the training split.
        seeds: how often each set is trained on; seed s also draws the random set.
        seed: of the corpus and of the clustering.
        overwrite: replace `out` once the new one is whole.
    """
    check_output(out, overwrite=overwrite)
    started = time.perf_counter()
    corpus = make_corpus(clips=clips, seed=seed)
    corpus, extractor = _with_mfcc(corpus)
    train = corpus["train"]
    pruned = select_kmeans(
        train,
        budget=budget,
        n_clusters=clusters_for(len(train)),
        column="mfcc_stats",
        standardize="features",
        seed=seed,
    )
    sets: dict[str, list[Selection | None]] = {
        "pruned (k-means, simple)": [pruned] * seeds,
        "random": [select_random(train, budget=budget, seed=s) for s in range(seeds)],
        "all rows": [None] * seeds,
    }
    table = _compare(corpus, sets, extractor)
    with new_folder(out, overwrite=overwrite) as folder:
        write_parquet(pruned.apply(corpus["train"].select_columns(_own_columns(train))), folder)
        pruned.save(folder)
        write_report(train, pruned, folder, by=["gender", "accent", "age"], column="mfcc_stats", label="label")
        table.to_csv(folder / "comparison.csv", index=False)
    return _text(table, out, time.perf_counter() - started)


def _with_mfcc(corpus: DatasetDict) -> tuple[DatasetDict, Any]:
    from hf_select.models import LeNetFeatureExtractor

    extractor = LeNetFeatureExtractor(num_frames=FRAMES)
    for split in ("train", "test"):
        corpus[split] = with_columns(corpus[split], extractor.mfcc(), MFCC(pool="stats"))
    return corpus, extractor.fit(corpus["train"]["mfcc"])


def _compare(corpus: DatasetDict, sets: dict[str, list[Selection | None]], extractor: Any) -> pd.DataFrame:
    import pandas as pd
    from datasets.utils import tqdm

    from hf_select.models import LeNetConfig, train_and_test

    train, test = extractor.inputs(corpus["train"])[:], extractor.inputs(corpus["test"])[:]
    labels, seconds = np.array(corpus["train"]["label"]), np.array(corpus["train"]["duration"])
    classes = range(corpus["train"].features["label"].num_classes)
    network = LeNetConfig(size="small", num_labels=len(classes), num_frames=FRAMES)
    records = []
    runs = [(name, s, selection) for name, selections in sets.items() for s, selection in enumerate(selections)]
    with tqdm(runs, unit=" run", desc="training") as bar:
        for name, s, selection in bar:
            rows = np.arange(len(labels)) if selection is None else selection.indices
            own = {key: values[rows] for key, values in train.items()}
            trained = train_and_test(network, own, test, seed=s, epochs=EPOCHS, batch_size=BATCH)
            records.append(
                {
                    "set": name,
                    "seed": s,
                    "rows": len(rows),
                    "hours": seconds[rows].sum() / 3600,
                    "balance": balance(labels[rows], classes),
                    "accuracy": trained.accuracy,
                    "steps": trained.steps,
                    "seconds": trained.seconds,
                }
            )
    return pd.DataFrame(records)


def _own_columns(ds: Dataset) -> list[str]:
    return [name for name in ds.column_names if name not in ("mfcc", "mfcc_stats", "audio_status")]


def _text(table: pd.DataFrame, out: Path, spent: float) -> str:
    seeds = table["seed"].nunique()
    lines = [f"{'trained on':<26}{'rows':>6}{'hours':>8}{'balance':>9}{'test accuracy':>16}{'steps':>7}{'seconds':>9}"]
    for name, runs in table.groupby("set", sort=False):
        accuracy = f"{runs['accuracy'].mean():.3f} ± {runs['accuracy'].std(ddof=1) if seeds > 1 else 0:.3f}"
        lines.append(
            f"{name:<26}{runs['rows'].iloc[0]:>6}{runs['hours'].mean():>8.3f}{runs['balance'].mean():>9.4f}"
            f"{accuracy:>16}{runs['steps'].iloc[0]:>7}{runs['seconds'].mean():>9.1f}"
        )
    lines += [
        "",
        f"Accuracy over {seeds} seeds (mean ± standard deviation) on speakers who were never trained on. Every set is trained",
        f"for {EPOCHS} epochs, so a smaller set takes fewer steps.",
        _verdict(table, *list(dict.fromkeys(table["set"]))[:2]),
        f"Written to {out}: data/, selection.json, selection.parquet, report.md, figures/, comparison.csv. Took {spent:.0f} s.",
    ]
    return "\n".join(lines)


def _verdict(table: pd.DataFrame, first: str, second: str) -> str:
    """Say in a sentence whether one set did better than another, seed by seed."""
    accuracy = table.pivot(index="seed", columns="set", values="accuracy")
    apart = paired(accuracy[first].tolist(), accuracy[second].tolist())
    if apart.pairs < 2:
        return f"One seed can't tell {first} from {second}: pass --seeds 3 or more."
    return (
        f"{first} minus {second}: {apart} (standard error of {apart.pairs} pairs), {apart.verdict()}: chance alone "
        f"reaches {apart.limit:.3f}."
    )
