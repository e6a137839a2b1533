"""Time of each step from a page to token ids against the size of a document, on shapes that make naive code slow.

    python benchmarks/adversarial.py [--most BYTES] [--step NAME] [--shape NAME] [--repeat N]

The steps are those of `clean`, and what deduplication, decontamination and the tokenizer do with one document.

Each shape is made at doubling sizes and given to each step by itself. The exponent is the slope of log(CPU seconds)
over log(bytes) between the largest size and one sixteenth of it: 1 is linear, 2 quadratic. The largest exponent that
is accepted is 1.1, where a document of the largest size costs more than 0.05 s (below, noise decides).
"""

import argparse
import gc
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.corpus.cleaning.batch import Batch, Step
from llm_core.corpus.cleaning.perplexity import PerplexityModel
from llm_core.corpus.cleaning.perplexity_training import count_model
from llm_core.corpus.cleaning.quality_model import Classifier
from llm_core.corpus.cleaning.steps import build_step
from llm_core.corpus.decontamination.items import overlaps, read_items
from llm_core.corpus.deduplication.signing import sign
from llm_core.corpus.deduplication.text.spans import SpanFinder, find_spans
from llm_core.corpus.deduplication.text.substrings import SubstringFinder
from llm_core.corpus.similarity.clusters import Near
from llm_core.formats.urls import plain_url
from llm_core.kernels.words import pieces, words
from llm_core.params.cleaning import BadWords, Cleaning, PerplexityTraining, QualityModel, UrlList
from llm_core.params.decontamination import Decontamination
from llm_core.params.quality import make_rule
from llm_core.params.tokenizer import Tokenizer
from llm_core.tokenization import layout
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.training.stage import learn

PAGE = "<!doctype html><html><body>"
# What a shape is made of: a head, a part that is repeated up to the size, and a tail.
SHAPES: dict[str, tuple[str, str, str]] = {
    "comments": ("", "<!-- c -->", "# Title"),
    "unfinished comment": (PAGE + "<!--", " c <!--", ""),
    "spaces": ("a", " ", "x"),
    "spaces and line feeds": ("a", "  \n", "x"),
    "tabs before text": ("", "\t x", ""),
    "line feeds": ("a", "\n", "x"),
    "carriage returns": ("a", "\r", "x"),
    "combining marks": ("a", "\u0301\u0316", ""),
    "zero-width characters": ("a", "\u200d\ufe0f", ""),
    "nested tags": (PAGE, "<b>x", ""),
    "nested blocks": (PAGE, "<div>x ", ""),
    "nested lists": (PAGE, "<ul><li>x", ""),
    "nested tables": (PAGE, "<table><tr><td>x", ""),
    "misnested tags": (PAGE, "<b><i>x</b>", ""),
    "misnested formatting": (PAGE, "<a><p>x", ""),
    "unclosed tags": (PAGE, "<a href='", ""),
    "closing tags": (PAGE, "</div></p>", ""),
    "less-than signs": (PAGE, "<", ""),
    "scripts": (PAGE, "<script>", ""),
    "entities": (PAGE, "&amp;&lt;&#x41;&notit;", ""),
    "unfinished entities": (PAGE, "&#", ""),
    "huge attribute": (PAGE + '<p class="', "side bar ", '">x</p>'),
    "many attributes": (PAGE + "<p ", 'a="b" ', ">x</p>"),
    "different attributes": (PAGE + "<p ", "", ">x</p>"),
    "blocks of one tag": (PAGE, "<p>A sentence of some words, that ends.</p>", ""),
    "short blocks": (PAGE, "<li>x</li>", ""),
    "links": (PAGE, "<a href=x>y</a>", ""),
    "line breaks": (PAGE, "x<br>", ""),
    "one letter": ("", "a", ""),
    "digits": ("", "7", ""),
    "digits and hyphens": ("", "555-", ""),
    "digit groups": ("+", "1 22 ", ""),
    "colons": ("", "a:", ""),
    "dots and digits": ("", "1.", ""),
    "at signs": ("", "a@", ""),
    "address parts": ("", "a.b-c@", ""),
    "domain labels": ("a@", "b.", ""),
    "hyphens": ("", "sk-", ""),
    "key letters": ("sk-", "a-", "!"),
    "token parts": ("", "eyJaaaaaaaaaa.", ""),
    "private keys": ("", "-----BEGIN PRIVATE KEY-----", ""),
    "urls": ("", "http://a.example/b?c=d ", ""),
    "one url": ("http://", "a.", "/"),
    "mojibake": ("", "\u00e2\u20ac\u2122", ""),
    "replacement characters": ("", "\ufffd", ""),
    "escape sequences": ("", "\x1b[", ""),
    "escape digits": ("\x1b[", "0;", ""),
    "brackets": ("", "[", ""),
    "full stops": ("", ".", ""),
    "hash signs": ("", "# ", ""),
    "one word": ("", "word ", ""),
    "repeated sentences": ("", "The same sentence of seven words again. ", ""),
    "han": ("", "\u6cb3\u6d41\u3002", ""),
    "khmer": ("", "\u1780\u17be\u200b", ""),
    "emoji": ("", "\U0001f468\u200d\U0001f469", ""),
    "quotes": ("", "'\"", ""),
    "byte-order marks and nul": ("\ufeff", "a\0 \ufeff", ""),
    "one long url": ("http://a.example/", "b/c?d=e&", ""),
    "dot segments": ("http://a.example", "/../b/.", ""),
    "escaped url": ("http://a.example/", "%2e%41", ""),
    "user parts": ("http://", "a:b@", "c.example/"),
    "blank lines": ("a", "\n \n", "x"),
    "very long line": ("", "Some words, then more of them; ", "."),
}
COUNTED = 0.05  # seconds
STEPS = ("extract", "sniff", "repair", "language", "gopher_quality", "gopher_repetition", "c4", "fineweb_quality")
STEPS += ("pii", "bad_words", "words", "pieces", "block_urls", "model", "perplexity", "url")
LATER = ("dedup", "dedup-text paragraph", "dedup-text line", "dedup-text substring", "decontaminate")
LATER += ("train-tokenizer", "tokenize")
STEPS += LATER


