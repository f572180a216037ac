"""The report: tables by hand, correlations against SciPy, pictures that are really drawn, and words from strangers."""

from __future__ import annotations

import dataclasses
import re
import shutil
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from scipy.stats import spearmanr

import hf_select as hs
from hf_select.errors import ArgumentError, ColumnError, OutputError, SelectionError
from hf_select.report import (
    balance_table,
    cluster_correlations,
    escape_markdown,
    markdown,
    plot_correlations,
    plot_labels,
    plot_rows,
    template,
    write_report,
)
from hf_select.report.correlations import natural, strongest
from hf_select.report.markdown import shown, without_paths

HOSTILE = [
    "yes|no", "a\\|b", "\\", "``code``", "`a`|`b`", "**loud**", "_soft_ __x__", "~~gone~~", "# heading", "####### seven",
    "- item", "+ item", "* item", "1. one", "12) twelve", "> quote", "---", "===", "|---|---|", ":---:", "[x](javascript:alert(1))",
    "![x](https://evil.example/a.png)", "<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "<!-- hidden -->",
    "<https://evil.example>", "https://evil.example/?a=1&b=2", "www.evil.example", "mailto:a@b.example", "@somebody", "#123",
    "&lt;b&gt; &amp; &#42;", "[ref]: https://evil.example", "[^1]", "$x^2$ $$y$$", ":smile:", "two\nlines\r\n\n\n# three",
    "tab\tand\x0bvertical\x0c", "\x1b[31mred\x1b[0m \x07", "\x1b]8;;https://evil.example\x07x", "abc\u202egnp.exe", "\u2066iso\u2069",
    "a\u2028b\u2029c\u0085d", "\ufeffmark", "zero\u200bwidth", "{{ 7*7 }} {% raw %}", "    indented", "x" * 500, "", "   ",
    "</td></tr></table>", "```\nfence\n```", "~~~", "- [ ] task", "\\[x\\] \\(y\\)", "🙂 ünïcode 语音 صوت", "-5", "0.25", "=cmd|'x'!A0",
]  # fmt: skip


def seen(text: object) -> str:
    """What a reader should see of a value in a cell."""
    return shown(text, 80)


def tokens(text: str):
    markdown_it = pytest.importorskip("markdown_it")
    return markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def words(inline) -> str:
    """The text of an inline token, which must hold nothing but text; invisible link breakers are taken out."""
    assert {child.type for child in inline.children} <= {"text", "text_special"}, inline.children
    return "".join(child.content for child in inline.children).replace("\u200b", "")


