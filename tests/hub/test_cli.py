"""prune --push-to, publish, load and verify on the command line, against a Hub over real HTTP."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, load_dataset

import hf_select as hs
from hf_select import cli
from hf_select.hub.kept_alone import NOT_COUNTED


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: (exit code, what it said, what it said beside)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["hf-select", *map(str, words), "--quiet"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return (left.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def refused(run):
    """Run a command that must fail with one sentence, and return the sentence."""

    def call(*words):
        code, said, beside = run(*words)
        assert (code, said) == (1, ""), said
        sentence = beside.strip().splitlines()[-1]
        assert sentence.startswith("Error: ") and "Traceback" not in beside
        return sentence

    return call


@pytest.fixture
def clips(tmp_path):
    """A folder of 30 short sounds under three labels, one of them silent."""
    rng = np.random.default_rng(0)
    for label, hertz in (("high", 900), ("low", 200), ("mid", 450)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for i in range(10):
            tone = np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * np.arange(2400 + 80 * i) / 8000)
            sound = 0.3 * tone + 0.01 * rng.normal(size=len(tone))
            soundfile.write(
                tmp_path / "clips" / label / f"{i:02d}.wav", 0 * sound if (label, i) == ("mid", 9) else sound, 8000
            )
    return tmp_path / "clips"


@pytest.fixture
def source(hub, clips):
    """The clips as a repository on the Hub, with a licence and speakers."""
    from huggingface_hub import metadata_update

    names = [f"{label}/{i:02d}.wav" for label in ("high", "low", "mid") for i in range(10)]
    columns = {
        "audio": [{"bytes": (clips / name).read_bytes(), "path": name.replace("/", "-")} for name in names],
        "label": [name.split("/")[0] for name in names],
        "speaker": [f"s{i % 4}" for i in range(30)],
    }
    Dataset.from_dict(columns).cast_column("audio", Audio()).push_to_hub(hub.name("source"))
    metadata_update(hub.name("source"), {"license": "cc-by-4.0"}, repo_type="dataset")
    return hub.name("source")


def sounds(ds):
    return [row["bytes"] for row in ds.cast_column("audio", Audio(decode=False))["audio"]]


@pytest.mark.parametrize("form", ["--rows", "--index"])
def test_from_the_hub_and_back(run, source, hub, tmp_path, form):
    words = ["--budget", "0.4", "--n-clusters", "3", "--config-name", "simple-40", form]
    code, said, beside = run("prune", source, *words, "--out", tmp_path / "pruned", "--push-to", hub.name("words"))
    assert code == 0, beside
    assert f"Published {hub.name('words')}, config simple-40 ({form[2:]}), at commit" in said
    assert ("load_dataset(" in said) == (form == "--rows")
    code, said, beside = run("load", hub.name("words"), "--out", tmp_path / "again", "--json")
    assert code == 0, beside
    assert json.loads(said)["rows"] == 12
    here = load_dataset(str(tmp_path / "pruned"), split="train")
    again = load_dataset(str(tmp_path / "again"), split="train")
    assert sounds(again) == sounds(here) and again["label"][:] == here["label"][:]
    assert ("speaker" in again.column_names) == (form == "--index")
    assert np.array_equal(hs.Selection.load(tmp_path / "again").indices, hs.Selection.load(tmp_path / "pruned").indices)
    for level, looked_at in (("keys", 1), ("scores", 2), ("full", 3)):
        code, said, beside = run("verify", hub.name("words"), "--level", level, "--json")
        assert code == 0, said + beside
        assert len(json.loads(said)["checked"]) == looked_at + (form == "--rows")


def test_a_folder_of_sound_goes_all_the_way(run, clips, hub, tmp_path):
    words = ["--budget", "3s", "--method", "random", "--licence", "cc0-1.0", "--push-to", hub.name("words"), "--json"]
    code, said, beside = run("prune", clips, *words)
    assert code == 0, beside
    assert json.loads(said)["published"]["config_name"] == "random-3s"
    card = hub.files(hub.name("words"))["README.md"].decode()
    assert "Kept per label" in card and NOT_COUNTED[:16] not in card and str(clips.parent) not in card
    assert "minutes of audio" in card  # counted while clips were decoded: the source has no column of seconds
    code, said, _ = run("verify", hub.name("words"), "--level", "full", "--dataset", clips)
    assert code == 0, said
    assert "identical (level full)" in said
    (clips / "low" / "03.wav").unlink()
    code, said, _ = run("verify", hub.name("words"), "--dataset", clips)
    assert code == 1
    assert "NOT identical" in said and "had 30 rows and has 29; 1 are gone" in said


def test_a_pruned_folder_says_what_it_cannot_know(run, clips, hub, tmp_path):
    code, _, beside = run("prune", clips, "--budget", "0.5", "--method", "random", "--out", tmp_path / "half")
    assert code == 0, beside
    words = [hub.name("words"), "--licence", "cc0-1.0"]
    code, said, beside = run("publish", tmp_path / "half", *words, "--columns", "audio,label")
    assert code == 0, beside
    assert NOT_COUNTED in said
    card = hub.files(hub.name("words"))["README.md"].decode()
    assert "**15 of 30 rows (50.0%), 0." in card and "15 rows, 0." in card  # hours of all rows are in the Selection
    assert NOT_COUNTED in card and "Kept per" not in card and "balance" not in card.lower()
    published = load_dataset(hub.name("words"), "random-50", split="train")
    assert published.column_names == ["audio", "label"]
    assert sounds(published) == sounds(load_dataset(str(tmp_path / "half"), split="train"))
    code, said, beside = run("publish", clips, *words, "--selection", tmp_path / "half", "--columns", "audio,label")
    assert code == 0, beside
    assert NOT_COUNTED not in said
    card = hub.files(hub.name("words"))["README.md"].decode()
    assert "Kept per label" in card and NOT_COUNTED not in card
    assert (
        "nothing had changed"
        in run("publish", clips, *words, "--selection", tmp_path / "half", "--columns", "audio,label")[1]
    )


@pytest.fixture
def demo_speech():
    """The training set of a small demo corpus."""
    pytest.importorskip("espeakng_loader", reason='needs eSpeak NG: pip install "hf-select[demo]"')
    from hf_select.demo.corpus import make_corpus

    return make_corpus(clips=200, num_proc=1)["train"]


@pytest.mark.slow
@pytest.mark.parametrize("corpus", ["speech_commands", "demo_speech"])
def test_speech_goes_all_the_way(run, request, hub, tmp_path, corpus):
    ds = request.getfixturevalue(corpus)
    ds.to_parquet(tmp_path / "speech.parquet")
    words = ["--budget", "0.7", "--licence", "cc-by-4.0", "--push-to", hub.name("commands")]
    code, said, beside = run("prune", tmp_path / "speech.parquet", *words)
    assert code == 0, beside
    assert "config kmeans-70 (rows)" in said
    code, said, _ = run("verify", hub.name("commands"), "--level", "full", "--dataset", tmp_path / "speech.parquet")
    assert code == 0, said
    code, _, beside = run("load", hub.name("commands"), "--out", tmp_path / "again")
    assert code == 0, beside
    again, sel = load_dataset(str(tmp_path / "again"), split="train"), hs.Selection.load(tmp_path / "again")
    assert len(again) == round(0.7 * len(ds))
    assert sounds(again) == sounds(sel.apply(ds))


def test_acquired_rows_are_chosen_again_from_the_record(run, hub, tmp_path, clips):
    """Of subgroups of what was measured in the sound: verify measures it again."""
    from hf_select.sources import open_dataset

    measured = hs.with_columns(open_dataset(str(clips)).ds, hs.SpeechMetadata(audio_root=str(clips)))
    wrong = [float(seconds is not None and seconds > 0.35) for seconds in measured["duration"]]
    found = hs.find_subgroups(
        measured.add_column("wrong", wrong), by=["label", "duration"], outcome="wrong", min_support=4
    )
    found.worst(2).save(tmp_path / "worst.json")
    words = ["--subgroups", tmp_path / "worst.json", "--budget", "6", "--out", tmp_path / "six"]
    code, _, beside = run("acquire", clips, *words)
    assert code == 0, beside
    code, _, beside = run("publish", clips, hub.name("words"), "--selection", tmp_path / "six", "--licence", "mit")
    assert code == 0, beside
    card = hub.files(hub.name("words"))["README.md"].decode()
    assert "hs.Subgroup.from_dict({" in card and "hs.SpeechMetadata(" in card and str(tmp_path) not in card
    code, said, beside = run("verify", hub.name("words"), "--level", "full", "--dataset", clips)
    assert code == 0, said + beside
    assert "select_subgroups run again: the same 6 rows in the same order" in said


def test_what_was_chosen_by_scores_is_verified_with_them(run, hub, tmp_path, clips):
    from hf_select.models import LeNetConfig, LeNetFeatureExtractor, LeNetForAudioClassification

    names = {"high": 0, "low": 1, "mid": 2}
    config = LeNetConfig(size="tiny", label2id=names, id2label={number: name for name, number in names.items()})
    LeNetForAudioClassification(config).save_pretrained(tmp_path / "model")
    LeNetFeatureExtractor().save_pretrained(tmp_path / "model")
    scored = ["--model", tmp_path / "model", "--columns", "loss", "--out", tmp_path / "scores"]
    code, _, beside = run("score", clips, *scored)
    assert code == 0, beside
    words = ["--method", "score", "--column", "loss", "--scores", tmp_path / "scores", "--budget", "0.3"]
    code, _, beside = run("prune", clips, *words, "--push-to", hub.name("words"), "--licence", "mit")
    assert code == 0, beside
    assert "hs.score(ds, 'model', columns=['loss']" in hub.files(hub.name("words"))["README.md"].decode()
    full = ["verify", hub.name("words"), "--level", "full", "--dataset", clips]
    code, said, _ = run(*full)
    assert code == 1 and "there is no column 'loss'" in said
    code, said, _ = run(*full, "--scores", tmp_path / "scores")
    assert code == 0, said


def test_rows_that_are_alike_are_published_from_their_folder(run, hub, tmp_path):
    ds = Dataset.from_dict({"text": ["a", "a", "b", "b", "c"], "loss": [1.0, 1.0, 3.0, 3.0, 2.0]})
    ds.to_parquet(tmp_path / "rows.parquet")
    words = ["--method", "score", "--column", "loss", "--budget", "3", "--keep", "lowest", "--out", tmp_path / "three"]
    assert run("prune", tmp_path / "rows.parquet", *words)[0] == 0
    code, _, beside = run(
        "publish", tmp_path / "three", hub.name("words"), "--licence", "mit", "--config-name", "three"
    )
    assert code == 0, beside
    assert load_dataset(hub.name("words"), "three", split="train")["text"][:] == ["a", "a", "c"]


def test_the_terms_of_the_source_go_with_the_folder(run, refused, source, hub, tmp_path):
    """A folder that was pruned of a private source is no way around its terms."""
    from huggingface_hub import HfApi

    assert run("prune", source, "--budget", "9", "--method", "random", "--out", tmp_path / "nine")[0] == 0
    noted = hs.Selection.load(tmp_path / "nine").source
    assert noted["repo_id"] == source and noted["revision"] == HfApi().dataset_info(source).sha
    HfApi().update_repo_settings(source, repo_type="dataset", private=True)
    assert "private" in refused("publish", tmp_path / "nine", hub.name("words"), "--rows", "--public")
    code, said, beside = run("publish", tmp_path / "nine", hub.name("words"))
    assert code == 0, beside
    assert "(index)" in said and "it is private" in said
    code, said, beside = run("verify", hub.name("words"), "--level", "full")
    assert code == 0, said + beside


def test_mistakes_are_one_sentence(refused, clips, hub, tmp_path):
    words, push = ["--budget", "0.5", "--method", "random"], ["--push-to", hub.name("words")]
    told = refused("prune", clips, *words, *push)
    assert "needs a licence" in told and "pass --licence, such as" in told
    assert "name/repository" in refused("prune", clips, *words, "--push-to", "words", "--licence", "mit")
    assert "no Selection in" in refused("publish", clips, hub.name("words"))
    assert "no Selection in" in refused("publish", clips, hub.name("words"), "--selection", tmp_path)
    for command in (["load", "me/none", "--out", tmp_path / "x"], ["verify", "me/none"]):
        assert "me/none can't be read from the Hub" in refused(*command)
    assert not hub.store.repos and not (tmp_path / "x").exists()
    hub.login("read")
    assert "may only read" in refused("prune", clips, *words, *push, "--licence", "mit")
    hub.login("expired")
    assert "log in again" in refused("prune", clips, *words, *push, "--licence", "mit")


def test_mistakes_about_what_is_published(run, refused, clips, hub, tmp_path):
    assert run("prune", clips, "--budget", "0.5", "--method", "random", "--out", tmp_path / "half")[0] == 0
    to = [tmp_path / "half", hub.name("words"), "--licence", "mit"]
    assert "no column 'colour'" in refused("publish", *to, "--columns", "colour")
    assert "pass --source 'name/repository' and --source-revision" in refused("publish", *to, "--index")
    assert "The source me/none can't be read" in refused("publish", *to, "--source", "me/none")
    assert run("publish", *to)[0] == 0
    assert "no subset 'other'" in refused("load", hub.name("words"), "--config-name", "other", "--out", tmp_path / "x")
    assert "name the source with --dataset" in refused("verify", hub.name("words"))
    assert run("prune", clips, "--budget", "0.2", "--method", "random", "--out", tmp_path / "less")[0] == 0
    other = [tmp_path / "less", hub.name("words"), "--licence", "mit", "--config-name", "random-50"]
    told = refused("publish", *other)
    assert "another Selection" in told and "choose another --config-name, or pass --overwrite." in told
    assert run("publish", *other, "--overwrite")[0] == 0
    assert run("load", hub.name("words"), "--out", tmp_path / "again", "--json")[0] == 0
    assert "--overwrite" in refused("load", hub.name("words"), "--out", tmp_path / "again")
    assert run("load", hub.name("words"), "--out", tmp_path / "again", "--overwrite")[0] == 0
    assert len(load_dataset(str(tmp_path / "again"), split="train")) == 6
    (tmp_path / "less" / "selection.parquet").write_bytes(b"PAR1")
    assert "damaged" in refused("publish", *other)


def test_no_command_takes_a_token():
    import typer

    for command in typer.main.get_command(cli.app).commands.values():
        assert not [name for parameter in command.params for name in parameter.opts if "token" in name]
