"""Which words BLEU and ROUGE count, by the script of the texts: the default tokenizers know the Latin script alone.

sacrebleu's 13a takes a Japanese sentence as one token, so that two equal ones have no 4-gram in common, and rouge-score
keeps a to z and digits alone, so that Russian has no words at all. The choice looks at all texts of a comparison
together, and every signature names it.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from llm_core.kernels.words import ALONE, LETTER, character_classes, words

HAN = ((0x3400, 0xA000), (0x20000, 0x323B0))


def bleu_tokenizer(asked: str, texts: Iterable[str]) -> str:
    """sacrebleu's tokenizer: as asked, or 13a, zh or char by the script of most letters.

    >>> [bleu_tokenizer("auto", [text]) for text in ("今日はとても良い天気です", "河流很长", "a b")]
    ['char', 'zh', '13a']
    """
    if asked != "auto":
        return asked
    letters = unspaced = han = 0
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        classes = character_classes()[codes]
        letters += int(np.isin(classes, (ALONE, LETTER)).sum())
        alone = codes[classes == ALONE]
        unspaced += len(alone)
        han += sum(int(((alone >= first) & (alone < last)).sum()) for first, last in HAN)
    if 2 * unspaced <= letters:
        return "13a"
    return "zh" if han == unspaced else "char"


def rouge_tokenizer(asked: str, texts: Iterable[str]) -> Literal["rouge-score", "words"]:
    """As asked, or `words` where some letter is not ASCII, or a text beyond ASCII has no letter or digit at all."""
    if asked == "rouge-score" or asked == "words":
        return asked  # type: ignore[return-value]
    return "words" if any(not text.isascii() and _letters(text) for text in texts) else "rouge-score"


class WordTokenizer:
    """The words of any script, in the shape that rouge-score asks of a tokenizer."""

    def __init__(self, stem: bool) -> None:
        self._stemmer: Any = None
        if stem:
            from nltk.stem import porter

            self._stemmer = porter.PorterStemmer()

    def tokenize(self, text: str) -> list[str]:
        """Words in their normal form; of a text without any (an emoji, say) its characters."""
        found = words(text) or [letter for letter in text if not letter.isspace()]
        return [self._stemmer.stem(word) if len(word) > 3 else word for word in found] if self._stemmer else found


def _letters(text: str) -> bool:
    """Whether a text has a letter or mark beyond ASCII, or nothing that rouge-score's words are made of."""
    if not any(letter.isascii() and letter.isalnum() for letter in text):
        return True
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    return bool((character_classes()[codes[codes > 127]] > 0).any())
