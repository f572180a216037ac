# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-select[demo]"]
# ///
# ruff: noqa: RUF009  (the defaults of the arguments are made by a function)
"""Is a quarter of a few clips enough? MelTrim against chance, clusters and the scores of its own judge.

    python trainers/compare_meltrim.py trainers/arguments/meltrim_demo.yaml                # the embedded corpus
    python trainers/compare_meltrim.py trainers/arguments/meltrim_demo.yaml --seeds 0 --budgets 5       # a quick look
    python trainers/compare_meltrim.py --dataset_name clips.parquet --label_column_name emotion --model_name_or_path lenet-small
    uv run trainers/compare_meltrim.py trainers/arguments/meltrim_demo.yaml                # installs what it needs

Arguments may stand in a .yaml or .json file, and more after it goes over them. All training arguments are those of the
Trainer of transformers. Networks train side by side if the script is started several times on one `output_dir`, each with seeds
of its own (`--seeds 0 1`, `--seeds 2 3`), and once more with all of them for the table. A finished training is a line of
`records-*.jsonl`, and is not run again; judges are kept too.

For each seed a judge is trained on all training rows for `judge_epochs`. Then for each budget (rows per class), with the same
initial weights and the same number of steps:

    meltrim              both steps: dense clusters of MFCC, then the rows and quarters with the largest gradients
    meltrim (clips)      the same rows, whole
    coarse               step 1 alone: the rows nearest to the centroids, whole
    random               as many rows by chance, whole
    random segments      as many rows by chance, a quarter of each by chance
    random (seconds)     whole rows by chance, as many seconds as meltrim keeps
    k-means              of every cluster of MFCC statistics the rows far from its centre (simple pruning)
    entropy              the rows of which the judge is least sure
    el2n                 the rows with the judge's longest error vectors
    all data             everything, once

The test set is looked at once a training: weighted accuracy (the share that is right), unweighted accuracy (the mean over
classes), macro F1; the line that always saying the most frequent class reaches stands under the table. With `--resplit True`
each seed also cuts the splits anew. Ablations are arguments: column, reducer, clusterer, by, n_segments, ratio.

Reference: Wang et al., MelTrim: Coarse-to-Fine Data Pruning for Speech Classification, sections 3 and 3.3.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset, concatenate_datasets
from transformers import PrinterCallback, Trainer, TrainingArguments

import hf_select as hs
from hf_select.compare import Records, differences, differences_to_markdown, mean_table, name_of, run_cells, timed
from hf_select.errors import ArgumentError
from hf_select.metrics.recognition import macro_f1, majority_line, unweighted_accuracy, weighted_accuracy
from hf_select.tasks import (
    SECONDS,
    DataTrainingArguments,
    ModelArguments,
    SpeechClassifier,
    knob,
    open_task,
    parse_arguments,
)
from hf_select.training.predictions import predict

REVISION = 1  # raise it when the same settings give other numbers: it is part of every name
MEASURES = {"wa": 1, "ua": 1, "f1": 1}  # of the test set, in hundredths
METHODS = [
    "meltrim", "meltrim (clips)", "coarse", "random", "random segments", "random (seconds)", "k-means", "entropy", "el2n",
]  # fmt: skip


@dataclass
class ComparisonArguments:
    """What is compared."""

    budgets: list[int] = knob([1, 5, 10, 50], "Rows per class.")
    methods: list[str] = knob(METHODS, "Which sets are trained on.")
    seeds: list[int] = knob([0, 1, 2, 3, 4], "Each draws initial weights, batches, segments and random rows.")
    resplit: bool = knob(False, "Each seed also cuts the splits anew.")
    judge_epochs: float = knob(7, "Epochs of the judge.")
    coarse_budget: str = knob("0.5", "What step 1 leaves in each class.")
    column: str = knob("mfcc", "What is clustered: mfcc (padded and flattened), or mfcc_stats.")
    reducer: str = knob("umap", "umap, pca or tsne.")
    clusterer: str = knob("dbscan", "dbscan, kmeans or knn.")
    n_segments: int = knob(5, "Segments a clip.")
    ratio: float = knob(0.25, "Length of a segment as a share of its clip.")
    by: str = knob("grad_norm", "Score of a segment: grad_norm, loss or grad_norm_head.")
    n_clusters: int = knob(20, "Clusters of k-means.")


@dataclass
class Task:
    """One seed: its rows, its judge, and what that says."""

    train: Dataset  # with MFCC and the scores of the judge
    test: Dataset  # as the model takes it
    classifier: SpeechClassifier
    judge: Any
    source: dict[str, Any]
    label: str
    digest: str
    spent: dict[str, float]


def main() -> None:
    """Read the arguments and run."""
    try:
        run(
            *parse_arguments(
                (ModelArguments, DataTrainingArguments, ComparisonArguments, TrainingArguments), sys.argv[1:]
            )
        )
    except hs.HfSelectError as error:
        sys.exit(f"compare_meltrim: {' '.join([str(error), *getattr(error, '__notes__', [])])}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Finished trainings are kept: the same command goes on from there.")


def run(
    model: ModelArguments, data: DataTrainingArguments, asked: ComparisonArguments, args: TrainingArguments
) -> None:
    """Train what is missing, seed by seed, and write the tables."""
    for name, values in (("budgets", asked.budgets), ("seeds", asked.seeds), ("methods", asked.methods)):
        if not values or len(set(values)) < len(values):
            raise ArgumentError(f"{name} is a list of different values; got {values!r}.")
    if unknown := [name for name in asked.methods if name not in METHODS]:
        raise ArgumentError(f"methods are some of {', '.join(METHODS)}; got {unknown[0]!r}.")
    out = Path(args.output_dir)
    records = Records(out, rank=min(asked.seeds))
    tables, notes = [], []
    for seed in asked.seeds:
        task = open_seed(model, data, asked, args, out, seed)
        guess = majority_line(task.test.with_format(None)["labels"][:])
        notes.append(
            f"Seed {seed}: {len(task.train)} training rows; always saying the most frequent class is right in {100 * guess:.1f} of "
            f"100 test rows. Seconds: {', '.join(f'{name} {value:.1f}' for name, value in task.spent.items())}."
        )
        tables.append(run_seed(task, seed, asked, args, records))
    write(out, pd.concat(tables, ignore_index=True), asked, notes)


def open_seed(
    model: ModelArguments, data: DataTrainingArguments, asked: ComparisonArguments, args: TrainingArguments, out: Path,
    seed: int,
) -> Task:  # fmt: skip
    """Open the splits, train the judge or find it, and let it score the rows."""
    cut = seed if asked.resplit else data.split_seed
    splits, classifier = open_task(model, data, [], out, cut)
    rows, spent = concatenate_datasets([splits.train, splits.pool, splits.validation]), dict[str, float]()
    with timed(spent, "MFCC"):
        for pool in ("none", "stats"):
            rows = hs.with_columns(rows, hs.MFCC(pool=pool, **splits.source), overwrite=True)
    keys = [hs.select_random(ds, budget=1.0, seed=0).digest for ds in (rows, splits.test)]
    digest = name_of(REVISION, keys, classifier.labels, model.model_name_or_path, data.max_length_seconds)
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    steps = math.ceil(asked.judge_epochs * math.ceil(len(rows) / batch))
    home = out / f"judge-{name_of(digest, steps, batch, args.learning_rate, seed)}"
    with timed(spent, "judge"):
        if not (home / "done").exists():
            judge, _ = fit(classifier, rows, steps, seed, args)
            judge.save_pretrained(home)
            (home / "done").touch()
        judge = type(classifier.new(seed)).from_pretrained(home).eval()
    how = {"label": data.label_column_name, "overwrite": True, **sound(splits.source)}
    with timed(spent, "scores"):
        rows = hs.score(rows, judge, classifier.extractor, columns=["entropy", "el2n"], **how)
    test = classifier.rows(splits.test)
    return Task(rows, test, classifier, judge, splits.source, data.label_column_name, digest, spent)


def sound(source: dict[str, Any]) -> dict[str, Any]:
    """Return where the sound is, under the names of `score`."""
    return {"audio": source["column"], "audio_root": source["audio_root"]}


def run_seed(
    task: Task, seed: int, asked: ComparisonArguments, args: TrainingArguments, records: Records
) -> pd.DataFrame:
    """Choose the rows of every set, train on them all, and return a line for each."""
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * len(task.train) / batch)
    sets = {(cell["method"], cell["budget"]): (rows, spent) for cell, rows, spent in choose(task, seed, asked)}
    recipe = [
        task.digest,
        steps,
        batch,
        args.learning_rate,
        str(args.lr_scheduler_type),
        args.warmup_steps,
        args.weight_decay,
    ]
    truth = task.test.with_format(None)["labels"][:]

    def work(cell: dict[str, Any]) -> dict[str, Any]:
        rows, spent = sets[cell["method"], cell["budget"]]
        model, took = fit(task.classifier, cropped(rows, task.source), steps, seed, args)
        said = predict(model, task.test, task.classifier.collate, args)["predicted"].to_pylist()
        pairs = {"wa": weighted_accuracy, "ua": unweighted_accuracy, "f1": macro_f1}
        numbers = {name: 100 * measure(said, truth) for name, measure in pairs.items()}
        return {
            "rows": len(rows),
            "seconds": float(heard(rows).sum()),
            **numbers,
            "select_seconds": spent,
            "train_seconds": took,
        }

    def name(cell: dict[str, Any]) -> str:
        rows, _ = sets[cell["method"], cell["budget"]]
        bounds = [
            np.array(rows[column], float) for column in ("segment_start", "segment_end") if column in rows.column_names
        ]
        return name_of(recipe, cell, hs.select_random(rows, budget=1.0, seed=0).digest, *bounds)

    cells = [{"method": method, "budget": budget, "seed": seed} for method, budget in sets]
    return run_cells(cells, work, records, name=name, on_done=say)


def heard(rows: Dataset) -> np.ndarray:
    """Return the seconds of each row that are trained on."""
    if "segment_start" in rows.column_names:
        return np.array(rows["segment_end"], float) - np.array(rows["segment_start"], float)
    return np.array(rows[SECONDS], float)


def choose(task: Task, seed: int, asked: ComparisonArguments) -> Iterator[tuple[dict[str, Any], Dataset, float]]:
    """Yield (cell, rows, seconds that choosing took) of every set; rows with segment_start and segment_end are cut."""
    for budget in asked.budgets:
        spent: dict[str, float] = {}
        with timed(spent, "meltrim"):
            trimmed = trim(task, budget, seed, asked)
        for method in asked.methods:
            with timed(spent, method):
                rows = chosen(task, method, budget, trimmed, seed, asked)
            if len(rows):
                yield {"method": method, "budget": budget}, rows, spent[method]
    yield {"method": "all data", "budget": "-"}, task.train, 0.0


def coarse(asked: ComparisonArguments) -> dict[str, Any]:
    """Return the settings of step 1."""
    found: dict[str, Any] = {"reducer": asked.reducer, "clusterer": asked.clusterer}
    return found | ({"n_clusters": asked.n_clusters} if asked.clusterer == "kmeans" else {})


def trim(task: Task, budget: int, seed: int, asked: ComparisonArguments) -> hs.Selection:
    """Make both steps of MelTrim."""
    return hs.meltrim(
        task.train, task.judge, task.classifier.extractor, budget=budget, per=task.label, coarse_budget=asked.coarse_budget,
        column=asked.column, by=asked.by, n_segments=asked.n_segments, ratio=asked.ratio, label=task.label, seed=seed,
        coarse=coarse(asked), duration=SECONDS, **sound(task.source),
    )  # fmt: skip


def chosen(
    task: Task, method: str, budget: int, trimmed: hs.Selection, seed: int, asked: ComparisonArguments
) -> Dataset:
    """Return the rows of one set."""
    train, per = task.train, {"per": task.label, "duration": SECONDS}
    if method == "meltrim":
        return trimmed.apply(train)
    if method == "meltrim (clips)":
        return train.select(trimmed.indices)
    if method == "coarse":
        return hs.select_meltrim(train, budget=budget, column=asked.column, seed=seed, **coarse(asked), **per).apply(
            train
        )
    if method in ("entropy", "el2n"):
        return hs.select_by_score(train, budget=budget, column=method, **per).apply(train)
    if method == "k-means":
        how = {"column": "mfcc_stats", "n_clusters": asked.n_clusters, "standardize": "features"}
        return hs.select_kmeans(train, budget=budget, seed=seed, **how, **per).apply(train)
    if method == "random (seconds)":
        each = trimmed.facts["segment_hours"] * 3600 / len(task.classifier.labels)
        return hs.select_random(train, budget=f"{each:.3f}s", seed=seed, **per).apply(train)
    rows = hs.select_random(train, budget=budget, seed=seed, **per).apply(train)
    if method == "random":
        return rows
    one = {"n_segments": 1, "by": "loss", "ratio": asked.ratio, "label": task.label, "overwrite": True}
    return hs.score_segments(rows, task.judge, task.classifier.extractor, seed=seed, **one, **sound(task.source))


def cropped(rows: Dataset, source: dict[str, Any]) -> Dataset:
    """Cut rows that have segments, and measure how long they are now."""
    if "segment_start" not in rows.column_names:
        return rows
    thin = [name for name in rows.column_names if name in ("mfcc", "mfcc_stats")]  # of the whole clip
    cut = hs.CropAudio(**source).crop(rows.remove_columns(thin))
    return hs.with_columns(cut, hs.Duration(duration_column=SECONDS, **source), overwrite=True)


def fit(
    classifier: SpeechClassifier, rows: Dataset, steps: int, seed: int, args: TrainingArguments
) -> tuple[Any, float]:
    """Train a new model on rows; return it, and the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        own = replace(
            args, output_dir=folder, max_steps=steps, seed=seed, save_strategy="no", eval_strategy="no",
            remove_unused_columns=False, load_best_model_at_end=False,
        )  # fmt: skip
        ready = classifier.rows(rows)
        trainer = Trainer(classifier.new(seed), own, train_dataset=ready, data_collator=classifier.collate)
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        spent = time.perf_counter() - started
    model: Any = trainer.model
    return model.eval(), spent