def shape(name: str, size: int) -> str:
    """A document of one shape, of about `size` bytes of UTF-8."""
    head, part, tail = SHAPES[name]
    if name == "different attributes":
        return head + " ".join(f'a{number}="b"' for number in range(size // 10)) + tail
    return head + part * max(1, size // len(part.encode())) + tail


def runner(name: str) -> Callable[[str], None]:
    """A step by itself on one document. `extract` takes it as a page, `sniff` must find out whether it is one."""
    functions: dict[str, Callable[[str], object]] = {"words": words, "pieces": pieces, "url": plain_url}
    if name in functions:
        return lambda text: (functions[name](text), None)[1]
    with tempfile.TemporaryDirectory() as folder:
        if name in LATER:
            return later(name, Path(folder))
        listed = Path(folder) / "listed.txt"
        listed.write_text("word\na a a\nx\nspoken words\nthe same sentence\n河流\n", encoding="utf-8")
        addresses = Path(folder) / "addresses.txt"
        addresses.write_text("a.example/b\nb.example\n", encoding="utf-8")
        (Path(folder) / "model" / "perplexity").mkdir(parents=True)
        Classifier(np.zeros(1 << 12, np.float32), 0.0, 1000, 8).save(Path(folder) / "model")
        PerplexityModel(*count_model([shape(shaped, 2000) for shaped in SHAPES], PerplexityTraining()), ()).save(
            Path(folder) / "model" / "perplexity"
        )
        rule = {"rule": "perplexity", "path": str(Path(folder) / "model" / "perplexity"), "max_perplexity": 100}
        params = Cleaning(
            bad_words=BadWords(files=[str(listed)]),
            url_lists=[UrlList(name="listed", path=str(addresses), format="ut1")],
            quality_model=QualityModel(path=str(Path(folder) / "model")),
            recipes={"likely": [make_rule(rule)]},
        )
        step: Step = build_step({"sniff": "extract", "perplexity": "likely"}.get(name, name), params)
    declared = '{"content_type": "text/html"}' if name == "extract" else None

    def once(text: str) -> None:
        url = text if name == "block_urls" else None
        step(Batch(["1"], ["web"], [url], [text], [None], [None], [None], [declared]))

    return once


def later(name: str, folder: Path) -> Callable[[str], None]:
    """What a stage after `clean` does with one document (`dedup-text`: with two of the same text)."""
    if name == "dedup":
        near = Near(5, 14, 8, 0.8, 1)
        return lambda text: (sign(pa.array([text], pa.large_string()), near, True), None)[1]
    if name == "decontaminate":
        (folder / "items.txt").write_text("".join(f"{part * 40}\n" for _, part, _ in SHAPES.values()), encoding="utf-8")
        items = read_items([str(folder / "items.txt")], Decontamination(min_words=1))
        return lambda text: (overlaps(pa.array([text], pa.large_string()), items), None)[1]
    if name == "train-tokenizer":
        return lambda text: (merges_of([pa.record_batch({"text": pa.array([text], pa.large_string())})]), None)[1]
    if name == "tokenize":
        layout.save(folder / "tokenizer", merges_of(samples()), pattern(Tokenizer()))
        encoder = Encoder(layout.Vocabulary(folder / "tokenizer"))
        return lambda text: (encoder.encode(pa.array([text], pa.large_string())), None)[1]
    unit = name.split()[1]

    def cut(text: str) -> None:
        with tempfile.TemporaryDirectory() as place:
            texts, keys = pa.array([text, text], pa.large_string()), np.array([[0, 1], [0, 2]], np.uint64)
            if unit == "substring":
                substrings = SubstringFinder(Path(place), 50, 1 << 12)
                substrings.add(texts, keys)
                substrings.finish()
            else:
                spans = SpanFinder(Path(place), 64)
                spans.add(find_spans(texts, keys, unit, 1, 1))
                spans.finish()

    return cut


def samples() -> Iterator[pa.RecordBatch]:
    """A text of each shape, from which a tokenizer gets merges that fit the shapes."""
    for name in SHAPES:
        yield pa.record_batch({"text": pa.array([shape(name, 2000)], pa.large_string())})


def merges_of(batches: Iterable[pa.RecordBatch]) -> list[tuple[bytes, bytes]]:
    """Merges of a tokenizer with the default vocabulary's policies."""
    return learn(iter(batches), Tokenizer(vocab_size=2000))


def exponent(step: str, name: str, most: int, repeat: int, limit: float = 2.0) -> tuple[float, float, int]:
    """(exponent, CPU seconds at the largest size, the largest size); sizes double until `most`, or `limit` seconds.

    A time is the minimum of `repeat` runs, each by a step made anew: steps remember words, and a second run of the
    same one would only look them up.
    """
    runs = [runner(step) for _ in range(repeat)]
    for run in runs:
        run("Warm. <p>é</p>")
    size, times = most // 64, {}
    while size <= most:
        text = shape(name, size)
        best = min(seconds(run, text) for run in runs)
        times[size] = max(best, 1e-6)
        if best > limit:
            break
        size *= 2
    last = max(times)
    first = max(last // 16, min(times))
    return (
        math.log(times[last] / times[first]) / math.log(last / first) if last > first else math.inf,
        times[last],
        last,
    )


def seconds(run: Callable[[str], None], text: str) -> float:
    """CPU seconds of one run, without the collector, whose cost follows what else the process holds."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        run(text)
        return time.process_time() - start
    finally:
        gc.enable()


def main() -> None:
    """Measure and print; exit 1 where a step is worse than linear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1 << 20, help="Bytes of the largest document.")
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--repeat", type=int, default=3, help="Runs of each measurement; the shortest counts.")
    given = parser.parse_args()
    worst = 0.0
    for step in given.step or STEPS:
        found = {name: exponent(step, name, given.most, given.repeat) for name in given.shape or SHAPES}
        slow = {name: value for name, value in found.items() if value[1] > COUNTED}
        slowest = max(found, key=lambda name: found[name][1] / found[name][2])
        worst = max([worst, *(value[0] for value in slow.values())])
        print(f"{step}: slowest {slowest} ({found[slowest][1]:.4f} s for {found[slowest][2]} bytes)")
        for name, (power, seconds, size) in sorted(slow.items(), key=lambda item: -item[1][0]):
            print(f"    {power:5.2f}  {seconds:8.4f} s  {size:8d} bytes  {name}", flush=True)
    print(f"largest exponent: {worst:.2f}")
    sys.exit(worst > 1.1)


if __name__ == "__main__":
    main()
