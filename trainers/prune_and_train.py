# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-select[demo]"]
# ///
# ruff: noqa: RUF009  (the defaults of the arguments are made by a function)
"""Cluster pruning from end to end: embed, prune, train LeNets on what is left, compare with chance.

    python trainers/prune_and_train.py                              # the embedded corpus, statistics of MFCC
    python trainers/prune_and_train.py --num_train_epochs 10 --seeds 0 1 --sizes tiny           # a quick look
    python trainers/prune_and_train.py --dataset_name clips.parquet --embedding mfcc encoder
    python trainers/prune_and_train.py --dataset_name google/speech_commands --dataset_config_name v0.02 \
        --eval_split_name validation --test_split_name test --embedding facebook/wav2vec2-base --sizes tiny small large
    python trainers/prune_and_train.py arguments.yaml               # or .json: the same names in a file
    uv run trainers/prune_and_train.py                              # installs what it needs

One machine, a process per GPU (or per core: with ACCELERATE_USE_CPU=true before the command), and sbatch:

    torchrun --nproc_per_node 8 trainers/prune_and_train.py ...
    accelerate launch --multi_gpu --num_processes 8 trainers/prune_and_train.py ...  # GPUs only; on the CPU use torchrun

    #SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 8 --cpus-per-task 32
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes $SLURM_NNODES --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint $head:29500 \
        trainers/prune_and_train.py --output_dir /shared/pruning ...

Processes share the clips that a model embeds, and then each trains networks of its own; the table is the same. On
several machines all must see one `output_dir`.

A cell is one network: a set of rows, a size of LeNet, a seed (of the clusters or the random rows, of the weights, of the
batches). A finished cell is a line of `records.jsonl` under a digest of all that made it, and is not trained again: stop
the script whenever you like, at the price of the cell that each process was at, and call it again; add seeds, budgets or
sizes later. Every number of `results.md` and `results.csv` comes from these lines; `selections/` holds the rows.

What is compared, and how:
- Pruning sees the training split alone. The validation split lowers the learning rate and ends the training; the test
  split is looked at once a network. Splits that the dataset lacks are cut off its training split, whole speakers each.
- Training follows the cluster-pruning paper: Adam at 5e-3, up to 170 epochs, the rate reduced on a plateau, early
  stopping. Its batch of 512 is made smaller for fewer than 16,000 rows, so that the full set takes 32 steps an epoch or more.
  All sets get the same number of EPOCHS at most, so a smaller one takes fewer steps, which can be all that a difference
  to the full set says; `--equal_steps` makes epochs of equal steps. A method and its random control have equal rows.
- A difference to random rows of the same budget, seed by seed, counts beyond two standard errors and Student's 95 % limit.
  It holds for these splits: `--data_seed` gives others.
- `encoder` is the last hidden layer of a LeNet trained here on the labels of all training rows: unlike the paper's
  embedding it has seen the labels. `simple-shuffled` and `hard-shuffled` keep as many rows of each class as the method,
  but by chance: what they gain, the method owes to the balance of classes and not to its clusters.
- The exponent nu is minus the slope of log(test loss) over log(rows), fitted seed by seed: over the budgets of a method,
  or, with `--subsets 0.5 0.6 0.7 0.8 0.9`, over random parts of each set as in the paper (whose random row is then `all`).

Reference: Bergsma et al., Cluster-based pruning techniques for audio data, sections 3 and 4.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import HfArgumentParser

import hf_select as hs
from hf_select.compare import Records, compare_sets, name_of, scaling_exponents, to_markdown
from hf_select.demo.corpus import make_corpus
from hf_select.errors import ArgumentError, DatasetError
from hf_select.models import (
    LENET_LAYERS,
    LeNetConfig,
    LeNetFeatureExtractor,
    LeNetForAudioClassification,
    train_and_test,
)
from hf_select.prune import clusters_for
from hf_select.readers import read_groups, vector_blocks
from hf_select.scoring.ranks import Ranks
from hf_select.sources import open_dataset
from hf_select.splits import cut_off
from hf_select.tasks import knob

METHODS = ("simple", "hard", "simple-shuffled", "hard-shuffled", "random", "all")
SECONDS = "decoded_seconds"  # a column of the training split
REVISION = 1  # raise it when the same settings give other numbers: it is part of every name


@dataclass
class DataArguments:
    """Where the rows come from."""

    dataset_name: str = knob("demo", "Hub name, folder, .parquet file; 'demo' is the embedded corpus.")
    dataset_config_name: str | None = knob(None, "Configuration of a Hub dataset.")
    train_split_name: str | None = knob(None, "Split to prune and to train on; the only one, or train.")
    eval_split_name: str | None = knob(None, "Split for the validation; cut off the training split if not given.")
    test_split_name: str | None = knob(None, "Split for the test; cut off the training split if not given.")
    group_column_name: str | None = knob(
        None, "Column of speakers, whom a cut leaves whole; 'speaker' if there is one."
    )
    test_share: float = knob(0.2, "Share of the rows that is cut off for the test.")
    validation_share: float = knob(0.1, "Share of the rows that is cut off for the validation.")
    audio_column_name: str | None = knob(None, "Column of sound, where its type does not tell.")
    label_column_name: str = knob("label", "Column of classes.")
    max_train_samples: int | None = knob(None, "Train on at most so many rows, drawn by chance.")
    max_eval_samples: int | None = knob(None, "Validate and test on at most so many rows each, drawn by chance.")
    max_length_seconds: float | None = knob(
        None, "What LeNets hear of a clip; if not given, 95 in 100 clips are whole."
    )
    data_seed: int = knob(0, "Seed of the splits, or of the embedded corpus.")
    demo_clips: int = knob(2000, "Size of the embedded corpus, in all splits together.")


@dataclass
class ExperimentArguments:
    """What is kept, and how it is judged."""

    output_dir: str = knob("prune-and-train", "Folder for records, Selections and tables; used again by the next call.")
    methods: list[str] = knob(["simple", "hard", "random", "all"], f"Some of: {', '.join(METHODS)}.")
    budgets: list[str] = knob(["0.5", "0.7", "0.9"], "What is KEPT: shares, rows or hours of the training split.")
    subsets: list[float] = knob([], "Train also on these random shares of each set: for the paper's exponent.")
    embedding: list[str] = knob(["mfcc"], "What is clustered: 'mfcc', 'encoder' (trained here), or models by name.")
    pool: str = knob("mean", "For models: 'mean' of the frames, or 'none' (the paper's code: all, of clips up to 1 s).")
    n_clusters: str | None = knob(None, "A number or 'auto'; if not given 20 rows a cluster, at most the paper's 155.")
    kmeans_kwargs: str = knob("{}", """Further arguments of select_kmeans as JSON, e.g. '{"metric": "cosine"}'.""")
    sizes: list[str] = knob(["small"], f"Sizes of LeNet: {', '.join(LENET_LAYERS)}.")
    seeds: list[int] = knob([0, 1, 2, 3, 4], "Seeds; each draws rows, weights and batches.")
    num_train_epochs: int = knob(170, "Epochs at most.")
    per_device_train_batch_size: int | None = knob(None, "Rows a step; 512 if not given, fewer for small sets.")
    learning_rate: float = knob(5e-3, "Of Adam.")
    early_stopping_patience: int = knob(15, "Epochs without a better validation loss; 0 trains all epochs.")
    equal_steps: bool = knob(False, "Give every set as many steps as the full one, instead of as many epochs.")
    encoder_size: str = knob("large", "Size of the LeNet of the embedding 'encoder': 'small' or 'large'.")
    encoder_epochs: int = knob(15, "Its epochs at most.")


@dataclass
class Data:
    """The splits, made ready."""

    train: Dataset  # with thin columns
    inputs: dict[str, dict[str, torch.Tensor]]  # what LeNets read and learn, of every split
    extractor: LeNetFeatureExtractor
    network: dict[str, Any]  # what all LeNets have in common
    source: dict[str, Any]  # the column of sound, and where files may lie
    batch_size: int
    notes: list[str]
    name: str  # a digest


@dataclass
class Vectors:
    """An embedding of the training rows."""

    ds: Dataset
    clustering: dict[str, Any]  # arguments of select_kmeans
    name: str  # a digest


def main() -> None:
    """Read the arguments and run."""
    parser = HfArgumentParser((DataArguments, ExperimentArguments))
    file = Path(sys.argv[1]) if len(sys.argv) == 2 else Path()
    readers = {".json": parser.parse_json_file, ".yaml": parser.parse_yaml_file, ".yml": parser.parse_yaml_file}
    try:
        arguments = readers[file.suffix](file) if file.suffix in readers else parser.parse_args_into_dataclasses()
        check(*arguments)
    except (ValueError, OSError) as error:  # of ours, and of a file with other names
        sys.exit(f"prune_and_train: {error}")
    try:
        run(*arguments)
    except hs.HfSelectError as error:
        sys.exit(f"prune_and_train: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. Finished cells are kept: the same command goes on from there.")


def check(_: DataArguments, knobs: ExperimentArguments) -> None:
    """Refuse at once what would fail only after long work."""
    legal = {"methods": METHODS, "sizes": LENET_LAYERS, "pool": ("mean", "none"), "encoder_size": ("small", "large")}
    for name, value in vars(knobs).items():
        many = name in ("methods", "budgets", "subsets", "embedding", "sizes", "seeds")
        if many and (not isinstance(value, list) or len(set(value)) < max(len(value), name != "subsets")):
            raise ArgumentError(f"{name} is a list of different values; got {value!r}.")
        for one in value if many else [value]:
            if one not in legal.get(name, [one]):
                raise ArgumentError(f"{name}: choose from {', '.join(legal[name])}; got {one!r}.")
    if wrong := [share for share in knobs.subsets if not 0 < share < 1]:
        raise ArgumentError(f"subsets are shares between 0 and 1; got {wrong[0]}.")
    if knobs.n_clusters not in (None, "auto") and not str(knobs.n_clusters).isdigit():
        raise ArgumentError(f"n_clusters is a number or 'auto'; got {knobs.n_clusters!r}.")
    known = set(inspect.signature(hs.select_kmeans).parameters) - {"ds", "budget", "n_clusters", "drop", "seed"}
    if unknown := set(json.loads(knobs.kmeans_kwargs)) - known:
        raise ArgumentError(
            f"kmeans_kwargs may not hold {', '.join(sorted(unknown))}: only {', '.join(sorted(known))}."
        )
    for budget in knobs.budgets:
        hs.Budget.parse(budget)


def run(asked: DataArguments, knobs: ExperimentArguments) -> None:
    """Embed, prune, train, compare."""
    ranks = Ranks()
    records = Records(knobs.output_dir, ranks.rank)
    with ranks.watching():
        data = one_first(ranks, lambda: prepare(asked, knobs))
    clusters = any(method not in ("random", "all") for method in knobs.methods)
    vectors = {name: embed(name, data, knobs, ranks, records) for name in knobs.embedding if clusters}
    with ranks.watching():
        mine = train_cells(data, vectors, knobs, ranks, records)
        cells = [name for _, name in sorted(pair for pairs in ranks.gather(mine) for pair in pairs)]
        if ranks.rank == 0:
            records = Records(knobs.output_dir)
            notes = [*data.notes, *(records[own.name]["note"] for own in vectors.values())]
            write_tables(pd.DataFrame([records[name] for name in cells]), notes, knobs)


def one_first(ranks: Ranks, work: Callable[[], Any]) -> Any:
    """Let rank 0 work first, then one process of each machine, then the rest: who comes later finds it in the caches."""
    turn, found = (0 if ranks.rank == 0 else 1 if ranks.local_rank == 0 else 2), None
    for now in range(3):
        found = work() if now == turn else found
        ranks.wait("what one process does first")
    return found


def prepare(asked: DataArguments, knobs: ExperimentArguments) -> Data:
    """Open the splits, compute MFCC, and leave out rows that can't be used or stand in two splits."""
    splits, source, notes = open_splits(asked, Path(knobs.output_dir))
    extractor = LeNetFeatureExtractor()
    for name, ds in splits.items():
        limit = asked.max_train_samples if name == "train" else asked.max_eval_samples
        if limit is not None and limit < len(ds):
            ds = hs.select_random(ds, budget=int(limit), seed=asked.data_seed).apply(ds)
        ds = hs.with_columns(ds, extractor.mfcc(duration_column=SECONDS, **source), overwrite=True)
        usable = np.flatnonzero(read_groups(ds, "audio_status") == "ok")
        if len(usable) < len(ds):
            notes.append(f"{len(ds) - len(usable)} clips of {name} can't be used and are left out.")
        splits[name] = ds.select(usable)
        if not len(usable):
            raise DatasetError(f"There is no usable clip in {name}.")
    heard = asked.max_length_seconds or max(
        0.6, float(np.quantile(splits["train"][SECONDS], 0.95))
    )  # 0.6 fits all sizes
    extractor.num_frames = max(1, int(heard * 100) - 1)
    extractor.fit(splits["train"]["mfcc"])
    labels = {name: read_groups(ds, asked.label_column_name, "label_column_name") for name, ds in splits.items()}
    classes = np.unique(np.concatenate(list(labels.values())))
    inputs = {name: extractor.inputs(ds, label_column=None)[:] for name, ds in splits.items()}
    for name, own in inputs.items():
        own["labels"] = torch.from_numpy(np.searchsorted(classes, labels[name]))
    clips = {name: [row.tobytes() for row in own["input_features"].numpy()] for name, own in inputs.items()}
    tested = {*clips["validation"], *clips["test"]}
    new = np.array([row for row, clip in enumerate(clips["train"]) if clip not in tested], dtype=int)
    if len(new) < len(clips["train"]):
        notes.append(f"{len(clips['train']) - len(new)} training clips stand in validation or test too: left out.")
    if len(new) < 2 or len(classes) < 2:
        raise DatasetError(f"{len(new)} training rows and {len(classes)} classes are left: too little to train on.")
    inputs["train"] = {key: values[new] for key, values in inputs["train"].items()}
    batch = knobs.per_device_train_batch_size or min(512, max(8, 2 ** int(np.log2(len(new) / 32 + 1))))
    sizes = ", ".join(f"{name} {len(inputs[name]['labels'])}" for name in ("train", "validation", "test"))
    shown = asked.dataset_name if not Path(asked.dataset_name).exists() else Path(asked.dataset_name).name
    notes.insert(0, f"{shown}: {sizes} rows, {len(classes)} classes; LeNets hear {heard:.2f} s of a clip.")
    network = {"num_labels": len(classes), "num_frames": extractor.num_frames}
    for size in knobs.sizes:
        LeNetConfig(size=size, **network)  # refuses an input that is too short for it
    name = name_of(REVISION, *(inputs[split][key].numpy() for split in sorted(inputs) for key in sorted(inputs[split])))
    return Data(splits["train"].select(new), inputs, extractor, network, source, batch, notes, name)


