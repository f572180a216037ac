"""`hf-select load`: write a published subset as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_select.cli.options import AS_JSON, CONFIG_NAME, OVERWRITE, QUIET, REPO
from hf_select.cli.printing import progress, show

__all__ = ["load"]


def load(
    repo: REPO,
    out: Annotated[Path, typer.Option(help="Folder for the rows and the Selection; `load_dataset` reads it.")],
    config_name: CONFIG_NAME = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit, tag or branch of the repository; the newest, if not given.")
    ] = None,
    overwrite: OVERWRITE = False,
    as_json: AS_JSON = False,
    quiet: QUIET = False,
) -> None:
    """Write a published subset as a folder, every file checked: an index loads the rows from its source.

    For what is not public log in by `hf auth login`, or set HF_TOKEN.
    """
    from hf_select.export import check_output, folder_page, new_folder, write_parquet
    from hf_select.hub.subset import load_selection, load_subset

    check_output(out, overwrite=overwrite)
    progress(not quiet)
    name, selection, _, commit = load_selection(repo, config_name, revision=revision, token=None)
    rows = load_subset(repo, name, revision=commit)
    with new_folder(out, overwrite=overwrite) as folder:
        write_parquet(rows, folder)
        selection.save(folder)
        (folder / "README.md").write_text(
            folder_page(f"{len(rows)} rows: {name} of {repo} at {commit}."), encoding="utf-8"
        )
    found = {"repo_id": repo, "config_name": name, "revision": commit, "rows": len(rows), "out": str(out)}
    text = f"{len(rows):,} rows: {repo}, config {name}, at commit {commit}\nWritten to {out}: data/, selection.json, selection.parquet."
    show(found if as_json else text, as_json)
