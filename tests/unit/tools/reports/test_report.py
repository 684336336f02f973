"""The report: the page for people and the JSON for programs, from a full result to an empty one."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tools.reports.html import any_table, as_text, page, section
from tools.reports.metrics import METRICS
from tools.reports.reliability import Bin, wilson
from tools.reports.report import as_page, write_report
from tools.reports.svg import Bar, bar_plot, line_plot, nice_axis, reliability_plot

RESULT: dict[str, Any] = {
    "data": {"log": "shop <& sons>.jsonl", "events": 120_000, "users": 4_000, "items": 900},
    "protocol": "leave one out",
    "ties": "shuffled",
    "seed": 12345,
    "masked": True,
    "cases": 3_900,
    "repeats": 41,
    "leaks": False,
    "artifact": "3f2a",
    "date": "2025-01-31",
    "machine": "2 cores",
    "seconds": {"read": 1.25, "rank": 31.5},
    "memory_mb": 812.0,
    "models": {
        "pipeline": {
            "hr@10": 0.1234,
            "ndcg@10": 0.0789,
            "mrr@10": 0.061,
            "recall@10": 0.1234,
            "coverage": 0.44,
            "novelty": 9.81,
            "diversity": 0.62,
            "hr@10_ci": [0.112, 0.134],
            "ndcg@10_ci": [0.0711, 0.0862],
        },
        "popularity": {"hr@10": 0.031, "ndcg@10": 0.0152, "ndcg@10_ci": [0.012, 0.019], "coverage": 0.02},
    },
    "ablation": {
        "retrieval": {"hr@10": 0.11, "ndcg@10": 0.0689, "ndcg@10_change_ci": [-0.0131, -0.0072]},
        "text_similarity": {"hr@10": 0.1240, "ndcg@10": 0.0792, "ndcg@10_change_ci": [-0.0009, 0.0014]},
    },
    "sigmoid": {
        "accuracy": 0.91,
        "precision": 0.5,
        "recall": 0.4,
        "f1": 0.4444,
        "mse": 0.06,
        "rmse": 0.2449,
        "auc": None,
        "ece": 0.012,
        "n": 20_000,
        "threshold": 0.5,
        "reliability": [[0.03, 0.02, 15_000], [0.31, 0.36, 3_500], [0.72, 0.64, 1_500]],
    },
    "curves": {"validation NDCG@10 by epoch": [[1, 0.041], [2, 0.066], [3, 0.0764], [4, 0.0771]]},
    "missing": [{"share": 0.0, "ndcg@10": 0.0789}, {"share": 0.5, "ndcg@10": 0.07}],
    "lead": {"popularity": {"ndcg@10_lead": 0.0637, "ndcg@10_lead_ci": [0.0552, 0.0718]}},
    "examples": [
        {"user": "u<7>", "n_history": 8, "history": ["i1", "i2"], "list": ["i3", "i4", "i5"], "next": "i4"},
        {"user": "u8", "n_history": 1, "history": ["i3"], "list": ["i1"], "next": "i9"},
    ],
    "cold": {"new item": {"ndcg@10": 0.02, "cases": 120}, "known item": {"ndcg@10": 0.08}},
}


class Reader(HTMLParser):
    """Reads a page as a browser does: its text, its tags, and whether each tag is closed."""

    VOID = {"meta"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def bin_at(mean: float, share: float, count: float) -> Bin:
    """Return a bin with its interval."""
    return Bin(mean, share, *wilson(share, count), count)


def plots(page: str) -> list[ElementTree.Element]:
    """Return the page's plots as parsed XML."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", page, re.DOTALL)]


def test_writes_both_files(tmp_path: Path) -> None:
    """The JSON is the result with sorted keys, and the page is beside it.

    A second run replaces both.
    """
    directory = tmp_path / "new" / "place"
    write_report(directory, {"models": {}})
    write_report(directory, RESULT)
    text = (directory / "report.json").read_text("utf-8")
    assert json.loads(text) == RESULT
    assert text.index('"ablation"') < text.index('"artifact"') < text.index('"seed"')
    assert sorted(path.name for path in directory.iterdir()) == ["report.html", "report.json"]
    assert (directory / "report.html").read_text("utf-8") == as_page(RESULT)


