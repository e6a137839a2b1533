"""Time of each cleaning step against the size of a document, on shapes that make naive code slow.

    python benchmarks/adversarial.py [--most BYTES] [--step NAME] [--shape NAME]

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
from collections.abc import Callable

from llm_core.corpus.cleaning.batch import Batch, Step
from llm_core.corpus.cleaning.steps import build_step
from llm_core.kernels.words import pieces, words
from llm_core.params.cleaning import BadWords, Cleaning

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
    "very long line": ("", "Some words, then more of them; ", "."),
}
COUNTED = 0.05  # seconds
STEPS = ("extract", "sniff", "repair", "language", "gopher_quality", "gopher_repetition", "c4", "fineweb_quality")
STEPS += ("pii", "bad_words", "words", "pieces")


def shape(name: str, size: int) -> str:
    """A document of one shape, of about `size` bytes of UTF-8."""
    head, part, tail = SHAPES[name]
    if name == "different attributes":
        return head + " ".join(f'a{number}="b"' for number in range(size // 10)) + tail
    return head + part * max(1, size // len(part.encode())) + tail


def runner(name: str) -> Callable[[str], None]:
    """A step by itself on one document. `extract` takes it as a page, `sniff` must find out whether it is one."""
    if name in ("words", "pieces"):
        function = words if name == "words" else pieces
        return lambda text: (function(text), None)[1]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as listed:
        listed.write("word\na a a\nx\nspoken words\nthe same sentence\n河流\n")
        listed.flush()
        params = Cleaning(bad_words=BadWords(files=[listed.name]))
        step: Step = build_step("extract" if name == "sniff" else name, params)
    declared = '{"content_type": "text/html"}' if name == "extract" else None

    def once(text: str) -> None:
        step(Batch(["1"], ["web"], [None], [text], [None], [None], [None], [declared]))

    return once


def exponent(run: Callable[[str], None], name: str, most: int, limit: float = 2.0) -> tuple[float, float, int]:
    """(exponent, CPU seconds at the largest size, the largest size); sizes double until `most`, or `limit` seconds."""
    size, times = most // 64, {}
    while size <= most:
        text = shape(name, size)
        gc.collect()
        gc.disable()  # its cost follows what else the process holds
        start = time.process_time()  # once: steps remember words, and a second run would only look them up
        run(text)
        best = time.process_time() - start
        gc.enable()
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


def main() -> None:
    """Measure and print; exit 1 where a step is worse than linear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1 << 20, help="Bytes of the largest document.")
    parser.add_argument("--step", choices=STEPS, action="append")
    parser.add_argument("--shape", choices=SHAPES, action="append")
    given = parser.parse_args()
    worst = 0.0
    for step in given.step or STEPS:
        run = runner(step)
        run("Warm. <p>é</p>")
        found = {name: exponent(run, name, given.most) for name in given.shape or SHAPES}
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