def rows(size: int = 300, *, clusters: int = 5, seed: int = 0) -> Dataset:
    """Rows in well separated groups, of which half are of one gender; every 50th can't be used."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, clusters, size)
    vectors = 20 * rng.normal(size=(clusters, 6))[cluster] + rng.normal(size=(size, 6))
    gender = np.where(rng.random(size) < np.where(cluster < clusters // 2, 0.9, 0.1), "female", "male")
    return Dataset.from_dict(
        {
            "id": [f"clip-{row}" for row in range(size)],
            "embedding": vectors.astype(np.float32).tolist(),
            "label": [["yes", "no", "up"][c % 3] for c in cluster],
            "gender": gender.tolist(),
            "pitch_hz": np.round(np.where(gender == "female", 200, 120) + rng.normal(0, 20, size)).tolist(),
            "snr_db": [None if row % 7 == 0 else float(rng.integers(0, 30)) for row in range(size)],
            "speaker": [f"s{row % 40}" for row in range(size)],
            "duration": rng.uniform(1, 3, size).tolist(),
            "audio_status": ["truncated: 1 of 2 s" if row % 50 == 3 else "ok" for row in range(size)],
        },
        features=Features(
            {
                "embedding": List(Value("float32"), length=6),
                "label": ClassLabel(names=["no", "up", "yes", "unused"]),
                "pitch_hz": Value("float64"),
                "snr_db": Value("float64"),
                "duration": Value("float64"),
                **{name: Value("string") for name in ("id", "gender", "speaker", "audio_status")},
            }
        ),
    )


@pytest.fixture(scope="module")
def ds() -> Dataset:
    return rows()


@pytest.fixture(scope="module")
def sel(ds: Dataset):
    return hs.select_kmeans(ds, budget=0.7, n_clusters=5, drop="simple", seed=0, key="id")


# -- words from strangers


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: ascii(text)[:40])
def test_hostile_text_is_text(payload):
    table = tokens(f"| a | b |\n|:---|---:|\n| {escape_markdown(payload, 80)} | 1 |\n| next | 2 |\n")
    cells = [words(token) for token in table if token.type == "inline"]
    assert cells == ["a", "b", seen(payload), "1", "next", "2"]
    for place in ("{}", "- {}\n- next", "# {}", "before {}"):
        page = tokens(place.format(escape_markdown(payload, 80)))
        allowed = {"inline", "paragraph", "heading", "bullet_list", "list_item"}
        assert {re.sub("_(open|close)$", "", token.type) for token in page} <= allowed
        assert sum(token.type in ("list_item_open", "paragraph_open", "heading_open") for token in page) <= 4
        assert words(next(token for token in page if token.type == "inline")).endswith(seen(payload))


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda text: ascii(text)[:40])
def test_escaped_text_holds_nothing_live(payload):
    text = escape_markdown(payload, 80)
    assert not re.search(r"[<>|$\n\r\t]", text) and not re.search(r"(?<!\\)(\\\\)*[`*_\[\]]", text.replace("\\\\", ""))
    assert not re.search(r"://|www\.|@\w|:\w+:|\w+@", text.replace("\u200b", "\0").replace("@\0", "")), text
    invisible = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert invisible <= {"\u200b"}


def test_what_is_shown():
    assert shown(None) == "(none)" and shown("") == "(empty)" and shown(" a \n b ") == "a b"
    assert shown("ab\u202e\x00\ud800") == "ab\\u202e\\x00\\ud800"
    assert shown("نمی\u200cخواهم") == "نمی\u200cخواهم"  # Persian needs its joiner
    assert len(shown("x" * 500, 80)) == 80 and shown("x" * 80, 80) == "x" * 80
    assert escape_markdown(0.5) == "0.5" and escape_markdown(-3) == "-3" and escape_markdown("1,980") == "1,980"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/ann/x.wav is refused", "(local path) is refused"),
        ("'/home/ann lee/my clip.wav' is outside", "'(local path)' is outside"),
        ("model=/scratch/u1/w2v", "model=(local path)"),
        ("(see ~/data, C:\\Users\\ann\\x and \\\\host\\share)", "(see (local path), (local path) and (local path))"),
        ("file:///etc/passwd", "(local path)"),
        ("/a/deep/folder/of/somebody", "(local path)"),
        ("hub name me/commands, class /m/04rlf, https://hf.co/a/b/c", "hub name me/commands, class /m/04rlf, https://hf.co/a/b/c"),
        ("3/4 and/or 1/2/3/4 h", "3/4 and/or 1/2/3/4 h"),
    ],
)  # fmt: skip
def test_local_paths_are_left_out(text, left):
    assert without_paths(text) == left


def test_templates_are_found_in_a_wheel_too(tmp_path, monkeypatch):
    inside = tmp_path / "site" / "hf_select" / "hub_cards"
    inside.mkdir(parents=True)
    shutil.copy(Path(hs.__file__).parents[1] / "hub_cards" / "report.md.j2", inside / "own.md.j2")
    (inside / "small.md.j2").write_text("{% macro m(x) %}[{{ x }}]{% endmacro %}{{ m(value) }}{{ value|safe }}")
    monkeypatch.setattr(markdown, "__file__", str(inside.parent / "report" / "markdown.py"))
    assert template("own.md.j2") is not None
    assert template("small.md.j2").render(value="*") == "[\\*]*"  # escaped once, and only what is not marked as safe
    with pytest.raises(OutputError, match="incomplete"):
        template("nothing.md.j2")


# -- tables


def test_balance_table_by_hand():
    ds = Dataset.from_dict({"word": ["a", "a", "a", "b", "b", "c", None], "loss": [7.0, 6, 5, 4, 3, 2, 1]})
    most = hs.select_by_score(ds, budget=4, column="loss")
    table = balance_table(ds.shuffle(seed=1), {"most": most}, by="word")
    assert table.index.tolist() == ["original", "most"]
    assert table["rows"].tolist() == [7, 4] and table["classes"].tolist() == [3, 2]
    assert table["kept_share"].tolist() == [1.0, pytest.approx(4 / 7)]

    def entropy(*p: float) -> float:
        return -sum(x * np.log(x) for x in p) / np.log(3)  # three classes in the original set, in both rows

    assert table["balance"].tolist() == pytest.approx([entropy(3 / 6, 2 / 6, 1 / 6), entropy(3 / 4, 1 / 4)])
    with pytest.raises(ArgumentError, match="another name"):
        balance_table(ds, {"original": most}, by="word")


def test_correlations_are_those_of_scipy(ds, sel):
    shuffled = ds.shuffle(seed=3)
    table = cluster_correlations(shuffled, sel)
    place = {name: row for row, name in enumerate(ds["id"])}
    group = np.array([sel.group[place[name]] for name in shuffled["id"]])
    inside = np.array([not name.startswith("excluded") for name in group])
    frame = shuffled.select_columns(["gender", "pitch_hz", "snr_db", "duration"]).to_pandas()[inside]
    frame["label"] = np.array(shuffled.features["label"].names)[np.array(shuffled["label"])[inside]]
    checked = 0
    for cluster in table.index:
        member = (group[inside] == cluster).astype(float)
        for feature in table.columns:
            name, _, value = feature.partition("=")
            x = (frame[name] == value).to_numpy(float) if value else frame[name].to_numpy(float)
            there = ~np.isnan(x)
            assert table.loc[cluster, feature] == pytest.approx(spearmanr(member[there], x[there])[0], abs=1e-12)
            checked += 1
    assert checked == 5 * (2 + 3 + 3)
    assert set(table.columns) == {
        "label=no",
        "label=up",
        "label=yes",
        "gender=female",
        "gender=male",
        "pitch_hz",
        "snr_db",
        "duration",
    }
    assert table.attrs["skipped"] == {
        "id": "the key of the rows",
        "speaker": "40 values, more than 12",
        "audio_status": "one value only",
    }
    assert sum(table.attrs["rows"].values()) == inside.sum() == len(ds) - 6


def test_correlation_by_hand():
    ds = Dataset.from_dict({"x": [[0.0], [0.1], [9.0], [9.2]], "n": [1, 2, 2, None], "who": ["a", None, "b", "b"]})
    sel = hs.select_kmeans(ds, budget=2, n_clusters=2, column="x", seed=0)
    table = cluster_correlations(ds, sel, ["n", "who"])
    own = table.loc[sel.group[0]]  # rows 0 and 1
    assert own["n"] == pytest.approx(-0.5)  # members 1 1 0, ranks 1 2.5 2.5: Pearson's r
    assert own["who=a"] == pytest.approx(1.0) and own["who=b"] == pytest.approx(-1.0)  # of rows 0, 2, 3


def test_which_columns_are_correlated(ds, sel):
    more = ds.add_column("number", np.arange(len(ds))).add_column("flag", np.arange(len(ds)) % 2 == 0)
    assert cluster_correlations(more, sel).attrs["skipped"]["number"] == "another value in every row (an id)"
    assert "number" in cluster_correlations(more, sel, ["number"])  # asked for by name
    assert "flag" in cluster_correlations(more, sel, ["flag"])
    assert cluster_correlations(ds, sel, ["speaker"], max_categories=40).shape == (5, 40)
    with pytest.raises(ColumnError, match="'embedding' holds"):
        cluster_correlations(ds, sel, ["embedding"])
    with pytest.raises(ColumnError, match="no column 'sex'"):
        cluster_correlations(ds, sel, ["sex"])
    with pytest.raises(ArgumentError, match="no clusters"):
        cluster_correlations(ds, hs.select_random(ds, budget=0.5), ["gender"])
    with pytest.raises(SelectionError):
        cluster_correlations(rows(seed=5), hs.select_random(ds, budget=0.5))


def test_labels_without_a_name_and_twins_of_features():
    features = Features(
        {"x": List(Value("float32"), length=1), "y": ClassLabel(names=["no", "yes"]), "y=no": Value("int64")}
    )
    data = {"x": [[0.0], [0.1], [9.0], [9.2], [9.1]], "y": [0, 1, 1, -1, None], "y=no": [1, 5, 2, 2, 4]}
    ds = Dataset.from_dict(data, features=features)
    sel = hs.select_kmeans(ds, budget=2, n_clusters=2, column="x", seed=0)
    table = cluster_correlations(ds, sel)
    assert table.columns.tolist() == ["y=no", "y=yes", "y=no'"]
    member = np.array([sel.group[row] == table.index[0] for row in range(3)])
    assert table["y=no"].iloc[0] == pytest.approx(spearmanr(member, [1, 0, 0])[0])  # rows 3 and 4 have no label


def test_strongest_and_order_of_clusters():
    assert sorted(["10", "9", "a2", "a10", "1"], key=natural) == ["1", "9", "10", "a2", "a10"]
    table = pd.DataFrame(
        {"g=f": [0.5, -0.4], "g=m": [-0.5, 0.4], "p": [0.1, np.nan], "q": [0.45, 0.2]}, index=["0", "1"]
    )
    table.attrs["columns"] = {"g=f": "g", "g=m": "g", "p": "p", "q": "q"}
    assert strongest(table, 9) == [
        ("0", "g=f", 0.5),  # and not its mirror image g=m
        ("0", "q", 0.45),
        ("1", "g=f", -0.4),
        ("1", "q", 0.2),
        ("0", "p", 0.1),
    ]
    assert len(strongest(table, 2)) == 2


# -- pictures


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 5_000
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def points(figure) -> tuple[int, int]:
    drawn = figure.axes[0].collections[0]
    filled, ringed = drawn.get_facecolor()[:, 3] > 0, drawn.get_edgecolor()[:, 3] > 0
    assert len(filled) == len(drawn.get_offsets()) and (filled != ringed).all()
    return int(filled.sum()), int(ringed.sum())


def offsets(figure) -> np.ndarray:
    return np.asarray(figure.axes[0].collections[0].get_offsets())


def texts(figure) -> list[str]:
    figure.canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_text()]


def test_every_row_is_drawn_once(ds, sel, tmp_path):
    figure = plot_rows(ds.shuffle(seed=2), sel, "embedding", tmp_path / "rows.png")
    assert points(figure) == (210, 84)  # 6 of 300 can't be chosen
    assert min(png_size(tmp_path / "rows.png")) > 600
    assert {"kept: 210", "dropped: 84", "rows not shown: 6 that could not be chosen"} <= set(texts(figure))


def test_filled_points_are_the_kept_rows(tmp_path):
    ds = Dataset.from_dict({"x": [[float(row * row)] for row in range(9)]})
    sel = hs.select_by_score(ds.add_column("n", range(9)), budget=4, column="n")
    sel = dataclasses.replace(sel, key=hs.select_random(ds, budget=1).key, source=hs.select_random(ds, budget=1).source)
    drawn = plot_rows(ds, sel, "x").axes[0].collections[0]
    filled = np.asarray(drawn.get_offsets())[drawn.get_facecolor()[:, 3] > 0, 0]
    far = np.sort(np.abs(filled[:, None] - filled).max(axis=0))  # distances among rows 5, 6, 7, 8: squares 25 36 49 64
    assert far == pytest.approx([24, 28, 39, 39], rel=1e-4)


def test_the_picture_is_a_principal_component_analysis(ds, sel):
    figure = plot_rows(ds, sel, "embedding")
    drawn = offsets(figure)
    vectors = np.array(ds["embedding"])[[not g.startswith("excluded") for g in sel.group]]
    _, singular, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    assert np.sqrt((drawn**2).sum(0)) == pytest.approx(singular[:2], rel=1e-4)
    share = singular[0] ** 2 / (singular**2).sum()
    assert figure.axes[0].get_xlabel() == f"PC 1 ({share:.0%} of variance)"


def test_the_picture_shows_what_was_clustered(ds):
    wide = ds.map(lambda row: {"embedding": [1000 * row["embedding"][0], *row["embedding"][1:]]})
    sel = hs.select_kmeans(wide, budget=0.5, n_clusters=3, standardize="features", seed=0)
    assert (
        np.abs(offsets(plot_rows(wide, sel, "embedding"))).max() < 20
    )  # standardised, as k-means saw it; 10,000s otherwise


def test_sampled_coloured_and_with_centres(ds, sel, tmp_path):
    figure = plot_rows(ds, sel, "embedding", tmp_path / "few.pdf", by="speaker", centroids=True, max_points=100, seed=1)
    assert sum(points(figure)) == 100
    assert (tmp_path / "few.pdf").read_bytes().startswith(b"%PDF")
    shown_ = texts(figure)
    assert "33 other values" in shown_ and any("194 left out by chance" in text for text in shown_)
    assert len(figure.axes[0].collections[1].get_offsets()) == 5
    again = plot_rows(ds, sel, "embedding", by="speaker", max_points=100, seed=1)
    assert np.array_equal(offsets(again), offsets(figure))


def test_colours_of_the_points_are_those_of_the_legend():
    from matplotlib.colors import to_rgba

    rng = np.random.default_rng(0)
    ds = Dataset.from_dict(
        {"x": [[float(row)] for row in range(400)], "v": [f"v{n}" for n in rng.integers(0, 12, 400)]}
    )
    figure = plot_rows(ds, hs.select_random(ds, budget=1.0), "x", by="v", max_points=60, seed=3)
    legend = {h.get_label(): to_rgba(h.get_markerfacecolor())[:3] for h in figure.legends[0].legend_handles}
    value = np.array(ds["v"])[np.random.default_rng(3).permutation(400)[:60]]
    drawn = figure.axes[0].collections[0].get_facecolor()[:, :3]
    assert len(legend) == 9 and len(set(value) & set(legend)) > 3
    for name, colour in zip(value, drawn, strict=True):
        assert tuple(colour) == pytest.approx(legend.get(name, legend["5 other values"]))


def test_odd_sets_of_rows_are_drawn(tmp_path):
    for vectors in ([[1.0, 2.0]], [[1.0]] * 4, [[1.0], [2.0], [3.0]], [[1.0, 2.0], [3.0, 4.0]]):
        ds = Dataset.from_dict({"x": vectors})
        kept = hs.select_random(ds, budget=1, seed=0)
        assert sum(points(plot_rows(ds, kept, "x", tmp_path / "odd.png"))) == len(vectors)
    ds = Dataset.from_dict({"x": [[1.0, 0.0], None, [0.0, 2.0], [float("nan"), 1.0]]})
    figure = plot_rows(ds, hs.select_random(ds, budget=4), "x")
    assert points(figure) == (2, 0) and "rows not shown: 2 without a vector" in texts(figure)
    ds = Dataset.from_dict({"x": [[float("inf"), 0.0]] * 2})
    with pytest.raises(ArgumentError, match="nothing to draw"):
        plot_rows(ds, hs.select_random(ds, budget=1), "x")


def test_pictures_refuse_what_they_can_not_do(ds, sel, tmp_path):
    with pytest.raises(ArgumentError, match="'pca' or 'umap'"):
        plot_rows(ds, sel, "embedding", method="tsne")
    with pytest.raises(ColumnError, match="vectors are needed"):
        plot_rows(ds, sel, "pitch_hz")
    with pytest.raises(OutputError, match="can't be written"):
        plot_rows(ds, sel, "embedding", tmp_path / "no" / "folder.png")
    with pytest.raises(OutputError, match="can't be written"):
        plot_labels(ds, sel, "label", tmp_path / "labels.wav")
    with pytest.raises(ArgumentError, match="at least 5 rows"):
        plot_rows(ds.select(range(4)), hs.select_random(ds.select(range(4)), budget=2), "embedding", method="umap")


@pytest.mark.slow
@pytest.mark.parametrize("size", [6, 60])
def test_umap_draws_without_a_warning(size, tmp_path):
    few = rows(size)
    kept = hs.select_random(few, budget=0.5, seed=0)
    first = plot_rows(few, kept, "embedding", tmp_path / "umap.png", method="umap", seed=4)
    second = plot_rows(few, kept, "embedding", method="umap", seed=4)
    assert sum(points(first)) == sum(status == "ok" for status in few["audio_status"])
    assert np.array_equal(offsets(first), offsets(second))
    assert len(np.unique(offsets(first), axis=0)) == len(offsets(first))
    same = Dataset.from_dict({"x": [[1.0]] * size})
    assert sum(points(plot_rows(same, hs.select_random(same, budget=2), "x", method="umap"))) == size


def test_bars_are_the_counts(ds, sel, tmp_path):
    figure = plot_labels(ds, sel, "label", tmp_path / "labels.png")
    table = sel.describe(ds, by="label")
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert names == table.sort_values("total", ascending=False).index.tolist()
    total, kept = ([bar.get_width() for bar in group] for group in figure.axes[0].containers)
    assert total == table.loc[names, "total"].tolist() and kept == table.loc[names, "kept"].tolist()
    png_size(tmp_path / "labels.png")


def test_more_labels_than_can_be_read(tmp_path):
    ds = Dataset.from_dict({"word": [f"w{row % 155}" for row in range(400)]})
    figure = plot_labels(ds, hs.select_random(ds, budget=0.5, seed=0), "word", tmp_path / "many.png")
    assert len(figure.axes[0].containers[0]) == 60
    kept = re.search(r"155 values; 95 more with (\d+) of (\d+) rows not drawn", "\n".join(texts(figure)))
    drawn = [sum(bar.get_width() for bar in group) for group in figure.axes[0].containers]
    assert kept is not None and [int(kept[2]) + drawn[0], int(kept[1]) + drawn[1]] == [400, 200]
    assert png_size(tmp_path / "many.png")[1] < 4000


def test_heat_map(ds, sel, tmp_path):
    table = cluster_correlations(ds, sel)
    figure = plot_correlations(table, tmp_path / "rho.png", max_features=4, max_clusters=3)
    cells = figure.axes[0].collections[0].get_array()
    assert cells.shape == (3, 4) and np.abs(cells).max() == pytest.approx(table.abs().max().max())
    png_size(tmp_path / "rho.png")
    with pytest.raises(ArgumentError, match="nothing to draw"):
        plot_correlations(table * np.nan)


def test_hostile_labels_are_drawn_as_text(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)  # whoever draws with TeX must not run what labels say
    labels = [text for text in HOSTILE if text.strip()] + ["_hidden", "$\\frac{1}{", "$\\input{secret}$"]
    ds = Dataset.from_dict({"x": [[float(row), 1.0] for row in range(len(labels))], "word": labels})
    kept = hs.select_random(ds, budget=0.5, seed=0)
    figure = plot_labels(ds, kept, "word", tmp_path / "labels.png")
    drawn = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert sorted(drawn) == sorted(shown(name, 32) for name in set(labels))
    few = ds.select(range(len(labels) - 6, len(labels)))
    figure = plot_rows(few, hs.select_random(few, budget=3), "x", tmp_path / "rows.png", by="word")
    assert {"_hidden", "$\\frac{1}{", "$\\input{secret}$"} <= set(texts(figure))
    assert matplotlib.rcParams["text.usetex"] is True  # left as it was


def test_pictures_need_no_display_and_no_pyplot(ds, sel, tmp_path):
    import subprocess
    import sys

    ds.save_to_disk(tmp_path / "ds")
    sel.save(tmp_path)
    code = (
        "import sys, hf_select as hs; from datasets import load_from_disk; from hf_select.report import plot_rows;"
        "plot_rows(load_from_disk('ds'), hs.Selection.load('.'), 'embedding', 'rows.png');"
        "assert 'matplotlib.pyplot' not in sys.modules and 'umap' not in sys.modules"
    )
    home = str(Path(hs.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": home, "PATH": ""}, check=True)
    png_size(tmp_path / "rows.png")


# -- the page


def sections(text: str) -> dict[str, list[list[str]]]:
    """The tables of a page: heading -> rows of cells, header first. Fails on anything that a value has smuggled in."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    page = tokens(text)
    blocks = {"heading", "paragraph", "inline", "fence", "html_block", "bullet_list", "list_item"}
    cells = {"table", "thead", "tbody", "tr", "th", "td"}
    assert {re.sub("_(open|close)$", "", token.type) for token in page} <= blocks | cells
    assert [token.content for token in page if token.type == "html_block"] == [text.splitlines()[0] + "\n"]
    for before, token in zip([None, *page], page, strict=False):
        if token.type == "tr_open":
            found[heading].append([])
        if token.type != "inline":
            continue
        kinds = {child.type for child in token.children} - {"text", "text_special", "softbreak"}
        if before.type in ("th_open", "td_open", "heading_open"):
            words(token)
        pictures = [child.attrs["src"] for child in token.children if child.type == "image"]
        assert kinds <= {"image", "strong_open", "strong_close"} and all(p.startswith("figures/") for p in pictures)
        if before.type == "heading_open":
            heading = words(token)
            assert heading not in found
            found[heading] = []
        elif before.type in ("th_open", "td_open"):
            found[heading][-1].append(words(token))
    return found


