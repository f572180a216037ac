"""The picture of a comparison: means and intervals where the numbers say, levels as lines, names that do not overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hf_select.errors import ArgumentError, ColumnError, OutputError
from hf_select.report import plot_comparison

METHODS = ("ours", "random", "clustering")


def cells_of(seeds: int = 5, methods: tuple[str, ...] = METHODS, ks: tuple = (2, 3, 4), spread: float = 0.5) -> pd.DataFrame:  # fmt: skip
    """Methods over k, and two sets that know no k."""
    rng = np.random.default_rng(0)
    lines = [
        {"method": method, "k": k, "seed": seed, "rows": rows + seed, "accuracy": rng.normal(93 + place, spread)}
        for place, method in enumerate(methods)
        for k, rows in zip(ks, (200, 400, 600), strict=False)
        for seed in range(seeds)
    ]
    for method, rows in (("original", 0), ("all data", 4606)):
        given = {"method": method, "k": None, "rows": rows}
        lines += [{**given, "seed": seed, "accuracy": rng.normal(92, 0.3)} for seed in range(seeds)]
    return pd.DataFrame(lines)


def bars(figure) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The x, y and ends of the bars of each method."""
    return [
        (*container[0].get_data(), np.array([bar[:, 1] for bar in container[2][0].get_segments() if len(bar)]))
        for container in figure.axes[0].containers
    ]


def levels(figure) -> list[float]:
    """The heights of lines through the whole picture."""
    return [line.get_ydata()[0] for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]


def names(figure) -> list:
    return [text for text in figure.axes[0].texts if text.get_fontsize() == 8 and text.get_position()[0] == 12]


def test_points_are_means_and_bars_their_intervals():
    cells = cells_of()
    figure = plot_comparison(cells, x="k", y="accuracy")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*METHODS, "original", "all data"]
    for method, (x, y, ends) in zip(METHODS, bars(figure), strict=True):
        assert x.tolist() == [2, 3, 4]
        for k, mean, end in zip(x, y, ends, strict=True):
            own = cells[(cells["method"] == method) & (cells["k"] == k)]["accuracy"]
            interval = stats.t.interval(0.95, 4, own.mean(), stats.sem(own))
            assert mean == pytest.approx(own.mean()) and end == pytest.approx(interval)
    flat = [cells[cells["method"] == name]["accuracy"] for name in ("original", "all data")]
    assert levels(figure) == pytest.approx([own.mean() for own in flat])
    bands = [patch for patch in figure.axes[0].patches if patch.get_alpha() == 0.1]
    for own, band in zip(flat, bands, strict=True):
        low, high = stats.t.interval(0.95, 4, own.mean(), stats.sem(own))
        assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((low, high))
    said = "mean over 5 seeds with its 95 % interval; small points: single seeds"
    assert said in [text.get_text() for text in figure.axes[0].texts]


def test_every_seed_is_a_point_and_all_lie_inside():
    cells = cells_of(spread=3)
    axes = plot_comparison(cells, x="k", y="accuracy").axes[0]
    drawn = np.concatenate([points.get_offsets() for points in axes.collections if len(points.get_offsets()) == 3])
    some = cells[cells["k"].notna()]
    assert sorted(map(tuple, drawn.tolist())) == sorted(zip(some["k"], some["accuracy"], strict=True))
    low, high = axes.get_ylim()
    assert low < cells["accuracy"].min() and cells["accuracy"].max() < high


def test_methods_at_one_x_stand_side_by_side():
    figure = plot_comparison(cells_of(), x="k", y="accuracy")
    at = [container[0].get_transform().transform((3, 93))[0] for container in figure.axes[0].containers]
    assert at[0] < at[1] < at[2] and at[2] - at[0] < 50
    assert at[1] == pytest.approx(figure.axes[0].transData.transform((3, 93))[0])


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("spread", [0.01, 3])
@pytest.mark.parametrize("methods", [METHODS, ("a" * 60, "b", "c", "d", "e", "f" * 40)])
def test_names_lie_apart_inside_the_picture(seeds, spread, methods):
    cells = cells_of(seeds, methods, spread=spread).assign(accuracy=lambda found: found["accuracy"].round(0))
    figure = plot_comparison(cells, x="k", y="accuracy")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in names(figure)]
    assert len(boxes) == len(methods) + 2
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(other.padded(-0.5))
    for box in boxes:
        assert figure.axes[0].bbox.x1 < box.x0 and box.x1 < figure.bbox.x1 + 1
        assert figure.axes[0].bbox.y0 - 1 <= box.y0 and box.y1 <= figure.axes[0].bbox.y1 + 1


