"""Plots as inline SVG: lines over steps, scores with their intervals, maps of words.

They need no library and no network, and suit light and dark colour schemes.
"""

import html
import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.formats.pages import COLOURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 210, 52, 16, 10, 46
VALUES = 66  # room on the right for values
LETTER = 10  # width of a letter at the largest size of text
MOST_POINTS = 400
LABEL_LINES = 5  # of a score's name


def line_plot(
    curves: Mapping[str, Sequence[tuple[float, float | None]]], x_label: str, y_label: str, smooth: bool = False
) -> str:
    """Lines with a legend above; series beyond the number of colours are dashed. Points without a number are left
    out. With `smooth` each line is the mean of its neighbours, over its own points drawn faintly."""
    drawn = {name: [(x, y) for x, y in points if y is not None and _finite(x, y)] for name, points in curves.items()}
    series = {name: _thin(points) for name, points in drawn.items() if points}
    if not series:
        return ""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = y_ticks[0], max(y_ticks[-1], y_ticks[0] + 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )

    parts = []
    for value in y_ticks:
        _, y = place(x0, value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--soft)"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="currentColor">{value:g}</text>')
    for value in x_ticks:
        if x0 <= value <= x1:
            x, _ = place(value, y0)
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle" fill="currentColor">'
                f"{_short(value)}</text>"
            )

    def draw(points: Sequence[tuple[float, float]], number: int, more: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        dash = ' stroke-dasharray="6 3"' if number >= len(COLOURS) else ""
        colour = COLOURS[number % len(COLOURS)]
        if len(points) == 1:  # a line of one point is not drawn
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:{colour}"/>')
            return
        parts.append(f'<polyline points="{path}" fill="none" style="stroke:{colour}" stroke-width="2"{dash}{more}/>')

    for number, points in enumerate(series.values()):
        if smooth:
            draw(points, number, ' opacity="0.3"')
        draw(smoothed(points) if smooth else points, number)
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle" fill="currentColor">{html.escape(x_label)}</text>'
    )
    return _key(list(series)) + svg("".join(parts), HEIGHT, f"{y_label} over {x_label}")