def test_report_of_a_clustering(ds, sel, tmp_path):
    accuracy = pd.DataFrame({"set": ["all", "kept"], "accuracy": [0.91234567, 0.9]})
    path = write_report(
        ds.shuffle(seed=7), sel, tmp_path, by=["gender", "speaker"], extra={"Accuracy": accuracy, "Notes": "a *b* | c"}
    )
    text = path.read_text(encoding="utf-8")
    found = sections(text)
    described = sel.describe(ds, by="label")
    assert path == tmp_path / "report.md"
    assert "**210 of 300 rows kept (70.0%; " in text and "Keep a share of every k-means cluster" in text
    assert found["Rows that could not be chosen"] == [["reason", "for example", "rows"], ["truncated", "1 of 2 s", "6"]]
    assert [row[:4] for row in found["Kept per label"][1:]] == [
        [name, f"{row.kept:.0f}", f"{row.total:.0f}", f"{row.kept_share:.1%}"] for name, row in described.iterrows()
    ]
    minutes = described["kept_hours"].iloc[0] * 60
    assert found["Kept per label"][0][4:] == ["minutes kept", "of minutes"]
    assert found["Kept per label"][1][4] == f"{minutes:.2f}"
    assert [row[0] for row in found["Balance"]] == ["column", "label", "gender", "speaker"]
    before, after = balance_table(ds, {"kept": sel}, by="label")["balance"]
    assert found["Balance"][1][1:] == ["3", "3", f"{before:.3f}", f"{after:.3f}"]
    assert len(found["Kept per speaker"]) == 41
    best = strongest(cluster_correlations(ds, sel), 1)[0]
    assert found["What clusters go with"][1][:2] == list(best[:2])
    assert found["What clusters go with"][1][3] == f"{best[2]:+.3f}"
    assert ["speaker", "40 values, more than 12"] in found["What clusters go with"]
    assert found["Accuracy"] == [["set", "accuracy"], ["all", "0.912346"], ["kept", "0.9"]]
    made = dict(found["How it was made"][1:])
    assert made["n_clusters"] == "5" and made["seed"] == "0" and "made with numpy" in made
    pictures = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert pictures == ["correlations.png", "labels.png", "rows_pca.png"]
    assert all(f"(figures/{name})" in text for name in pictures)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "report.md"]