def open_splits(asked: DataArguments, out: Path) -> tuple[dict[str, Dataset], dict[str, Any], list[str]]:
    """Return train, validation and test, how to read their sound, and notes."""
    if asked.dataset_name == "demo":
        folder = out / f"corpus-{asked.demo_clips}-{asked.data_seed}"
        return dict(make_corpus(folder, clips=asked.demo_clips, seed=asked.data_seed)), {"column": "audio"}, []
    how = {"config": asked.dataset_config_name, "audio": asked.audio_column_name}
    train = open_dataset(asked.dataset_name, split=asked.train_split_name, **how)
    if train.audio is None:
        raise DatasetError(f"{train.name} has no audio column: name it with --audio_column_name.")
    named = {"test": asked.test_split_name, "validation": asked.eval_split_name}
    shares = {"test": asked.test_share, "validation": asked.validation_share}
    shares = {name: share for name, share in shares.items() if not named[name]}
    group = asked.group_column_name or ("speaker" if "speaker" in train.ds.column_names else None)
    splits = cut_off(train.ds, shares, group=group, seed=asked.data_seed)
    splits |= {name: open_dataset(asked.dataset_name, split=split, **how).ds for name, split in named.items() if split}
    cut = f"{' and '.join(shares)} cut off by chance, {f'whole values of {group!r}' if group else 'row by row'}."
    return splits, {"column": train.audio, "audio_root": train.audio_root}, [*train.notes, *([cut] if shares else [])]


