"""Arguments of a script: dataclasses, from the command line, from a file, or from a file and the command line over it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_select.errors import ArgumentError

__all__ = ["parse_arguments"]


def parse_arguments(classes: Sequence[type], words: Sequence[str]) -> tuple[Any, ...]:
    """Parse arguments into dataclasses by transformers' HfArgumentParser.

    Args:
        classes: the dataclasses.
        words: of the command line. The first may be a .json or .yaml file of the same names; what follows goes over it.

    Raises:
        ArgumentError: the file can't be read, or holds no mapping of names to values.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Size:
    ...     rows: int = 3
    >>> parse_arguments([Size], ["--rows", "4"])[0].rows
    4
    """
    from transformers import HfArgumentParser

    words = list(words)
    if words and Path(words[0]).suffix in (".json", ".yaml", ".yml"):
        words = [*_words(Path(words[0])), *words[1:]]
    return tuple(HfArgumentParser(list(classes)).parse_args_into_dataclasses(args=words))  # type: ignore[arg-type]


def _words(path: Path) -> list[str]:
    """Return the words that say what a file says."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"The arguments can't be read from {path}: {error}.") from error
    if not isinstance(values, dict):
        raise ArgumentError(f"{path} must map names of arguments to values, and holds {type(values).__name__}.")
    words: list[str] = []
    for name, value in values.items():
        if value is not None and value != []:  # an empty list is the default of every list here
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [_word(value)])]
    return words


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)
