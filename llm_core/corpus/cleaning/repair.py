"""Unicode repair and normalisation: the step `repair`.

Mojibake is undone by ftfy's encoding repair, only where its heuristic finds some: ftfy's other fixes (straight quotes,
ligatures, widths) change what authors wrote, and running all of it on every document costs more than all other steps
together. The rest is one translation table, a few regular expressions and NFC, each linear in the text.

Invisible characters that a script needs stay: zero-width joiners and non-joiners (Devanagari, Persian, emoji), and the
zero-width space beside a letter of a script that separates words with it (Khmer, Thai, Lao, Myanmar and others).
"""

import re
from functools import cache
from typing import Any

from llm_core.corpus.cleaning.batch import Batch
from llm_core.kernels.words import normalize
from llm_core.params.cleaning import Repair

LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
# Other controls, soft hyphens, byte order marks, interlinear annotation marks and noncharacters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u2060\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff]"
)
ZERO_WIDTH_SPACE = "\u200b"
SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
LINE_ENDS = re.compile("(?<![ \t])[ \t]++$", re.M)  # one match attempt for each run of blanks
BLANK_LINES = re.compile("\n{3,}")
TERMINAL_ESCAPES = re.compile("\x1b\\[[0-9;?]*[A-Za-z]")
SURROGATES = re.compile("[\ud800-\udfff]")


class RepairStep:
    """Repairs each text; a document whose text is empty afterwards is dropped as `empty`."""

    def __init__(self, params: Repair) -> None:
        self.params = params
        self.characters = {source: str.maketrans(table) for source, table in params.characters.items()}

    def __call__(self, batch: Batch) -> None:
        """Repair the living documents."""
        for row in batch.alive():
            text = repair(batch.texts[row], self.params)
            table = self.characters.get(batch.sources[row])
            if table:
                text = text.translate(table)
            if not text:
                batch.drop(row, "empty")
            elif text != batch.texts[row]:
                batch.change(row, text, "repair")


def repair(text: str, params: Repair) -> str:
    """The text without mojibake, control characters, unusual line breaks and spaces, in the given normal form."""
    if params.mojibake and not text.isascii():
        import ftfy
        from ftfy.badness import is_bad

        text = SURROGATES.sub("\ufffd", text)
        if is_bad(text):
            text = ftfy.fix_encoding(text)
    text = LINE_BREAKS.sub("\n", TERMINAL_ESCAPES.sub("", text))
    text = INVISIBLE.sub("", text)
    if not text.isascii():
        if ZERO_WIDTH_SPACE in text:
            text = _stray_zero_width_space().sub("", text)
        text = SPACES.sub(" ", text)
        if params.normal_form != "none":
            text = normalize(params.normal_form, text)
    text = LINE_ENDS.sub("", text)
    if params.max_blank_lines >= 0:
        breaks = "\n" * (params.max_blank_lines + 1)
        text = (BLANK_LINES if params.max_blank_lines == 1 else re.compile(f"\n{{{len(breaks) + 1},}}")).sub(
            breaks, text
        )
    return text.strip()


@cache
def _stray_zero_width_space() -> Any:
    """Pattern of a zero-width space that has no letter beside it of a script that separates words by such spaces."""
    import regex

    scripts = "Thai Lao Khmer Myanmar Tai_Le New_Tai_Lue Tai_Tham Tai_Viet Ahom Javanese Balinese Sundanese Tibetan"
    needing = "".join(rf"\p{{Script={name}}}" for name in scripts.split())
    return regex.compile(f"(?<![{needing}]){ZERO_WIDTH_SPACE}(?![{needing}])", regex.VERSION1)