def test_the_python_lines_make_the_selection_again(ds, sel, tmp_path):
    code = tokens(write_report(ds, sel, tmp_path).read_text())
    lines = next(token.content for token in code if token.type == "fence")
    sel.save(tmp_path)
    lines = lines.replace("ds = ...", "").replace('load(".")', "load(folder)")
    names: dict = {"ds": ds, "folder": tmp_path}
    exec(lines, names)
    assert names["sel"] == sel and names["small"]["id"][:] == sel.apply(ds)["id"][:]


def test_report_of_hostile_rows(tmp_path):
    size = len(HOSTILE)
    name = "evil | `x` <b>\n# y"
    ds = Dataset.from_dict(
        {
            "x": [[float(row % 3), float(row % 2)] for row in range(2 * size)],
            "word": HOSTILE * 2,
            name: [HOSTILE[row % 11] for row in range(2 * size)],
            "audio_status": [f"bad: {HOSTILE[row % size]}" if row % 5 == 0 else "ok" for row in range(2 * size)],
        }
    )
    sel = hs.select_kmeans(ds, budget=0.5, n_clusters=3, column="x", seed=0)
    sel = dataclasses.replace(
        sel,
        warnings=tuple(HOSTILE),
        params={**sel.params, "note": "*/\n```\n# x", "per": "a\nb"},
        source={**sel.source, "name": "evil](x)/\n# name"},
        versions={"<b>": "|"},
    )
    extra = {
        "# extra | title": pd.DataFrame({name: HOSTILE}),
        "text": "| # *x* <b>\n\n- y",
        "map": {name: {"a|b": HOSTILE}},
    }
    path = write_report(ds, sel, tmp_path, label="word", by=name, extra=extra)
    text = path.read_text(encoding="utf-8")
    found = sections(text)
    assert {row[0] for row in found["Kept per word"][1:]} == {seen(value) for value in HOSTILE}
    assert len(found) == 12  # headings: no value has made one more
    assert max(len(cell) for table in found.values() for row in table for cell in row) <= 80
    assert not [c for c in text if c not in "\n\u200b" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    code = next(token.content for token in tokens(text) if token.type == "fence")
    compile(code, "report", "exec")
    assert code.isascii()


def test_report_without_labels_clusters_or_hours(tmp_path):
    ds = Dataset.from_dict({"text": ["a", "b", "c", "d"]})
    text = write_report(ds, hs.select_random(ds, budget=2, seed=0), tmp_path).read_text()
    assert "**2 of 4 rows kept (50.0%)** by select\\_random, budget 2, seed 0." in text
    found = sections(text)
    assert list(found) == [
        "Selection report",
        "Rows that could not be chosen",
        "Warnings",
        "How it was made",
        "Do it again",
    ]
    assert "None: every row could be chosen." in text and not list((tmp_path / "figures").iterdir())


def test_groups_of_per_are_no_clusters(ds, tmp_path):
    text = write_report(ds, hs.select_random(ds, budget=5, per="speaker", seed=0), tmp_path).read_text()
    assert "What clusters go with" not in text and "Kept per label" in text  # the ClassLabel was found
    both = hs.select_kmeans(ds, budget=0.5, n_clusters=3, per="gender", seed=0)
    assert "What clusters go with" in write_report(ds, both, tmp_path).read_text()
    first = hs.select_kmeans(ds, budget=0.5, n_clusters=3, seed=0)
    twice = first.then(hs.select_random(first.apply(ds), budget=0.5, seed=0))
    assert "What clusters go with" not in write_report(ds, twice, tmp_path).read_text()


def test_report_of_a_single_cluster(ds, tmp_path):
    sel = hs.select_kmeans(ds, budget=0.5, n_clusters=1, seed=0)
    text = write_report(ds, sel, tmp_path).read_text()
    assert "All 294 rows are in one cluster" in text and not (tmp_path / "figures" / "correlations.png").exists()
    sections(text)


def test_report_says_what_it_leaves_out(ds, tmp_path):
    sel = hs.select_random(ds, budget=100, seed=0, key="id")
    part = ds.select([row for row in range(len(ds)) if row in set(sel.indices.tolist()) or row % 2])
    part = part.remove_columns("duration").add_column("duration", [-1.0] * len(part))
    gone = part.remove_columns("embedding").add_column("embedding", [[float("nan")]] * len(part))
    text = write_report(gone, sel, tmp_path, column="embedding").read_text()
    assert f"The Selection was made on 300 rows; this report counts {len(part)} of them." in text
    assert "Hours are left out. Durations: row 0 of column 'duration' lasts -1.0 s." in text
    assert "Rows are not drawn by PCA. There is nothing to draw" in text


def test_no_local_path_is_in_a_report(ds, sel, tmp_path):
    secret = "/home/ann/corpora/x.wav"
    status = [f"refused: '{secret}' is outside" if row % 2 else f"unreadable: {secret}" for row in range(len(ds))]
    bad = ds.remove_columns("audio_status").add_column("audio_status", status[:-9] + ["ok"] * 9)
    sel = hs.select_random(bad, budget=3, seed=0)
    sel = dataclasses.replace(
        sel, params={"model": secret}, warnings=(f"see {secret}",), source={**sel.source, "name": f"{secret}/train"}
    )
    text = write_report(bad, sel, tmp_path, label="label").read_text()
    assert "ann" not in text.split() and "/home" not in text and "corpora" not in text and str(tmp_path) not in text
    assert sections(text)["Rows that could not be chosen"][1:] == [
        ["unreadable", "(local path)", "146"],
        ["refused", "(empty)", "145"],
    ]


def test_writing_again_and_refusing(ds, sel, tmp_path):
    first = write_report(ds, sel, tmp_path).read_bytes()
    pictures = {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()}
    assert write_report(ds, sel, tmp_path).read_bytes() == first
    assert {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()} == pictures
    write_report(ds.remove_columns("label"), hs.select_random(ds, budget=3, key="id"), tmp_path)
    assert not list((tmp_path / "figures").iterdir())  # pictures of the earlier report don't stay beside the new one
    with pytest.raises(OutputError, match="make it first"):
        write_report(ds, sel, tmp_path / "missing")
    with pytest.raises(ColumnError, match="no column 'sex'"):
        write_report(ds, sel, tmp_path, by="sex")
    (tmp_path / "report.md").write_text("# my own notes")
    with pytest.raises(OutputError, match="no report of hf_select"):
        write_report(ds, sel, tmp_path)
    assert (tmp_path / "report.md").read_text() == "# my own notes"


def test_a_report_that_fails_leaves_the_old_one(ds, sel, tmp_path, monkeypatch):
    before = write_report(ds, sel, tmp_path).read_bytes()
    monkeypatch.setattr("hf_select.report.page.plot_correlations", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_report(ds, sel, tmp_path)
    assert (tmp_path / "report.md").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["figures", "report.md"]
    assert len(list((tmp_path / "figures").iterdir())) == 3


def test_segments_and_long_tables(tmp_path):
    ds = Dataset.from_dict({"who": [f"speaker {row % 70:02}" for row in range(280)], "duration": [60.0] * 280})
    sel = hs.select_random(ds, budget=0.5, seed=0)
    sel = dataclasses.replace(sel, segment_start=np.zeros(140), segment_end=np.full(140, 18.0))
    text = write_report(ds, sel, tmp_path, by="who").read_text()
    assert "(50.0%; 2.33 of 4.67 hours)" in text and "one segment is used: 0.70 h in all" in text
    table = sections(text)["Kept per who"]
    assert len(table) == 62 and table[-1][0] == "10 more values" and table[-1][2] == "40"
    assert sum(int(row[1]) for row in table[1:]) == 140


def test_real_speech_report(speech_commands, tmp_path):
    few = speech_commands.select(range(0, len(speech_commands), 10))
    few = hs.with_columns(few, hs.MFCC(pool="stats"))
    sel = hs.select_kmeans(few, budget=0.7, n_clusters=9, column="mfcc_stats", standardize="features", seed=0)
    text = write_report(few, sel, tmp_path, label="label", by="speaker").read_text()
    found = sections(text)
    assert len(found["Kept per label"]) == 10 and sorted(f.name for f in (tmp_path / "figures").iterdir()) == [
        "correlations.png",
        "labels.png",
        "rows_pca.png",
    ]