def smoothed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value as the mean of its neighbours, a twentieth of all on either side; fewer where the line begins or ends.

    >>> smoothed([(0, 1.0), (1, 4.0), (2, 1.0)])
    [(0, 1.0), (1, 2.0), (2, 1.0)]
    """
    reach = max(1, len(points) // 20)
    found = []
    for number, (x, _) in enumerate(points):
        near = min(reach, number, len(points) - 1 - number)
        values = [y for _, y in points[number - near : number + near + 1]]
        found.append((x, sum(values) / len(values)))
    return found


def interval_plot(
    scores: Sequence[tuple[str, float | None, float | None, float | None, float | None]], label: str
) -> str:
    """One line for each score: (name, value, low, high, mark); the mark (for example chance) is an upright tick.

    A score whose value is not a finite number is left out; one without an interval is a dot. The values at the right
    have the same number of decimals: three digits of the largest.
    """
    rows = []
    for name, value, low_end, high_end, mark in scores:
        if value is not None and math.isfinite(value):
            below = low_end if low_end is not None and math.isfinite(low_end) else value
            above = high_end if high_end is not None and math.isfinite(high_end) else value
            rows.append((name, value, below, above, mark if _finite(mark) else None))
    if not rows:
        return ""
    values = [value for row in rows for value in (row[1], row[2], row[3], row[4]) if value is not None]
    scale = ticks(min(values), max(values))
    low, high = scale[0], max(scale[-1], scale[0] + 1e-9)
    lines = [textwrap.wrap(name, 32, max_lines=LABEL_LINES, placeholder=" …") or [""] for name, *_ in rows]
    left = 16 + LETTER * max(len(line) for wrapped in lines for line in wrapped)
    largest = max(abs(value) for _, value, *_ in rows)
    decimals = max(2 - math.floor(math.log10(largest)), 0) if largest else 0
    shown = f".{decimals}f" if decimals < 6 and largest < 1e4 else ".3g"
    tops = [0, *itertools.accumulate(4 + 19 * len(wrapped) for wrapped in lines)]  # of each row, and of what is below
    height = tops[-1] + 50

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - VALUES)

    parts = []
    for tick in scale:
        x = place(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{height - 42}" stroke="var(--soft)"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 26}" text-anchor="middle" fill="currentColor">{tick:g}</text>')
    for number, (_, value, below, above, mark) in enumerate(rows):
        y = 8.5 + (tops[number] + tops[number + 1]) / 2
        for line, words in enumerate(lines[number]):
            under = y + 4 + 19 * (line - (len(lines[number]) - 1) / 2)
            parts.append(
                f'<text x="{left - 10}" y="{under}" text-anchor="end" fill="currentColor">{html.escape(words)}</text>'
            )
        parts.append(
            f'<line x1="{place(below):.1f}" x2="{place(above):.1f}" y1="{y}" y2="{y}" '
            'style="stroke:var(--a)" stroke-width="3"/>'
        )
        parts.append(f'<circle cx="{place(value):.1f}" cy="{y}" r="5" style="fill:var(--a)"/>')
        parts.append(f'<text x="{WIDTH}" y="{y + 4}" text-anchor="end" fill="currentColor">{value:{shown}}</text>')
        if mark is not None:
            x = place(mark)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{y + 9}" style="stroke:var(--b)" stroke-width="2"/>'
            )
    parts.append(
        f'<text x="{(left + WIDTH - VALUES) / 2}" y="{height - 4}" text-anchor="middle" fill="currentColor">'
        f"{html.escape(label)}</text>"
    )
    return svg("".join(parts), height, label)


def word_map(places: Sequence[Mapping[str, Any]]) -> str:
    """Words at `x`, `y`; a word that is `joined_to` another is drawn in another colour, with a line to it."""
    places = [place for place in places if _finite(place["x"], place["y"])]
    if not places:
        return ""
    height = 480
    xs, ys = [place["x"] for place in places], [place["y"] for place in places]
    x0, x1, y0, y1 = min(xs), max(max(xs), min(xs) + 1e-9), min(ys), max(max(ys), min(ys) + 1e-9)
    at = {
        place["word"]: (
            RIGHT + (place["x"] - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            TOP + (y1 - place["y"]) / (y1 - y0) * (height - 2 * TOP),
        )
        for place in places
    }
    lines, words = [], []
    for place in places:
        (x, y), other = at[place["word"]], place["joined_to"]
        if other in at:
            (to_x, to_y) = at[other]
            lines.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="var(--soft)"/>')
        words.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{COLOURS[bool(other)]}"/>')
        name = html.escape(place["word"])
        words.append(f'<text x="{x + 5:.1f}" y="{y + 3:.1f}" font-size="10" fill="currentColor">{name}</text>')
    return svg("".join(lines + words), height, "a map of words")


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values from low to high, for an axis.

    >>> ticks(0.1, 0.9)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / wanted))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _finite(*values: Any) -> bool:
    """Whether all values are numbers that can be drawn: a file may hold null or NaN for a score that diverged."""
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)


def svg(inner: str, height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(label)}">{inner}</svg>'


def _key(names: list[str]) -> str:
    if len(names) < 2:
        return ""
    items = []
    for number, name in enumerate(names):
        style = "dashed" if number >= len(COLOURS) else "solid"
        colour = COLOURS[number % len(COLOURS)]
        items.append(
            f'<span class="key"><i style="border-top-style:{style};border-color:{colour}"></i>'
            f"{html.escape(name)}</span>"
        )
    return f"<div>{''.join(items)}</div>"


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    step = max(1, len(points) // MOST_POINTS)
    return [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]


def _short(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