def test_the_page_opens_with_the_verdict() -> None:
    """Words come before the first number of a model; without leads there is no verdict."""
    page = as_page(RESULT)
    text = Reader(page).text
    assert "headrace is better than Popularity by 0.055 to 0.072 NDCG@10." in text
    assert page.index('<div class="verdict">') < page.index("<section>")
    assert '<div class="verdict">' not in as_page(RESULT | {"lead": {}})


def test_ours_has_its_colour_and_no_other() -> None:
    """One bar and one row of the models, by the name that people know."""
    page = as_page(RESULT)
    assert page.count('class="bar ours"') == page.count('<tr class="ours">') == 1
    assert re.search(r'<tr class="ours"><th scope="row">headrace</th>', page)


def test_each_metric_is_named_and_explained_once() -> None:
    """Columns of all tables have the same names.

    Equal metrics have one column, and each metric is explained once.
    """
    page = as_page(RESULT)
    for key in ("hr@10", "ndcg@10", "recall@10", "Recall@10", "pipeline", "item_knn"):
        assert key not in page, key
    for metric in METRICS.values():
        assert page.count(f"<td>{metric.meaning}</td>") <= 1
    assert page.count('<tr><th scope="row">NDCG@10</th><td>') == 1


def test_examples_show_titles_and_mark_what_came_next() -> None:
    """An item without a title shows its id; a user's older items are counted."""
    page = as_page(RESULT, {"i1": "Kettle <big>", "i2": "Tea\n cup", "i4": "Pot"})
    text = Reader(page).text
    assert "2 users" in text and "user u<7>" in text
    assert "had: 6 more → Kettle <big> → Tea cup" in text
    assert page.count('<li class="next">') == 1 and "Pot ← came next" in text
    assert "came next: Pot (at rank 2)" in text and "came next: i9 (not in the list)" in text


def test_nothing_is_wider_than_a_phone() -> None:
    """Tables and plots scroll inside their frames; text may break anywhere."""
    page = as_page(RESULT)
    wide = re.findall(r'<div class="wide">(<table|<svg)', page)
    assert len(wide) == page.count("<table") + page.count("<svg")
    assert ".wide{overflow-x:auto" in page and "width=device-width" in page


def test_numbers_of_numpy_and_nan(tmp_path: Path) -> None:
    """NumPy's values become plain numbers.

    NaN and infinity become null, because JSON has neither.
    """
    models = {"a": {"ndcg@10": np.float32(0.5), "hr@10": float("nan"), "ndcg@10_ci": np.array([0.25, np.inf])}}
    write_report(tmp_path, {"models": models, "cases": np.int64(3)})
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert found == {"cases": 3, "models": {"a": {"hr@10": None, "ndcg@10": 0.5, "ndcg@10_ci": [0.25, None]}}}


def test_page_needs_nothing_else() -> None:
    """The page has no script, no link and no address: it is whole without a network."""
    page = as_page(RESULT)
    assert {"script", "link", "img", "iframe"} & set(Reader(page).tags) == set()
    assert re.search(r"https?:|url\(|@import|\bsrc=|\bhref=", page) is None
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "prefers-color-scheme:dark" in page
    assert "<title>headrace: evaluation on shop &lt;&amp; sons&gt;.jsonl</title>" in page


def test_page_says_everything() -> None:
    """Each part of the result is there, in figures, with a caption for each table and each plot."""
    page = as_page(RESULT)
    reader = Reader(page)
    assert reader.tags.count("table") == reader.tags.count("caption") == 9
    assert reader.tags.count("svg") == reader.tags.count("figcaption") == reader.tags.count("figure") == 4
    for text in (
        "0.0789 (0.0711 to 0.0862)",
        "-0.0100 (-0.0131 to -0.0072)",
        "120,000",
        "12345",
        "31.50",
        "AUC–",
        "new item",
    ):
        assert text in reader.text, text
    assert "Leak" not in reader.text
    assert "Leak" in as_page(RESULT | {"leaks": True})


