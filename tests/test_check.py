"""check says what is there and what is wrong, and survives whatever it finds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict

from hf_select.audio import wave_bytes
from hf_select.check import check
from hf_select.errors import ArgumentError, AudioError, ColumnError, DatasetError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def sound(seed: int, seconds: float = 0.25, rate: int = 16000, container: str = "WAV", channels: int = 1) -> dict:
    samples = np.rint(np.random.default_rng(seed).uniform(-9000, 9000, round(seconds * rate))) / 32768
    samples = samples if channels == 1 else np.stack([samples] * channels, axis=1)
    return {"bytes": wave_bytes(samples, rate, container), "path": f"{seed}.wav"}


def table(clips: list, **columns) -> Dataset:
    audio = pa.array(clips, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return Dataset(pa.table({"audio": audio, **columns})).cast_column("audio", Audio())


@pytest.fixture
def look(tmp_path):
    """Run check with a cache of its own, without the finding that small datasets have small classes."""

    def run(ds, **options):
        return check(ds, **{"min_rows": 0, "cache_dir": tmp_path, **options})

    return run


@pytest.fixture
def faulty() -> Dataset:
    """Return a dataset with one of every fault, under labels a and b."""
    cut = sound(1)["bytes"][:4044]
    loud = np.random.default_rng(9).uniform(-0.3, 0.3, 4000)
    loud[::50] = 1.0
    rows = [
        (sound(0), "a", "s1", 0.25),  # 0: fine
        (sound(0, container="FLAC"), "b", "s1", 0.25),  # 1: the sound of row 0 under another label
        (sound(2), "a", "s1", 0.25),  # 2: fine
        (sound(2), "a", "s2", 0.2524),  # 3: the sound of row 2, another speaker; rounded, not wrong
        (None, "a", "s1", 0.25),  # 4: missing
        ({"bytes": b"RIFF rubbish", "path": None}, "a", "s1", 0.25),  # 5: unreadable
        ({"bytes": cut, "path": None}, "b", "s1", 0.25),  # 6: truncated
        ({"bytes": wave_bytes(np.zeros(4000), 16000), "path": None}, "b", "s1", 0.25),  # 7: silent
        ({"bytes": None, "path": "/etc/passwd"}, "b", "s1", 0.25),  # 8: refused
        ({"bytes": wave_bytes(loud, 16000, "WAV"), "path": None}, "b", "s1", 0.25),  # 9: clipped
        (sound(10, 0.5), None, "s2", 0.9),  # 10: without a label; a wrong duration
        (sound(11, 0.5, rate=8000), "b", "s2", None),  # 11: another rate
        (sound(12, channels=2), "c", None, 0.25),  # 12: two channels; a label of one row
        (
            sound(13)["bytes"] and {"bytes": sound(13)["bytes"], "path": None},
            "  ",
            "s2",
            0.3,
        ),  # 13: a blank label; wrong
        (
            {"bytes": wave_bytes(np.random.default_rng(14).uniform(-9e-4, 9e-4, 4000), 16000), "path": None},
            "a",
            "s1",
            0.25,
        ),
    ]
    clips, labels, speakers, seconds = (list(values) for values in zip(*rows, strict=True))
    return table(clips, label=labels, speaker=speakers, duration=pa.array(seconds, pa.float64()))


def test_every_fault_is_found_and_counted(faulty, look):
    report = look(faulty, min_rows=2)
    assert report.status == {code: (row,) for code, row in zip(
        ("missing", "unreadable", "truncated", "silent", "refused"), (4, 5, 6, 7, 8), strict=True
    )}  # fmt: skip
    assert (report.rows, report.usable) == (15, 10)
    assert report.hours == pytest.approx((8 * 0.25 + 2 * 0.5) / 3600)
    assert report.lengths == (0.25, 0.25, 0.5)
    assert [(s.rows, s.labels, s.speakers) for s in report.label_faults] == [((0, 1), ("a", "b"), ("s1",))]
    assert [(s.rows, s.labels) for s in report.redundant] == [((2, 3), ("a",))]
    assert [(s.rows, s.speakers) for s in report.across_speakers] == [((2, 3), ("s1", "s2"))]
    assert report.clipped == (9,)
    assert report.quiet == (14,)
    assert report.unlabelled == (10, 13)
    assert report.wrong_duration == (10, 13)  # 80 % and 20 % off: the worst first
    assert report.claimed_hours == pytest.approx(((6 * 0.25 + 0.2524 + 0.9 + 0.3) / 3600, (8 * 0.25 + 0.5) / 3600))
    assert report.rates == {16000: 11, 8000: 1}  # where a header could be read
    assert report.channels == {1: 11, 2: 1}
    assert {name: (share.rows, share.speakers) for name, share in report.labels.items()} == {
        "a": (6, 2),
        "b": (6, 2),
        "c": (1, 0),
    }
    assert report.labels["b"].hours == pytest.approx((0.25 + 0.25 + 0.5) / 3600)
    assert {name: share.rows for name, share in report.speakers.items()} == {"s1": 10, "s2": 4}
    shares = np.array([6, 6, 1]) / 13
    assert report.balance == pytest.approx(-(shares * np.log(shares)).sum() / np.log(3))
    assert report.small == {"c": 1}
    assert not report.ok


def test_problems_are_sentences_with_the_worst_first(faulty, look):
    problems = look(faulty, min_rows=2).problems
    assert "\n".join(problems[:5]).startswith(
        "1 clip of 15 is missing: row 4 (row 4: the row is null).\n1 clip of 15 is unreadable"
    )
    assert problems[5:] == [
        "1 sound stands under different labels: rows 0 and 1 (a | b).",
        "2 rows have no label: rows 10 and 13.",
        "2 durations in column duration are wrong, the worst first: rows 10 and 13. "
        "The column sums to 0.0008201 h where 0.0006944 h were decoded.",
        "1 sound stands under different speakers: rows 2 and 3 (s1 | s2).",
        "1 sound stands more than once under one label, 1 row too many: rows 2 and 3.",
        "1 clip is clipped (more than 0.001 of the samples at full scale), the worst first: row 9.",
        "1 clip is almost silent (below -60 dBFS), the quietest first: row 14.",
        "The clips have 2 sampling rates: 16000 Hz (11) and 8000 Hz (1).",
        "The clips differ in channels: 1-channel (11) and 2-channel (1).",
        "1 label has fewer than 2 rows: c (1).",
    ]
    assert (
        str(look(faulty, min_rows=2)).splitlines()
        == """\
