"""How every command speaks: results to standard output, plans and progress to standard error, nothing that commands a terminal."""

from __future__ import annotations

import json
from typing import Any

import typer

__all__ = ["plain", "progress", "say", "show"]


def show(what: Any, as_json: bool) -> None:
    """Print a result: text for people, or JSON."""
    typer.echo(json.dumps(what, indent=2) if as_json else plain(what))


def say(text: str, wanted: bool = True) -> None:
    """Print a line about the work, beside the result."""
    if wanted:
        typer.echo(plain(text), err=True)


def progress(wanted: bool) -> None:
    """Show progress bars, or not."""
    import datasets
    from huggingface_hub.utils import disable_progress_bars

    if not wanted:
        datasets.disable_progress_bars()
        disable_progress_bars()


def plain(text: str) -> str:
    """Neutralise what a label or a file name could do to a terminal: control and direction characters."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