@pytest.mark.parametrize("key", sorted(RESULT))
def test_any_part_may_be_missing(key: str) -> None:
    """Without any one part, or with it empty, the rest is a whole page without Python's None."""
    values: list[Any] = [None, {}, [], ""]
    for value in values:
        reader = Reader(as_page(RESULT | {key: value}))
        assert "None" not in reader.text
    Reader(as_page({name: part for name, part in RESULT.items() if name != key}))


def test_empty_result_is_a_page() -> None:
    """A run that measured nothing has a page without a plot."""
    assert "svg" not in Reader(as_page({})).tags


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x>', "a&b<c"])
def test_text_is_escaped_everywhere(hostile: str) -> None:
    """Names of logs and files stay text: in a paragraph, in an attribute and in a plot."""
    ours = as_page(RESULT)
    page = as_page(
        RESULT
        | {
            "data": {"log": hostile},
            "machine": hostile,
            "models": {hostile: RESULT["models"]["pipeline"] | {hostile: 1.0}},
            "ablation": {hostile: RESULT["ablation"]["retrieval"]},
            "curves": {hostile: [[1, 2], [2, 3]]},
            "seconds": {hostile: hostile},
            "cold": {hostile: {hostile: hostile}},
            "missing": {hostile: hostile},
        }
    )
    assert hostile not in page
    assert set(Reader(page).tags) <= set(Reader(ours).tags)
    assert len(plots(page)) == 4


def test_bars_are_as_long_as_their_values() -> None:
    """Twice the value gives twice the bar, from the line at 0; the whisker spans the interval."""
    svg = ElementTree.fromstring(bar_plot("t", [Bar("a", 0.2, 0.1, 0.3), Bar("b", 0.1), Bar("c", -0.1)], "x"))
    boxes = [(float(box.get("x", "")), float(box.get("width", ""))) for box in svg.iter("rect")]
    zero = boxes[0][0]
    assert boxes[0][1] == pytest.approx(2 * boxes[1][1], abs=0.3)
    assert boxes[1][0] == zero
    assert sum(boxes[2]) == pytest.approx(zero, abs=0.2)
    spans = [
        (float(line.get("x1", "")), float(line.get("x2", "")))
        for line in svg.iter("line")
        if line.get("class") == "whisker"
    ]
    assert spans[0] == pytest.approx((zero + boxes[1][1], zero + 3 * boxes[1][1]), abs=0.5)


def test_reliability_is_drawn_the_right_way_up() -> None:
    """The diagonal rises from the lower left.

    An observed share below the prediction lies below the diagonal.
    """
    svg = ElementTree.fromstring(reliability_plot("t", [bin_at(0.5, 0.25, 10.0), bin_at(0.9, 0.9, 40.0)]))
    diagonal = next(line.get("points", "") for line in svg.iter("polyline") if line.get("class") == "diagonal")
    (x0, y0), (x1, y1) = (tuple(map(float, place.split(","))) for place in diagonal.split())
    assert x0 < x1
    assert y0 > y1
    below, on = list(svg.iter("circle"))
    assert float(below.get("cy", "")) == pytest.approx(y0 + 0.25 * (y1 - y0), abs=0.1)
    assert float(on.get("cx", "")) == pytest.approx(x0 + 0.9 * (x1 - x0), abs=0.1)
    assert float(on.get("r", "")) > float(below.get("r", ""))


def test_change_is_from_the_same_cases() -> None:
    """The rows of an ablation are compared with its own row without a removal.

    All rows have the same cases.
    """
    rows = {"nothing": {"ndcg@10": 0.09}, "retrieval": {"ndcg@10": 0.07}}
    page = as_page({"models": RESULT["models"], "ablation": rows})
    assert "-0.0200" in Reader(page).text
    assert len(list(plots(page)[1].iter("rect"))) == 1
    alone = as_page({"ablation": {"retrieval": {"ndcg@10_change_ci": [-0.03, -0.01]}}})
    assert "-0.0200 (-0.0300 to -0.0100)" in Reader(alone).text


