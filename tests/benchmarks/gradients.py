"""Per-sample gradient norms beside one plain batched forward and backward pass, and beside a loop of single ones.

    python tests/benchmarks/gradients.py [ROUNDS] [NAME ...]        # on a GPU where there is one

One run, random weights of real sizes: in each round, in turn, the batch's gradients as training takes them (forward,
backward, gradients of all parameters), the norms of its samples, and the norms by the paper's loop at batch 1 (every third
round). Medians of the rounds, and of the ratios inside a round. Memory is the peak of a process of its own for either way, less
what the model and the libraries take. Goals: at most 1.15 x the plain pass; memory at most 1.5 x.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import transformers as tr
from torch.nn.functional import cross_entropy

from hf_select.gradients import GradNorms

ON_GPU = torch.cuda.is_available()
CLASSES = 7
_WHISPER = {
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "num_labels": CLASSES,
}
MODELS = {  # how it is made, its input, the shape of that, samples a batch on the CPU
    "wav2vec2-base, 1 s": (
        lambda: tr.Wav2Vec2ForSequenceClassification(tr.Wav2Vec2Config(num_labels=CLASSES)), "input_values", (16000,), 8,
    ),
    "wav2vec2-base, 4 s": (
        lambda: tr.Wav2Vec2ForSequenceClassification(tr.Wav2Vec2Config(num_labels=CLASSES)), "input_values", (64000,), 8,
    ),
    "whisper-tiny, 30 s": (
        lambda: tr.WhisperForAudioClassification(tr.WhisperConfig(**_WHISPER)), "input_features", (80, 3000), 8,
    ),
    "AST, 10 s": (lambda: tr.ASTForAudioClassification(tr.ASTConfig(num_labels=CLASSES)), "input_values", (1024, 128), 2),
}  # fmt: skip


def make(name: str):
    """Return (model, batch, labels)."""
    build, key, shape, size = MODELS[name]
    size = 64 if ON_GPU else size
    torch.manual_seed(0)
    device = "cuda" if ON_GPU else "cpu"
    batch = {key: torch.randn(size, *shape, device=device)}
    return build().eval().to(device), batch, torch.arange(size, device=device) % CLASSES


def plain(model, batch, labels) -> None:
    """Take the gradients that training takes."""
    cross_entropy(model(**batch).logits, labels).backward()
    model.zero_grad()


def loop(model, batch, labels) -> torch.Tensor:
    """Return the norms by one pass for each sample."""
    norms = []
    for row in range(len(labels)):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        cross_entropy(model(**alone).logits, labels[row : row + 1]).backward()
        squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack(squares).sum().sqrt())
        model.zero_grad()
    return torch.stack(norms)


def seconds(call) -> float:
    """Return how long a call takes, on the device too."""
    started = time.perf_counter()
    call()
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak(name: str, way: str) -> float:
    """Return how much memory one way takes beyond the model, in MB."""
    command = [sys.executable, __file__, "--peak", name, way]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "MALLOC_ARENA_MAX": "1"}
    )
    return float(done.stdout.split()[-1])


def in_use(what: str) -> int:
    """Return a figure of Linux about this process, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what)]
    return int(line.split()[1]) * 1024


def measure_peak(name: str, way: str) -> None:
    """Print it, in a process of its own."""
    model, batch, labels = make(name)
    norms, loss = GradNorms(model), lambda out: cross_entropy(out.logits, labels, reduction="none")
    before = torch.cuda.memory_allocated() if ON_GPU else in_use("VmRSS")
    if not ON_GPU:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    for _ in range(2):
        plain(model, batch, labels) if way == "plain" else norms(batch, loss)
    after = torch.cuda.max_memory_allocated() if ON_GPU else in_use("VmHWM")
    print((after - before) / 1e6)


def compare(name: str, rounds: int) -> bool:
    """Measure one model, print a line, and return whether it meets the goals."""
    model, batch, labels = make(name)
    norms, loss = GradNorms(model), lambda out: cross_entropy(out.logits, labels, reduction="none")
    first = seconds(lambda: norms(batch, loss))  # compares with autograd
    error = float((norms(batch, loss) / loop(model, batch, labels) - 1).abs().max())
    times: dict[str, list[float]] = {"plain": [], "ours": [], "loop": []}
    for number in range(rounds):
        times["plain"].append(seconds(lambda: plain(model, batch, labels)))
        times["ours"].append(seconds(lambda: norms(batch, loss)))
        if number % 3 == 0:
            times["loop"].append(seconds(lambda: loop(model, batch, labels)))
    one, ours, single = (statistics.median(times[way]) for way in ("plain", "ours", "loop"))
    ratio = statistics.median(b / a for a, b in zip(times["plain"], times["ours"], strict=True))
    memory = {way: peak(name, way) for way in ("plain", "ours")}
    more = memory["ours"] / memory["plain"]
    print(
        f"{name:20s} batch {len(labels):2d}  plain {one:7.3f} s  ours {ours:7.3f} s = {ratio:4.2f} x"
        f"  loop {single:7.3f} s = {single / ours:5.2f} x ours  first batch {first / one:4.1f} x"
        f"  memory {memory['plain']:6.0f} / {memory['ours']:6.0f} MB = {more:4.2f} x  largest relative error {error:.0e}",
        flush=True,
    )
    return ratio <= 1.15 and more <= 1.5


def main(rounds: int, names: list[str]) -> int:
    """Measure, print, and return 1 if a goal is missed."""
    threads = "GPU" if ON_GPU else f"{torch.get_num_threads()} threads"
    print(f"{rounds} rounds, {threads}, torch {torch.__version__}; medians")
    return int(sum(not compare(name, rounds) for name in names or MODELS) > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        measure_peak(*sys.argv[2:])
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9, sys.argv[2:]))
