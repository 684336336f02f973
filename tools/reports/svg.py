"""Plots as inline SVG: bars with intervals, a reliability curve, lines.

The page's style sheet has the colours.
Every shape has its meaning by place, dash or text, so that a print in black and white loses
nothing. A plot leaves out points that are not finite; without any point it is an empty string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Final, NamedTuple

from tools.reports.reliability import Bin

WIDTH: Final = 720
ROW: Final = 28
SIDE: Final = 420
#: Width of a letter at the page's 13 pixels, a little generous, so that no name overlaps a bar.
LETTER: Final = 7.2
LONGEST_NAME: Final = 32

Point = tuple[float, float]


class Bar(NamedTuple):
    """One bar. ``low`` and ``high`` are the ends of its interval, None where there is none.

    The bar of ``is_ours`` has a colour of its own.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    is_ours: bool = False


class Axis(NamedTuple):
    """A range that starts and ends at a tick, and its ticks with their labels."""

    low: float
    high: float
    ticks: list[tuple[float, str]]

    def share(self, value: float) -> float:
        """Return where on the axis a value is, 0 at its low and 1 at its high end."""
        return (value - self.low) / (self.high - self.low)


def nice_axis(low: float, high: float, n_steps: int = 5) -> Axis:
    """Return an axis around a range.

    It has about ``n_steps`` steps of 1, 2 or 5 times a power of ten.

    References
    ----------
    Heckbert, Nice Numbers for Graph Labels, Graphics Gems, 1990.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value, or as good as one
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    rough = (high - low) / n_steps
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [(i * step, f"{i * step:.{decimals}f}") for i in range(first, last + 1)]
    return Axis(first * step, last * step, ticks)


def bar_plot(title: str, bars: Sequence[Bar], label: str) -> str:
    """Return horizontal bars from 0, each with its name, its value and its interval as a whisker.

    Parameters
    ----------
    title : what a screen reader says of the plot
    label : of the axis, with its unit
    """
    bars = [bar for bar in bars if math.isfinite(bar.value)]
    if not bars:
        return ""
    ends = [0.0, *(v for bar in bars for v in (bar.value, bar.low, bar.high) if v is not None and math.isfinite(v))]
    axis = nice_axis(min(ends), max(ends))
    names = [_shortened(bar.name) for bar in bars]
    left, right = max(len(name) for name in names) * LETTER + 16, 204.0
    span, bottom = WIDTH - left - right, len(bars) * ROW + 8

    def x(value: float) -> float:
        return left + axis.share(value) * span

    parts = [_x_ticks([(x(at), text) for at, text in axis.ticks], 4, bottom)]
    parts.append(_line(x(0), 4, x(0), bottom, "axis"))
    for i, (bar, name) in enumerate(zip(bars, names, strict=True)):
        parts.append(_bar(bar, name, x, left, 8 + i * ROW))
    parts.append(_text(left + span / 2, bottom + 38, label, "middle"))
    return _svg(title, WIDTH, bottom + 46, parts)


def reliability_plot(title: str, bins: Sequence[Bin]) -> str:
    """Return observed share by mean predicted probability; the diagonal is a perfect sigmoid.

    Each bin has its interval as a whisker, a dot that is greater for more cases, and its count
    below the axis.
    """
    bins = [one for one in bins if all(map(math.isfinite, one))]
    if not bins:
        return ""
    unit = Axis(0.0, 1.0, [(i / 5, f"{i / 5:.1f}") for i in range(6)])
    most = max(max(one.cases for one in bins), 1.0)
    frame = _Frame(unit, unit, SIDE, SIDE, 18)
    parts = [frame.grid("mean predicted probability", "observed share"), frame.line([(0, 0), (1, 1)], "diagonal")]
    parts.append(frame.line([(one.mean, one.share) for one in bins], "curve"))
    for one in bins:
        (x, low), (_, high) = frame.at((one.mean, one.low)), frame.at((one.mean, one.high))
        parts.append(_line(x, low, x, high, "whisker"))
        tip = f"predicted {one.mean:.4f}, observed {one.share:.4f}, {one.cases:,.0f} cases"
        parts.append(frame.dot((one.mean, one.share), 3 + 4 * math.sqrt(max(one.cases, 0.0) / most), tip))
    parts += _counts_below(frame, bins)
    return _svg(title, frame.full_width, frame.full_height, parts)


def _counts_below(frame: _Frame, bins: Sequence[Bin]) -> list[str]:
    """Return the count of each bin below its dot; one that would touch the last one is left out."""
    bottom, parts, free_from = 10 + frame.height + 36, [], 0.0
    parts.append(_text(frame.left - 14, bottom, "pairs", "end", ' class="small"'))
    for one in bins:
        x, text = frame.at((one.mean, 0.0))[0], _short(one.cases)
        half = len(text) * LETTER * 0.42
        if x - half >= free_from:
            parts.append(_text(x, bottom, text, "middle", ' class="small"'))
            free_from = x + half + 3
    return parts


def _short(count: float) -> str:
    """Return a count in at most four characters: 310, 1.2k, 15k, 3.4M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.1f}{letter}" if count < 10 * unit else f"{count / unit:.0f}{letter}"
    return f"{count:.0f}"


