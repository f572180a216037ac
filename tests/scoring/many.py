"""Run by torchrun, or alone: score one corpus in several ways and write down what came out, for test_processes.py.

python many.py CORPUS OUT
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import datasets
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

import hf_select as hs
from hf_select.readers import read_values, read_vectors


def model(norm: str) -> Wav2Vec2ForSequenceClassification:
    """Return a random model of a few thousand parameters, the same in every process."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        classifier_proj_size=16,
        id2label={0: "low", 1: "high"},
        label2id={"low": 0, "high": 1},
    )
    return Wav2Vec2ForSequenceClassification(config)


def digest(ds, name: str) -> str:
    """Return a digest of a column's numbers."""
    values = read_vectors(ds, name) if name in ("embedding", "probs") else read_values(ds, name)
    return hashlib.sha256(values.tobytes()).hexdigest()


def main() -> None:
    """Score, and write the digests of what came out for this rank."""
    corpus, out = datasets.load_from_disk(sys.argv[1]), Path(sys.argv[2])
    rank = os.environ.get("RANK", "0")
    datasets.disable_progress_bars()
    columns, found = ["embedding", "probs", "loss", "entropy"], {}
    for norm in ("group", "layer"):
        for batch in (1, 8, 32):
            ds = hs.score(
                corpus,
                model(norm),
                Wav2Vec2FeatureExtractor(),
                columns=columns,
                batch_size=batch,
                out=out / f"{norm}{batch}",
            )
            rows = [
                hs.select_kmeans(ds, budget=0.5, n_clusters=4, seed=0),
                hs.select_by_score(ds, budget=0.4, column="loss"),
            ]
            found[f"{norm} batch {batch}"] = {
                **{name: digest(ds, name) for name in columns},
                "rows": [selection.indices.tolist() for selection in rows],
                "file": hashlib.sha256((out / f"{norm}{batch}" / "scores.arrow").read_bytes()).hexdigest(),
            }
    for count in (0, 1, 2):  # fewer rows than processes
        few = hs.score(
            corpus.select(range(count)),
            model("layer"),
            Wav2Vec2FeatureExtractor(),
            columns=columns,
            out=out / f"few{count}",
        )
        found[f"{count} rows"] = {"loss": few["loss"][:], "names": few.column_names}
    for batch in (1, 8, 32):
        ds = hs.score(
            corpus,
            model("group"),
            Wav2Vec2FeatureExtractor(),
            columns=["grad_norm", "el2n"],
            batch_size=batch,
            dtype="float64",
        )
        chosen = hs.select_by_score(ds, budget=0.4, column="grad_norm")
        found[f"gradients batch {batch}"] = {"norms": digest(ds, "grad_norm"), "rows": chosen.indices.tolist()}
    turned = corpus.shuffle(seed=3).select(range(50))
    ds = hs.score(
        turned, model("group"), Wav2Vec2FeatureExtractor(), columns=columns, out=out / f"own{rank}"
    )  # no shared folder
    found["no shared folder"] = {name: digest(ds, name) for name in columns} | {
        "files": sorted(path.name for path in (out / f"own{rank}").iterdir())
    }
    Path(f"{out}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
