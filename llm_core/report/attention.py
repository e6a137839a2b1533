"""One page with pictures of a model's attention, which needs no script and no network.

Small multiples of all heads, or one large picture with the tokens at its edges. A picture is an SVG path for each of
ten shades: it is sharp at any size, follows the reader's colour scheme, and prints.
"""

import html
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from llm_core.errors import UserError
from llm_core.formats.pages import Block, Row
from llm_core.models.attention_maps import AttentionMaps, Inspected
from llm_core.runtime.terminal import printable

SHADES = 10
MAXIMUM_CELLS = 2_000_000  # of all pictures of a page, which is then some 10 MB
CELL, EDGE, LETTERS = 15, 120, 16  # of a large picture: pixels a cell, pixels for tokens, letters of a token
NAMED = 3  # tokens that a row of a large picture names when the pointer rests on it


def attention_page(
    model: Path, text: str, inspected: Inspected, layer: int | None = None, head: int | None = None
) -> list[Block]:
    """The page's blocks: all heads, or those of one layer, or one head of each layer, or one head.

    Raises UserError for a layer or head that the model does not have, and for more cells than a page can hold.
    """
    chosen = [one for maps in inspected.maps if (one := choose(maps, layer, head)).layers]
    if not chosen:
        have = "; ".join(f"{one.name}: {_extent(one)}" for one in inspected.maps)
        raise UserError(f"{model}: no such layer or head, counted from 1 ({have})")
    cells = sum(weights.size for one in chosen for weights in one.layers.values())
    if cells > MAXIMUM_CELLS:
        raise UserError(
            f"{model}: {cells:,} cells of pictures are more than a page can hold ({MAXIMUM_CELLS:,}); choose a layer "
            "by --layer, a head by --head, or fewer tokens by --max-tokens"
        )
    return list(_blocks(model, text, inspected, chosen, head))


def choose(maps: AttentionMaps, layer: int | None, head: int | None) -> AttentionMaps:
    """The maps of a layer and of a head, both counted from 1; None takes all. Nothing where there is no such one."""
    layers = {
        number: weights if head is None else weights[head - 1 : head]
        for number, weights in maps.layers.items()
        if layer in (None, number) and (head is None or 1 <= head <= len(weights))
    }
    return AttentionMaps(maps.name, maps.queries, maps.keys, layers, maps.on_itself)


def _extent(maps: AttentionMaps) -> str:
    return f"{max(maps.layers)} layers of {max(map(len, maps.layers.values()))} heads"


def _blocks(
    model: Path, text: str, inspected: Inspected, chosen: list[AttentionMaps], head: int | None
) -> Iterator[Block]:
    yield Block("title", printable(f"Attention of {model.resolve().name}", lines=False))
    yield Block("lead", [("Text:", printable(text, lines=False))])
    if inspected.written is not None:
        yield Block("lead", [("Written by the model:", printable(inspected.written, lines=False))])
    if inspected.cut:
        yield Block("note", f"{inspected.cut} tokens beyond the maximum are left out.")
    yield Block(
        "text",
        "Each row is a token that attends, each column one that it attends to; a row's weights sum to 1. The shade is "
        "the square root of the weight, so that small ones are seen. Layers and heads are counted from 1. A weight "
        "shows where a head takes values from; it does not explain an answer.",
    )
    for maps in chosen:
        yield Block("heading", maps.name)
        yield Block("note", f"{len(maps.queries)} tokens attend to {len(maps.keys)}.")
        for number, weights in maps.layers.items():
            first = head or 1
            if len(weights) == 1:
                picture = large_picture(
                    weights[0], maps.queries, maps.keys, f"{maps.name}: layer {number}, head {first}"
                )
                yield Block("figure", picture, f"Layer {number}, head {first}")
                continue
            small = "".join(
                f"<div>{small_picture(one, f'{maps.name}: layer {number}, head {at}')}<small>head {at}</small></div>"
                for at, one in enumerate(weights, 1)
            )
            grid = "display:grid;grid-template-columns:repeat(auto-fill,minmax(7rem,1fr));gap:.75rem"
            mean = large_picture(weights.mean(0), maps.queries, maps.keys, f"{maps.name}: layer {number}, mean")
            folded = f"<details><summary>Layer {number}, mean of its heads, with tokens</summary>{mean}</details>"
            yield Block("figure", f'<b>Layer {number}</b><div style="{grid}">{small}</div>{folded}')
        if rows := list(shares(maps, head)):
            yield Block(
                "folded", rows, "Mean weight of each head on the token itself, the one before and the first one"
            )


