"""What is kept on disk: found again, continued, mended where it is damaged, and joined to the rows it belongs to."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hf_select as hs
from hf_select.errors import DatasetError, OutputError

from .conftest import COLUMNS, Counted, labelled
from .tiny import WORDS, mixed, whisper, word_tokenizer


@pytest.fixture(scope="module")
def hundred():
    """A hundred and ten rows, in four chunks."""
    clips = mixed(11, longest=0.9)
    return labelled([{**clip, "path": f"{copy}_{clip['path']}"} for copy in range(10) for clip in clips])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_folder_holds_three_files(counted, short, tmp_path):
    out = tmp_path / "deep" / "out"
    found = counted.score(short, out)
    assert files(out) == ["scores.arrow", "scores.json", "scores.sha256"] and len(list(out.iterdir())) == 3
    assert (out / "scores.sha256").read_text() == hashlib.sha256((out / "scores.arrow").read_bytes()).hexdigest()
    record = json.loads((out / "scores.json").read_text())
    assert record["rows"] == 10 and record["columns"] == COLUMNS and record["classes"] == list(WORDS)
    assert record["model"]["name"] == "LeNetForAudioClassification" and len(record["model"]["digest"]) == 64
    assert record["parameters"]["sampling_rate"] == 16000 and record["versions"]["torch"]
    assert not any(str(tmp_path) in (out / name).read_text("latin-1") for name in files(out))
    assert found["loss"][:] == hs.load_scores(short, out)["loss"][:]


def test_no_forward_pass_where_the_scores_are_there(counted, short, tmp_path, caplog):
    first = counted.score(short, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix != ".json"}
    with caplog.at_level(logging.INFO, "hf_select"):
        second = counted.score(short, tmp_path, batch_size=3)  # which changes no score
    assert counted.clips == 0 and "were found in" in caplog.text
    assert first.data.table.equals(second.data.table) and first._fingerprint == second._fingerprint
    assert before == {path: path.stat().st_mtime_ns for path in before}
    counted.score(short)
    assert counted.clips > 0  # the cache is another place
    counted.score(short)
    assert counted.clips == 0


@pytest.mark.parametrize(
    "change", ["columns", "rows", "model", "label", "layer", "pool", "prefix", "max_seconds", "extractor", "labels"]
)
def test_another_job_is_another_result(change, counted, short, tmp_path):
    counted.score(short, tmp_path)
    before = (tmp_path / "scores.arrow").read_bytes()
    ds, options = short, {}
    if change == "columns":
        options = {"columns": ["loss"]}
    elif change == "rows":
        ds = short.select(range(9))
    elif change == "model":
        counted = Counted(seed=1)
    elif change == "label":
        ds, options = short.add_column("other", ["up"] * 10), {"label": "other"}
    elif change == "labels":
        ds = short.remove_columns("label").add_column("label", ["up"] * 10)
    elif change == "extractor":
        counted.extractor.mean, counted.extractor.std = [1.0] * 32, [2.0] * 32
    else:
        options = {change: {"layer": 1, "pool": "none", "prefix": "x_", "max_seconds": 60.0}[change]}
    with pytest.raises(OutputError, match=r"scores.arrow holds scores of other data, another model.*overwrite=True"):
        counted.score(ds, tmp_path, **options)
    assert (tmp_path / "scores.arrow").read_bytes() == before
    assert files(tmp_path) == ["scores.arrow", "scores.json", "scores.sha256"]
    found = counted.score(ds, tmp_path, overwrite=True, **options)
    assert counted.clips > 0 and len(found) == len(ds)
    assert (tmp_path / "scores.arrow").read_bytes() != before
    counted.score(ds, tmp_path, **options)
    assert counted.clips == 0


def test_the_tokenizer_and_the_way_to_generate_are_a_part_of_the_job(short, tmp_path):
    model, processor = whisper()
    options = {"columns": ["transcript"], "text": "words", "generate": {"max_new_tokens": 4}}
    first = hs.score(short, model, processor, **options)
    other = word_tokenizer()
    other.backend_tokenizer.model = type(other.backend_tokenizer.model)(
        {token.upper() if token in WORDS else token: i for token, i in other.get_vocab().items()}, unk_token="<unk>"
    )
    processor.tokenizer = other
    second = hs.score(short, model, processor, **options)
    assert first["transcript"][:] != second["transcript"][:]
    model.generation_config.suppress_tokens = list(range(4, 12))
    assert hs.score(short, model, processor, **options)["transcript"][:] != second["transcript"][:]


def flip(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def test_every_flipped_bit_of_the_result_is_noticed_and_mended(counted, short, tmp_path, caplog):
    counted.score(short, tmp_path, columns=["loss"])
    whole, note = ((tmp_path / name).read_bytes() for name in ("scores.arrow", "scores.sha256"))
    rng = np.random.default_rng(0)
    for trial in range(40):
        flip(tmp_path / ("scores.sha256" if trial % 10 == 9 else "scores.arrow"), rng)
        with pytest.raises(DatasetError, match="is damaged: its checksum differs"):
            hs.load_scores(short, tmp_path)
        counted.score(short, tmp_path, columns=["loss"])
        assert counted.clips == 10
        assert (tmp_path / "scores.arrow").read_bytes() == whole and (tmp_path / "scores.sha256").read_bytes() == note
    assert sum("differs from what was written" in text for text in caplog.messages) == 40


def test_a_truncated_or_vanished_result_is_made_again(counted, short, tmp_path):
    counted.score(short, tmp_path)
    whole = (tmp_path / "scores.arrow").read_bytes()
    for keep in (0, 1, 8, 100, len(whole) - 1):
        (tmp_path / "scores.arrow").write_bytes(whole[:keep])
        counted.score(short, tmp_path)
        assert counted.clips and (tmp_path / "scores.arrow").read_bytes() == whole
    for name in ("scores.arrow", "scores.sha256"):
        (tmp_path / name).unlink()
        counted.score(short, tmp_path)
        assert (tmp_path / "scores.arrow").read_bytes() == whole and len(files(tmp_path)) == 3
    (tmp_path / "scores.json").unlink()
    counted.score(short, tmp_path)
    assert counted.clips == 0 and len(files(tmp_path)) == 3


def interrupted(ds, out, after: int) -> Counted:
    stopped = Counted()
    stopped.limit = after
    with pytest.raises(KeyboardInterrupt):
        stopped.score(ds, out)
    stopped.limit = None
    return stopped


def test_an_interrupted_run_continues(hundred, tmp_path):
    whole = Counted()
    whole.score(hundred, tmp_path / "whole")
    rows = whole.clips
    stopped = interrupted(hundred, tmp_path / "out", after=75)
    (parts,) = (tmp_path / "out").glob("*.parts")
    assert [path.name[:19] for path in sorted(parts.glob("*.arrow"))] == ["000000000-000000032", "000000032-000000064"]
    stopped.score(hundred, tmp_path / "out")
    assert stopped.clips == rows - 64
    assert (tmp_path / "out" / "scores.arrow").read_bytes() == (tmp_path / "whole" / "scores.arrow").read_bytes()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_every_flipped_bit_of_a_part_is_noticed(hundred, tmp_path, caplog):
    whole = Counted()
    whole.score(hundred, tmp_path / "whole")
    rng = np.random.default_rng(1)
    interrupted(hundred, tmp_path / "first", after=75)
    (parts,) = (tmp_path / "first").glob("*.parts")
    kept = {path.name: path.read_bytes() for path in parts.iterdir()}
    for trial in range(8):
        folder = tmp_path / f"out{trial}" / parts.name
        folder.mkdir(parents=True)
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        flip(sorted(folder.iterdir())[trial % 2], rng)
        continued = Counted()
        continued.score(hundred, folder.parent)
        assert continued.clips == whole.clips - 32
        assert (folder.parent / "scores.arrow").read_bytes() == (tmp_path / "whole" / "scores.arrow").read_bytes()
        assert len(files(folder.parent)) == 3
    assert sum("these rows are computed again" in text for text in caplog.messages) == 8


def test_a_folder_that_cannot_be_written(counted, short, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"Can't write to .*Pass out= naming a folder you may write to"):
        counted.score(short, tmp_path / "file" / "out")
    (tmp_path / "scores.arrow").write_text("somebody else's")
    with pytest.raises(OutputError, match="choose another out="):
        counted.score(short, tmp_path)
    assert (tmp_path / "scores.arrow").read_text() == "somebody else's"


def test_a_second_process_finds_the_scores(tmp_path):
    labelled(mixed(5, longest=0.5)).save_to_disk(tmp_path / "data")
    script = f"""
import datasets, sys
datasets.config.HF_DATASETS_CACHE = __import__("pathlib").Path(sys.argv[1]) / "cache"
sys.path.insert(0, {str(Path(__file__).parent)!r})
import tiny, hf_select as hs
for seed in map(int, sys.argv[2:]):
    model, extractor = tiny.lenet(seed)
    clips = []
    model.register_forward_pre_hook(lambda m, a, kw: clips.append(len(kw["input_features"])), with_kwargs=True)
    found = hs.score(datasets.load_from_disk(sys.argv[1] + "/data"), model, extractor, columns=["loss"])
    print(sum(clips), found["loss"][:])
"""

    def run(*seeds: int) -> list[list[str]]:
        command = [sys.executable, "-c", script, str(tmp_path), *map(str, seeds)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return [line.split(maxsplit=1) for line in done.stdout.strip().splitlines()]

    ((first, losses),) = run(0)
    (second, found), (other, others) = run(0, 1)
    assert first == other == "5" and second == "0"
    assert losses == found != others