def test_curve_names_both_axes() -> None:
    """A curve "y by x" has y and x at its axes, and a dot for each point."""
    svg = plots(as_page({"curves": {"loss by epoch": [[1, 3.5], [2, 2.0]]}}))[0]
    texts = [text.text for text in svg.iter("text")]
    assert texts.count("loss") == texts.count("epoch") == 1
    assert len(list(svg.iter("circle"))) == 2


def test_everything_drawn_is_inside_the_picture() -> None:
    """No shape leaves the view box, also with long names, wide numbers and a single point."""
    long = "a very long name of a source that goes on and on " * 2
    pictures = [
        bar_plot("t", [Bar(long, -12345.0, -20000.0, 5.0), Bar("b", 0.001)], "x"),
        line_plot("t", [(0, 1e6), (1e5, -3e6)], "x", "y"),
        line_plot("t", [(3, 0.25)], "x", "y"),
        reliability_plot("t", [bin_at(0.0, 0.0, 1.0), bin_at(1.0, 1.0, 9e9), bin_at(0.99, 0.5, 100.0)]),
    ]
    for picture in pictures:
        svg = ElementTree.fromstring(picture)
        width, height = map(float, svg.get("viewBox", "").split()[2:])
        for shape in svg.iter():
            for names, limit in ((("x", "x1", "x2", "cx"), width), (("y", "y1", "y2", "cy"), height)):
                places = [float(shape.get(name, "")) for name in names if shape.get(name) is not None]
                assert all(0 <= place <= limit for place in places), ElementTree.tostring(shape)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 0.0862, ["0.00", "0.02", "0.04", "0.06", "0.08", "0.10"]),
        (-0.0131, 0.0014, ["-0.015", "-0.010", "-0.005", "0.000", "0.005"]),
        (1, 4, ["1", "2", "3", "4"]),
        (0, 0, ["-0.6", "-0.4", "-0.2", "0.0", "0.2", "0.4", "0.6"]),
        (0, 20_000, ["0", "5000", "10000", "15000", "20000"]),
    ],
)
def test_axis_has_round_ticks(low: float, high: float, labels: list[str]) -> None:
    """Steps of 1, 2 or 5, as many decimals as they need, and the range inside."""
    axis = nice_axis(low, high)
    assert [text for _, text in axis.ticks] == labels
    assert axis.low <= low <= high <= axis.high


def test_a_plot_of_nothing_is_nothing() -> None:
    """A plot leaves out NaN, and a plot of NaN alone is empty."""
    nan = float("nan")
    assert bar_plot("t", [Bar("a", nan)], "x") == ""
    assert reliability_plot("t", [bin_at(nan, 0.5, 1.0)]) == ""
    assert line_plot("t", [(1.0, nan)], "x", "y") == ""
    assert bar_plot("t", [Bar("a", 0.5, nan, 0.6)], "x").count("whisker") == 0


def test_values_for_people() -> None:
    """Each kind of value has its form."""
    found = [as_text(value) for value in (True, 1234, 0.5, -12.34, float("nan"), None, [0.1, 0.2], [], "a")]
    assert found == ["yes", "1,234", "0.5000", "-12.3", "–", "–", "0.1000 to 0.2000", "–", "a"]


@pytest.mark.parametrize("data", [{"a": {"x": 1}, "b": {"y": 2}}, [{"k": "a", "x": 1}, {"k": "b", "y": 2}]])
def test_a_table_of_any_form(data: Any) -> None:
    """Rows with other columns share one table; what a row lacks is a dash."""
    text = Reader(page("t", [section("s", any_table("c", "k", data))])).text
    assert "|c|kxy||a1–|b–2||" in text.replace("\n", "|")