def shares(maps: AttentionMaps, head: int | None = None) -> Iterator[Row]:
    """For each head on the same text: its mean weight on the token itself, the token before, and the first token."""
    for number, weights in maps.layers.items() if maps.on_itself and len(maps.queries) > 1 else ():
        for at, one in enumerate(weights, head or 1):
            yield {
                "layer": number,
                "head": at,
                "itself": float(np.trace(one) / len(one)),
                "token before": float(np.trace(one, -1) / (len(one) - 1)),
                "first token": float(one[:, 0].mean()),
            }


def small_picture(weights: np.ndarray, label: str) -> str:
    """A map [queries, keys] without tokens."""
    rows, columns = weights.shape
    frame = f'<path d="M0 0h{columns}v{rows}h-{columns}z" fill="none" style="stroke:var(--soft)" stroke-width="0.3"/>'
    return _svg(_shaded(weights) + frame, columns, rows, label)


def large_picture(weights: np.ndarray, queries: list[str], keys: list[str], label: str) -> str:
    """A map [queries, keys] with its tokens; a row names its strongest ones when the pointer rests on it."""
    rows, columns = weights.shape
    width, height = EDGE + CELL * columns, EDGE + CELL * rows
    parts = [f'<g transform="translate({EDGE} {EDGE}) scale({CELL})">{_shaded(weights)}</g>']
    for at, token in enumerate(keys):
        x = EDGE + CELL * at + CELL - 4
        parts.append(
            f'<text transform="translate({x} {EDGE - 6}) rotate(-90)" fill="currentColor">{_token(token)}</text>'
        )
    for at, token in enumerate(queries):
        y = EDGE + CELL * at
        named = ", ".join(
            f"{keys[one]} {weights[at, one]:.2f}" for one in np.argsort(-weights[at], kind="stable")[:NAMED]
        )
        parts.append(
            f'<text x="{EDGE - 6}" y="{y + CELL - 4}" text-anchor="end" fill="currentColor">{_token(token)}</text>'
            f'<rect x="{EDGE}" y="{y}" width="{CELL * columns}" height="{CELL}" fill="transparent">'
            f"<title>{_safe(f'{token} attends to {named}')}</title></rect>"
        )
    size = f"width:{width}px;max-width:none;font-size:12px"
    return f'<div class="wide">{_svg("".join(parts), width, height, label, size)}</div>'


def _shaded(weights: np.ndarray) -> str:
    """The cells of a map, one unit each, as a path for each shade; neighbours of one shade in a row are one box."""
    levels = np.rint(np.sqrt(np.clip(weights, 0, 1)) * SHADES).astype(int)
    paths: dict[int, list[str]] = {}
    for y, row in enumerate(levels):
        edges = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), len(row)]
        for start, end in pairwise(edges):
            if row[start]:
                paths.setdefault(int(row[start]), []).append(f"M{start} {y}h{end - start}v1h-{end - start}z")
    return "".join(
        f'<path d="{"".join(boxes)}" style="fill:var(--a)" fill-opacity="{level / SHADES:g}"/>'
        for level, boxes in sorted(paths.items())
    )


def _svg(inner: str, width: int, height: int, label: str, style: str = "") -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{_safe(label)}" style="{style}">{inner}</svg>'


def _token(token: str) -> str:
    return _safe(token if len(token) <= LETTERS else token[: LETTERS - 1] + "…")


def _safe(text: str) -> str:
    return html.escape(printable(text, lines=False))