def line_plot(title: str, points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Return one line with a dot at each point, in the order given."""
    points = [point for point in points if all(map(math.isfinite, point))]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    frame = _Frame(nice_axis(min(xs), max(xs)), nice_axis(min(ys), max(ys)), 560, 240)
    parts = [frame.grid(x_label, y_label), frame.line(points, "curve")]
    parts += [frame.dot(point, 3, f"{point[0]:g}: {point[1]:.4g}") for point in points]
    return _svg(title, frame.full_width, frame.full_height, parts)


class _Frame(NamedTuple):
    """A plot with two axes; the page's coordinates begin above and left of it."""

    x_axis: Axis
    y_axis: Axis
    width: float
    height: float
    below: float = 0.0  # room for a further row below the ticks

    @property
    def left(self) -> float:
        return 34 + LETTER * max(len(text) for _, text in self.y_axis.ticks)

    @property
    def full_width(self) -> float:
        return self.left + self.width + 24

    @property
    def full_height(self) -> float:
        return self.height + 60 + self.below

    def at(self, point: Point) -> Point:
        return self.left + self.x_axis.share(point[0]) * self.width, 10 + (
            1 - self.y_axis.share(point[1])
        ) * self.height

    def grid(self, x_label: str, y_label: str) -> str:
        """Return grid lines, tick labels and the names of both axes."""
        bottom, right = 10 + self.height, self.left + self.width
        parts = [_x_ticks([(self.at((v, 0))[0], text) for v, text in self.x_axis.ticks], 10, bottom)]
        for value, text in self.y_axis.ticks:
            y = self.at((0, value))[1]
            parts += [_line(self.left, y, right, y, "grid"), _text(self.left - 6, y + 4, text, "end")]
        parts += [_line(self.left, bottom, right, bottom, "axis"), _line(self.left, 10, self.left, bottom, "axis")]
        parts.append(_text(self.left + self.width / 2, bottom + 40 + self.below, x_label, "middle"))
        middle = 10 + self.height / 2
        parts.append(_text(14, middle, y_label, "middle", f' transform="rotate(-90 14 {middle:.1f})"'))
        return "".join(parts)

    def line(self, points: Sequence[Point], kind: str) -> str:
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.at, points))
        return f'<polyline class="{kind}" points="{places}"/>'

    def dot(self, point: Point, radius: float, tip: str) -> str:
        x, y = self.at(point)
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{escape(tip)}</title></circle>'


def _bar(bar: Bar, name: str, x: Callable[[float], float], left: float, top: float) -> str:
    start, end = sorted((x(0), x(bar.value)))
    kind = "bar ours" if bar.is_ours else "bar"
    middle, figures = top + ROW / 2 - 3, f"{bar.value:.4f}"
    whisker = ""
    if bar.low is not None and bar.high is not None and math.isfinite(bar.low) and math.isfinite(bar.high):
        low, high = x(bar.low), x(bar.high)
        whisker = _line(low, middle, high, middle, "whisker")
        whisker += "".join(_line(at, middle - 5, at, middle + 5, "whisker") for at in (low, high))
        figures += f" ({bar.low:.4f} to {bar.high:.4f})"
    return (
        f"<g><title>{escape(bar.name)}: {figures}</title>"
        f'<rect class="{kind}" x="{start:.1f}" y="{top + 2:.1f}" width="{end - start:.1f}" height="{ROW - 10}"/>{whisker}'
        f"{_text(left - 8, middle + 4, name, 'end')}{_text(WIDTH - 4, middle + 4, figures, 'end')}</g>"
    )


def _x_ticks(places: Sequence[tuple[float, str]], top: float, bottom: float) -> str:
    return "".join(_line(x, top, x, bottom, "grid") + _text(x, bottom + 18, text, "middle") for x, text in places)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    name = escape(title)
    # A plot shrinks on a phone as far as its texts can be read; beyond that its frame scrolls.
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:{width:.0f}px;min-width:{0.7 * width:.0f}px"'
    return f'<svg {size} role="img" aria-label="{name}">{"".join(parts)}</svg>'