def embed(name: str, data: Data, knobs: ExperimentArguments, ranks: Ranks, records: Records) -> Vectors:
    """Give every training row a vector: statistics of MFCC, or what a model makes of it."""
    started, column, clustering = time.perf_counter(), "embedding", json.loads(knobs.kmeans_kwargs)
    if name == "mfcc":
        column, clustering = "mfcc_stats", {"standardize": "features", **clustering}
        statistics = hs.MFCC(pool="stats", **data.source)
        with ranks.watching():
            ds = one_first(ranks, lambda: hs.with_columns(data.train, statistics, overwrite=True))
    else:
        model: Any = name
        how = {"audio": data.source["column"], "audio_root": data.source.get("audio_root")}
        if name == "encoder":
            with ranks.watching():
                model, how["processor"] = train_encoder(data, knobs, ranks), data.extractor
        elif knobs.pool == "none":  # every clip is filled up to the longest, so that all have one shape
            how |= {"pool": "none", "grid": float(np.ceil(10 * np.max(data.train[SECONDS])) / 10)}
        ds = hs.score(data.train, model, columns="embedding", overwrite=True, **how)
    digest = name_of(data.name, *(block for _, block in vector_blocks(ds, column)))
    if ranks.rank == 0 and digest not in records:
        note = f"Embedding {name}: made, or found in the cache, in {time.perf_counter() - started:.1f} s."
        records.keep(digest, {"note": note + (" It has seen the labels." if name == "encoder" else "")})
    return Vectors(ds, {"column": column, **clustering}, digest)


