"""The embedded corpus: the same bytes everywhere, true metadata, disjoint speakers, safe folders."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hf_select.demo import sound
from hf_select.demo.cast import INTENTS, planted_name
from hf_select.demo.corpus import corpus_digest, make_corpus
from hf_select.errors import AudioError, DatasetError, MissingPackageError, OutputError

SMALL = {"clips": 48, "voices": 8, "seed": 3}


@pytest.fixture(scope="module")
def espeak():
    pytest.importorskip("espeakng_loader", reason='needs eSpeak NG: pip install "hf-select[demo]"')


@pytest.fixture(scope="module")
def corpus(espeak):
    return make_corpus(**SMALL, weak_subgroups=True, num_proc=2)


@pytest.fixture(scope="module")
def rows(corpus):
    """All rows as plain values, with their split and their decoded audio."""
    import soundfile

    found = []
    for split in corpus:
        for row in corpus[split].with_format("arrow")[:].to_pylist():
            samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
            found.append({**row, "split": split, "samples": samples, "rate": rate})
    return found


# ---- the same bytes everywhere


def test_fresh_processes_give_the_same_bytes(corpus):
    code = (
        "import sys; from hf_select.demo.corpus import *; "
        f"print(corpus_digest(make_corpus(**{SMALL}, weak_subgroups=True, num_proc=int(sys.argv[1]))))"
    )
    root = str(Path(__file__).resolve().parents[2])
    digests = []
    for workers, hash_seed in (("1", "1"), ("3", "2")):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        done = subprocess.run(
            [sys.executable, "-c", code, workers], env=env, capture_output=True, text=True, check=True
        )
        digests.append(done.stdout.strip())
    assert digests == [corpus_digest(corpus)] * 2


def test_another_seed_gives_another_corpus(espeak):
    one, two = (make_corpus(clips=6, voices=3, seed=seed) for seed in (0, 1))
    assert corpus_digest(one) != corpus_digest(two)
    assert one["train"]._fingerprint != two["train"]._fingerprint


# ---- what is in it


def test_sizes_columns_and_types(corpus):
    from datasets import Audio, ClassLabel

    assert {split: len(corpus[split]) for split in corpus} == {"train": 34, "validation": 7, "test": 7}
    features = corpus["train"].features
    assert features["audio"] == Audio(sampling_rate=16_000)
    assert isinstance(features["label"], ClassLabel)
    assert features["label"].num_classes == len(INTENTS) == 22
    said = ["text", "label", "action", "object", "location"]
    who = ["speaker", "gender", "age", "accent"]
    how = ["rate_wpm", "pitch_hz", "noise", "snr_db", "duration"]
    assert list(features) == ["audio", *said, *who, *how, "planted"]
    assert "planted" not in make_corpus(clips=3, voices=3)["train"].column_names


def test_audio_is_embedded_decodable_and_as_long_as_said(rows):
    assert len({row["audio"]["path"] for row in rows}) == len(rows)
    for row in rows:
        assert row["audio"]["bytes"][:4] == b"fLaC"
        assert row["rate"] == 16_000 and row["samples"].ndim == 1
        assert row["duration"] == len(row["samples"]) / 16_000
        assert 0.4 < row["duration"] < 6
        assert 0.29 < np.abs(row["samples"]).max() < 0.91


def test_metadata_agrees_with_itself(rows, corpus):
    names = corpus["train"].features["label"].names
    for row in rows:
        parts = [row["action"], row["object"].lower(), row["location"]]
        assert names[row["label"]] == "_".join(part for part in parts if part != "none")
        assert row["text"] in INTENTS[row["label"]].wordings
        assert (row["snr_db"] is None) == (row["noise"] == "none")
        assert row["planted"] == planted_name(row)
        assert (row["pitch_hz"] > 150) == (row["gender"] == "female")


def test_speakers_are_disjoint_and_keep_their_traits(rows):
    by_speaker: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        traits = tuple(str(row[name]) for name in ("split", "gender", "age", "accent", "pitch_hz"))
        by_speaker.setdefault(row["speaker"], set()).add(traits)
    assert all(len(traits) == 1 for traits in by_speaker.values())
    assert Counter(next(iter(traits))[0] for traits in by_speaker.values()) == {"train": 4, "validation": 2, "test": 2}


def test_other_sampling_rates(espeak):
    import soundfile

    ds = make_corpus(clips=3, voices=3, sampling_rate=8_000)["test"]
    audio = ds.data.column("audio")[0].as_py()
    assert soundfile.info(io.BytesIO(audio["bytes"])).samplerate == ds.features["audio"].sampling_rate == 8_000


# ---- learnable, not trivial


@pytest.mark.slow
def test_intents_are_learnable_but_not_trivial(espeak):
    import soundfile
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def vectors(ds):
        found = []
        for audio in ds.data.column("audio").to_pylist():
            samples, _ = soundfile.read(io.BytesIO(audio["bytes"]))
            frames = np.lib.stride_tricks.sliding_window_view(samples, 512)[::256] * np.hanning(512)
            power = np.abs(np.fft.rfft(frames)) ** 2
            bands = np.log(np.add.reduceat(power, np.unique(np.geomspace(3, 220, 24).astype(int)), axis=1) + 1e-4)
            found.append(np.concatenate([part.mean(axis=0) for part in np.array_split(bands, 6)]))
        return np.array(found)

    corpus = make_corpus(clips=500)
    x = {split: vectors(corpus[split]) for split in ("train", "test")}
    y = {split: corpus[split].data.column("label").to_pylist() for split in ("train", "test")}
    scaler = StandardScaler().fit(x["train"])
    model = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(x["train"]), y["train"])
    assert 0.25 < model.score(scaler.transform(x["test"]), y["test"]) < 0.95


# ---- folders


@pytest.fixture
def no_speech(monkeypatch):
    """Make every attempt to speak fail."""

    def refuse(*_):
        raise AudioError("it spoke")

    monkeypatch.setattr(sound, "speak_lines", refuse)


@pytest.fixture
def saved(espeak, tmp_path):
    make_corpus(tmp_path / "corpus", clips=6, voices=3)
    return tmp_path / "corpus"


def test_a_saved_corpus_is_opened_again_without_speaking(saved, no_speech, monkeypatch):
    from datasets import DatasetDict

    again = make_corpus(str(saved), clips=6, voices=3)
    assert corpus_digest(again) == json.loads((saved / "corpus.json").read_text())["digest"]
    assert corpus_digest(DatasetDict.load_from_disk(str(saved))) == corpus_digest(again)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)  # nor is eSpeak NG needed
    assert len(make_corpus(saved, clips=6, voices=3)["train"]) == 4
    assert [path.name for path in saved.parent.iterdir()] == ["corpus"]


def test_a_saved_corpus_is_what_memory_would_hold(saved):
    assert corpus_digest(make_corpus(clips=6, voices=3)) == corpus_digest(make_corpus(saved, clips=6, voices=3))


def test_other_parameters_are_refused_and_named(saved, no_speech):
    with pytest.raises(OutputError, match=r"seed is 0 there and 1 here.*overwrite=True"):
        make_corpus(saved, clips=6, voices=3, seed=1)


def test_overwrite_replaces_a_corpus(saved):
    make_corpus(saved, clips=9, voices=3, overwrite=True)
    assert len(make_corpus(saved, clips=9, voices=3)["train"]) == 7
    assert [path.name for path in saved.parent.iterdir()] == ["corpus"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_corpus_is_never_replaced(tmp_path, no_speech, overwrite):
    (tmp_path / "thesis.txt").write_text("years of work")
    for taken in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(OutputError, match="is not an embedded corpus"):
            make_corpus(taken, clips=6, voices=3, overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_failure_leaves_the_old_corpus_and_nothing_else(saved, no_speech):
    before = (saved / "corpus.json").read_bytes()
    with pytest.raises(AudioError, match="it spoke"):
        make_corpus(saved, clips=9, voices=3, overwrite=True)
    assert (saved / "corpus.json").read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["corpus"]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_damage_is_noticed(saved, place):
    file = next((saved / "train").glob("*.arrow"))
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 4
    file.write_bytes(content)
    with pytest.raises(OutputError, match="overwrite=True"):
        make_corpus(saved, clips=6, voices=3)


def test_a_place_that_cannot_be_written(tmp_path, espeak):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        make_corpus(tmp_path / "file" / "corpus", clips=6, voices=3)


def test_an_empty_folder_may_be_used(tmp_path, espeak):
    assert len(make_corpus(tmp_path, clips=3, voices=3)["test"]) == 1


# ---- errors


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingPackageError, match=r'pip install "hf-select\[demo\]"'):
        make_corpus(clips=3, voices=3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clips": 2},
        {"clips": 10.0},
        {"clips": True},
        {"voices": 2},
        {"voices": 1001},
        {"seed": -1},
        {"sampling_rate": 4_000},
        {"num_proc": 0},
        {"weak_subgroups": 1},
    ],
)
def test_arguments_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(DatasetError, match=f"{name} must be"):
        make_corpus(**wrong)
