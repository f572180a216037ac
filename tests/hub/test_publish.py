"""publish and load_subset, over real HTTP, with the real clients."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset

import hf_select as hs
from hf_select.errors import ArgumentError, SelectionError
from hf_select.hub.policy import columns_to_publish, holds_local_paths
from hf_select.hub.publish import publish
from hf_select.hub.subset import load_subset
from hf_select.hub.verify import verify
from hf_select.subgroups.conditions import Condition


def clips(rows: int = 24) -> Dataset:
    """Make rows of real sound with labels, ages and speakers."""
    rng = np.random.default_rng(0)

    def clip(row: int) -> dict[str, object]:
        sound = io.BytesIO()
        soundfile.write(sound, 0.1 * rng.normal(size=1600 + row), 8000, format="FLAC")
        return {"bytes": sound.getvalue(), "path": f"clip{row:03d}.flac"}

    columns = {
        "audio": [clip(row) for row in range(rows)],
        "label": [("yes", "no", "stop")[row % 3] for row in range(rows)],
        "speaker": [f"s{row % 5}" for row in range(rows)],
        "duration": [(1600 + row) / 8000 for row in range(rows)],
        "embedding": rng.normal(size=(rows, 4)).astype("float32").tolist(),
    }
    return Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))


def test_rows_come_back(either_hub):
    ds = clips()
    sel = hs.select_random(ds, budget=0.5, seed=0)
    done = publish(ds, sel, either_hub.name("words"), licence="cc-by-4.0")
    assert (done.config_name, done.rows, done.changed) == ("random-50", True, True)
    again = load_subset(either_hub.name("words"))
    kept = sel.apply(ds)
    assert again.column_names == ["audio", "label", "duration"]
    again = again.cast_column("audio", Audio(decode=False))
    assert [row["bytes"] for row in again["audio"]] == [row["bytes"] for row in kept["audio"]]
    plain = load_dataset(either_hub.name("words"), "random-50", split="train").cast_column("audio", Audio(decode=False))
    assert plain["label"][:] == kept["label"][:]
    assert not publish(ds, sel, either_hub.name("words"), licence="cc-by-4.0").changed


def source_of(either_hub, ds: Dataset, **front) -> tuple[str, Dataset]:
    """Publish a source repository, and load it again as a user has it."""
    from huggingface_hub import DatasetCard, DatasetCardData, HfApi

    name = either_hub.name("source")
    ds.cast_column("audio", Audio()).push_to_hub(name)
    card = DatasetCard.load(name)
    card.data = DatasetCardData(**{**card.data.to_dict(), **front})
    card.push_to_hub(name)
    commit = HfApi().dataset_info(name).sha
    return commit, load_dataset(name, split="train", revision=commit).cast_column("audio", Audio(decode=False))


@pytest.mark.parametrize("streaming", [False, True])
def test_an_index_gives_the_same_rows(either_hub, streaming):
    commit, ds = source_of(either_hub, clips(), license="cc-by-nd-4.0")
    sel = hs.select_random(ds, budget=7, seed=0)
    done = publish(ds, sel, either_hub.name("index"), source=either_hub.name("source"), source_revision=commit)
    assert not done.rows
    assert "allows no derivatives" in done.said[0]
    files = either_hub.files(either_hub.name("index"))
    assert not [path for path in files if path.endswith(".parquet") and "/selection/" not in path]
    again = load_subset(either_hub.name("index"), streaming=streaming)
    kept = sel.apply(ds)
    found = [row["label"] for row in again.remove_columns("audio")] if streaming else again["label"][:]
    assert found == kept["label"][:]


def failing() -> list[hs.Subgroup]:
    """Two subgroups, one of a bin."""
    no, long = Condition("label", "no"), Condition("duration", "high", low=0.2014)
    return [hs.Subgroup((no,), divergence=-0.2, count=8), hs.Subgroup((long,), divergence=-0.1, count=13)]


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("budget", [7, 0.3, "1s"])
def test_verify_at_every_level(either_hub, rows, budget):
    commit, ds = source_of(either_hub, clips(), license="cc-by-4.0")
    makers = [
        lambda: hs.select_random(ds, budget=budget, seed=1, per="label" if budget == 0.3 else None),
        lambda: hs.select_kmeans(ds, budget=budget, n_clusters=3, seed=1),
        lambda: hs.select_by_score(ds, budget=budget, column="duration"),
        lambda: hs.select_subgroups(ds, failing(), budget=budget, fill="proportional"),
        lambda: hs.select_subgroups(ds, failing()),
    ]
    for number, make in enumerate(makers):
        pinned = {"source": either_hub.name("source"), "source_revision": commit, "rows": rows}
        publish(ds, make(), either_hub.name("subsets"), config_name=f"c{number}", columns=["audio", "label"], **pinned)
        found = verify(either_hub.name("subsets"), f"c{number}", level="full")
        assert found, str(found)
        assert len(found.checked) == 3 + rows


def test_verify_says_what_differs(either_hub):
    commit, ds = source_of(either_hub, clips(), license="cc-by-4.0")
    sel = hs.select_by_score(ds, budget=5, column="duration")
    pinned = {"source": either_hub.name("source"), "source_revision": commit}
    publish(ds, sel, either_hub.name("subsets"), config_name="five", **pinned)
    found = verify(either_hub.name("subsets"), "five", ds=ds.select(range(20)))
    assert not found
    assert "had 24 rows and has 20; 4 are gone" in found.differences[0]
    other = ds.remove_columns("duration").add_column("duration", list(range(24, 0, -1)))
    found = verify(either_hub.name("subsets"), "five", level="full", ds=other)
    assert not found
    assert "run again keeps 10 other rows" in found.differences[0]


def test_choices_in_a_row_are_made_again(either_hub):
    commit, ds = source_of(either_hub, clips(), license="cc-by-4.0")
    first = hs.select_subgroups(ds, failing())
    sel = first.then(hs.select_random(first.apply(ds), budget=0.5, seed=3))
    pinned = {"source": either_hub.name("source"), "source_revision": commit}
    publish(ds, sel, either_hub.name("subsets"), config_name="two", **pinned)
    found = verify(either_hub.name("subsets"), "two", level="full")
    assert found and len(found.checked) == 3, str(found)
    with pytest.raises(ArgumentError, match="level='full'"):
        verify(either_hub.name("subsets"), "two", level="scores")


def test_one_config_is_the_default(either_hub):
    ds, name = clips(), either_hub.name("words")
    for seed, config in enumerate(("a", "b", "c")):
        publish(
            ds,
            hs.select_random(ds, budget=6, seed=seed),
            name,
            config_name=config,
            licence="mit",
            default=config == "b",
        )
    assert load_dataset(name, split="train")["duration"][:] == load_subset(name, "b")["duration"][:]
    assert load_subset(name)["duration"][:] == load_subset(name, "b")["duration"][:]
    publish(ds, hs.select_random(ds, budget=6, seed=2), name, config_name="c", licence="mit", default=True)
    assert load_dataset(name, split="train")["duration"][:] == load_subset(name, "c")["duration"][:]


def test_other_rows_under_the_same_selection_are_refused(either_hub):
    ds, name = clips(), either_hub.name("words")
    sel = hs.select_random(ds, budget=6)
    publish(ds, sel, name, licence="mit")
    head = either_hub.head(name)
    with pytest.raises(SelectionError, match=r"other columns .* overwrite=True"):
        publish(ds, sel, name, licence="mit", columns=["audio", "label", "embedding"])
    assert either_hub.head(name) == head
    publish(ds, sel, name, licence="mit", columns=["audio", "label", "embedding"], overwrite=True)
    assert load_subset(name).column_names == ["audio", "label", "embedding"]


def test_a_subset_beside_its_source_hides_nothing(either_hub):
    """Files that no config lists are found by their names, until there is a config: then they have to be listed."""
    name = either_hub.name("source")
    ds = clips()
    parts = {"train-00000": range(10), "train-00001": range(10, 16), "test": range(16, 24)}
    files = {}
    for part, rows in parts.items():
        ds.select(rows).to_parquet(file := io.BytesIO())
        files[f"data/{part}.parquet"] = file.getvalue()
    card = b"---\nlicense: mit\n---\n\n# Mine\n\nMy own words.\n"
    either_hub.create(name, {"README.md": card, **files})
    train = load_dataset(name, split="train", revision=either_hub.head(name)).cast_column("audio", Audio(decode=False))
    sel = hs.select_random(train, budget=4)
    publish(train, sel, name, config_name="random-4")
    for split, rows in (("train", 16), ("test", 8)):
        assert len(load_dataset(name, split=split)) == len(load_dataset(name, "default", split=split)) == rows
    assert len(load_dataset(name, "random-4", split="train")) == 4
    page = either_hub.files(name)["README.md"].decode()
    assert "My own words." in page and "path:\n    - data/train-0000*\n  - split: test\n" in page
    assert verify(name, "random-4", level="full")


def test_columns_that_could_tell_who_or_where_are_left_out():
    columns = {
        "speakerId": ["a"], "speaker_age": [30], "notes": [{"file": "/home/ann/x.wav"}], "files": [["C:\\ann\\x.wav"]],
        "ids": [[1]], "text": ["/s/ is a sound"], "more": [{"n": 1}],
    }  # fmt: skip
    ds = Dataset.from_dict(columns)
    kept, said = columns_to_publish(ds, None)
    assert kept == ["speaker_age", "text", "more"]
    assert said == (
        "Left out: speakerId, ids (vectors and speakers are published only where columns= names them).",
        "Left out: notes, files (paths of this machine).",
    )
    assert holds_local_paths(ds.data.column("files")) and not holds_local_paths(ds.data.column("more"))


def test_long_and_foreign_names(either_hub):
    """Of labels, files and columns: with spaces, in other scripts, of 300 characters."""
    words = ["two words", "да — нет", "日本語 \U0001f600", "x" * 300, "a|b", "Ünïcode/ñ"]
    ds = clips().select(range(12)).remove_columns("embedding")
    sounds = [{**row, "path": f"{words[i % 6][:80].replace('/', ' ')} {i}.flac"} for i, row in enumerate(ds["audio"])]
    columns = {"audio": sounds, "label": [words[i % 6] for i in range(12)], "Größe in cm": list(range(12))}
    ds = Dataset.from_dict(columns).cast_column("audio", Audio(decode=False))
    sel = hs.select_random(ds, budget=1, per="label", seed=0)
    name = either_hub.name("foreign")
    publish(ds, sel, name, licence="mit", config_name="one-each", by=["Größe in cm"])
    plain = load_dataset(name, "one-each", split="train").cast_column("audio", Audio(decode=False))
    kept = sel.apply(ds)
    assert plain["label"][:] == kept["label"][:] and plain.column_names == ds.column_names
    assert [row["path"] for row in load_subset(name).cast_column("audio", Audio(decode=False))["audio"]] == [
        row["path"] for row in kept["audio"]
    ]
    assert verify(name, level="full", ds=ds)


def test_rows_acquired_in_a_training_are_published(either_hub):
    """Their card says in which rounds they came, and counts those that did not as not asked for, not as unusable."""
    from huggingface_hub import DatasetCard

    from hf_select.training.divergence import Proposal

    ds = clips()
    view = hs.ActiveView(ds, range(12), 12)
    callback = hs.AcquisitionCallback(view, acquire=lambda model, pool: hs.select_random(pool, budget=3, seed=0))
    ledger = callback.ledger
    ledger.enter(ledger.decide(1, Proposal(np.array([4, 0, 7]), ["label = yes", None, "label = yes"])))
    sel = callback.selection
    name = either_hub.name("acquired")
    hs.publish(ds, sel, name, licence="cc-by-4.0", config_name="acquired")
    again = load_subset(name, "acquired").cast_column("audio", Audio(decode=False))
    assert [row["path"] for row in again["audio"]] == [f"clip{row:03d}.flac" for row in (*range(12), 12, 16, 19)]
    assert verify(name, "acquired", level="keys", ds=ds)
    card = DatasetCard.load(name, repo_type="dataset").text
    assert "acquired round by round" in card and "could not be chosen at all" not in card