def say(number: int, of: int, row: dict[str, Any]) -> None:
    """Print a line for a training that is finished."""
    which = f"seed {row['seed']}, {row['method']}, {row['budget']} per class"
    print(
        f"[{number} of {of}] {which}: {row['rows']} rows, WA {row['wa']:.2f}, UA {row['ua']:.2f}, F1 {row['f1']:.2f}",
        flush=True,
    )


def write(out: Path, cells: pd.DataFrame, asked: ComparisonArguments, notes: list[str]) -> None:
    """Write results.csv, differences.csv and results.md, and print the page."""
    numbers = {"rows": 0, "seconds": 1, **dict.fromkeys(MEASURES, 2), "select_seconds": 2, "train_seconds": 1}
    _, page = mean_table(cells, ["budget", "method"], numbers=numbers, measures=MEASURES, best_within=["budget"])
    cells.to_csv(out / "results.csv", index=False)
    pages = [page]
    others = [name for name in asked.methods if name != "meltrim"]
    if "meltrim" in asked.methods and others:
        table = differences(cells, ours="meltrim", others=others, by=["budget"], measures=MEASURES, method="method")
        table.to_csv(out / "differences.csv", index=False)
        pages.append(differences_to_markdown(table, "meltrim", digits=2))
    notes = [
        *notes,
        "Hundredths of the test set: mean ± standard deviation over seeds. WA = share right, UA = mean over classes.",
        f"{len(asked.seeds)} seeds{', each with splits of its own' if asked.resplit else ', one split'}. All sets take the same steps.",
    ]
    text = "\n\n".join([*pages, "\n".join(f"- {note}" for note in notes)])
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nWritten to {out}: results.md, results.csv, differences.csv.")


if __name__ == "__main__":
    main()
