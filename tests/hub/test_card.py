"""The card: counts by hand, front matter that the Hub and datasets read, what others wrote kept, nothing injected."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from datasets import Audio, ClassLabel, Dataset, Features, List, Value, load_dataset
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, HubError, SelectionError
from hf_select.hub.card import card_of
from hf_select.hub.facts import config_facts
from hf_select.hub.front import dataset_info
from hf_select.hub.pictures import draw_pictures
from hf_select.report.markdown import shown

from .cards import card_problems

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = {"repo_id": "google/speech_commands", "config": "v0.02", "split": "train", "revision": COMMIT}
HOSTILE = [
    "yes|no", "a\\|b", "``code``", "`a`|`b`", "**loud**", "_soft_ __x__", "~~gone~~", "# heading", "- item", "1. one", "> quote",
    "---", "===", "|---|---|", "[x](javascript:alert(1))", "![x](https://evil.example/a.png)", "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>", "<!-- hidden -->", "--> <b>out</b> <!--", "<!-- hf_select: end kmeans-70 -->",
    "<!-- hf_select: begin kmeans-70 -->", "<https://evil.example>", "https://evil.example/?a=1&b=2", "www.evil.example",
    "mailto:a@b.example", "&lt;b&gt;", "[ref]: https://evil.example", "$x^2$", "two\nlines\r\n\n\n# three", "```\nfence\n```",
    "~~~", "- [ ] task", "\x1b[31mred\x1b[0m", "abc\u202egnp.exe", "a\u2028b\u0085c", "\ufeffmark", "{{ 7*7 }} {% raw %}", "x" * 500,
    "---\nlicense: mit\n---", "a: b\nlicense: mit", "'\"", "!!python/object:os.system", "&a *a", "null", "yes", "1.10",
    "</td></tr></table>", "🙂 ünïcode 语音 صوت", "@somebody :smile:", " spaces ", "\ttab",
]  # fmt: skip


def table(labels: list[str], **columns) -> Dataset:
    size = len(labels)
    given = {
        "id": [f"r{row}" for row in range(size)],
        "label": labels,
        "loss": [float(-row) for row in range(size)],
        **columns,
    }
    return Dataset.from_dict(given)


def facts_of(ds: Dataset, budget, config_name="score-50", **more):
    sel = hs.select_by_score(ds, budget=budget, column="loss", key="id")  # keeps the first rows
    return config_facts(ds, sel, **{"config_name": config_name, "licence": "cc-by-4.0", "source": SOURCE, **more})


def front(card: str) -> dict:
    return DatasetCard(card).data.to_dict()


def section(card: str, title: str) -> str:
    return card.split(f"### {title}\n")[1].split("\n### ")[0]


@pytest.fixture(scope="module")
def words() -> Dataset:
    """12 rows of a, 8 of b, 4 of c; a budget of 12 keeps all of a."""
    who = ["Annika"] * 9 + ["Bob", "Cy", "Di"] + ["Evelyn"] * 12
    return table(["a"] * 12 + ["b"] * 8 + ["c"] * 4, duration=[360.0] * 24, accent=["x", "y"] * 12, speaker=who)


# -- counts


def test_counts_by_hand(words):
    facts = facts_of(words, 15, by=["accent"])
    assert facts.kept == {"rows": 15, "hours": 1.5} and facts.total == {"rows": 24, "hours": 2.4}
    label, accent = facts.tables
    assert label["values"] == [
        ["b", None, 8, None, pytest.approx(0.8)],
        ["a", 12, 12, pytest.approx(1.2), pytest.approx(1.2)],
    ]
    assert label["hidden"] == {"values": 1, "rows": None}  # c has 4 rows
    assert accent["values"] == [
        ["y", 7, 12, *map(pytest.approx, (0.7, 1.2))],
        ["x", 8, 12, *map(pytest.approx, (0.8, 1.2))],
    ]
    card = card_of([facts], "me/commands")
    assert "**15 of 24 rows (62.5%), 1.50 of 2.40 hours of audio**" in card
    kept = section(card, "What was kept, and why")
    assert "| b | under 5 | 8 | under 62.5% | not given | 0.80 |\n| a | 12 | 12 | 100.0% | 1.20 | 1.20 |" in kept
    assert (
        "Where 1 to 4 rows are kept, their number is not given. 1 value of fewer than 5 rows in the source is not shown."
        in kept
    )
    share = np.array([12, 3]) / 15
    after = -(share * np.log(share)).sum() / np.log(3)
    assert f"| label | 3 | 2 | {facts.tables[0]['balance'][2]:.3f} | {after:.3f} |" in kept
    assert "9 rows, 0.90 hours of the source are not in this subset.\n" in section(card, "What was lost")
    json.dumps(dataclasses.asdict(facts))  # plain values


def test_small_cells_are_nowhere():
    ds = table(["a"] * 40 + ["b"] * 40, city=["Rome"] * 37 + ["Tinytown"] * 3 + ["Turin"] * 36 + ["Smallville"] * 4)
    facts = facts_of(ds, 40, by=["city"])
    card = card_of([facts], "me/x")
    assert "Tinytown" not in card and "Smallville" not in card and "Tinytown" not in str(facts)
    assert "2 values of fewer than 5 rows in the source, 7 rows together, are not shown." in card
    assert "1 value of city is lost entirely: Turin." in card


def test_long_tables_are_cut_and_summed_up():
    names = [f"w{i:03d}" for i in range(100)]
    ds = table([name for name in names for _ in range(6)])
    card = card_of([facts_of(ds, 360)], "me/x")  # w000 to w059 whole
    rows = [line for line in card.splitlines() if re.match(r"\| (w\d|60 more)", line)]
    assert (
        len(rows) == 41
        and rows[-1] == "| 60 more values | 360 | 360 | 100.0% |"
        and rows[0] == "| w060 | 0 | 6 | 0.0% |"
    )
    assert "Of 100 values, the 40 that lost the largest share come first." in card
    assert "40 values of label are lost entirely: w060, w061, w062, w063, w064, w065 and 34 more." in card


def test_limitations_come_from_the_facts(words):
    card = card_of([facts_of(words, 12)], "me/x")
    limits = section(card, "Limitations")
    assert "- 1 value of label is lost entirely: b.\n" in limits  # c is too small to be named
    assert "One speaker gives 75% of the kept rows (the largest in the source: 50%)." in limits
    assert "1 of 5 speakers of the source have no row left." in limits
    assert "less balanced than in the source: 0.000 against 0.921" in limits
    for name in ("Annika", "Bob", "Evelyn"):
        assert name not in card

    noise = table(["a", "b"] * 50, snr_db=[30.0 - row / 4 for row in range(100)])
    limits = section(card_of([facts_of(noise, 0.5)], "me/x"), "Limitations")
    assert "Kept rows have a median snr\\_db of 23.88, all rows 17.62: low values are under-represented." in limits

    half = table(["a"] * 10 + ["b"] * 20, status=["ok"] * 30)
    assert "1 value of label lost more than half of its rows: b." in card_of([facts_of(half, 18)], "me/x")
    uneven = table(["a"] * 10 + ["b"] * 90)
    assert "lost more than half of what an even cut would have left: b" in card_of([facts_of(uneven, 18)], "me/x")

    broken = table(
        ["a"] * 20, audio_status=["truncated: '/home/ann/x.wav' has 1 of 2 s"] * 2 + ["silent"] + ["ok"] * 17
    )
    card = card_of([facts_of(broken, 10)], "me/x")
    assert "3 of 20 rows could not be chosen at all (truncated 2, silent 1)" in section(card, "Limitations")
    assert "| truncated | 2 |\n| silent | 1 |" in section(card, "What was lost")
    even = card_of([facts_of(table(["a", "b"] * 20), 20)], "me/x")
    assert section(even, "Limitations").count("\n- ") == 1  # of the method alone


def test_unknown_origin_and_licence_are_said(words):
    card = card_of([facts_of(words, 12, licence=None, source={"repo_id": None})], "me/x")
    assert (
        "The source is not on the Hub as far as is known here" in card and "licence of the source is not known" in card
    )
    assert front(card)["source_datasets"] == ["original"] and "license" not in front(card)
    card = card_of([facts_of(words, 12, source={"repo_id": "a/b"})], "me/x")
    assert (
        "The revision of the source was not recorded" in card and "[a/b](https://huggingface.co/datasets/a/b)," in card
    )


def test_methods_their_words_and_papers(words):
    vectors = words.add_column("x", np.arange(24, dtype=np.float32).reshape(-1, 1).tolist())
    simple = hs.select_kmeans(vectors, budget=0.5, n_clusters=2, column="x", key="id")
    card = card_of([config_facts(vectors, simple, config_name="kmeans-50", source=SOURCE)], "me/x")
    assert "Here: column = x, n\\_clusters = 2, drop = simple, metric = euclidean." in card
    assert "arXiv:2309.11922" in section(card, "Citation") and "what is typical is rarer here" in card

    random = hs.select_random(words, budget=6, per="label", seed=3, key="id")
    card = card_of([config_facts(words, random, config_name="random-6", source=SOURCE)], "me/x")
    assert "### Citation" not in card and "Keep rows by chance, uniformly" in card

    found = hs.find_subgroups(
        words.add_column("wrong", [0.0] * 12 + [1.0] * 12), by=["accent", "label"], outcome="wrong", min_support=4
    )
    sub = hs.select_subgroups(words, found.worst(1), key="id")
    card = card_of([config_facts(words, sub, config_name="subgroups", source=SOURCE)], "me/x")
    assert (
        "koudounas2024prioritizing" in card
        and "pastor2021looking" in card
        and "| subgroup | rows in the source" in card
    )
    assert (
        "hs.Subgroup.from_dict({" in card
        and "budget=" not in section(card, "Make it again")
        and "could not be chosen at all" not in card
    )

    both = random.then(hs.select_random(random.apply(words), budget=3, key="id"))
    card = card_of([config_facts(words, both, config_name="both", source=SOURCE)], "me/x")
    assert front(card)["tags"] == ["hf_select", "select_random"]
    assert_rebuilds(words, both)
    assert_rebuilds(words, sub)
    strange = dataclasses.replace(random, method="select_mine")
    code = config_facts(words, strange, config_name="mine", source=SOURCE).code
    assert code[-1] == "sel = ...  # select_mine is not of hf_select: selection.json holds its parameters"


def assert_rebuilds(ds: Dataset, sel: hs.Selection):
    """Run the lines that a card gives, on the dataset that is at hand."""
    code = config_facts(ds, sel, config_name="again", source={}).code
    scope = {"ds": ds}
    exec(compile("\n".join(line for line in code if not line.startswith("ds = ...")), "card", "exec"), scope)
    assert scope["sel"] == sel and len(scope["small"]) == len(sel)


def test_the_lines_that_rebuild_it_do(words):
    assert_rebuilds(words, hs.select_by_score(words, budget=0.5, column="loss", key="id"))
    sel = hs.select_by_score(words, budget=0.5, column="loss", key="id")
    sel.facts["recipe"] = "ds = hs.with_columns(ds, hs.Duration())"
    code = config_facts(words, sel, config_name="score-50", source=SOURCE).code
    assert code[3:5] == [
        f"ds = load_dataset('google/speech_commands', 'v0.02', split='train', revision='{COMMIT}')",
        "ds = hs.with_columns(ds, hs.Duration())",
    ]


def test_wrong_input(words):
    facts = facts_of(words, 12)
    with pytest.raises(ColumnError, match="no column 'sex'"):
        facts_of(words, 12, by=["sex"])
    with pytest.raises(SelectionError):
        config_facts(
            table(["q"] * 5).map(lambda r: {"id": r["id"] + "!"}),
            hs.select_random(words, budget=3, key="id"),
            config_name="x",
        )
    for name in ("", "a/b", "a b", "../x", "a\nb", "-x", "a--><b>", "é", "x" * 97):
        with pytest.raises(ArgumentError, match="A config name is made of"):
            card_of([dataclasses.replace(facts, config_name=name)], "me/x")
    for name in ("", "a/b/c", "me/<b>", "me/x y", "https://evil.example/x"):
        with pytest.raises(ArgumentError, match="repo_id="):
            card_of([facts], name)
    with pytest.raises(ArgumentError, match="mark of ours"):
        card_of([dataclasses.replace(facts, text="<!-- hf_select: end score-50 -->")], "me/x")
    with pytest.raises(ArgumentError, match="different names"):
        card_of([facts, facts], "me/x")


# -- front matter


def audio_rows(size: int = 30) -> Dataset:
    """A column of audio that is not decoded, here and inside a list and a struct."""
    cell = pa.StructArray.from_arrays(
        [pa.array([b"RIFF"] * size), pa.array([f"{i}.wav" for i in range(size)])], ["bytes", "path"]
    )
    columns = {"audio": cell, "label": pa.array([row % 2 for row in range(size)]), "text": pa.array(["hello"] * size)}
    data = pa.table(
        {"id": pa.array([f"r{row}" for row in range(size)]), **columns, "loss": pa.array(np.arange(size, dtype=float))}
    )
    ds = Dataset(data).cast_column("audio", Audio(sampling_rate=16000, decode=False))
    return ds.cast_column("label", ClassLabel(names=["no", "yes"]))


def test_front_matter_is_what_the_hub_and_datasets_read():
    ds = audio_rows()
    card = card_of(
        [facts_of(ds, 0.5, source_card={"language": [False, "en", "<x>"], "license_name": "unused"})], "me/commands"
    )
    data = front(card)
    assert card_problems(card) == ([], [])
    assert {name: data[name] for name in data if name not in ("configs", "dataset_info")} == {
        "license": "cc-by-4.0",
        "language": ["no", "en"],  # YAML reads a bare `no` as False
        "pretty_name": "commands",
        "task_categories": ["audio-classification", "automatic-speech-recognition"],
        "size_categories": ["n<1K"],
        "source_datasets": ["google/speech_commands"],
        "tags": ["hf_select", "audio", "select_by_score"],
    }
    configs = MetadataConfigs.from_dataset_card_data(DatasetCard(card).data)
    files = [{"split": "train", "path": "score-50/train-*.parquet"}]
    assert dict(configs) == {"score-50": {"data_files": files, "default": True}}
    info = DatasetInfosDict.from_dataset_card_data(DatasetCard(card).data)["score-50"]
    assert info.features == Features({**ds.features, "audio": Audio(sampling_rate=16000)}) and "decode" not in card
    assert info.splits["train"].num_examples == 15


def test_nested_audio_is_written_as_audio():
    undecoded = Audio(decode=False)
    features = Features(
        {"a": undecoded, "b": List(undecoded), "c": {"d": undecoded, "e": List({"f": undecoded})}, "g": Value("int64")}
    )
    info = dataset_info(features, "x", "train", 3, 10, 5)
    assert "decode" not in str(info) and Features._from_yaml_list(info["features"]) == Features(
        {"a": Audio(), "b": List(Audio()), "c": {"d": Audio(), "e": List({"f": Audio()})}, "g": Value("int64")}
    )
    assert (info["dataset_size"], info["download_size"], info["splits"][0]["num_bytes"]) == (10, 5, 10)


def test_a_repository_with_this_card_loads(tmp_path):
    ds = audio_rows()
    sel = hs.select_by_score(ds, budget=0.5, column="loss", key="id")
    features = Features({name: ds.features[name] for name in ("id", "label", "text")})
    rows = config_facts(ds, sel, config_name="score-50", features=features, licence="mit", source=SOURCE)
    index = config_facts(ds, sel, config_name="index-50", rows=False, licence="mit", source=SOURCE)
    (tmp_path / "README.md").write_text(card_of([rows, index], "me/commands"), encoding="utf-8")
    for name in ("score-50", "index-50"):
        sel.save(tmp_path / name / "selection")
    sel.apply(ds).select_columns(list(features)).to_parquet(tmp_path / "score-50" / "train-00000-of-00001.parquet")
    there = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))  # the default
    assert there["id"][:] == [f"r{row}" for row in range(15, 30)] and there.features == features
    index = load_dataset(str(tmp_path), "index-50", split="index", cache_dir=str(tmp_path / "cache"))
    assert index.num_rows == 30 and sum(rank is not None for rank in index["rank"]) == 15 and index["key"][3] == "r3"
    assert "Columns of the source that are not published here: audio, loss." in card_of([rows], "me/x")


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (9999, "1K<n<10K"), (10**6, "1M<n<10M"), (10**7, "10M<n<100M")],
)
def test_size_categories(words, rows, size):
    facts = facts_of(words, 12)
    info = dataset_info(Features({"a": Value("string")}), "score-50", "train", rows, 0, 0)
    assert front(card_of([dataclasses.replace(facts, info=info)], "me/x"))["size_categories"] == [size]


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("my-own", {"license": "other", "license_name": "my-own"}),
        ("mit", {"license": "mit"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Ours: ask <us>\n# x", {"license": "other", "license_name": "ours-ask-us-x"}),
        ("other", {"license": "other", "license_name": "speech-1", "license_link": "LICENSE"}),
    ],
)
def test_licence_is_inherited(words, licence, said):
    card = card_of(
        [facts_of(words, 12, licence=licence, source_card={"license_name": "speech-1", "license_link": "LICENSE"})],
        "me/x",
    )
    data = front(card)
    assert {name: data[name] for name in data if name.startswith("license")} == said
    assert card_problems(card) == ([], [])


def test_the_gate_goes_along_with_rows(words):
    gate = {
        "extra_gated_prompt": "Do not\n---\nidentify anyone.\n",
        "extra_gated_fields": {"Name": "text", "I agree": "checkbox"},
    }
    data = front(card_of([facts_of(words, 12, source_card=gate)], "me/x"))
    assert {name: data[name] for name in gate} == gate
    assert "extra_gated_prompt" not in front(card_of([facts_of(words, 12, rows=False, source_card=gate)], "me/x"))
    other = {"extra_gated_prompt": "Be kind.", "extra_gated_fields": {"Name": "text", "Country": "country"}}
    card = card_of([facts_of(words, 12, source_card=gate)], "me/x")
    second = facts_of(words, 6, config_name="second", source_card=other)
    both = card_of([second], "me/x", existing=card)
    assert front(both)["extra_gated_prompt"] == "Do not\n---\nidentify anyone.\n\nBe kind."
    assert set(front(both)["extra_gated_fields"]) == {"Name", "I agree", "Country"}
    assert card_of([second], "me/x", existing=both) == both


# -- what others wrote

FOREIGN = """---
# a comment of mine
language: no
version: 1.10
license: mit
tags: [speech,
  mine]
