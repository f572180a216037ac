# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-select[demo]"]
# ///
# ruff: noqa: RUF009  (the defaults of the arguments are made by a function)
"""Train a speech classifier that acquires, between its epochs, the rows of a pool where it fails.

    python trainers/acquire_and_train.py trainers/arguments/acquire_demo.yaml        # the embedded corpus, a small network
    python trainers/acquire_and_train.py trainers/arguments/acquire_demo.yaml --dataset_name clips.parquet --by gender snr_db
    python trainers/acquire_and_train.py --model_name_or_path facebook/wav2vec2-base --dataset_name ... --output_dir run ...
    uv run trainers/acquire_and_train.py trainers/arguments/acquire_demo.yaml        # installs what it needs

Arguments may stand in a .yaml or .json file, and more after it goes over them.

One machine with several GPUs (or, with ACCELERATE_USE_CPU=true before the command, cores), and several machines by sbatch:

    torchrun --nproc_per_node 4 trainers/acquire_and_train.py ...
    accelerate launch --multi_gpu --num_processes 4 trainers/acquire_and_train.py ...      # GPUs only; on the CPU use torchrun

    #SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 4 --cpus-per-task 32
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes $SLURM_NNODES --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint $head:29500 \
        trainers/acquire_and_train.py --output_dir /shared/run ...

The Trainer is the one of transformers, unmodified; what is ours are two lines: an `ActiveView` as its training set and an
`AcquisitionCallback`. An epoch is a round: `items_per_round` items, dealt evenly from the rows that are active by then.
Killed or stopped, the same command goes on from the last whole checkpoint, with the same rows and the same weights.

What comes out, in `output_dir`: the model; `acquired/`, the active rows as a Selection of train and pool (which, and why and
when each came in); `rounds.md`, a line for each round; with `--dynamics True` `dynamics.parquet`, forgetting events
and margins of each row. The same numbers stand in the Trainer's log (`--report_to tensorboard`, wandb, trackio).

Reference: Koudounas et al. 2024, Prioritizing Data Acquisition for End-to-End Speech Model Improvement. The paper acquires once
and trains again from the start: `compare_acquisition.py` does that and compares with chance.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasets import concatenate_datasets
from transformers import Trainer, TrainingArguments, set_seed

import hf_select as hs
from hf_select.compare import to_markdown
from hf_select.tasks import DEMO, SECONDS, DataTrainingArguments, ModelArguments, knob, open_task, parse_arguments
from hf_select.training import last_whole_checkpoint

DEMO_BY = ["gender", "age", "accent", "rate_wpm", "snr_db"]


@dataclass
class AcquisitionArguments:
    """Which rows are acquired; the names are those of `AcquisitionCallback`."""

    by: list[str] = knob([], "Columns to describe rows by; those that are missing are measured from the sound.")
    outcome: str = knob("correct", "correct, loss, confidence, margin or entropy.")
    k: int = knob(2, "Subgroups whose rows are acquired in a round.")
    redundancy: float | None = knob(0.02, "Leave out a subgroup with a condition that changes its divergence by less.")
    max_q: float | None = knob(None, "Leave out subgroups that are not significant at this level.")
    min_support: float = knob(0.05, "Share of the validation rows that a subgroup needs.")
    speaker: str | None = knob(None, "Column of speakers, for p and q over speakers.")
    budget: str | None = knob(
        None, "Of a round: rows, a share of the first pool, or hours; None: all of the subgroups."
    )
    total_budget: str | None = knob(None, "Of all rounds together.")
    every: int = knob(1, "Acquire at the start of each so many-th epoch.")
    rounds: int | None = knob(None, "Acquire in so many rounds at most.")
    items_per_round: int | None = knob(None, "Items of an epoch; None: as many as there are rows at the start.")
    dynamics: bool = knob(False, "Also keep forgetting events and margins of each row.")


def main() -> None:
    """Read the arguments, train, write down what was acquired."""
    try:
        classes = (ModelArguments, DataTrainingArguments, AcquisitionArguments, TrainingArguments)
        model, data, asked, args = parse_arguments(classes, sys.argv[1:])
        run(model, data, asked, args)
    except hs.HfSelectError as error:
        sys.exit(f"acquire_and_train: {error}")


def run(
    model: ModelArguments, data: DataTrainingArguments, asked: AcquisitionArguments, args: TrainingArguments
) -> None:
    """Train with acquisition, and test."""
    set_seed(args.seed)
    out = Path(args.output_dir)
    by = asked.by or (DEMO_BY if data.dataset_name == DEMO else [])
    with args.main_process_first(desc="what one process does first"):
        splits, classifier = open_task(model, data, by, out, data.split_seed)
        rows = classifier.rows(concatenate_datasets([splits.train, splits.pool]))
        validation, test = classifier.rows(splits.validation), classifier.rows(splits.test)

    start = len(splits.train)
    view = hs.ActiveView(rows, range(start), asked.items_per_round or start, seed=args.seed)
    acquisition = hs.AcquisitionCallback(
        view, validation, by=by, outcome=asked.outcome, k=asked.k, redundancy=asked.redundancy, max_q=asked.max_q,
        min_support=asked.min_support, speaker=asked.speaker, budget=asked.budget, total_budget=asked.total_budget,
        every=asked.every, rounds=asked.rounds, duration=SECONDS, seed=args.seed,
    )  # fmt: skip
    dynamics = hs.TrainingDynamicsCallback(view) if asked.dynamics else None
    args.remove_unused_columns = False  # what the rows hold is what the model takes
    trainer = Trainer(
        classifier.new(args.seed), args, train_dataset=view, eval_dataset=validation, data_collator=classifier.collate,
        compute_metrics=accuracy, callbacks=[acquisition, *([dynamics] if dynamics else [])],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(out))
    trainer.save_model()
    tested = trainer.evaluate(test, metric_key_prefix="test")
    if trainer.is_world_process_zero():
        write(out, acquisition, tested, splits.notes)
        if dynamics is not None:
            pq.write_table(dynamics.columns(), out / "dynamics.parquet")


def accuracy(found: Any) -> dict[str, float]:
    """Return the share of rows that are right."""
    return {"accuracy": float(np.mean(np.argmax(found.predictions, axis=-1) == found.label_ids))}


def write(out: Path, acquisition: hs.AcquisitionCallback, tested: dict[str, float], notes: list[str]) -> None:
    """Write the Selection and a line for each round, and print the latter."""
    selection = acquisition.selection
    selection.save(out / "acquired", overwrite=True)
    rounds = acquisition.rounds_done
    lines = [
        {
            "round": record["round"],
            acquisition.rule.outcome: f"{record['figures'][acquisition.rule.outcome]:.3f}",
            "worst divergence": f"{record['figures'].get('worst_divergence', 0.0):.3f}",
            "rows": record["rows"],
            "hours": f"{record['hours'] or 0:.3f}",
            "subgroups": "; ".join(f"{one['subgroup']} (+{one['acquired']})" for one in record["subgroups"]),
        }
        for record in rounds
    ]
    text = to_markdown(lines) if lines else "No round acquired anything."
    notes = [*(f"Round {record['round']}: {note}" for record in rounds for note in record["notes"]), *notes]
    active = f"{len(selection)} of {selection.num_rows} rows were active at the end."
    text = "\n\n".join([text, f"{active} Test accuracy {tested['test_accuracy']:.3f}.", *notes])
    (out / "rounds.md").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nWritten to {out}: the model, acquired/, rounds.md.")


if __name__ == "__main__":
    main()