15 rows, 10 clips that can be used, 0.0008333 h (0.25 to 0.50 s, median 0.25 s)
columns: audio, label, speaker, duration
sound: 16000 Hz (11) and 8000 Hz (1); 1-channel (11) and 2-channel (1)

  label  rows   hours  speakers
  a         6  0.0003         2
  b         6  0.0003         2
  c         1  0.0001         0
  balance 0.829 (1: all 3 labels equally frequent)
2 speakers, 4 to 10 rows each; most: s1 with 66.7% of the rows
note: 1 of 15 rows have no duration to compare

15 problems, the worst first:""".splitlines()
        + [f"{n:3d}. {problem}" for n, problem in enumerate(problems, 1)]
    )


def test_a_sound_dataset_is_ok(look):
    ds = table([sound(n) for n in range(4)], label=["a", "b", "a", "b"])
    report = look(ds)
    assert (report.ok, report.problems, report.balance) == (True, [], 1.0)
    assert str(report).endswith("\n\nNo problem found.")
    assert len(look(ds, min_rows=10).small) == 2


def test_rows_are_those_of_the_view_that_was_checked(faulty, look):
    order = [12, 8, 3, 2, 1, 0, 0]
    report = look(faulty.select(order))
    assert report.status == {"refused": (1,)}
    assert [s.rows for s in report.redundant] == [(2, 3)]
    assert [s.rows for s in report.label_faults] == [(4, 5, 6)]
    shuffled = faulty.shuffle(seed=3)
    places = shuffled["duration"][:].index(0.9)
    assert look(shuffled).unlabelled[0] in (places, shuffled["label"][:].index("  "))
    assert sorted(look(shuffled).labels.items()) == sorted(look(faulty).labels.items())


def test_nothing_is_decoded_by_datasets_nor_twice_by_us(faulty, look, monkeypatch):
    from hf_select.transforms import clips

    opened = []
    read = clips.read_clip
    monkeypatch.setattr(clips, "read_clip", lambda audio, **how: opened.append(1) or read(audio, **how))
    monkeypatch.setattr(Audio, "decode_example", lambda *_, **__: pytest.fail("datasets decodes"))
    first = look(faulty)
    assert len(opened) == len(faulty)
    assert look(faulty) == first
    assert len(opened) == len(faulty)  # the second time from the cache


def test_an_interrupted_check_goes_on_where_it_stopped(look, monkeypatch):
    from hf_select.transforms import clips

    ds = table([sound(n, 0.02) for n in range(200)])
    read, opened = clips.read_clip, []

    def stop_at(limit):
        def reader(audio, **how):
            opened.append(1)
            if len(opened) > limit:
                raise KeyboardInterrupt
            return read(audio, **how)

        return reader

    monkeypatch.setattr(clips, "read_clip", stop_at(150))
    with pytest.raises(KeyboardInterrupt):
        look(ds)
    opened.clear()
    monkeypatch.setattr(clips, "read_clip", stop_at(10**6))
    assert look(ds).usable == 200
    assert len(opened) == 200 - 128  # two batches of 64 were finished


def test_threads_change_nothing(faulty, tmp_path):
    assert check(faulty, cache_dir=tmp_path / "a") == check(faulty, num_threads=3, cache_dir=tmp_path / "b")


def test_columns_of_the_same_names_are_left_alone(look):
    lies = {"audio_status": ["silent: no"] * 2, "audio_seconds": [99.0] * 2, "audio_digest": ["x", "x"]}
    report = look(table([sound(0), sound(1)], label=["a", "b"], **lies))
    assert report.ok
    assert report.hours == pytest.approx(0.5 / 3600)


def test_which_column_holds_the_labels(look):
    clips = [sound(n) for n in range(3)]
    classes = pa.array([0, 2, None])
    ds = table(clips, word=classes, other=["x", "y", "z"]).cast_column("word", ClassLabel(names=["yes", "no", "up"]))
    report = look(ds, min_rows=1)
    assert report.columns["label"] == "word"
    assert {name: share.rows for name, share in report.labels.items()} == {"up": 1, "yes": 1, "no": 0}
    assert report.unlabelled == (2,)
    assert report.problems[-1] == "1 label has fewer than 1 rows: no (0)."
    assert report.balance == pytest.approx(np.log(2) / np.log(3))
    assert look(ds, label="other").columns["label"] == "other"
    assert look(table(clips, label=["a", "b", "c"], word=classes)).columns["label"] == "label"
    unclear = look(table(clips, label=[["a"], ["b"], ["c"]], genus=["m", "m", "f"]))
    assert (unclear.columns["label"], unclear.labels, unclear.balance) == (None, {}, None)
    assert "note: no column of labels was found or named" in str(unclear)
    numbers = look(table(clips, label=[1.0, float("nan"), 2.0]))
    assert (set(numbers.labels), numbers.unlabelled) == ({"1.0", "2.0"}, (1,))


def test_without_labels_identical_sound_is_redundant(look):
    report = look(table([sound(0), sound(0), sound(0)]))
    assert report.problems == ["1 sound stands more than once, 2 rows too many: rows 0, 1 and 2."]


def test_labels_that_are_the_speakers_are_not_counted_twice(look):
    report = look(table([sound(0), sound(0)], speaker=["s1", "s2"]), label="speaker")
    assert len(report.problems) == 1
    assert report.across_speakers == ()


@pytest.mark.parametrize(
    ("durations", "wrong", "note"),
    [
        ([250, 250, 250], (0, 1, 2), None),  # milliseconds
        ([0.25, -0.25, float("inf")], (2, 1), None),
        ([0.26, 0.259, 0.2401], (), None),  # within 10 ms: rounded to hundredths
        ([0.2401, 0.2601, 0.25], (1,), None),
        (["0.25", "1", ""], (), "durations were not compared"),
        ([None, 0.25, 0.25], (), "1 of 3 rows have no duration"),
    ],
)
def test_durations(look, durations, wrong, note):
    report = look(table([sound(n) for n in range(3)], duration=durations, label=["a", "b", "c"]))
    assert report.wrong_duration == wrong
    assert (note is None) == (report.notes == ())
    assert note is None or note in report.notes[0]
    json.dumps(report.to_dict(), allow_nan=False)


def test_durations_of_another_column_or_none(look):
    ds = table([sound(0)], duration=[9.0], length=[0.25])
    assert look(ds, duration="length").wrong_duration == ()
    assert look(ds, duration=None).columns["duration"] is None
    with pytest.raises(ColumnError, match=r"no column 'lenght'.*length"):
        look(ds, duration="lenght")


NASTY = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "a\u202etxt.exe",
    "two\nlines\r",
    "a\u200bb",
    "yes ",
    "x" * 500,
]


def test_what_is_printed_can_not_move_a_terminal(look):
    clips = [sound(n % 2) for n in range(len(NASTY))] + [{"bytes": None, "path": "/\x1b[2J\u202e"}]
    report = look(table(clips, word=[*NASTY, "z"], speaker=[*NASTY, "z"]), label="word", min_rows=9)
    text = str(report)
    assert all(line.isprintable() for line in text.split("\n"))
    assert all(line.isprintable() for line in report.problems)
    assert max(len(line) for line in text.split("\n")) < 600
    assert r"'\x1b[31mred\x1b[0m'" in text
    assert "'yes '" in text
    renamed = table([sound(0)], duration=["\x1b[1m"], **{"a\x1b[1m": pa.array([0])}).cast_column(
        "a\x1b[1m", ClassLabel(names=["k"])
    )
    assert look(renamed).columns["label"] == "a\x1b[1m"
    assert all(line.isprintable() for line in str(look(renamed)).split("\n"))
    assert set(json.loads(json.dumps(report.to_dict()))["labels"]) == {*NASTY, "z"}


def test_to_dict_counts_all_and_lists_the_first(faulty, look):
    empty = {"bytes": b"", "path": None}
    ds = table([empty] + [None] * 29 + [sound(n // 2) for n in range(60)], label=["a"] * 90)
    report = look(ds)
    short, full = report.to_dict(first=3), report.to_dict(first=None)
    assert short["status"]["missing"] == {"count": 29, "rows": [1, 2, 3], "detail": "the row is null"}
    assert list(short["status"]) == ["missing", "empty"]  # the more frequent first
    assert len(full["status"]["missing"]["rows"]) == 29
    assert (short["redundant"]["count"], short["redundant"]["rows_too_many"], len(short["redundant"]["sounds"])) == (
        30,
        30,
        3,
    )
    assert "rows 1, 2, 3, 4, 5 and 24 more" in report.problems[0]
    assert "rows 30 and 31; rows 32 and 33;" in report.problems[2]
    assert report.problems[2].endswith(" and 25 more.")
    whole = look(faulty, max_seconds=float("inf")).to_dict()
    assert json.loads(json.dumps(whole, allow_nan=False))["ok"] is False
    assert whole["labels"]["a"]["rows"] == 6


def test_unusable_columns_and_datasets_are_refused_with_reasons(look):
    plain = Dataset.from_dict({"text": ["a"], "label": ["b"]})
    with pytest.raises(ColumnError, match=r"none of the columns is Audio.*text, label"):
        look(plain)
    ds = table([sound(0)])
    with pytest.raises(ColumnError, match=r"no column 'sound'.*audio"):
        look(ds, column="sound")
    with pytest.raises(ColumnError, match=r"no column 'word'.*audio"):
        look(ds, label="word")
    with pytest.raises(DatasetError, match="'train'"):
        look(DatasetDict(train=ds))
    with pytest.raises(ArgumentError, match="max_clipped"):
        look(ds, max_clipped=7)
    with pytest.raises(AudioError, match="audio_root"):
        look(table([{"bytes": None, "path": "/etc/passwd"}]))


def test_files_in_audio_root_are_read(look, tmp_path):
    (tmp_path / "a.wav").write_bytes(sound(0)["bytes"])
    ds = table([{"bytes": None, "path": "a.wav"}, {"bytes": None, "path": "b.wav"}])
    report = look(ds, audio_root=tmp_path)
    assert (report.usable, report.status) == (1, {"missing": (1,)})


def test_no_rows_and_no_usable_clip(look):
    assert look(table([], label=pa.array([], pa.string()))).problems == ["The dataset has no rows."]
    report = look(table([None, None], label=[None, None]))
    assert report.lengths is None
    assert report.problems[0].startswith("2 clips of 2 are missing: rows 0 and 1")
    assert report.hours == 0.0
    str(report)


def test_formats_and_transforms_of_a_dataset_do_not_matter(faulty, look):
    expected = look(faulty).to_dict()
    assert look(faulty.with_format("numpy")).to_dict() == expected
    assert look(faulty.with_format("numpy", columns=["label"])).to_dict() == expected
    faulty.set_transform(lambda batch: {"x": [0] * len(batch["label"])})
    assert look(faulty).to_dict() == expected


def pack(name: str, tmp_path: Path) -> Dataset:
    file = SHARED / f"{name}.parquet"
    if not file.exists():
        pytest.skip("the shared packs are not beside this checkout (../shared/data)")
    return Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "parquet"))


def test_finds_the_one_label_fault_of_a_real_dataset(look, tmp_path):
    ds = pack("alnum_accents_dev", tmp_path)
    report = look(ds)
    (fault,) = report.label_faults
    assert len(fault.rows) == 2
    assert {ds["speaker"][row] for row in fault.rows} == {"S16"} == set(fault.speakers)
    assert {ds["label"][row] for row in fault.rows} == set(fault.labels)
    assert len(set(fault.labels)) == 2
    assert len({ds["source_blob"][row] for row in fault.rows}) == 1
    assert len(report.problems) == 1
    assert report.hours * 3600 == pytest.approx(sum(ds["duration"]), abs=0.05)


def test_clipped_and_quiet_clips_of_real_speech_by_another_count(look, tmp_path):
    import soundfile as sf

    ds = pack("speech_commands_dev", tmp_path)
    report = look(ds)
    share, level = [], []
    for row in ds.cast_column("audio", Audio(decode=False))["audio"]:
        samples, _ = sf.read(io.BytesIO(row["bytes"]), dtype="int16")
        share.append(np.isin(samples, (-32768, 32767)).mean())
        level.append(20 * np.log10(np.sqrt(np.mean((samples / 32768) ** 2))))
    assert set(report.clipped) == set(np.flatnonzero(np.array(share) > 0.001))
    assert report.clipped[0] == np.argmax(share)
    assert report.quiet == tuple(np.argsort(level)[: np.sum(np.array(level) < -60)])
    assert (report.rows, report.usable, report.redundant, report.label_faults) == (1980, 1980, (), ())
    assert len(report.speakers) == 235
    assert {share.rows for share in report.labels.values()} == {220}