def test_rows_that_differ_between_seeds_make_one_point():
    cells = cells_of()
    figure = plot_comparison(cells, x="rows", y="accuracy", by="k")
    for x, _, ends in bars(figure):
        assert x.tolist() == [202, 402, 602] and len(ends) == 3
    assert len(levels(figure)) == 2  # rows 0 and 4606 lie beyond the others


def test_a_single_x_among_the_others_is_a_point():
    cells = cells_of()
    cells = cells[(cells["method"] != "random") | (cells["k"] == 3)]
    figure = plot_comparison(cells, x="k", y="accuracy")
    assert bars(figure)[1][0].tolist() == [3] and len(levels(figure)) == 2
    alone = plot_comparison(cells_of(ks=(2,)), x="k", y="accuracy")
    assert [x.tolist() for x, *_ in bars(alone)] == [[2]] * 3 and len(levels(alone)) == 2


def test_values_that_are_no_numbers_stand_in_their_order():
    cells = cells_of().assign(budget=lambda found: found["k"].map({2: "2h", 3: "30min", 4: "1h"}).fillna("-"))
    figure = plot_comparison(cells, x="budget", y="accuracy")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["2h", "30min", "1h"]
    assert bars(figure)[0][0].tolist() == [0, 1, 2] and len(levels(figure)) == 2
    text = cells.assign(share=cells["k"].map({2: "0.9", 3: "0.1", 4: "0.5"}))
    assert bars(plot_comparison(text, x="share", y="accuracy"))[0][0].tolist() == [0.1, 0.5, 0.9]


def test_one_seed_has_no_interval_and_no_small_points():
    figure = plot_comparison(cells_of(seeds=1), x="k", y="accuracy")
    assert [len(ends) for *_, ends in bars(figure)] == [0, 0, 0]
    assert len(figure.axes[0].patches) == 0
    assert "one seed each" in [text.get_text() for text in figure.axes[0].texts]


def test_what_has_no_number_is_counted():
    cells = cells_of()
    cells.loc[[0, 7], "accuracy"] = [np.nan, np.inf]
    words = [text.get_text() for text in plot_comparison(cells, x="k", y="accuracy").axes[0].texts]
    assert any("4 to 5 seeds" in word and "2 cells without a number are not drawn" in word for word in words)


def test_pictures_are_written_and_equal(tmp_path):
    for name in ("a.png", "b.png", "c.pdf", "d.svg"):
        plot_comparison(cells_of(), x="k", y="accuracy", path=tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert min((tmp_path / name).stat().st_size for name in ("a.png", "c.pdf", "d.svg")) > 5_000


def test_words_from_strangers_are_drawn_as_text(tmp_path):
    cells = cells_of(methods=("$\\frac{1}{2}$", "\u202egnp\n\x1b[31m")).rename(columns={"accuracy": "$\\x$\n" * 30})
    figure = plot_comparison(cells, x="k", y="$\\x$\n" * 30, path=tmp_path / "x.png")
    text = "".join(text.get_text() for text in names(figure))
    assert "$\\frac{1}{2}$" in text and not set(text) & set("\u202e\x1b\n")


def test_what_can_not_be_drawn_is_said(tmp_path):
    cells = cells_of()
    with pytest.raises(ColumnError, match="no column 'wer'; they have method, k"):
        plot_comparison(cells, x="k", y="wer")
    with pytest.raises(ArgumentError, match="nothing to draw"):
        plot_comparison(cells.assign(accuracy=np.nan), x="k", y="accuracy")
    with pytest.raises(ArgumentError, match=r"room for 6 methods.*got 7"):
        plot_comparison(cells_of(methods=tuple("abcdefg")), x="k", y="accuracy")
    with pytest.raises(ArgumentError, match="'ours' have a value in 'k', and some none"):
        plot_comparison(cells.assign(k=cells["k"].where(cells.index > 0)), x="k", y="accuracy")
    with pytest.raises(OutputError):
        plot_comparison(cells, x="k", y="accuracy", path=tmp_path / "x.nope")