def train_encoder(data: Data, knobs: ExperimentArguments, ranks: Ranks) -> LeNetForAudioClassification:
    """Return the LeNet whose last hidden layer is clustered, trained on the labels of all training rows."""
    recipe = {"epochs": knobs.encoder_epochs, "learning_rate": knobs.learning_rate, "batch_size": data.batch_size}
    folder = Path(knobs.output_dir, f"encoder-{name_of(data.name, knobs.encoder_size, recipe)}")
    if ranks.rank == 0 and not folder.exists():
        train, validation = data.inputs["train"], data.inputs["validation"]
        config = LeNetConfig(size=knobs.encoder_size, **data.network)
        found = train_and_test(config, train, validation, validation=validation, seed=0, device=ranks.device, **recipe)
        found.model.save_pretrained(folder.with_suffix(".unfinished"))
        folder.with_suffix(".unfinished").rename(folder)
    ranks.wait("the encoder")
    return LeNetForAudioClassification.from_pretrained(folder)


def choose(cell: dict[str, Any], data: Data, vectors: dict[str, Vectors], knobs: ExperimentArguments) -> hs.Selection:
    """Return the Selection of a cell, made now or by an earlier run."""
    own, (drop, _, shuffled) = vectors.get(cell["embedding"]), cell["method"].partition("-")
    number = knobs.n_clusters or clusters_for(len(data.train))
    made_of = [own.name, own.clustering, number] if own else []
    title = f"{title_of(cell).replace(' ', '-').replace('/', '_')}-{name_of(data.name, cell, made_of)[:8]}"
    folder = Path(knobs.output_dir, "selections", title)
    if (folder / "selection.json").exists():
        return hs.Selection.load(folder)
    asked = {"budget": cell["budget"], "seed": cell["seed"], "duration": SECONDS}
    if own is None:
        chosen = hs.select_random(data.train, **asked)
    else:
        number = number if number == "auto" else int(number)
        chosen = hs.select_kmeans(own.ds, n_clusters=number, drop=drop, **asked, **own.clustering)
    if shuffled:  # as many rows of each class, drawn by chance
        labels = data.inputs["train"]["labels"].numpy()
        kept = np.isin(np.arange(len(labels)), chosen.indices)
        chance, drawn = np.random.default_rng(cell["seed"]).permutation(len(labels)), np.zeros(len(labels))
        drawn[chance[np.argsort(labels[chance], kind="stable")]] = kept[np.argsort(labels, kind="stable")]
        choice = hs.Choice(data.train, cell["method"], chosen.params, budget=len(chosen), seed=cell["seed"])
        chosen = choice.close(drawn)
    if cell["subset"] < 1:
        some = hs.select_random(data.train.select(chosen.indices), **{**asked, "budget": cell["subset"]})
        chosen = chosen.then(some)
    chosen.save(folder, overwrite=True)
    return chosen


