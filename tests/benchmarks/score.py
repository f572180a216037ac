"""What batches of one length save `score`, and what `score` costs beside a bare loop.

    python tests/benchmarks/score.py DATA.parquet [MORE.parquet ...] [--rows 600] [--rounds 5] [--batch 16] [--width 128]
        [--layers 4] [--threads 2]

A random Wav2Vec2 (by default 4 layers of 128, layer norm, so that clips may be padded) hears the rows, mixed. Measured in turns in
one process, after a warm-up, medians of the rounds:

    batch 1           one clip at a time
    dataset order     batches as the rows come, filled up to the longest and masked
    by length         the same passes in the order of the plan
    score             hs.score with everything it does beside: plan, probe, threads, checksums, files

All four decode, extract, batch, run and pool; their columns are compared before the times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import datasets
import numpy as np
import torch
from datasets import concatenate_datasets, load_dataset
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

import hf_select as hs
from hf_select.audio import claimed_seconds, read_clip
from hf_select.readers import read_vectors
from hf_select.rows import raw_column


def small_model(width: int, layers: int) -> Wav2Vec2Model:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=4 * width,
        conv_dim=(width // 2,) * 7,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
    )
    return Wav2Vec2Model(config).eval()


def bare_loop(
    audio: list, order: np.ndarray, batch_size: int, model: Wav2Vec2Model, extractor: Wav2Vec2FeatureExtractor
):
    """Return (embeddings, share of padding) of the plainest loop over batches in this order."""
    found, real, given = np.empty((len(audio), model.config.hidden_size), np.float32), 0, 0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        clips = [read_clip(audio[row], sampling_rate=16000).samples for row in rows]
        batch = extractor(clips, sampling_rate=16000, padding=True, return_tensors="pt", return_attention_mask=True)
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state
        mask = model._get_feature_vector_attention_mask(hidden.shape[1], batch["attention_mask"])[:, :, None]
        found[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        real, given = real + sum(map(len, clips)), given + batch["input_values"].numel()
    return found, 1 - real / given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--threads", type=int, help="of torch; as many as there are cores if not given")
    asked = parser.parse_args()
    datasets.disable_progress_bars()
    torch.set_num_threads(asked.threads or torch.get_num_threads())
    packs = [load_dataset("parquet", data_files=name, split="train").select_columns(["audio"]) for name in asked.data]
    packs = [pack.cast_column("audio", datasets.Audio(decode=False)) for pack in packs]
    ds = concatenate_datasets(packs).shuffle(seed=0)
    ds = ds.select(range(min(asked.rows, len(ds)))).flatten_indices()
    audio, model, extractor = (
        raw_column(ds, "audio").to_pylist(),
        small_model(asked.width, asked.layers),
        Wav2Vec2FeatureExtractor(),
    )
    seconds = np.array([claimed_seconds(clip) for clip in audio])
    as_they_come, by_length = np.arange(len(ds)), np.argsort(-seconds, kind="stable")

    def scored():
        with tempfile.TemporaryDirectory() as folder:
            made = hs.score(ds, model, extractor, columns="embedding", batch_size=asked.batch, out=folder)
            return read_vectors(made, "embedding"), float("nan")

    ways = {
        "batch 1": lambda: bare_loop(audio, as_they_come, 1, model, extractor),
        "dataset order": lambda: bare_loop(audio, as_they_come, asked.batch, model, extractor),
        "by length": lambda: bare_loop(audio, by_length, asked.batch, model, extractor),
        "score": scored,
    }
    first = {name: way() for name, way in ways.items()}  # warm, and the same columns
    apart = {
        name: np.abs(found - first["batch 1"][0]).max() / np.abs(first["batch 1"][0]).max()
        for name, (found, _) in first.items()
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(asked.rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            started = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - started)
    lengths = f"{seconds.min():.2f} to {seconds.max():.2f} s (mean {seconds.mean():.2f})"
    machine = f"{torch.get_num_threads()} threads, {os.cpu_count()} cores, torch {torch.__version__}"
    parameters = f"{model.num_parameters():,} parameters"
    print(f"{parameters}; {len(ds)} clips of {lengths}, batches of {asked.batch}, {machine}")
    print(
        "| way | seconds (median) | speed, batch 1 = 1 | padding | largest difference to batch 1 |\n|---|---|---|---|---|"
    )
    for name in ways:
        ratio = statistics.median(a / b for a, b in zip(times["batch 1"], times[name], strict=True))
        padding = "" if np.isnan(first[name][1]) else f"{100 * first[name][1]:.1f} %"
        print(f"| {name} | {statistics.median(times[name]):.2f} | {ratio:.2f} | {padding} | {apart[name]:.1e} |")
    over = [100 * (a / b - 1) for a, b in zip(times["score"], times["by length"], strict=True)]
    print(
        f"score beside the bare loop by length: {statistics.median(over):+.1f} % ({min(over):+.1f} to {max(over):+.1f})"
    )


if __name__ == "__main__":
    main()
