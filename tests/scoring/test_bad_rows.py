"""Rows that can't be scored: nulls and a reason, and everything else as if they were not there."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import torch

import hf_select as hs
from hf_select.errors import AudioError, TransformError

from .conftest import SHARED, bad_clips, labelled
from .tiny import (
    GROUP,
    WORDS,
    ast,
    ctc,
    lenet,
    mixed,
    naming,
    sound,
    stored,
    table,
    wave_extractor,
    wave_model,
    whisper,
)

COLUMNS = ["loss", "probs", "predicted", "correct", "embedding"]


def waves():
    return wave_model("Wav2Vec2", "ForSequenceClassification", **GROUP, **naming(WORDS)), wave_extractor()


def test_broken_clips_get_a_reason_and_change_no_other_row(caplog):
    good, bad = mixed(9, longest=0.8), bad_clips()
    found = hs.score(labelled([*good, *bad.values()]), *waves(), columns=COLUMNS, batch_size=4)
    alone = hs.score(labelled(good), *waves(), columns=COLUMNS, batch_size=4)
    for row, name in enumerate(bad, start=9):
        code, _, detail = found["audio_status"][row].partition(": ")
        assert code == name if name != "cut" else code in ("truncated", "unreadable")
        assert detail
        assert all(found[column][row] is None for column in COLUMNS)
    assert found["audio_status"][:9] == ["ok"] * 9
    for row in range(9):
        assert found["loss"][row] == pytest.approx(alone["loss"][row], rel=1e-5)
        np.testing.assert_allclose(found["embedding"][row], alone["embedding"][row], atol=1e-5)
    assert "8 of 17 rows have no scores, for a reason that stands in audio_status" in caplog.text


def test_a_flac_that_broke_in_the_wild():
    path = SHARED / "fixtures" / "corrupt_alexa_273.flac"
    if not path.exists():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    broken = {"bytes": path.read_bytes(), "path": path.name}
    found = hs.score(labelled([broken, stored(sound(0.3, 0))]), *waves(), columns="loss")
    assert found["audio_status"][0].startswith("unreadable: ") and found["loss"][0] is None
    assert found["audio_status"][1] == "ok" and found["loss"][1] is not None


@pytest.mark.parametrize("pool", ["mean", "none"])
def test_nothing_but_broken_clips(pool):
    bad = [clip for name, clip in bad_clips().items() if name != "refused"]
    found = hs.score(labelled(bad), *waves(), columns=COLUMNS, pool=pool)
    assert "ok" not in found["audio_status"][:]
    assert all(found[name][:] == [None] * len(bad) for name in COLUMNS)
    assert len(hs.select_by_score(found, budget=0.5, column="loss").ranked) == 0


def test_paths_outside_the_dataset_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.flac").write_bytes(stored(sound(0.4, 1))["bytes"])
    (tmp_path / "secret.flac").write_bytes(stored(sound(0.4, 2))["bytes"])
    paths = [
        str(tmp_path / "in" / "a.flac"),
        str(tmp_path / "secret.flac"),
        "in/../../secret.flac",
        "https://example.org/a",
    ]
    ds = table([{"bytes": None, "path": path} for path in paths])
    with pytest.raises(AudioError, match=r"All 4 rows were refused.*Pass audio_root="):
        hs.score(ds, *lenet(), columns="probs")
    found = hs.score(ds, *lenet(), columns="probs", audio_root=tmp_path / "in")
    assert [text.partition(":")[0] for text in found["audio_status"]] == ["ok", "refused", "refused", "refused"]
    assert [row is None for row in found["probs"]] == [False, True, True, True]


def test_a_file_that_was_mended_is_read_again(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(b"garbage")
    ds = table([{"bytes": None, "path": "a.flac"}])
    assert hs.score(ds, *lenet(), columns="probs", audio_root=tmp_path)["probs"][0] is None
    path.write_bytes(stored(sound(0.4, 1))["bytes"])
    os.utime(path, (1e9, 1e9))
    assert hs.score(ds, *lenet(), columns="probs", audio_root=tmp_path)["probs"][0] is not None


def test_clips_too_long_to_be_read():
    ds = labelled(mixed(4, longest=0.8))
    found = hs.score(ds, *waves(), columns="loss", max_seconds=0.5)
    longer = [hs.audio.read_clip(clip).duration > 0.5 for clip in ds.data["audio"].to_pylist()]
    assert [text.startswith("too_long: ") for text in found["audio_status"]] == longer
    assert [loss is None for loss in found["loss"]] == longer and True in longer


@pytest.mark.parametrize(
    ("make", "shortest"),
    [(waves, 186), (ast, 1), (lenet, 1), (whisper, 1)],
    ids=["wav2vec2", "ast", "lenet", "whisper"],
)
def test_no_clip_is_so_short_that_the_run_ends(make, shortest):
    lengths = [1, 2, 9, 50, 160, 185, 186, 399, 400, 410, 800]
    clips = [stored(sound(1, n)[100 : 100 + n] + np.linspace(0, 0.1, n), kind="WAV", name=f"{n}") for n in lengths]
    found = hs.score(labelled([*clips, stored(sound(0.5, 0))]), *make(), columns="embedding")
    for n, status, vector in zip(lengths, found["audio_status"], found["embedding"], strict=False):
        assert (status == "ok") == (vector is not None)
        assert status == "ok" or ": " in status
        if 2 <= n < shortest:
            assert status.startswith(f"too_short: {n} samples, and the model needs {shortest}")
        if n >= 400:
            assert status == "ok" and np.isfinite(vector).all()
    assert found["audio_status"][-1] == "ok"


def test_reasons_that_were_there_stay(short):
    reasons = ["ok", None, "silent: somebody said so", *["ok"] * 7]
    ds = short.add_column("audio_status", reasons)
    found = hs.score(ds, *lenet(), columns="probs")
    assert found["audio_status"][:] == ["ok", "ok", "silent: somebody said so", *["ok"] * 7]
    assert found.column_names.count("audio_status") == 1
    shuffled = ds.select([5, 2, 9])
    assert hs.score(shuffled, *lenet(), columns="probs")["audio_status"][1] == "silent: somebody said so"


def spoiled(row: int, value: float, at: str = "head"):
    """Return a LeNet that gives `value` for one row of a batch of one."""
    model, extractor = lenet()
    count = iter(range(10_000))

    def spoil(_module, _inputs, output):
        if output.logits.shape[0] == 1 and next(count) == row:
            output.logits[:] = value
        return output

    model.register_forward_hook(spoil)
    return model, extractor


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("columns", [COLUMNS[:4], ["predicted"], ["correct"], ["confidence"]])
def test_a_model_that_gives_no_number(value, columns, short):
    found = hs.score(short, *spoiled(3, value), columns=columns, batch_size=1)
    broken = [row for row, status in enumerate(found["audio_status"]) if status != "ok"]
    assert len(broken) == 1
    assert found["audio_status"][broken[0]].startswith("nonfinite: the model gave NaN or infinity as ")
    assert all(found[name][broken[0]] is None for name in columns)
    assert all(found[name][row] is not None for name in columns for row in range(10) if row != broken[0])
    # a better model scores that row: the other's fault is no fault of the clip
    mended = hs.score(found, *lenet(), columns=["loss"], prefix="new_")
    assert None not in mended["new_loss"][:]


def test_no_number_where_the_clip_had_a_reason_before(short):
    ds = short.add_column("audio_status", ["silent: before"] * 10)
    found = hs.score(ds, *spoiled(0, float("nan")), columns=["confidence"], batch_size=1)
    assert found["audio_status"][:] == ["silent: before"] * 10
    assert (
        found["confidence"][:].count(None) == 1
        and not np.isnan([x for x in found["confidence"] if x is not None]).any()
    )


@pytest.mark.parametrize("columns", [["transcript"], ["wer"], ["loss"], ["transcript", "wer", "cer", "loss"]])
def test_a_ctc_model_that_gives_no_number(columns, short, tmp_path):
    model, processor = ctc(tmp_path)
    calls = []

    def spoil(_module, _inputs, output):
        calls.append(output)
        return output * float("nan") if len(calls) == 3 else output

    model.lm_head.register_forward_hook(spoil)
    found = hs.score(short, model, processor, columns=columns, batch_size=1)
    broken = [row for row, status in enumerate(found["audio_status"]) if status != "ok"]
    assert len(broken) == 1 and "nonfinite: the model gave NaN" in found["audio_status"][broken[0]]
    assert all([row for row, value in enumerate(found[name]) if value is None] == broken for name in columns)


class Failing:
    """A hook that counts rows and fails on clips of one length."""

    def __init__(self, length: int | None) -> None:
        self.length, self.sizes = length, []

    def __call__(self, _module, args, kwargs):
        values = args[0] if args else kwargs["input_values"]
        mask = kwargs.get("attention_mask")
        lengths = [values.shape[1]] * len(values) if mask is None else mask.sum(1).tolist()
        self.sizes.append(len(values))
        if self.length in lengths:
            raise RuntimeError("a bad kernel")


def test_a_model_that_fails_on_a_clip_names_the_row_and_keeps_the_rest(tmp_path):
    ds = labelled([stored(sound(0.2 + i / 400, i), name=str(i)) for i in range(100)])  # row 0 is the shortest
    order = ds.select(np.random.default_rng(0).permutation(100))
    row = [clip["path"] for clip in order.with_format(None)["audio"]].index("30")
    model, extractor = waves()
    failing = Failing(len(sound(0.2 + 30 / 400, 30)))
    handle = model.wav2vec2.register_forward_pre_hook(failing, with_kwargs=True)
    with pytest.raises(
        TransformError, match=rf"failed at row {row} \(0.28 s of sound\): RuntimeError: a bad kernel.*run again"
    ):
        hs.score(order, model, extractor, columns="loss", out=tmp_path / "out")
    (parts,) = (tmp_path / "out").glob("*.parts")
    assert len(list(parts.glob("*.arrow"))) == 2  # of 32 rows each, longest first
    failing.length, failing.sizes = None, []
    found = hs.score(order, model, extractor, columns="loss", out=tmp_path / "out")
    assert sum(failing.sizes) == 100 - 64 + 4  # 2 clips of the probe, alone and together
    handle.remove()
    assert found["loss"][:] == hs.score(order, *waves(), columns="loss", out=tmp_path / "other")["loss"][:]


def test_a_batch_that_does_not_fit_is_halved(short, caplog):
    model, extractor = waves()
    sizes = []

    def full(_module, args, kwargs):
        sizes.append(len(args[0] if args else kwargs["input_values"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    model.wav2vec2.register_forward_pre_hook(full, with_kwargs=True)
    with caplog.at_level(logging.WARNING):
        found = hs.score(short, model, extractor, columns=["loss", "embedding"], batch_size=10)
    assert max(sizes) == 10 and "Out of memory with 10 clips in a batch: halving it" in caplog.text
    wanted = hs.score(short, *waves(), columns=["loss", "embedding"], prefix="x_")
    np.testing.assert_allclose(found["loss"], wanted["x_loss"], rtol=1e-5)
    np.testing.assert_allclose(found["embedding"], wanted["x_embedding"], atol=1e-5)
