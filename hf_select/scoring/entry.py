"""`score`: what a speech model says about each row, as thin columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hf_select.rows import require_dataset
from hf_select.scoring.columns import check_columns, check_kind
from hf_select.scoring.model import load_model
from hf_select.scoring.plan import ScorePlan
from hf_select.scoring.ranks import Ranks
from hf_select.scoring.request import Request
from hf_select.scoring.run import Run
from hf_select.scoring.segments import Segments

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["plan_score", "score", "score_segments"]


def score(
    ds: Dataset,
    model: Any,
    processor: Any = None,
    *,
    columns: str | Sequence[str],
    label: str = "label",
    text: str = "text",
    batch_size: int = 8,
    out: str | os.PathLike[str] | None = None,
    prefix: str | None = None,
    overwrite: bool = False,
    layer: int | None = None,
    pool: Literal["mean", "none"] = "mean",
    grid: float | None = None,
    dtype: str | None = None,
    device: Any = None,
    audio: str | None = None,
    audio_root: str | os.PathLike[str] | None = None,
    max_seconds: float = 600.0,
    generate: Mapping[str, Any] | None = None,
    normalize: Callable[[str], str] | None = None,
    num_threads: int | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    on_plan: Callable[[ScorePlan], None] | None = None,
) -> Dataset:
    """Run a speech model over a dataset, on one process or many, and add what it says as thin columns.

    In one process of plain python, or in every process of torchrun, accelerate launch or srun: each takes a part of the
    work, and each gets the whole result. A row's scores depend on that row alone, not on the batch it was in, the order
    of rows or the number of processes (to about 1e-6 of the largest value, which is rounding; float64 leaves none that
    shows in float32). Finished rows are kept, and a run that was stopped continues with the next call.

    Reads:
        `audio`: the clips, decoded here and resampled to the model's rate, which is said.
        `label`: for `correct`, `el2n` and a classifier's `loss` and gradients: names or a ClassLabel, matched by name with the model's.
        `text`: for `wer`, `cer` and the `loss` and gradient of models that write.
        `duration`, where there is one (seconds): only to put clips of one length together.

    Args:
        ds: a map-style dataset.
        model: a transformers model, or the name or folder of one: an encoder (Wav2Vec2, HuBERT, WavLM, Whisper, AST, ...),
            a classifier (also the LeNets of `hf_select.models`), a CTC or a sequence-to-sequence model.
        processor: its feature extractor or processor; None looks beside the model.
        columns: some of
            `embedding`: hidden states, averaged over real frames: List(float32);
            `probs`, `predicted`, `confidence`, `margin` (largest minus second probability), `entropy` (nats),
            `correct`, `loss` (cross entropy, nats), `el2n` (length of probabilities minus label) of a classifier;
            `grad_norm` (norm of the gradient of `loss` over all trainable parameters: a backward pass too, see
            `per_sample_grad_norms`) of a classifier or CTC model, `grad_norm_head` (over the last linear layer
            alone: another score, without a backward pass) of a classifier;
            `transcript`, `wer`, `cer`, `loss` (nats per token) of CTC and sequence-to-sequence models.
        batch_size: clips that are worked on together, at most; a batch that does not fit into memory is halved. On the CPU
            it goes through the model in pieces of some ten seconds of sound, side by side on the cores.
        out: folder for the result: `scores.arrow` (row for row the table below `ds`; `load_scores` matches it with the
            dataset again) and `scores.json`. None keeps it in the cache of `datasets`. Processes on several machines
            may share this folder or not.
        prefix: goes before the name of each column except `audio_status`.
        overwrite: replace columns of the same names, and another result in `out`.
        layer: hidden state of the embedding: 0 (before the first layer) to the last, or from the end; None takes what the
            encoder hands on, behind its last norm.
        pool: "mean" over a clip's real frames, or "none": all of them, frames x dimensions, as the cluster-pruning paper
            has it (with `grid=1.0` on clips of at most a second all get one shape).
        grid: seconds; clips are filled up with silence to a multiple of it, and only clips of one such length share a
            batch. For a model whose padding leaks, where whole batches of one exact length are rare. It changes values.
        dtype: number format of the model, such as "bfloat16"; a module is copied for it. None: as it is.
        device: None takes this process's GPU, or the CPU where there is none.
        audio, audio_root, max_seconds: the audio column; the folder that paths in rows may not leave; seconds above which
            a clip is not read.
        generate: arguments of `model.generate`, such as {"language": "en", "max_new_tokens": 128}.
        normalize: function over text and transcript before errors are counted. None compares them as they are.
        num_threads: threads that decode; None takes one for four cores on the CPU, up to 8 beside a GPU.
        revision, trust_remote_code: of a model's name. Code that comes with a checkpoint is run only if both are given,
            the revision as 40 hex digits.
        on_plan: called before the work with what it will take (one more batch is run to time it).

    Returns:
        The dataset with the new columns and `audio_status` ("ok", or why a row has no scores: its columns are null).

    Raises:
        ArgumentError: columns that this kind of model does not make, a checkpoint without trained head, and so on.
        ColumnError: a column exists already; a label that the model does not have.
        TransformError: the model failed on a row, which is named. ProcessError: another process failed or died.
        OutputError: `out` holds other scores, or can't be written.

    Relations:
        `with_columns` runs transforms that need no model. `select_kmeans` reads `embedding`; `select_by_score` reads `loss`,
        `entropy`, `margin`, `confidence`, `wer`; `probs` and `correct` are for you and for subgroups.

    Example:
        >>> import numpy as np
        >>> from datasets import Audio, Dataset
        >>> from hf_select.audio import wave_bytes
        >>> from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification
        >>> clips = [{"bytes": wave_bytes(np.sin(np.arange(8000) * f), 16000), "path": None} for f in (0.1, 0.3)]
        >>> ds = Dataset.from_dict({"audio": clips, "label": ["a", "b"]}).cast_column("audio", Audio(decode=False))
        >>> model = LeNetForAudioClassification(LeNetConfig(size="tiny", id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1}))
        >>> scored = score(ds, model, LeNetFeatureExtractor(), columns=["probs", "loss"])
        >>> bool(np.allclose(scored["loss"], [-np.log(p[i]) for i, p in enumerate(scored["probs"])], atol=1e-5))
        True
    """
    request = Request(
        check_columns(columns), label, text, batch_size, prefix or "", overwrite, layer, pool, grid, audio, audio_root,
        max_seconds, generate, normalize, num_threads,
    )  # fmt: skip
    loading: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code, "dtype": dtype}
    with _run(ds, model, processor, request, loading, device, out) as run:
        return run.result(on_plan)


def score_segments(
    ds: Dataset,
    judge: Any,
    processor: Any = None,
    *,
    n_segments: int = 5,
    ratio: float = 0.25,
    by: Literal["grad_norm", "loss", "grad_norm_head"] = "grad_norm",
    seed: int = 0,
    **options: Any,
) -> Dataset:
    """Cut each clip into random segments and keep the one that says most to a judge: the fine step of MelTrim.

    Reads:
        As `score`: the audio column and the labels (or texts, of a CTC judge).

    Args:
        ds: a map-style dataset.
        judge, processor: a classifier or CTC model that was trained on the task, as in `score`. It is run in evaluation mode
            and left as it was.
        n_segments: segments a clip, at least 1.
        ratio: length of a segment as a share of its clip, above 0; 1 is the whole clip.
        by: what a segment is scored by: "grad_norm", the norm of the gradient over all trainable parameters (the paper's
            utility); "loss"; or "grad_norm_head", over the last linear layer alone. All have the clip's label.
        seed: whole number of at least 0. Starts are uniform over the clip, drawn from the seed and the row's key (a digest
            of its audio's path and size): they do not depend on other rows.
        options: as in `score`: label, text, batch_size (clips), out, prefix, overwrite, dtype, device, audio, audio_root,
            max_seconds, num_threads, revision, trust_remote_code, on_plan. Several processes as there.

    Returns:
        The dataset with `segment_start`, `segment_end` (seconds), `segment_score`, and `audio_status`. Of segments that
        score the same the one that was drawn first. A segment without sound is moved to where the clip is loudest; one
        that would be shorter than what the judge can hear is as long as that; a clip shorter than that has a status and
        no segment, and neither has a row without a label. Nothing is decoded twice, and no sound is written.

    Raises:
        As `score`.

    Reference:
        Wang et al., "MelTrim", section 2.3, equations 9 and 14 to 15: 5 segments of a quarter, L2 norm over all parameters.

    Relations:
        `AudioInputs(start_column="segment_start", end_column="segment_end")` trains on the segments. `meltrim` makes both
        steps. `per_sample_grad_norms` is what scores.

    Example:
        >>> import numpy as np
        >>> from datasets import Audio, Dataset
        >>> from hf_select.audio import wave_bytes
        >>> from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification
        >>> clips = [{"bytes": wave_bytes(np.sin(np.arange(16000) * f), 16000), "path": None} for f in (0.1, 0.3)]
        >>> ds = Dataset.from_dict({"audio": clips, "label": ["a", "b"]}).cast_column("audio", Audio(decode=False))
        >>> judge = LeNetForAudioClassification(LeNetConfig(size="tiny", id2label={0: "a", 1: "b"}, label2id={"a": 0, "b": 1}))
        >>> cut = score_segments(ds, judge, LeNetFeatureExtractor())
        >>> [round(end - start, 4) for start, end in zip(cut["segment_start"], cut["segment_end"])]
        [0.25, 0.25]
    """
    segments = Segments(n_segments, ratio, by, seed)
    loading, place = _split(options)
    options["prefix"] = options.get("prefix") or ""
    on_plan = options.pop("on_plan", None)
    request = Request((by,), segments=segments, **options)
    with _run(ds, judge, processor, request, loading, *place) as run:
        return run.result(on_plan)


def plan_score(
    ds: Dataset, model: Any, processor: Any = None, *, columns: str | Sequence[str], **arguments: Any
) -> ScorePlan:
    """Return what `score` with the same arguments would take: rows, hours, GB, minutes. One batch is run to time it.

    Raises:
        As `score`, so that what is wrong is known before the long work.
    """
    loading, place = _split(arguments)
    arguments["prefix"] = arguments.get("prefix") or ""
    request = Request(check_columns(columns), **arguments)
    with _run(ds, model, processor, request, loading, *place) as run:
        return run.plan()


def _split(arguments: dict[str, Any]) -> tuple[dict[str, Any], tuple[Any, Any]]:
    """Take out of arguments (how a model is loaded, (device, out))."""
    names = ("revision", "trust_remote_code", "dtype")
    loading: dict[str, Any] = {name: arguments.pop(name) for name in names if name in arguments}
    return loading, (arguments.pop("device", None), arguments.pop("out", None))


@contextmanager
def _run(
    ds: Any, model: Any, processor: Any, request: Request, loading: Mapping[str, Any], device: Any, out: Any
) -> Iterator[Run]:
    """Open a run in this process, the others of the run watching."""
    require_dataset(ds, "score")
    request.check(ds)
    ranks = Ranks(device)
    with ranks.watching():
        loaded = load_model(model, processor, **loading)
        check_kind(request.columns, loaded.kind, loaded.name)
        yield Run(ds, loaded, request, ranks, None if out is None else Path(out))
