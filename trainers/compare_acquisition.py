# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-select[demo]"]
# ///
# ruff: noqa: RUF009  (the defaults of the arguments are made by a function)
"""Is it worth acquiring the rows where a model fails? The protocol of the acquisition paper, against chance and clusters.

    python trainers/compare_acquisition.py trainers/arguments/compare_demo.yaml          # the embedded corpus, small networks
    python trainers/compare_acquisition.py trainers/arguments/compare_demo.yaml --seeds 0 1 --k 2           # a quick look
    python trainers/compare_acquisition.py trainers/arguments/compare_an4.yaml --dataset_name an4.parquet
    python trainers/compare_acquisition.py trainers/arguments/compare_fsc.yaml           # the paper's settings; needs the Hub
    uv run trainers/compare_acquisition.py trainers/arguments/compare_demo.yaml          # installs what it needs

Arguments may stand in a .yaml or .json file, and more after it goes over them. All training arguments are those of the
Trainer of transformers. Each training on several GPUs of one machine or more:

    torchrun --nproc_per_node 4 trainers/compare_acquisition.py ...
    accelerate launch --multi_gpu --num_processes 4 trainers/compare_acquisition.py ...      # GPUs only; on the CPU use torchrun

    #SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 4 --cpus-per-task 32
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes $SLURM_NNODES --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint $head:29500 \
        trainers/compare_acquisition.py --output_dir /shared/comparison ...

Small networks train side by side instead: start the script several times on one `output_dir`, each with seeds of its own
(`--seeds 0 1`, `--seeds 2 3`), and once more with all of them for the table. A finished training is a line of
`records-*.jsonl`, and is not run again.

For each seed: a model is trained on `train`; the K subgroups of the validation set where it diverges most are found; their
rows of the pool are acquired; and a model is trained again from the same initial checkpoint on train and these rows. Beside it,
with the same initial weights and the same number of steps:

    original                 no row of the pool
    ours                     all rows of the K worst subgroups
    random (= ours)          as many rows by chance
    random (= ours, hours)   as many hours by chance
    clustering-20            all rows nearest to one of the K of 20 clusters on which the model is worst
    clustering-20 (= ours)   as many rows as ours, the nearest to these (to more than K clusters, where K have too few)
    random (= clustering-20) as many rows as clustering-20, by chance
    all data                 the whole pool

Edges of bins and subgroups come from the validation set, numbers of the table from the test set, which is looked at once a
training: accuracy, macro F1, `targeted` (accuracy on the rows of the K subgroups that were to be mended), and how far
subgroups diverge there (the worst one; the mean of the 10, 20 and 50 worst; of all with and without sign; of those that
hold `min_support` of the test rows). All sets take the same number of steps (as many as `num_train_epochs` of train take,
or `max_steps`), so that more rows are not more training. With `--resplit True` each seed also cuts the splits anew (or makes
another embedded corpus), so that the intervals hold for other data of the kind.

Reference: Koudounas et al. 2024, Prioritizing Data Acquisition for End-to-End Speech Model Improvement, sections 3 to 5.
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
import pyarrow as pa
from datasets import Dataset, concatenate_datasets
from transformers import PrinterCallback, Trainer, TrainingArguments

import hf_select as hs
from hf_select.compare import Records, differences, differences_to_markdown, mean_table, name_of, run_cells, timed
from hf_select.errors import ArgumentError, ConstantOutcomeError
from hf_select.joining import append_columns
from hf_select.metrics.divergence import summarize_divergence
from hf_select.metrics.recognition import macro_f1, majority_line
from hf_select.report import plot_comparison
from hf_select.tasks import (
    DEMO,
    SECONDS,
    DataTrainingArguments,
    ModelArguments,
    SpeechClassifier,
    Splits,
    knob,
    open_task,
    parse_arguments,
)
from hf_select.training.predictions import predict

REVISION = 1  # raise it when the same settings give other numbers: it is part of every name
DEMO_BY = ["gender", "age", "accent", "rate_wpm", "snr_db"]
MEASURES = {  # of the test set, in hundredths: 1 where more is better
    "accuracy": 1, "f1_macro": 1, "targeted": 1, "worst": 1, "worst_10": 1, "worst_20": 1, "worst_50": 1,
    "signed_mean": 0, "abs_mean": -1,
}  # fmt: skip


@dataclass
class ComparisonArguments:
    """What is compared."""

    by: list[str] = knob([], "Columns to describe rows by; those that are missing are measured from the sound.")
    k: list[int] = knob([2, 3, 4, 5], "Numbers of subgroups, and of clusters, whose rows are acquired.")
    redundancy: float | None = knob(0.02, "Leave out a subgroup with a condition that changes its divergence by less.")
    max_q: float | None = knob(None, "Leave out subgroups that are not significant at this level.")
    min_support: float = knob(0.03, "Share of the rows (below 1), or rows, that a subgroup needs.")
    speaker: str | None = knob(None, "Column of speakers, for p and q over speakers.")
    n_clusters: list[int] = knob([20], "Numbers of clusters of the baseline.")
    embedding: str = knob("mfcc", "What is clustered: statistics of MFCC, or what a model by this name makes of it.")
    seeds: list[int] = knob([0, 1, 2, 3, 4], "Each draws initial weights, batches and random rows.")
    resplit: bool = knob(False, "Each seed also cuts the splits anew, or makes another embedded corpus.")


@dataclass
class Round:
    """One seed: its data, and what the model that was trained on train alone says of the validation set."""

    splits: Splits
    classifier: SpeechClassifier
    rows: Dataset  # train, then pool, as the model takes them
    test: Dataset
    digest: str


def main() -> None:
    """Read the arguments and run."""
    try:
        found = parse_arguments(
            (ModelArguments, DataTrainingArguments, ComparisonArguments, TrainingArguments), sys.argv[1:]
        )
        run(*found)
    except hs.HfSelectError as error:
        sys.exit(f"compare_acquisition: {' '.join([str(error), *getattr(error, '__notes__', [])])}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Finished trainings are kept: the same command goes on from there.")


def run(
    model: ModelArguments, data: DataTrainingArguments, asked: ComparisonArguments, args: TrainingArguments
) -> None:
    """Train what is missing, seed by seed, and write the tables."""
    for name, values in (("k", asked.k), ("seeds", asked.seeds), ("n_clusters", asked.n_clusters)):
        if not values or len(set(values)) < len(values):
            raise ArgumentError(f"{name} is a list of different values; got {values!r}.")
    out = Path(args.output_dir)
    by = asked.by or (DEMO_BY if data.dataset_name == DEMO else [])
    if not by:
        raise ArgumentError(
            "Name with --by the columns to describe rows by, such as gender, snr_db or words_per_second."
        )
    with args.main_process_first(desc="the folder"):
        records = Records(out, rank=min(asked.seeds) if args.process_index == 0 else 10**6)
    tables, notes = [], []
    for seed in asked.seeds:
        with args.main_process_first(desc="what one process does first"):
            now = open_round(model, data, by, out, seed if asked.resplit else data.split_seed)
        notes += [note for note in now.splits.notes if note not in notes]
        guess = majority_line(now.splits.test.with_format(None)[data.label_column_name][:])
        notes.append(
            f"Seed {seed}: always saying the most frequent class is right in {100 * guess:.1f} of 100 test rows."
        )
        tables.append(run_seed(now, seed, by, asked, args, records))
    if args.process_index == 0:
        write(out, pd.concat(tables, ignore_index=True), asked, notes)


def open_round(model: ModelArguments, data: DataTrainingArguments, by: list[str], out: Path, seed: int) -> Round:
    """Open the splits, cut by this seed."""
    splits, classifier = open_task(model, data, by, out, seed)
    rows = classifier.rows(concatenate_datasets([splits.train, splits.pool]))
    keys = [hs.select_random(ds, budget=1.0, seed=0).digest for ds in (rows, splits.validation, splits.test)]
    digest = name_of(keys, classifier.labels, model.model_name_or_path, data.max_length_seconds, by)
    return Round(splits, classifier, rows, classifier.rows(splits.test), digest)


def run_seed(
    now: Round, seed: int, by: list[str], asked: ComparisonArguments, args: TrainingArguments, records: Records
) -> pd.DataFrame:
    """Train the original model, choose the rows of every set, train them all, and return a line for each."""
    train, support, none = Trainings(now, seed, args, records), as_support(asked.min_support), np.zeros(0, int)
    validation = with_outcome(now.splits.validation, train(none)["validation"])
    try:
        groups = hs.find_subgroups(validation, by=by, outcome="correct", min_support=support, speaker=asked.speaker)
    except ConstantOutcomeError as error:
        raise ArgumentError(f"Seed {seed}: {error} Take a harder task, or fewer steps.") from error
    worst = groups.worst(redundancy=asked.redundancy, max_q=asked.max_q)
    sets = [
        ({"approach": "original", "k": "-"}, none, 0.0),
        *choose(now, worst, validation, seed, asked),
        ({"approach": "all data", "k": "-"}, np.arange(len(now.splits.pool)), 0.0),
    ]
    chosen = {(cell["approach"], cell["k"]): (acquired, spent) for cell, acquired, spent in sets}
    targeted = {k: np.any([group.mask(now.splits.test) for group in worst[:k]], axis=0) for k in asked.k if len(worst)}
    seconds = np.array(now.splits.pool[SECONDS], dtype=float)

    def work(cell: dict[str, Any]) -> dict[str, Any]:
        acquired, spent = chosen[cell["approach"], cell["k"]]
        found = train(acquired)
        record = {"rows": len(acquired), "hours": float(seconds[acquired].sum()) / 3600}
        record |= measure(now, groups, found, support, targeted.get(cell["k"]))
        return record | {"select_seconds": spent, "train_seconds": found["train_seconds"]}

    def name(cell: dict[str, Any]) -> str:
        acquired, _ = chosen[cell["approach"], cell["k"]]
        return name_of(train.recipe, cell, acquired, by, support, asked.redundancy, asked.max_q, list(MEASURES))

    cells = [{**cell, "seed": seed} for cell, _, _ in sets]
    mine = records if args.process_index == 0 else Records(tempfile.mkdtemp())
    return run_cells(cells, work, mine, name=name, on_done=say if args.process_index == 0 else None)


class Trainings:
    """Trainings of one seed on train and rows of the pool: each is done once, and kept."""

    def __init__(self, now: Round, seed: int, args: TrainingArguments, records: Records) -> None:
        self.now, self.seed, self.args, self.records = now, seed, args, records
        self.train_rows = len(now.splits.train)
        size = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps
        epoch = math.ceil(self.train_rows / size)
        self.steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * epoch)
        self.recipe = [REVISION, now.digest, self.steps, size, args.learning_rate, str(args.lr_scheduler_type)]
        self.recipe += [args.warmup_steps, args.weight_decay]
        self.done: dict[str, dict[str, Any]] = {}  # in every process, so that all know what need not be trained

    def __call__(self, acquired: np.ndarray) -> dict[str, Any]:
        """Train with these rows of the pool, unless it was done before; return outcomes on validation and test."""
        name = name_of(self.recipe, self.seed, np.sort(acquired))
        if name not in self.done and name not in self.records:
            rows = np.concatenate([np.arange(self.train_rows), self.train_rows + np.sort(acquired)])
            self.done[name] = fit(self.now, rows, self.steps, self.seed, self.args)
            if self.args.process_index == 0:
                self.records.keep(name, self.done[name])
        return self.done.get(name) or dict(self.records[name])


def say(number: int, of: int, row: dict[str, Any]) -> None:
    """Print a line for a training that is finished."""
    which = f"seed {row['seed']}, K {row['k']}, {row['approach']}"
    print(
        f"[{number} of {of}] {which}: {row['rows']} rows, accuracy {row['accuracy']:.2f}, worst {row['worst']:.2f}",
        flush=True,
    )


def fit(now: Round, rows: np.ndarray, steps: int, seed: int, args: TrainingArguments) -> dict[str, Any]:
    """Train one model, and return its predictions on validation and test."""
    with tempfile.TemporaryDirectory() as folder:
        own = replace(
            args, output_dir=folder, max_steps=steps, seed=seed, save_strategy="no", eval_strategy="no",
            remove_unused_columns=False, load_best_model_at_end=False,
        )  # fmt: skip
        trainer = Trainer(
            now.classifier.new(seed), own, train_dataset=now.rows.select(rows), data_collator=now.classifier.collate
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        spent = time.perf_counter() - started
        model = trainer.model.eval()
        validation = now.classifier.rows(now.splits.validation)
        said = {
            name: predict(model, ds, now.classifier.collate, own)["predicted"].to_pylist()
            for name, ds in (("validation", validation), ("test", now.test))
        }
    labels = {name: ds.with_format(None)["labels"][:] for name, ds in (("validation", validation), ("test", now.test))}
    right = {name: [int(a == b) for a, b in zip(said[name], labels[name], strict=True)] for name in said}
    return {"validation": right["validation"], "test": right["test"], "predicted": said["test"], "train_seconds": spent}


def choose(
    now: Round, worst: hs.Subgroups, validation: Dataset, seed: int, asked: ComparisonArguments
) -> Iterator[tuple[dict[str, Any], np.ndarray, float]]:
    """Yield (cell, rows of the pool, seconds that choosing took) of every set but the first and the last."""
    pool, how = now.splits.pool, {"seed": seed, "duration": SECONDS}
    thin, vectors = embedded(now, asked.embedding, validation)
    for k in asked.k:
        spent: dict[str, Any] = {}
        with timed(spent, "ours"):
            ours = hs.select_subgroups(pool, worst[:k], **how).indices if len(worst) else np.zeros(0, int)
        yield {"approach": "ours", "k": k}, ours, spent["ours"]
        if len(ours):
            by_rows = hs.select_random(pool, budget=len(ours), **how).indices
            yield {"approach": "random (= ours)", "k": k}, by_rows, 0.0
            total = float(np.sum(np.array(pool[SECONDS])[ours]))
            by_hours = hs.select_random(pool, budget=f"{total:.3f}s", **{**how, "seed": seed + 1000}).indices
            yield {"approach": "random (= ours, hours)", "k": k}, by_hours, 0.0
        for number in asked.n_clusters:
            name = f"clustering-{number}"
            settings = {"n_clusters": number, "column": vectors, "standardize": "features", **how}
            with timed(spent, name):
                every = hs.select_weak_clusters(*thin, k=k, **settings)
            yield {"approach": name, "k": k}, every.indices, spent[name]
            if len(ours):
                more = k  # clusters, until they have as many rows as ours
                while len(every) < len(ours) and more < number:
                    more += 1
                    every = hs.select_weak_clusters(*thin, k=more, **settings)
                yield {"approach": f"{name} (= ours)", "k": k}, np.sort(every.ranked[: len(ours)]), spent[name]
            if count := len(hs.select_weak_clusters(*thin, k=k, **settings)):
                chance = hs.select_random(pool, budget=count, **{**how, "seed": seed + 2000}).indices
                yield {"approach": f"random (= {name})", "k": k}, chance, 0.0


def embedded(now: Round, name: str, validation: Dataset) -> tuple[tuple[Dataset, Dataset], str]:
    """Give pool and validation set the vectors that are clustered."""
    if name == "mfcc":
        statistics = hs.MFCC(pool="stats", **now.splits.source)
        return tuple(
            hs.with_columns(ds, statistics, overwrite=True) for ds in (now.splits.pool, validation)
        ), "mfcc_stats"
    how = {"columns": "embedding", "audio": now.splits.source["column"], "audio_root": now.splits.source["audio_root"]}
    return tuple(hs.score(ds, name, overwrite=True, **how) for ds in (now.splits.pool, validation)), "embedding"


def with_outcome(ds: Dataset, right: list[int]) -> Dataset:
    """Put beside each row whether a model is right."""
    return append_columns(ds, pa.table({"correct": pa.array(right, pa.int64())}))


def as_support(number: float) -> float | int:
    """Return a share of the rows as it is, and a number of rows as a whole one."""
    return int(number) if number >= 1 else float(number)


def measure(
    now: Round, groups: hs.Subgroups, found: dict[str, Any], support: float | int, targeted: np.ndarray | None
) -> dict[str, float]:
    """Return the numbers of the test set, in hundredths."""
    truth = now.test.with_format(None)["labels"][:]
    there = groups.measure(with_outcome(now.splits.test, found["test"])) if len(set(found["test"])) > 1 else None
    divergence = np.zeros(0)
    if there is not None:
        least = support if isinstance(support, int) else math.ceil(support * len(truth))
        divergence = there.columns["divergence"][there.columns["judged"] >= least]
    few = summarize_divergence(divergence)
    names = {
        "worst": "worst", "worst_10": "mean_worst_10", "worst_20": "mean_worst_20", "worst_50": "mean_worst_50",
        "signed_mean": "mean_signed_incl_root", "abs_mean": "mean_abs_excl_root",
    }  # fmt: skip
    numbers: dict[str, Any] = {
        "accuracy": float(np.mean(found["test"])),
        "f1_macro": macro_f1(found["predicted"], truth),
    }
    hit = targeted is not None and targeted.any()
    numbers["targeted"] = float(np.array(found["test"])[targeted].mean()) if hit else None
    numbers |= {ours: few[theirs] for ours, theirs in names.items()}
    return {name: math.nan if value is None else 100 * value for name, value in numbers.items()}


def write(out: Path, cells: pd.DataFrame, asked: ComparisonArguments, notes: list[str]) -> None:
    """Write results.csv, differences.csv, results.md and the picture, and print the page."""
    numbers = {"rows": 0, "hours": 3, **dict.fromkeys(MEASURES, 2), "select_seconds": 2, "train_seconds": 1}
    signs = {name: sign for name, sign in MEASURES.items() if sign}
    _, means = mean_table(cells, ["k", "approach"], numbers=numbers, measures=signs, best_within=["k"])
    equal = ["random (= ours)", "random (= ours, hours)", *(f"clustering-{n} (= ours)" for n in asked.n_clusters)]
    compared = {"accuracy": 1, "f1_macro": 1, "targeted": 1, "worst": 1, "worst_10": 1, "abs_mean": -1}
    pages = [means]
    cells.to_csv(out / "results.csv", index=False)
    for title, others in (("At equal rows or hours", equal), ("Against sets of other sizes", None)):
        others = [name for name in dict.fromkeys(cells["approach"]) if name in equal] if others else [
            name for name in dict.fromkeys(cells["approach"]) if name not in (*equal, "ours")
        ]  # fmt: skip
        if others and (cells["approach"] == "ours").any():
            table = differences(cells, ours="ours", others=others, by=["k"], measures=compared, method="approach")
            table.to_csv(out / f"differences-{'equal' if title.startswith('At') else 'other'}.csv", index=False)
            pages.append(f"**{title}**, ours minus the other:\n\n{differences_to_markdown(table, 'ours', digits=2)}")
    notes = [
        *notes,
        "Hundredths of the test set: mean ± standard deviation over seeds. Divergences keep their sign (0 = as good as all rows); "
        "abs_mean is their mean distance from 0, signed_mean what the paper prints as |avg-all|.",
        f"{len(asked.seeds)} seeds{', each with splits of its own' if asked.resplit else ', one split'}. All sets take the same steps.",
    ]
    text = "\n\n".join([*pages, "\n".join(f"- {note}" for note in notes)])
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    shown = cells[cells["approach"].isin(["original", "ours", "random (= ours)", *equal[2:3], "all data"])]
    plot_comparison(
        shown,
        x="k",
        y="worst_10" if shown["worst_10"].notna().all() else "worst",
        method="approach",
        path=out / "comparison.png",
    )
    print(f"\n{text}\n\nWritten to {out}: results.md, results.csv, differences-*.csv, comparison.png.")


if __name__ == "__main__":
    main()
