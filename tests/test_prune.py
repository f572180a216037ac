"""The whole road from Python, on real speech and on half-broken data."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Audio, Dataset, load_dataset

from hf_select.audio import wave_bytes
from hf_select.errors import ArgumentError, ColumnError
from hf_select.prune import SECONDS, Pruning, clusters_for, describe, make_plan, prune, write
from hf_select.sources import Source


def make(rows=40, **columns):
    rng = np.random.default_rng(0)
    clips = [wave_bytes(rng.normal(size=4000).astype(np.float32) * 0.1, 16000) for _ in range(rows)]
    clips[3] = clips[3][:500]
    audio = [{"bytes": clip, "path": f"{i}.flac"} for i, clip in enumerate(clips)]
    table = Dataset.from_dict({"audio": audio, "label": ["a", "b"] * (rows // 2), **columns})
    return Source(table.cast_column("audio", Audio()), "made", audio="audio")


def test_durations_that_lie_are_reported_and_not_believed():
    seconds = [0.25] * 40
    seconds[7] = 9000.0
    found = prune(make(duration=seconds), Pruning("random", "5s"))
    assert len(found.selection) == 20  # 20 x 0.25 s decoded
    [warning] = [w for w in found.summary["warnings"] if "differs" in w]
    assert "row 7: 9000.00 s said, 0.25 s decoded" in warning and warning.startswith("1 rows")


def test_broken_clips_are_counted_and_never_chosen():
    found = prune(make(), Pruning("kmeans", 1.0, {"n_clusters": 3}))
    assert len(found.selection) == 39 and 3 not in found.selection.indices
    [reason] = found.selection.excluded
    assert reason.startswith(("truncated", "unreadable")) and "could not be chosen" in describe(found, None)


def test_rows_are_written_and_loaded_back(tmp_path):
    source, job = make(), Pruning("random", 10, {"seed": 3}, by=("label",))
    found = prune(source, job)
    write(found, source, job, tmp_path / "out")
    again = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert again.column_names == ["audio", "label"] and len(again) == 10
    assert SECONDS not in again.column_names
    undecoded = again.cast_column("audio", Audio(decode=False))["audio"]
    assert [row["path"] for row in undecoded] == [f"{i}.flac" for i in found.selection.indices]


def test_plan_counts_rows_bytes_and_time():
    plan = make_plan(make(), Pruning("kmeans", "90min"))
    assert plan.rows == 40 and 0 < plan.gigabytes < 1e-3 and plan.minutes > 0 and plan.keeps == "1.5 h"


def test_plan_counts_the_bytes_of_files(tmp_path):
    from hf_select.sources import open_dataset

    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(wave_bytes(np.ones(1000, np.float32) * 0.1 * (i + 1), 16000, format="WAV"))
    wanted = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert make_plan(open_dataset(tmp_path), Pruning("random", 1)).gigabytes == wanted / 1e9


def test_number_of_clusters_by_default():
    assert [clusters_for(n) for n in (1, 19, 40, 3100, 100_000)] == [1, 1, 2, 155, 155]


def test_clear_errors():
    with pytest.raises(ArgumentError, match="Methods there are"):
        prune(make(), Pruning("magic", 0.5))
    with pytest.raises(ColumnError, match="no column 'x'"):
        prune(make(), Pruning("random", 0.5, label="x"))
    thin = Source(Dataset.from_dict({"x": [1.0, 2.0]}), "thin")
    with pytest.raises(ColumnError, match="has no audio column"):
        prune(thin, Pruning("kmeans", 0.5))


def test_a_table_without_audio_can_be_cut():
    thin = Source(Dataset.from_dict({"loss": [3.0, 1.0, 2.0]}), "thin")
    assert prune(thin, Pruning("score", 2, {"column": "loss"})).selection.indices.tolist() == [0, 2]


@pytest.mark.slow
@pytest.mark.parametrize("drop", ["simple", "hard"])
def test_real_keywords_hard_and_simple(drop, speech_commands):
    source = Source(speech_commands, "speech_commands_dev", audio="audio")
    balances = []
    for budget in (0.9, 0.6):
        found = prune(source, Pruning("kmeans", budget, {"n_clusters": 155, "drop": drop, "seed": 0}))
        assert len(found.selection) == int(budget * 1980 + 0.5)
        balances.append(found.summary["balance"]["kept"])
    assert 0.99 < balances[1] < balances[0] < 1  # the more is pruned, the less even the nine words stay
