"""The way of the documents as a Sankey diagram in SVG: sources, stages, what each dropped and why, and the tokens.

Widths are documents, because every stage accounts for each of them: in = kept + dropped. Below the stages one stem for
each reason leads to its count.
"""

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llm_core.formats.pages import COLOURS, begun
from llm_core.report.plots import LETTER, WIDTH, svg

LEFT, RIGHT, TOP, TALL, PITCH = 150.0, 416.0, 52.0, 130.0, 22.0
SOURCES, REASONS = 8, 4  # more are one
THIN = 1.5


class Stage(NamedTuple):
    """A stage: its name, the documents of each source that it kept, and the dropped ones by reason."""

    name: str
    kept: Mapping[str, int]
    dropped: Mapping[str, int]


def flow_plot(sources: Mapping[str, int], stages: Sequence[Stage], ends: Sequence[tuple[str, int, str]]) -> str:
    """Documents from `sources` through `stages` to `ends`: (name, documents, tokens in words)."""
    sources = {name: count for name, count in sources.items() if count}
    if not sources or not stages:
        return ""
    total = sum(sources.values())
    groups = _few(sources, SOURCES, "{} other sources")
    xs = [LEFT + (RIGHT - LEFT) * number / len(stages) for number in range(len(stages) + 1)]
    parts: list[str] = []

    def thick(count: float) -> float:
        return max(THIN, count / total * TALL)

    tops: list[float] = []
    y = TOP  # where each source begins, apart enough for its name
    for members in groups.values():
        height = thick(sum(sources[name] for name in members))
        slot = max(height, PITCH)
        parts.append(_text(LEFT - 8, y + slot / 2 + 5, begun(list(groups)[len(tops)], 16), "end"))
        tops.append(y + (slot - height) / 2)
        y += slot + 4
    bottom = max(y, TOP + TALL + 10)
    middle = TOP + (bottom - TOP - TALL) / 2
    heights = [thick(sum(sources[name] for name in members)) for members in groups.values()]
    places = list(zip(tops, heights, strict=True))
    bottoms = []
    for number, stage in enumerate(stages):
        y, next_places = middle, []
        for colour, ((top, height), members) in enumerate(zip(places, groups.values(), strict=True)):
            left = sum(stage.kept.get(name, 0) for name in members)
            after = thick(left) if left else 0.0
            parts.append(_ribbon(xs[number], xs[number + 1], top, height, y, after, COLOURS[colour % 3], colour >= 3))
            next_places.append((y, after))
            y += after
        places = next_places
        bottoms.append(y)
        x = xs[number + 1]
        parts.append(f'<rect x="{x - 2}" y="{middle:.1f}" width="4" height="{y - middle:.1f}" fill="currentColor"/>')
        row = 16 if number % 2 == 0 else 36  # neighbours do not touch on a phone
        parts.append(_text(x, row, stage.name, "middle"))
    count = sum(stages[-1].kept.values())
    below, start = bottom, middle
    spread = middle - 20
    for name, documents, tokens in ends:
        height = documents / max(count, 1) * (y - middle)
        slot = max(height, 3 * PITCH - 8)
        target = spread + (slot - height) / 2
        parts.append(_ribbon(RIGHT, RIGHT + 40, start, height, target, height, "currentColor", True))
        for line, words in enumerate((name, f"{documents:,} documents", tokens)):
            parts.append(_text(RIGHT + 46, spread + slot / 2 + (line - 1) * 20 + 5, words, "start"))
        start += height
        spread += slot + 14
        below = max(below, spread)
    y = below + 8
    for number, stage in reversed(list(enumerate(stages))):
        reasons = _few(stage.dropped, REASONS, "{} other reasons")
        x = xs[number + 1] - 10.0
        for name, members in reasons.items():
            dropped = sum(stage.dropped[member] for member in members)
            width = thick(dropped)
            x -= width / 2
            parts.append(
                f'<path d="M{x:.1f},{bottoms[number]:.1f} V{y - 8:.1f} q0,8 8,8 h4" fill="none" '
                f'style="stroke:var(--b)" stroke-width="{min(width, 24):.1f}" opacity="0.75"/>'
            )
            label = begun(f"{dropped:,} {name}", int((WIDTH - x - 16) / LETTER))
            parts.append(_text(x + 16 + width / 2, y + 5, label, "start"))
            x -= width / 2 + 3
            y += PITCH
    return svg("".join(parts), round(y + 4), "documents from their sources to tokens, with what was dropped")


def _few(counts: Mapping[str, int], most: int, rest: str) -> dict[str, list[str]]:
    """Name shown -> the keys in it, the largest first; beyond `most` they are one."""
    ordered = sorted((key for key, count in counts.items() if count), key=lambda key: (-counts[key], key))
    shown = ordered if len(ordered) <= most + 1 else ordered[:most]
    groups = {key: [key] for key in shown}
    if left := ordered[len(shown) :]:
        groups[rest.format(len(left))] = left
    return groups


def _ribbon(x0: float, x1: float, y0: float, h0: float, y1: float, h1: float, colour: str, light: bool) -> str:
    middle = (x0 + x1) / 2
    path = (
        f"M{x0:.1f},{y0:.1f} C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f} v{h1:.1f} "
        f"C{middle:.1f},{y1 + h1:.1f} {middle:.1f},{y0 + h0:.1f} {x0:.1f},{y0 + h0:.1f} Z"
    )
    return f'<path d="{path}" style="fill:{colour}" opacity="{0.25 if light else 0.5}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{html.escape(words)}</text>'
