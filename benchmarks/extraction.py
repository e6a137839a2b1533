"""Our main-content extraction against trafilatura's: token-level F1 and pages per CPU-second, in one run.

    python benchmarks/extraction.py --pages PAGES --peer /path/to/peer/bin/python

The peer's Python needs `pip install trafilatura lxml_html_clean`. PAGES holds `NAME.html.gz` with the article's text in
`NAME.txt`. Tokens are `\\w+` in lower case, compared as multisets page by page; "macro" is the mean over pages,
"pooled" adds the tokens of all pages first. A page whose reference is empty scores 1 for an empty result, else 0. Half
of the sites (by a hash of the site's name) were held out while the method was made: the two halves are reported
separately. Extraction takes decoded strings on both sides; medians of three alternating rounds.
"""

import argparse
import gzip
import hashlib
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

TOKEN = re.compile(r"\w+")
Score = tuple[float, float, float, int, int, int]


def read_pages(folder: Path) -> list[tuple[str, str, str]]:
    """(name, HTML, reference) of every page."""
    pages = []
    for file in sorted(folder.glob("*.html.gz")):
        raw = gzip.decompress(file.read_bytes())
        try:
            html = raw.decode()
        except UnicodeDecodeError:
            html = raw.decode("latin-1")
        name = file.name.removesuffix(".html.gz")
        pages.append((name, html, file.with_name(name + ".txt").read_text(encoding="utf-8", errors="replace")))
    return pages


def read_articles(folder: Path) -> list[tuple[str, str, str]]:
    """The same of the article extraction benchmark."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    html = {name: gzip.decompress((folder / "html" / f"{name}.html.gz").read_bytes()).decode() for name in truth}
    return [(name, html[name], row.get("articleBody", "")) for name, row in sorted(truth.items())]


def runs_of_four(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words, in the case that they have; a shorter text is one run."""
    words = TOKEN.findall(text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(1, len(words) - 3) if words else 0))


def tell_articles(texts: list[str], pages: list[tuple[str, str, str]]) -> None:
    """Print precision, recall and F1 as the article extraction benchmark defines them."""
    precision, recall = [], []
    for text, (_, _, reference) in zip(texts, pages, strict=True):
        ours, theirs = runs_of_four(text), runs_of_four(reference)
        common = (ours & theirs).total()
        if ours:
            precision.append(common / ours.total())
        if theirs:
            recall.append(common / theirs.total())
    p, r = statistics.fmean(precision), statistics.fmean(recall)
    print(f"  {len(pages)} pages: P {p:.4f} R {r:.4f} F1 {2 * p * r / (p + r):.4f}")


def score(text: str, reference: str) -> Score:
    """Precision, recall, F1, and the counts behind them: common tokens, ours, the reference's."""
    ours, theirs = Counter(TOKEN.findall(text.lower())), Counter(TOKEN.findall(reference.lower()))
    common, got, wanted = (ours & theirs).total(), ours.total(), theirs.total()
    if not wanted:
        return float(not got), float(not got), float(not got), 0, got, 0
    precision, recall = common / max(got, 1), common / wanted
    return precision, recall, 2 * common / (got + wanted), common, got, wanted


def is_held_out(name: str) -> bool:
    """Whether the page's site was held out."""
    site = re.sub(r"\d+$", "", name)
    return int(hashlib.sha256(site.encode()).hexdigest(), 16) % 2 == 1


def ours() -> Callable[[str], str]:
    """Our extraction."""
    from llm_core.corpus.cleaning.boilerplate import extract_article
    from llm_core.corpus.cleaning.html_blocks import read_page

    return lambda html: extract_article(read_page(html))


def trafilatura() -> Callable[[str], str]:
    """The peer's, as its users call it for precision."""
    import trafilatura as peer  # type: ignore[import-not-found]

    return lambda html: peer.extract(html, favor_precision=True) or ""


def run(extract: Callable[[str], str], pages: list[tuple[str, str, str]]) -> None:
    """Extract all pages; print texts and CPU seconds as JSON."""
    extract(pages[0][1])
    began = time.process_time()
    texts = [extract(html) for _, html, _ in pages]
    took = time.process_time() - began
    print(json.dumps({"seconds": took, "texts": texts}))


def tell(label: str, scores: list[Score]) -> None:
    """Print macro and pooled figures."""
    macro = [statistics.fmean(row[column] for row in scores) for column in range(3)]
    common, got, wanted = (sum(row[column] for row in scores) for column in (3, 4, 5))
    print(
        f"  {label:9} {len(scores):3} pages: macro P {macro[0]:.3f} R {macro[1]:.3f} F1 {macro[2]:.4f}; "
        f"pooled P {common / max(got, 1):.3f} R {common / max(wanted, 1):.3f} F1 {2 * common / (got + wanted):.4f}"
    )


def main() -> None:
    """Run both by turns and print quality and speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path)
    parser.add_argument("--articles", type=Path, help="in place of --pages")
    parser.add_argument("--peer", help="a Python that has trafilatura; without it only our figures are told")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", choices=["ours", "trafilatura"], help="used by the script itself")
    given = parser.parse_args()
    pages = read_articles(given.articles) if given.articles else read_pages(given.pages)
    if given.run:
        run(ours() if given.run == "ours" else trafilatura(), pages)
        return
    where = ["--articles", str(given.articles)] if given.articles else ["--pages", str(given.pages)]
    sides = {"ours": sys.executable} | ({"trafilatura": given.peer} if given.peer else {})
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(given.rounds):
        for side, python in sides.items():
            command = [python, __file__, *where, "--run", side]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            seconds[side].append(result["seconds"])
            if number == 0:
                print(side)
                if given.articles:
                    tell_articles(result["texts"], pages)
                    continue
                scores = [score(text, page[2]) for text, page in zip(result["texts"], pages, strict=True)]
                for label, chosen in (("all", (True, False)), ("tune", (False,)), ("held out", (True,))):
                    tell(
                        label, [row for row, page in zip(scores, pages, strict=True) if is_held_out(page[0]) in chosen]
                    )
    for side, times in seconds.items():
        print(f"{side}: {len(pages) / statistics.median(times):.0f} pages a CPU-second")
    if given.peer:
        ratios = [theirs / mine for mine, theirs in zip(seconds["ours"], seconds["trafilatura"], strict=True)]
        rounds = ", ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"speed: {statistics.median(ratios):.1f} times trafilatura's (by turns: {rounds})")


if __name__ == "__main__":
    main()
