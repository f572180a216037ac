"""Datasets wherever they lie: folders of sound, tables, saved datasets; and writing them back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict, load_dataset

from hf_select.audio import read_clip, wave_bytes
from hf_select.errors import AudioError, DatasetError, OutputError
from hf_select.export import check_output, new_folder, write_parquet
from hf_select.sources import open_dataset


def tone(hertz, seconds=0.3, rate=16000):
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Two labels x three WAV files, and one FLAC."""
    for label, base in (("no", 200), ("yes", 400)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "clips" / label / f"{i}.wav").write_bytes(wave_bytes(tone(base + 20 * i), 16000, format="WAV"))
    (tmp_path / "clips" / "yes" / "3.flac").write_bytes(wave_bytes(tone(999), 16000))
    (tmp_path / "clips" / "notes.txt").write_text("no sound")
    return tmp_path / "clips"


def test_labels_from_sub_folders(folder):
    source = open_dataset(folder)
    assert source.ds["file_name"][:] == [
        "no/0.wav",
        "no/1.wav",
        "no/2.wav",
        "yes/0.wav",
        "yes/1.wav",
        "yes/2.wav",
        "yes/3.flac",
    ]
    assert source.ds.features["label"].names == ["no", "yes"] and source.ds["label"][:] == [0] * 3 + [1] * 4
    assert source.key == "file_name" and source.audio_root == str(folder.resolve())
    rows = source.ds["audio"][:]
    assert all(read_clip(row, audio_root=source.audio_root).ok for row in rows)


def test_labels_from_metadata_csv(folder):
    (folder / "metadata.csv").write_text("file_name,label,speaker,age\nyes/3.flac,high,ann,61\nno/0.wav,low,bob,\n")
    source = open_dataset(folder)
    assert source.ds["label"][:] == ["high", "low"] and source.ds["age"][:] == [61.0, None]
    assert "5 sound files are not in metadata.csv" in source.notes[0]


def test_missing_files_stay_as_rows_with_a_reason(folder):
    (folder / "metadata.csv").write_text("file_name,label\nyes/3.flac,a\ngone.wav,b\n../../secret.wav,c\n")
    source = open_dataset(folder)
    status = [read_clip(row, audio_root=source.audio_root).status for row in source.ds["audio"]]
    assert status == ["ok", "missing", "refused"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,label\na.wav,x\n", "needs a column file_name"),
        ("file_name,label\nno/0.wav,x\nno/0.wav,y\n", "line 3 names no file, or one that stands above"),
        ("file_name,label\n,x\n", "line 2 names no file"),
    ],
)
def test_bad_metadata(folder, text, said):
    (folder / "metadata.csv").write_text(text)
    with pytest.raises(DatasetError, match=said):
        open_dataset(folder)


def test_one_flat_folder_has_no_label(folder):
    assert open_dataset(folder / "yes").ds.column_names == ["audio", "file_name"]


def test_split_is_a_sub_folder(folder):
    assert len(open_dataset(folder, split="yes").ds) == 4
    with pytest.raises(DatasetError, match="no sub-folder 'test'"):
        open_dataset(folder, split="test")


def test_linked_folders_are_not_followed(folder, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret.wav").write_bytes(wave_bytes(tone(100), 16000, format="WAV"))
    (folder / "link").symlink_to(tmp_path / "private")
    (folder / "no" / "linked.wav").symlink_to(tmp_path / "private" / "secret.wav")
    source = open_dataset(folder)
    assert "link/secret.wav" not in source.ds["file_name"][:]
    row = source.ds["audio"][source.ds["file_name"][:].index("no/linked.wav")]
    assert read_clip(row, audio_root=source.audio_root).status == "refused"


def test_saved_datasets_and_their_splits(folder, tmp_path):
    ds = open_dataset(folder).ds
    ds.save_to_disk(tmp_path / "one")
    DatasetDict(train=ds, test=ds.select([0])).save_to_disk(tmp_path / "two")
    assert len(open_dataset(tmp_path / "one").ds) == 7
    assert len(open_dataset(tmp_path / "two").ds) == 7
    assert len(open_dataset(tmp_path / "two", split="test").ds) == 1
    with pytest.raises(DatasetError, match=r"no split 'dev'\. Splits there are: train, test"):
        open_dataset(tmp_path / "two", split="dev")


def test_tables(folder, tmp_path):
    ds = open_dataset(folder).ds.map(lambda row: {"n": 1})
    ds.to_parquet(tmp_path / "a.parquet")
    assert len(open_dataset(tmp_path / "a.parquet").ds) == 7
    bare = pa.table({"sound": pa.array([{"bytes": b"x", "path": "a"}]), "n": [1]})  # no feature types in the file
    pq.write_table(bare, tmp_path / "b.parquet")
    assert isinstance(open_dataset(tmp_path / "b.parquet").ds.features["sound"], Audio)
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    assert open_dataset(tmp_path / "c.csv").ds.column_names == ["x", "y"]


def test_what_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="neither sound files"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="no file or folder"):
        open_dataset(tmp_path / "nowhere.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match="can't be read as parquet"):
        open_dataset(tmp_path / "broken.parquet")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DatasetError, match="no table"):
        open_dataset(tmp_path / "a.txt")
    with pytest.raises(DatasetError, match="can't be loaded from the Hub"):
        open_dataset("nobody/nothing")


