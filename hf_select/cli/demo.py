"""`hf-select demo`: the whole road on a corpus of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_select.cli.options import OVERWRITE, QUIET
from hf_select.cli.printing import progress

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("hf-select-demo"),
    clips: Annotated[int, typer.Option(min=200, help="Clips to synthesise.")] = 2000,
    budget: Annotated[str, typer.Option(help="What to keep of the training set.")] = "0.7",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to train each model with.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the corpus.")] = 0,
    overwrite: OVERWRITE = False,
    quiet: QUIET = False,
) -> None:
    """Make a small corpus of spoken commands, prune it, train on the pruned, a random and the full set, and compare."""
    from hf_select.demo.run import run_demo

    progress(not quiet)
    typer.echo(run_demo(out, clips=clips, budget=budget, seeds=seeds, seed=seed, overwrite=overwrite))
