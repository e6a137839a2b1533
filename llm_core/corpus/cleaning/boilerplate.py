"""Which blocks of a page are its article: `extract` keeps those and drops navigation, teasers, comments, captions.

Each block gets a score by itself: long text with few links raises it, links and shortness lower it.
Scores are added up the tree of elements, and the element that holds the article is the smallest one with nearly
all of the good text of the best. Inside it, hinted parts and runs of linked or short blocks are dropped. No
weights are learnt: they come from Readability, jusText (Pomikalek 2011) and boilerpipe (Kohlschutter 2010), and were
checked on half of a set of news pages, by site, with the other half held out (benchmarks/extraction.py).
"""

from llm_core.corpus.cleaning.asides import is_aside
from llm_core.corpus.cleaning.html_blocks import BODY, HEADINGS, LIGHT, NEUTRAL, STRONG, WEAK, Block, Page

LONG, MIDDLE = 100, 40  # characters: a paragraph; a sentence
MARGIN = 0.95  # minimum share of the parent's score for an element to replace its parent
BETWEEN, BEFORE, AFTER = 30, 1, 1  # maximum number of blocks between text and text, before the first, after the last
LINKED = 0.1  # maximum share of linked characters in an introduction
ENOUGH = 140  # minimum characters of an article
PROSE = frozenset(("p", "blockquote", "pre", "article", "section"))
END_MARKS = tuple(".!?\"'\u201d\u2019:;)\u2026\u3002\uff01\uff1f\u0964\u061f\u06d4\u17d4\u104b\u1362")


def local_score(block: Block) -> float:
    """The block's own score, in characters: above 0 for text, below 0 for boilerplate."""
    size, density = block.size, block.links / block.size
    if density > 0.5:
        return -min(size, 80)
    if block.tag in HEADINGS and size < LONG:
        return 0.0
    if size >= LONG:
        return (min(size, 1200) - 60) * (1 - 4 * density * density) * (1.0 if block.tag in PROSE else 0.7)
    if size >= MIDDLE and block.text.endswith(END_MARKS):
        return 0.3 * size * (1 - 2 * density)
    return -8.0 - 30 * density


def article(page: Page) -> list[int]:
    """Places of the blocks that make up the article, in reading order; empty where there is none."""
    scores = [local_score(block) for block in page.blocks]
    for strictest in (WEAK, STRONG, NEUTRAL):
        rows = _article(page, scores, strictest)
        if sum(page.blocks[row].size for row in rows) >= ENOUGH:
            break
    return [row for row in rows if not is_aside(page.blocks[row].text)]


def _article(page: Page, scores: list[float], strictest: int) -> list[int]:
    blocks, parents = page.blocks, page.parents
    barred = _barred(page, scores, strictest)
    good = [0.0] * len(parents)
    net = [0.0] * len(parents)
    for block, score in zip(blocks, scores, strict=True):
        if barred[block.container]:
            continue
        net[block.container] += score
        if score > 0:
            good[block.container] += score
    for place in range(len(parents) - 1, 0, -1):
        good[parents[place]] += good[place]
        net[parents[place]] += net[place]
    top = _top(page, good, net)
    inside = [False] * len(parents)
    inside[top] = True
    for place in range(top + 1, len(parents)):
        inside[place] = inside[parents[place]] and not barred[place]
    rows = [row for row, block in enumerate(blocks) if inside[block.container] and not barred[block.container]]
    return _trim(page, rows, scores)


def _barred(page: Page, scores: list[float], strictest: int) -> list[bool]:
    """Elements that their hints rule out, with everything in them; a hint on most of the page's text is ignored."""
    parents, hints = page.parents, page.hints
    mass = [0.0] * len(parents)
    sizes, links = [0] * len(parents), [0] * len(parents)
    for block, score in zip(page.blocks, scores, strict=True):
        if score > 0:
            mass[block.container] += score
        sizes[block.container] += block.size
        links[block.container] += block.links
    for place in range(len(parents) - 1, 0, -1):
        parent = parents[place]
        mass[parent] += mass[place]
        sizes[parent] += sizes[place]
        links[parent] += links[place]
    barred = [False] * len(parents)
    for place in range(1, len(parents)):
        hint = hints[place]
        if hint == LIGHT:  # an introduction, where it is prose without links
            hint = NEUTRAL if mass[place] > 0 and links[place] <= LINKED * sizes[place] else WEAK
        barred[place] = barred[parents[place]] or (
            (hint == STRONG and strictest and mass[place] <= 0.7 * mass[0])
            or (hint == WEAK == strictest and mass[place] <= 0.25 * mass[0])
        )
    return barred


def _top(page: Page, good: list[float], net: list[float]) -> int:
    """The element of the article: down from the root, as long as one child has most of its parent's score."""
    heir = [0] * len(good)  # the child with the most good text; of equals the first
    for place in range(len(good) - 1, 0, -1):
        parent = page.parents[place]
        if not heir[parent] or good[place] >= good[heir[parent]]:
            heir[parent] = place
    bodies = [place for place in range(len(good)) if page.hints[place] == BODY and good[place] >= 0.5 * good[0]]
    place = top = bodies[-1] if bodies else 0
    while True:
        best = heir[place]
        if not best or page.tags[best] in ("p", "li", "td", "blockquote"):
            return top
        place = best
        if good[place] < 0.4 * good[top]:
            return top
        if net[place] >= MARGIN * net[top]:
            top = place


def _trim(page: Page, rows: list[int], scores: list[float]) -> list[int]:
    """Drop linked blocks, and short blocks that are not near good ones."""
    blocks = page.blocks
    good = [index for index, row in enumerate(rows) if scores[row] > 0]
    if not good:
        return []
    kept: list[int] = []
    before = -len(rows)
    later = iter([*good, 10**9])
    after = next(later)
    for index, row in enumerate(rows):
        block = blocks[row]
        while after < index:
            after = next(later)
        if after == index:
            kept.append(row)
            before = index
        elif block.links > 0.5 * block.size:
            continue
        elif block.tag in HEADINGS:
            if after - index <= 3:
                kept.append(row)
        elif (before >= 0 and after - before <= BETWEEN) or index - before <= AFTER or after - index <= BEFORE:
            kept.append(row)
    return kept


def render(page: Page, rows: list[int]) -> str:
    """The blocks as text: a blank line between paragraphs; list items and table rows on lines of their own."""
    parts: list[str] = []
    last = None
    for row in rows:
        block = page.blocks[row]
        tag = block.tag
        if tag == "li":
            line = "\n- " if last == "li" else "\n\n- "
        elif tag in ("td", "th") and last in ("td", "th"):
            same = page.parents[block.container] == page.parents[page.blocks[row - 1].container] if row else False
            line = " | " if same else "\n"
        else:
            line = "\n\n"
        parts += (line, block.text)
        last = tag
    return "".join(parts).strip()


def extract_article(page: Page) -> str:
    """The text of a page's article; empty where there is none."""
    return render(page, article(page))