def test_unknown_audio_column(tmp_path):
    (tmp_path / "c.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DatasetError, match=r"no audio column 'z'\. Columns there are: x, y"):
        open_dataset(tmp_path / "c.csv", audio="z")


# -- writing


def test_written_folder_loads_with_its_audio_inside(folder, tmp_path):
    source = open_dataset(folder)
    (tmp_path / "out").mkdir()
    files = write_parquet(source.ds.select([6, 0]), tmp_path / "out", audio_root=source.audio_root)
    assert [f.name for f in files] == ["train-00000-of-00001.parquet"]
    again = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert again.features["label"].names == ["no", "yes"] and isinstance(again.features["audio"], Audio)
    rows = again.cast_column("audio", Audio(decode=False))["audio"][:]
    assert [r["path"] for r in rows] == ["3.flac", "0.wav"]
    assert rows[0]["bytes"] == (folder / "yes" / "3.flac").read_bytes()


def test_written_shards_are_split(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_select.export._SHARD_BYTES", 1)
    monkeypatch.setattr("hf_select.export._BATCH_ROWS", 3)
    source = open_dataset(folder)
    files = write_parquet(source.ds.shuffle(seed=0), tmp_path, audio_root=source.audio_root)
    assert [f.name for f in files] == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    assert sum(pq.read_table(f).num_rows for f in files) == 7


def test_empty_dataset_is_written_too(folder, tmp_path):
    [file] = write_parquet(open_dataset(folder).ds.select([]), tmp_path)
    assert pq.read_table(file).num_rows == 0


def test_paths_outside_are_not_embedded(tmp_path):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wave_bytes(tone(100), 16000, format="WAV"))
    for path in (str(secret), "http://127.0.0.1:9/x.wav", "../secret.wav"):
        ds = Dataset.from_dict({"audio": [path]}).cast_column("audio", Audio(decode=False))
        (tmp_path / "root").mkdir(exist_ok=True)
        with pytest.raises(AudioError):
            write_parquet(ds, tmp_path / "root", audio_root=str(tmp_path / "root"))


def test_flipped_bits_in_written_parquet_are_noticed(folder, tmp_path):
    source = open_dataset(folder)
    [file] = write_parquet(source.ds, tmp_path, audio_root=source.audio_root)
    data, rng = bytearray(file.read_bytes()), np.random.default_rng(0)
    middle = len(data) // 2
    for place in rng.integers(100, middle, 50):
        flipped = bytearray(data)
        flipped[place] ^= 1
        file.write_bytes(bytes(flipped))
        with pytest.raises((OSError, pa.ArrowInvalid)):
            pq.read_table(file, page_checksum_verification=True)


def test_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "out") as folder:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "out" / "a").read_text() == "a"


def test_an_old_folder_stays_until_the_new_one_is_whole(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(OutputError, match="did not write it"), new_folder(tmp_path / "out", overwrite=True):
        pass
    (tmp_path / "out" / "selection.json").write_text("{}")
    with pytest.raises(OutputError, match="--overwrite"), new_folder(tmp_path / "out"):
        pass
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out", overwrite=True):
        raise ZeroDivisionError
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["old", "selection.json"]
    with new_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_bad_places_are_refused_before_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        check_output(tmp_path / "file", overwrite=True)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(OutputError, match="can't be written to"):
        check_output(tmp_path / "x" / "y", overwrite=False)


def test_a_mended_file_is_read_again(folder):
    import hf_select as hs

    broken = folder / "no" / "1.wav"
    sound = broken.read_bytes()
    broken.write_bytes(b"junk")

    def status():
        source = open_dataset(folder)
        return hs.with_columns(source.ds, hs.Duration(audio_root=source.audio_root))["audio_status"][:]

    assert [text.split(":")[0] for text in status()] == ["ok", "unreadable", "ok", "ok", "ok", "ok", "ok"]
    broken.write_bytes(sound)
    assert status() == ["ok"] * 7
