"""Duration counts decoded samples and believes no header."""

from __future__ import annotations

import pickle

import pytest

from hf_select.errors import ColumnError
from hf_select.transforms import Duration

from .conftest import audio_table, flac, voice


def test_seconds_of_every_rate_are_exact():
    clips = [flac(voice(seconds, 1, rate), rate) for seconds, rate in ((0.5, 16000), (0.25, 8000), (1.0, 44100))]
    assert Duration()({"audio": clips}) == {"duration": [0.5, 0.25, 1.0], "audio_status": ["ok"] * 3}


def test_bad_clips_are_null_with_a_reason_and_stop_nothing():
    clips = [None, {"bytes": b"", "path": None}, {"bytes": b"RIFF nonsense", "path": "x.wav"}, flac(voice(0.5, 1))]
    out = Duration()({"audio": clips})
    assert out["duration"] == [None, None, None, 0.5]
    assert out["audio_status"][3] == "ok"
    assert all(": " in status for status in out["audio_status"][:3])


def test_names_are_arguments_and_features_name_them():
    transform = Duration(column="sound", duration_column="s", declared_column="header", status_column=None)
    out = transform({"sound": [flac(voice(0.5, 1))]})
    assert out == {"s": [0.5], "header": [0.5]}
    assert {name: value.dtype for name, value in transform.features.items()} == {"s": "float64", "header": "float64"}


def test_longer_than_max_seconds_is_not_read():
    out = Duration(max_seconds=0.4)({"audio": [flac(voice(0.5, 1)), flac(voice(0.3, 1))]})
    assert out["duration"] == [None, 0.3]
    assert out["audio_status"][0].startswith("too_long: ")


def test_maps_a_decoding_column_with_its_features():
    ds = audio_table([flac(voice(0.5, 1)), None])
    transform = Duration()
    out = ds.map(transform, batched=True, features=type(ds.features)({**ds.features, **transform.features}))
    assert out["duration"][:] == [0.5, None]
    assert out.features["duration"].dtype == "float64"


def test_missing_column_names_those_there_are():
    with pytest.raises(ColumnError, match=r"no column 'audio'.*speech"):
        Duration()({"speech": []})


def test_state_is_configuration_and_revision():
    transform = Duration(max_seconds=5.0)
    assert transform.__getstate__()["revision"] == Duration.revision
    assert pickle.loads(pickle.dumps(transform)) == transform
