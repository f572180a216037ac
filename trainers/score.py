# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-select[asr]"]
# ///
"""Score a speech dataset with a model, on a laptop or a cluster, and keep the result as thin columns.

    python trainers/score.py --dataset_name ./my_clips --model_name_or_path facebook/wav2vec2-base --columns embedding --output_dir scores
    uv run trainers/score.py ...                                    # installs what it needs
    python trainers/score.py arguments.json                         # the same names in a file

One machine, a process per GPU (or per few cores: with ACCELERATE_USE_CPU=true before the command):

    torchrun --nproc_per_node 4 trainers/score.py ...
    accelerate launch --multi_gpu --num_processes 4 trainers/score.py ...        # GPUs only; on the CPU use torchrun

Several machines, each with this dataset: the same command on every one of them,

    torchrun --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint first-host:29500 trainers/score.py ...

or by sbatch, one machine or several (the two lines below the last #SBATCH are the whole job):

    #SBATCH --nodes 2 --ntasks-per-node 1 --gpus-per-node 4 --cpus-per-task 32
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun torchrun --nnodes $SLURM_NNODES --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint $head:29500 trainers/score.py ...

`output_dir` may lie on a file system that all machines share, which is best, or on one of each machine's own: finished
rows are then sent to the others at the end. The rows and their scores are the same on any number of processes. A run
that was stopped or killed continues with the same command, also on another number of processes. If a process dies, all
end within half a minute, and the message names it and the rows it worked on.

What comes out: output_dir/scores.arrow (`hs.load_scores(ds, output_dir)` joins it to the dataset, `hf-select prune
DATASET --scores output_dir` selects by it) and scores.json, which says how it was made.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

from transformers import HfArgumentParser

import hf_select as hs
from hf_select.scoring import in_words, summarize
from hf_select.sources import open_dataset


@dataclass
class ModelArguments:
    """The model that scores."""

    model_name_or_path: str = field(metadata={"help": "Hub name or folder of a speech model."})
    processor_name: str | None = field(default=None, metadata={"help": "Its processor, if it lies elsewhere."})
    model_revision: str | None = field(default=None, metadata={"help": "Commit, tag or branch of the model."})
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run the model's own code; needs a commit as model_revision."}
    )
    dtype: str | None = field(default=None, metadata={"help": "float32, bfloat16, ...; None: as the checkpoint is."})


@dataclass
class DataArguments:
    """The rows that are scored."""

    dataset_name: str = field(metadata={"help": "Hub name, folder of sound files, saved dataset, or a table file."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Commit, tag or branch of a Hub dataset."})
    split_name: str | None = field(default=None, metadata={"help": "Split; the only one, or train."})
    audio_column_name: str | None = field(
        default=None, metadata={"help": "The audio column, where its type does not tell."}
    )
    label_column_name: str = field(default="label", metadata={"help": "Labels, matched by name with the model's."})
    text_column_name: str = field(
        default="text", metadata={"help": "What is said, for wer, cer and the loss of models that write."}
    )
    max_samples: int | None = field(default=None, metadata={"help": "Score the first so many rows, to try things out."})


@dataclass
class ScoreArguments:
    """What is made of them."""

    columns: list[str] = field(metadata={"help": "embedding, probs, predicted, correct, loss, confidence, ..."})
    output_dir: str = field(metadata={"help": "Folder for scores.arrow and scores.json."})
    batch_size: int = field(default=8, metadata={"help": "Clips in a forward pass, at most."})
    layer: int | None = field(
        default=None, metadata={"help": "Hidden state of the embedding; None: the encoder's output."}
    )
    pool: str = field(default="mean", metadata={"help": "'mean' over real frames, or 'none'."})
    grid: float | None = field(default=None, metadata={"help": "Fill clips up to a multiple of so many seconds."})
    dry_run: bool = field(default=False, metadata={"help": "Print the plan and leave."})
    overwrite: bool = field(default=False, metadata={"help": "Replace other scores in output_dir."})


def main() -> None:
    """Parse, score, and print what came out."""
    parser = HfArgumentParser((ModelArguments, DataArguments, ScoreArguments))
    from_file = len(sys.argv) == 2 and sys.argv[1].endswith(".json")
    model, data, what = parser.parse_json_file(sys.argv[1]) if from_file else parser.parse_args_into_dataclasses()

    def say(text: object) -> None:
        if os.environ.get("RANK", "0") == "0":
            print(text, flush=True)

    source = open_dataset(
        data.dataset_name, config=data.dataset_config_name, split=data.split_name, revision=data.dataset_revision,
        audio=data.audio_column_name,
    )  # fmt: skip
    ds = source.ds if data.max_samples is None else source.ds.select(range(min(data.max_samples, len(source.ds))))
    arguments = {
        "columns": what.columns,
        "label": data.label_column_name,
        "text": data.text_column_name,
        "batch_size": what.batch_size,
        "layer": what.layer,
        "pool": what.pool,
        "grid": what.grid,
        "dtype": model.dtype,
        "revision": model.model_revision,
        "trust_remote_code": model.trust_remote_code,
        "audio": source.audio,
        "audio_root": source.audio_root,
        "out": what.output_dir,
        "overwrite": what.overwrite,
    }
    if what.dry_run:
        say(f"Plan: {hs.plan_score(ds, model.model_name_or_path, model.processor_name, **arguments)}")
        return
    ds = hs.score(
        ds, model.model_name_or_path, model.processor_name, on_plan=lambda plan: say(f"Plan: {plan}"), **arguments
    )
    say(in_words(summarize(ds, what.columns)))
    say(f"Written to {what.output_dir}: scores.arrow, scores.json.")


if __name__ == "__main__":
    try:
        main()
    except hs.HfSelectError as error:
        sys.exit(f"Error: {error}")
