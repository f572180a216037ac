"""The picture of subgroups: every point drawn once, the worst named, no two names over each other."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from hf_select.errors import ArgumentError, OutputError
from hf_select.report import plot_subgroups


def table_of(rows: int, seed: int = 0, sign: int = -1, rare: float = 0.03) -> pd.DataFrame:
    """Random subgroups, worst first; the rarer, the farther from the mean."""
    rng = np.random.default_rng(seed)
    support = rare ** rng.uniform(0, 1, rows)
    words = ["gender = male", "age <= 24", "accent = Scottish English", "snr_db > 12.5", "action = switch off"]
    found = {
        "subgroup": [" and ".join(rng.permutation(words)[: rng.integers(1, 6)]) for _ in range(rows)],
        "support": support,
        "divergence": sign * rng.normal(size=rows) * 0.03 / np.sqrt(support),
        "q": rng.uniform(0, 0.1, rows),
    }
    return pd.DataFrame(found).sort_values("divergence", ascending=sign < 0, ignore_index=True)


def labels(figure):
    """The texts that name a subgroup, by number."""
    texts = [text for text in figure.axes[0].texts if text.get_text().split("  ")[0].isdecimal()]
    return {int(text.get_text().split("  ")[0]): text for text in texts}


@pytest.mark.parametrize("direction", ["lower", "higher"])
@pytest.mark.parametrize("rare", [0.03, 0.7, 1e-5])
@pytest.mark.parametrize("seed", range(3))
def test_names_lie_apart_inside_the_axes_and_on_the_bad_side(seed, rare, direction):
    table = table_of(300, seed, -1 if direction == "lower" else 1, rare)
    figure = plot_subgroups(table, overall=0.9, direction=direction, outcome="x", name_worst=8)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for _, text in sorted(labels(figure).items())]
    frame = figure.axes[0].bbox.padded(1)
    zero = figure.axes[0].transData.transform((1, 0))[1]
    assert len(boxes) == 8
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert box.y1 <= zero + 1 if direction == "lower" else box.y0 >= zero - 1


def test_lines_lead_from_each_name_to_its_own_point_and_do_not_cross():
    table = table_of(200)
    axes = plot_subgroups(table, overall=0.9, direction="lower", outcome="x", name_worst=8).axes[0]
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2 and line.get_linewidth() == 0.5]
    assert np.allclose([line[0] for line in lines], table[["support", "divergence"]][:8])
    to_pixels = axes.transData.transform
    for one, other in itertools.combinations([to_pixels(line) for line in lines], 2):
        turn = [
            np.sign(np.linalg.det([b - a, c - a])) for a, b in (one, other) for c in (other if a is one[0] else one)
        ]
        assert not (turn[0] * turn[1] < 0 and turn[2] * turn[3] < 0)


def test_every_subgroup_is_a_point_of_its_kind():
    table = pd.DataFrame(
        {
            "subgroup": list("abcdef"),
            "support": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "divergence": [-0.2, -0.1, 0.1, 0.2, np.nan, -0.05],
            "q": [0.05, 0.051, 0.01, 0.9, 0.01, np.nan],
        }
    )
    figure = plot_subgroups(table, overall=0.25, direction="lower", outcome="correct")
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["not significant: 3", "better, q ≤ 0.05: 1", "worse, q ≤ 0.05: 1"]
    rest, better, worse = (points.get_offsets().tolist() for points in figure.axes[0].collections[:3])
    assert (better, worse) == ([[0.3, 0.1]], [[0.1, -0.2]]) and len(rest) == 3
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "mean of all rows: 0.25" in words and "5 subgroups; 1 without an outcome are not drawn" in words
    assert [text.get_text() for _, text in sorted(labels(figure).items())] == ["1  a", "2  b", "3  f"]  # no better one


def test_those_that_are_given_are_named_in_their_order():
    table = table_of(50)
    named = table.iloc[[7, 2]]
    found = labels(plot_subgroups(table, overall=0.5, direction="lower", outcome="x", named=named))
    assert len(found) == 2
    assert found[1].get_text()[3:20] == named["subgroup"].iloc[0].split(" and ")[0].replace("<=", "≤")[:17]


def test_a_long_name_is_cut_between_conditions_and_quoted_words_stay():
    phrases = ['"rock and roll" = "a <= b"', " and ".join(f"attribute_{i} = value_{i}" for i in range(9))]
    table = pd.DataFrame({"subgroup": phrases, "support": [0.1, 0.5], "divergence": [-0.2, -0.1], "q": [1.0, 1.0]})
    found = labels(plot_subgroups(table, overall=0.5, direction="lower", outcome="x"))
    assert found[1].get_text() == '1  "rock and roll" = "a <= b"'
    lines = found[2].get_text().splitlines()
    assert (
        len(lines) == 2 and lines[0] == "2  attribute_0 = value_0, attribute_1 = value_1," and lines[1].endswith(", …")
    )


def test_words_from_strangers_are_drawn_as_text(tmp_path):
    phrases = [
        "x = $\\frac{1}{2}$",
        "x = \u202egnp\n\x1b[31m",
        "x = 日本語",
        "x = " + "y" * 500,
        "\N{NO-BREAK SPACE}=\x00",
    ]
    table = pd.DataFrame({"subgroup": phrases, "support": 0.1, "divergence": -0.1, "q": np.nan})
    figure = plot_subgroups(table, overall=0.5, direction="lower", outcome="$\\x$\n" * 30, path=tmp_path / "x.svg")
    text = "".join(text.get_text() for text in labels(figure).values())
    assert "$\\frac{1}{2}$" in text and not set(text) & set("\u202e\x1b\x00")
    assert max(len(text.get_text()) for text in labels(figure).values()) < 120


def test_fifty_thousand_points_make_light_files(tmp_path):
    table = table_of(50_000)
    for suffix in ("png", "svg", "pdf"):
        plot_subgroups(table, overall=0.5, direction="lower", outcome="x", path=tmp_path / f"a.{suffix}")
        assert 10_000 < (tmp_path / f"a.{suffix}").stat().st_size < 1_500_000


@pytest.mark.parametrize("support", [[1.0], [1.0, 1.0], [1e-6, 1e-6], [1e-7, 0.9], [0.2, 0.2]])
def test_degenerate_tables_are_drawn(tmp_path, support):
    for divergence in (0.0, -1.0, 1.0):
        table = pd.DataFrame({"subgroup": "a", "support": support, "divergence": divergence, "q": 0.0})
        figure = plot_subgroups(table, overall=0.0, direction="lower", outcome="x", path=tmp_path / "x.png")
        assert len(labels(figure)) == (len(support) if divergence < 0 else 0)


def test_what_can_not_be_drawn_is_said(tmp_path):
    table = table_of(5)
    given = {"overall": 0.5, "outcome": "x"}
    with pytest.raises(ArgumentError, match="nothing to draw"):
        plot_subgroups(table.iloc[:0], direction="lower", **given)
    with pytest.raises(ArgumentError, match="'lower' or 'higher'"):
        plot_subgroups(table, direction="down", **given)
    with pytest.raises(ArgumentError, match="between 0 and 8"):
        plot_subgroups(table, direction="lower", name_worst=9, **given)
    with pytest.raises(OutputError):
        plot_subgroups(table, direction="lower", path=tmp_path / "x.nope", **given)
    assert not labels(plot_subgroups(table, direction="lower", name_worst=0, **given))