configs:
- config_name: mine
  data_files: mine/*.parquet
  default: true
dataset_info:
  config_name: mine
  features:
  - name: a
    dtype: strange_new_type
size_categories: [10K<n<100K]
custom: {deep: [1, {x: y}]}
---
# My corpus

Text   with *odd*  spacing.


## After
"""


def test_what_others_wrote_stays(words):
    facts = facts_of(words, 12)
    card = card_of([facts], "me/corpus", existing=FOREIGN)
    for line in ("# a comment of mine", "language: no", "version: 1.10", "custom: {deep: [1, {x: y}]}"):
        assert f"{line}\n" in card.split("---\n")[1]
    assert FOREIGN.split("---\n")[2].rstrip() + "\n\n<!-- hf_select: begin score-50 -->" in card
    assert card.count("# My corpus") == 1 and ":list" not in card
    data = front(card)
    assert data["license"] == ["mit", "cc-by-4.0"] and data["tags"] == [
        "speech",
        "mine",
        "hf_select",
        "select_by_score",
    ]
    assert data["configs"][0] == {"config_name": "mine", "data_files": "mine/*.parquet", "default": True}
    assert [config["config_name"] for config in data["configs"]] == ["mine", "score-50"] and "default" not in data[
        "configs"
    ][1]
    assert data["dataset_info"][0] == {"config_name": "mine", "features": [{"name": "a", "dtype": "strange_new_type"}]}
    assert data["size_categories"] == ["10K<n<100K"]  # nobody counted the rows of "mine"
    assert data["pretty_name"] == "corpus" and card_of([facts], "me/corpus", existing=card) == card


def test_only_our_part_is_replaced(words):
    first, second = facts_of(words, 12), facts_of(words, 18, config_name="score-75")
    card = card_of([first], "me/x")
    edited = card.replace("# x\n", "# x\n\nedited in our part\n") + "\nMine, at the end.\n"
    both = card_of([second], "me/x", existing=edited)
    assert "edited in our part" not in both and both.endswith("<!-- hf_select: end score-75 -->\n\nMine, at the end.\n")
    assert "| score-50 | 12 (train) | yes |\n| score-75 | 18 (train) | no |" in both
    again = card_of([dataclasses.replace(first, text="New words.")], "me/x", existing=both)
    assert "New words." in again and again.replace("\n\nNew words.", "") == both
    assert card_of([second, first], "me/x", existing=card_of([first], "me/x")) == card_of([first, second], "me/x")
    assert front(card_of([second], "me/x", existing=card, default="score-75"))["configs"][1]["default"]
    with pytest.raises(ArgumentError, match="no config of this repository: score-50"):
        card_of([first], "me/x", default="nope")
    torn = both.replace(
        "<!-- hf_select: end score-50 -->", ""
    )  # somebody lost the end mark: nothing else is taken away
    mended = card_of([first], "me/x", existing=torn)
    assert "Mine, at the end." in mended and mended.count("## score-75") == 1
    assert card_of([first], "me/x", existing=mended) == mended


def test_windows_line_ends_and_a_byte_order_mark(words):
    facts = facts_of(words, 12)
    card = card_of([facts], "me/x", existing=FOREIGN.replace("\n", "\r\n"))
    assert card.count("\r\n") == card.count("\n") and card.replace("\r\n", "\n") == card_of(
        [facts], "me/x", existing=FOREIGN
    )
    assert card_of([facts], "me/x", existing="\ufeff" + FOREIGN) == card_of([facts], "me/x", existing=FOREIGN)


def test_cards_without_front_matter_and_with_broken_ones(words):
    facts = facts_of(words, 12)
    card = card_of([facts], "me/x", existing="# Only text\n")
    assert "---\n\n# Only text\n\n<!-- hf_select: begin score-50 -->" in card
    for broken in ("---\n- a\n- b\n---\n", "---\na: [\n---\n", "---\na: b: c\n---\n"):
        with pytest.raises(HubError, match="mend it first"):
            card_of([facts], "me/x", existing=broken)
    anchors = "---\nlicense: &l [mit]\ntags: *l\n---\n"
    assert front(card_of([facts], "me/x", existing=anchors))["tags"] == ["mit", "hf_select", "select_by_score"]
    assert front(card_of([facts], "me/x", existing="---\n{license: mit, a: 1}\n---\n"))["a"] == 1


def test_files_in_no_config_stay_in_sight(words):
    facts = facts_of(words, 12)
    card = card_of([facts], "me/x", existing="# Data\n", unlisted=[{"split": "train", "path": "data/train-*"}])
    assert front(card)["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}], "default": True},
        {"config_name": "score-50", "data_files": [{"split": "train", "path": "score-50/train-*.parquet"}]},
    ]
    assert MetadataConfigs.from_dataset_card_data(DatasetCard(card).data).get_default_config_name() == "default"
    with pytest.raises(ArgumentError, match="named 'default' here"):
        card_of([facts], "me/x", existing=card, default="score-50")


# -- words from strangers


def skeleton(card: str) -> list:
    """Return everything of a rendered card but its words."""
    markdown_it = pytest.importorskip("markdown_it")
    body = DatasetCard(card).text
    found = []
    for token in markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body):
        found.append(
            (token.type, token.tag, token.info, str(token.attrs), token.content if token.type == "html_block" else "")
        )
        inline = [child for child in token.children or [] if child.type not in ("text", "text_special")]
        found += [
            (child.type, child.tag, str({k: v for k, v in child.attrs.items() if k != "alt"})) for child in inline
        ]
    return found


def hostile_facts(text: str):
    """A config in which everything that a row, a column, a source or a caller can name is named by `text`."""
    column = text or "x"
    data = {"id": [f"r{row}" for row in range(40)], "label": [0, 1] * 20, column + "1": [text, text + "2"] * 20}
    data |= {column + "2": [0.0, 1.0] * 20, "audio_status": [text + ": x"] * 2 + ["ok"] * 38}
    kinds = {"id": "string", column + "1": "string", column + "2": "float64", "audio_status": "string"}
    features = Features(
        {**{name: Value(kind) for name, kind in kinds.items()}, "label": ClassLabel(names=[text, "other" + text])}
    )
    ds = Dataset.from_dict(data, features=Features({name: features[name] for name in data}))
    sel = hs.select_by_score(ds, budget=20, column=column + "2", key="id")
    source = {**sel.source, "name": text}
    facts = {"subgroups": [{"subgroup": text, "rows": 9, "taken": 9}]}
    sel = dataclasses.replace(sel, source=source, facts=facts, warnings=(text,), params={**sel.params, "per": text})
    where = {"repo_id": None, "config": text, "split": text, "revision": text}
    part = config_facts(
        ds, sel, config_name="kmeans-70", by=[column + "1", column + "2"], source=where, source_card={"language": text},
        licence=text or None, pictures=[("labels.png", text)],
    )  # fmt: skip
    return ds, dataclasses.replace(part, made={text: text}, left_out=[text])


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: ascii(text)[:40])
def test_nothing_is_injected(payload):
    ds, facts = hostile_facts(payload)
    plain = card_of([hostile_facts("plain")[1]], "me/x")
    card = card_of([facts], "me/x")
    assert skeleton(card) == skeleton(plain)
    data = front(card)
    assert set(data) - {"language"} == set(front(plain)) and card_problems(card) == ([], [])
    assert DatasetInfosDict.from_dataset_card_data(DatasetCard(card).data)["kmeans-70"].features == ds.features
    links = set(re.findall(r"(?:href|src)=\"([^\"]*)\"", rendered(card)))
    assert links == {
        f"kmeans-70/{name}"
        for name in ("figures/labels.png", "selection/selection.json", "selection/selection.parquet")
    }
    assert " ".join(payload.split())[:20] in shown(payload) or not payload.isprintable()
    assert card_of([facts], "me/x", existing=card) == card  # marks in the data confuse nobody
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]", card)


def rendered(card: str) -> str:
    markdown_it = pytest.importorskip("markdown_it")
    return markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(DatasetCard(card).text)


def test_a_strange_repository_is_no_link(words):
    for name in ("a/b](https://evil.example)", "../../x", "https://evil.example/x", "a b/c"):
        card = card_of([facts_of(words, 12, source={**SOURCE, "repo_id": name})], "me/x")
        assert "](https" not in DatasetCard(card).text.split("### Load")[0].replace("\\]", "")
        assert yaml.safe_load(card.split("---\n")[1])["source_datasets"] == [name]


# -- what must not be told


def test_no_local_names_and_no_placeholder(words, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canaryTokenOfTheTest")
    secret = "/home/ann.example/private corpus/clips"
    sel = hs.select_by_score(words, budget=12, column="loss", key="id")
    params = {**sel.params, "folder": secret, "more": {"cache": "C:\\Users\\ann.example\\x"}}
    sel = dataclasses.replace(
        sel,
        params=params,
        warnings=(f"row 3: '{secret}/a.wav' is refused",),
        source={**sel.source, "name": secret},
        facts={"recipe": f"ds = hs.x(ds, {secret!r})"},
    )
    card = card_of([config_facts(words, sel, config_name="score-50")], "me/x")
    for word in ("ann.example", "private corpus", "hf_canary", os.uname().nodename, str(Path.home())):
        assert word not in card or len(word) < 6
    assert not re.search(r"None|nan|TODO|\{\{|\{%|More Information|\(empty\)|<class|object at", DatasetCard(card).text)


PROGRAM = """
import numpy as np, hf_select as hs
from datasets import Dataset
from hf_select.hub.card import card_of
from hf_select.hub.facts import config_facts
names = [f"v{i}" for i in range(30)]
rows = {"id": [str(i) for i in range(600)], "label": [names[i * i % 30] for i in range(600)]}
ds = Dataset.from_dict({**rows, "speaker": [names[i % 7] for i in range(600)]})
sel = hs.select_random(ds, budget=0.5, key="id")
print(card_of([config_facts(ds, sel, config_name="a", by=["speaker"], licence="mit")], "me/x"))
"""


def test_equal_facts_give_equal_bytes():
    cards = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert cards[0] == cards[1] and b"## a" in cards[0]


def test_pictures_are_drawn_unless_they_would_show_small_cells(words, tmp_path):
    ds = words.add_column("x", np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32).tolist())
    sel = hs.select_kmeans(ds, budget=0.5, n_clusters=2, column="x", key="id")
    facts = config_facts(ds, sel, config_name="kmeans-50", source=SOURCE)
    drawn = draw_pictures(ds, sel, tmp_path, tables=facts.tables)
    assert [file for file, _ in drawn] == ["rows.png"] == [file.name for file in tmp_path.iterdir()]  # c has 4 rows
    by_chance = hs.select_random(ds, budget=0.5, per="accent", key="id")
    facts = config_facts(ds, by_chance, config_name="random-50", source=SOURCE, label="accent")
    drawn = draw_pictures(ds, by_chance, tmp_path, tables=facts.tables)
    assert drawn == [["kept-0.png", "Rows kept and dropped per accent"]]
    card = card_of([dataclasses.replace(facts, pictures=drawn)], "me/x")
    assert "![Rows kept and dropped per accent](random-50/figures/kept-0.png)" in card


@pytest.mark.slow
def test_a_card_of_100_000_rows_takes_seconds(tmp_path):
    size, rng = 100_000, np.random.default_rng(0)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=size * 64).astype(np.float32)), 64)
    columns = {
        "id": [f"r{row}" for row in range(size)],
        "label": [f"w{row % 35}" for row in range(size)],
        "speaker": rng.integers(0, 2000, size),
    }
    columns |= {
        "accent": [f"a{row % 200}" for row in range(size)],
        "loss": rng.normal(size=size),
        "duration": rng.uniform(1, 3, size),
    }
    ds = Dataset(pa.table({**columns, "embedding": vectors}))
    sel = hs.select_by_score(ds, budget=0.7, column="loss", key="id")
    started = time.perf_counter()
    facts = config_facts(ds, sel, config_name="score-70", by=["accent", "loss"], source=SOURCE, licence="mit")
    drawn = draw_pictures(ds, sel, tmp_path, tables=facts.tables, column="embedding")
    card = card_of([dataclasses.replace(facts, pictures=drawn)], "me/x")
    assert time.perf_counter() - started < 10 and len(drawn) == 4 and len(card) < 20_000


def test_the_hub_takes_the_card(words, hub):
    """The validation is a request that the server answers."""
    card = card_of([facts_of(words, 12)], hub.name("x"))
    DatasetCard(card).validate()
    with pytest.raises(ValueError, match="license"):
        DatasetCard(card.replace("cc-by-4.0", "no-such-licence")).validate()
