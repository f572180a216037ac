"""The command line: parse, call, print. Everything it does can be done from Python.

A command is a file here that holds one function of its name (and files named after it, where one is not enough);
`COMMANDS` lists them in the order of `hf-select --help`. Options that several share are in `options.py`, how all print is
in `printing.py`. What is heavy is imported inside the functions: help and mistakes are answered at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hf_select import __version__
from hf_select.cli import acquire, check, demo, load, prune, publish, score, subgroups, verify
from hf_select.cli.printing import as_options, plain
from hf_select.errors import HfSelectError

__all__ = ["app", "main"]

COMMANDS = (
    check.check,
    score.score,
    prune.prune,
    subgroups.subgroups,
    acquire.acquire,
    publish.publish,
    load.load,
    verify.verify,
    demo.demo,
)

app = typer.Typer(
    help="Choose which speech data is worth training on, and which to get next.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _told(error: HfSelectError) -> str:
    """Return what an error says, in the words of the command that met it."""
    commands = getattr(typer.main.get_command(app), "commands", {})
    running = next((commands[word] for word in sys.argv[1:] if word in commands), None)
    return str(error) if running is None else as_options(str(error), running)


def main() -> None:
    """Run the command line: an error of ours is one message and exit code 1; after Ctrl-C (130) it says how to go on."""
    try:
        app()
    except HfSelectError as error:
        typer.echo(f"Error: {plain(_told(error))}", err=True)
        sys.exit(1)
    except SystemExit as leaving:
        if leaving.code == 130:
            typer.echo("Stopped. Finished rows are kept: run the same command to continue.", err=True)
        raise