def title_of(cell: dict[str, Any]) -> str:
    """Return the name of a cell for people."""
    some = "" if cell["subset"] == 1 else f"x {cell['subset']:g}"
    return " ".join(filter(None, [cell["method"], cell["embedding"], cell["budget"], some, f"seed {cell['seed']}"]))


def train_cells(
    data: Data, vectors: dict[str, Vectors], knobs: ExperimentArguments, ranks: Ranks, records: Records
) -> list[list[Any]]:
    """Train what is missing of this process's cells; return [place in the table, name of the record] of all of them."""
    sets = [
        {"method": method, "embedding": embedding, "budget": str(budget), "subset": subset}
        for method in knobs.methods
        for embedding in ([""] if method in ("random", "all") else knobs.embedding)
        for budget in (["100%"] if method == "all" else knobs.budgets)
        for subset in (1.0, *knobs.subsets)
    ]
    train, validation, test = (data.inputs[name] for name in ("train", "validation", "test"))
    seconds, labels = np.array(data.train[SECONDS]), train["labels"].numpy()
    recipe = {
        "epochs": knobs.num_train_epochs, "learning_rate": knobs.learning_rate, "batch_size": data.batch_size,
        "patience": knobs.early_stopping_patience,
        "steps_per_epoch": -(-len(labels) // data.batch_size) if knobs.equal_steps else None,
    }  # fmt: skip
    todo = [(seed, place) for seed in knobs.seeds for place in range(len(sets))]  # so what is there can be compared
    found = []
    for number, (seed, place) in enumerate(todo[ranks.rank :: ranks.world], 1):
        cell = {**sets[place], "seed": seed}
        chosen = choose(cell, data, vectors, knobs)
        rows = chosen.indices
        for size in knobs.sizes:
            ranks.check()
            name = name_of(data.name, rows, cell, size, recipe)
            found.append([[place, knobs.sizes.index(size), knobs.seeds.index(seed)], name])
            if name in records:
                continue
            trained = train_and_test(
                LeNetConfig(size=size, **data.network), {key: values[rows] for key, values in train.items()}, test,
                validation=validation, seed=seed, device=ranks.device, **recipe,
            )  # fmt: skip
            result = {
                "rows": len(rows), "hours": seconds[rows].sum() / 3600, "balance": hs.balance(labels[rows], set(labels)),
                "loss": trained.loss, "accuracy": trained.accuracy, "epochs": trained.epochs, "steps": trained.steps,
                "select_seconds": chosen.seconds, "train_seconds": trained.seconds,
            }  # fmt: skip
            records.keep(name, {**cell, "size": size, **result})
            print(
                f"[{number} of {-(-len(todo) // ranks.world)}] {title_of(cell)} {size}: loss {trained.loss:.3f}, accuracy "
                f"{trained.accuracy:.3f}, {trained.epochs} epochs, {trained.seconds:.1f} s", flush=True,
            )  # fmt: skip
    return found


def write_tables(cells: pd.DataFrame, notes: list[str], knobs: ExperimentArguments) -> None:
    """Write results.csv and results.md, and print the latter."""
    out, parts = Path(knobs.output_dir), bool(knobs.subsets)
    by = ["method", "embedding", "budget", *["subset"] * parts, "size"]
    numbers = {"rows": 0, "hours": 3, "balance": 4, "epochs": 0, "steps": 0, "loss": 3, "accuracy": 3}
    numbers |= {"select_seconds": 2, "train_seconds": 1}
    table, text = compare_sets(cells, by, numbers=numbers, control="random", measures={"loss": -1, "accuracy": 1})
    exponents = scaling_exponents(cells, ["method", "embedding", *["budget"] * parts, "size"])
    epochs = "the same number of epochs at most, so a smaller one takes fewer steps"
    notes += [
        f"Every set is trained for {'epochs of the same number of steps' if knobs.equal_steps else epochs}.",
        f"{len(knobs.seeds)} seeds: mean ± standard deviation; for differences and exponents ± standard error.",
    ]
    text = "\n\n".join([text, *([to_markdown(exponents)] if exponents else []), "\n".join(f"- {n}" for n in notes)])
    table.to_csv(out / "results.csv", index=False)
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nWritten to {out}: results.md, results.csv, records.jsonl, selections/.")


if __name__ == "__main__":
    main()
