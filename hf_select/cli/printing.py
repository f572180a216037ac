"""How every command speaks: results to standard output, plans and progress to standard error, nothing that commands a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

import typer

__all__ = ["as_options", "plain", "progress", "say", "show"]


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


def as_options(text: str, command: Any) -> str:
    """Write Python's keyword arguments in a message as the options that a command has for them.

    "pass licence=, or rows=False" becomes "pass --licence, or --index"; "seed=3" becomes "--seed 3".
    """
    options = {option.name: option for option in command.params if option.opts[0].startswith("--")}

    def written(found: re.Match[str]) -> str:
        option, value = options.get(found["name"]), found["value"] or ""
        if option is None:
            return found[0]
        if value in ("True", "False"):
            names = option.opts if value == "True" else option.secondary_opts
            return str(names[0]) if names else found[0]
        return f"{option.opts[0]} {value}".rstrip()

    return re.sub(r"(?<![\w.-])(?P<name>[a-z_]+)=(?P<value>True\b|False\b|'[^']*'|[0-9][\w.%]*)?", written, text)
