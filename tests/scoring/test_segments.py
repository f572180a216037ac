"""Segments: where they lie, that the one with the highest score is kept, and what happens to clips that have none."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from datasets import Audio

import hf_select as hs
from hf_select.audio import read_clip
from hf_select.errors import ArgumentError, ColumnError, OutputError
from hf_select.rows import audio_key
from hf_select.scoring import recipe
from hf_select.scoring.segments import Segments

from .alone import MASK, apart, hear
from .test_gradients import named, squares
from .tiny import GROUP, LAYER, WORDS, ast, ctc, lenet, sound, stored, table, wave_extractor, wave_model

pytestmark = pytest.mark.filterwarnings(MASK)
HEAD = "ForSequenceClassification"


def judge(settings=GROUP):
    return named(wave_model("Wav2Vec2", HEAD, num_labels=4, **settings)).double(), wave_extractor()


def by_hand(ds, model, extractor, segments):
    """Every segment through the model alone; (start, end, norm) of the best."""
    found = []
    for clip, label in zip(ds.data["audio"].to_pylist(), ds["label"], strict=True):
        samples, best = hear(clip), (None, None, -1.0)
        for start, end in segments.of(samples, audio_key(clip["path"], clip["bytes"]), 40):
            model.zero_grad()
            values = extractor(samples[start:end], sampling_rate=16000, return_tensors="pt").input_values.to(
                model.dtype
            )
            torch.nn.functional.cross_entropy(model(values).logits, torch.tensor([WORDS.index(label)])).backward()
            norm = squares(model.parameters()) ** 0.5
            best = max(best, (start / 16000, end / 16000, norm), key=lambda one: one[2])
        found.append(best)
    return np.array(found)


@pytest.mark.parametrize("settings", [GROUP, LAYER], ids=["group", "layer"])
def test_the_best_of_each_clip_is_kept(settings, made):
    model, extractor = judge(settings)
    wanted = by_hand(made, model, extractor, Segments(5, 0.25, seed=3))
    for batch in (1, 8, 32):
        found = hs.score_segments(made, model, extractor, seed=3, batch_size=batch, out=None, overwrite=True)
        assert np.allclose(found["segment_start"], wanted[:, 0]) and np.allclose(found["segment_end"], wanted[:, 1])
        assert apart(found["segment_score"], wanted[:, 2]) < 1e-6
    assert found.column_names == [*made.column_names, "segment_start", "segment_end", "segment_score", "audio_status"]


def test_other_scores_and_models(short):
    model, extractor = lenet()
    whole = hs.score(short, model, extractor, columns=["loss", "grad_norm", "grad_norm_head"])
    for by in ("loss", "grad_norm", "grad_norm_head"):
        found = hs.score_segments(short, model, extractor, ratio=1.0, n_segments=2, by=by)
        assert apart(found["segment_score"], whole[by]) < 1e-5  # of the whole clip
        assert found["segment_start"][:] == [0.0] * 10
    images = ast("ForAudioClassification")
    named(images[0])
    assert None not in hs.score_segments(short, *images, by="loss")["segment_score"]


def test_a_judge_that_writes(made, tmp_path):
    found = hs.score_segments(made, *ctc(tmp_path), ratio=0.9, seed=1)
    fits = hs.score(made, *ctc(tmp_path), columns="loss")["loss"]
    assert [a is None for a in found["segment_score"]] == [a is None for a in fits]


def test_a_row_is_cut_the_same_whatever_its_neighbours(made):
    model, extractor = judge()
    whole = hs.score_segments(made, model, extractor, seed=1)
    turned = hs.score_segments(made.select([7, 2, 11]), model, extractor, seed=1, batch_size=2)
    assert turned["segment_start"][:] == [whole["segment_start"][row] for row in (7, 2, 11)]
    other = hs.score_segments(made, model, extractor, seed=2)
    assert other["segment_start"][:] != whole["segment_start"][:]


def test_where_segments_lie():
    rng = np.random.default_rng(0)
    clip = rng.normal(0, 0.1, 1000).astype(np.float32)
    starts = np.concatenate([Segments(5, 0.25, seed=seed).of(clip, "row")[:, 0] for seed in range(400)])
    assert starts.min() < 15 and starts.max() > 735 and starts.max() <= 750 and abs(starts.mean() - 375) < 15
    assert np.abs(np.histogram(starts, 5, (0, 751))[0] / 400 - 1).max() < 0.2
    assert Segments(3, 0.25).of(clip[:3], "row").tolist() == Segments(3, 0.25).of(clip[:3], "row").tolist()
    assert (np.diff(Segments(4, 1e-6).of(clip, "row")) == 1).all() and (
        np.diff(Segments(4, 0.1).of(clip, "r", 400)) == 400
    ).all()
    assert Segments(2, 0.5).of(clip, "row", 5000).tolist() == [[0, 1000]] * 2
    quiet = np.zeros(1000, np.float32)
    quiet[700:720] = 0.5
    for start, end in Segments(20, 0.1, seed=5).of(quiet, "row"):
        assert np.ptp(quiet[start:end]) > 0


def test_ties_go_to_the_first_drawn(short):
    model, extractor = lenet()
    for parameter in model.parameters():
        parameter.data.zero_()
    found = hs.score_segments(short, model, extractor, by="loss", seed=4)
    first = [
        Segments(5, 0.25, seed=4).of(hear(clip), audio_key(clip["path"], clip["bytes"]))[0] / 16000
        for clip in short.data["audio"].to_pylist()
    ]
    assert np.allclose(np.column_stack([found["segment_start"], found["segment_end"]]), first)


def test_clips_that_are_no_clips_too_short_or_unlabelled(caplog):
    clips = [
        stored(sound(0.5, 1)),
        {"bytes": b"x", "path": "bad"},
        stored(sound(0.5, 2)[:300]),
        stored(sound(0.5, 4)[:150]),
        stored(sound(0.5, 3)),
        None,
    ]
    ds = table(clips, label=[WORDS[0], WORDS[1], WORDS[2], WORDS[3], None, WORDS[0]])
    model, extractor = judge()
    with caplog.at_level(logging.WARNING):
        found = hs.score_segments(ds, model, extractor)
    status = found["audio_status"][:]
    assert status[0] == status[4] == "ok" and status[1].startswith("unreadable") and status[5].startswith("missing")
    assert status[3].startswith("too_short: 150 samples, and the model needs 186")
    assert status[2] == "ok"  # a quarter of it is less than the convolutions need for one frame
    assert found["segment_end"][2] - found["segment_start"][2] == pytest.approx(186 / 16000)
    for name in ("segment_start", "segment_end", "segment_score"):
        assert [value is None for value in found[name]] == [False, True, False, True, True, True]
    assert "have no scores" in caplog.text


def test_they_are_decoded_when_they_are_needed(made):
    model, extractor = judge()
    cut = hs.score_segments(made, model, extractor, seed=3)
    inputs = hs.AudioInputs(extractor, start_column="segment_start", end_column="segment_end")
    rows = cut.cast_column("audio", Audio(decode=False)).with_transform(inputs)[:]["input_values"]
    for row, clip in enumerate(made.data["audio"].to_pylist()):
        wanted = read_clip(clip, sampling_rate=16000, start=cut["segment_start"][row], end=cut["segment_end"][row])
        seconds = cut["segment_end"][row] - cut["segment_start"][row]
        assert wanted.ok and len(rows[row]) == len(wanted.samples) == pytest.approx(seconds * 16000, abs=2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n_segments": 0}, "n_segments is a whole number of at least 1"),
        ({"ratio": 0}, "ratio is the length of a segment"),
        ({"ratio": 1.5}, "ratio is the length of a segment"),
        ({"by": "entropy"}, "by is one of 'grad_norm', 'loss', 'grad_norm_head'"),
        ({"seed": -1}, "seed is a whole number"),
    ],
    ids=str,
)
def test_arguments(given, says, short):
    with pytest.raises(ArgumentError, match=says):
        hs.score_segments(short, *lenet(), **given)


def test_labels_that_the_judge_does_not_have(short):
    model, extractor = lenet()
    other = short.remove_columns("label").add_column("label", ["elephant"] * 10)
    with pytest.raises(ColumnError, match="the model has no class 'elephant'"):
        hs.score_segments(other, model, extractor)
    done = hs.score_segments(short, model, extractor)
    with pytest.raises(ColumnError, match="'segment_start' already"):
        hs.score_segments(done, model, extractor)


def test_segments_are_kept_in_a_folder_and_found_again(short, tmp_path):
    model, extractor = lenet()
    found = hs.score_segments(short, model, extractor, seed=2, out=tmp_path / "s")
    turned = hs.load_scores(short.select([4, 1, 7]), tmp_path / "s")
    for name in ("segment_start", "segment_end", "segment_score"):
        assert turned[name][:] == [found[name][row] for row in (4, 1, 7)]
    again = hs.score_segments(short, model, extractor, seed=2, out=tmp_path / "s")
    assert again["segment_score"][:] == found["segment_score"][:]
    with pytest.raises(OutputError, match="holds scores of other data"):
        hs.score_segments(short, model, extractor, seed=3, out=tmp_path / "s")
    text = recipe(tmp_path / "s")
    assert "hs.score_segments(" in text and "seed=2" in text and "n_segments=5" in text
