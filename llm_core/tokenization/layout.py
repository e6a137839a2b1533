"""A trained BPE as a Hugging Face tokenizer folder, and the way back.

Ids: special tokens, then the 256 bytes in the order of GPT-2's byte alphabet, then the
merges in the order they were learnt: what `tokenizers`' own BpeTrainer would number.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime.digests import file_digest
from llm_core.tokenization.pattern import policies
from llm_core.tokenization.specials import BOS, CHAT_TEMPLATE, EOS, PAD, SPECIAL_TOKENS

FIRST_BYTE = len(SPECIAL_TOKENS)
FIRST_MERGE = FIRST_BYTE + 256
CONFIG = {
    "backend": "tokenizers",
    "tokenizer_class": "TokenizersBackend",
    "bos_token": BOS,
    "eos_token": EOS,
    "pad_token": PAD,
    "extra_special_tokens": list(SPECIAL_TOKENS[3:]),
    "clean_up_tokenization_spaces": False,
    "model_max_length": int(1e30),
}
"""The value that `save_pretrained` of transformers writes for no limit; the stage does not import transformers."""


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte, in the order of the characters."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    pairs = [(byte, chr(byte)) for byte in shown] + [(byte, chr(256 + n)) for n, byte in enumerate(hidden)]
    return dict(sorted(pairs, key=lambda pair: pair[1]))


def spell(merges: Sequence[tuple[int, int]]) -> list[tuple[bytes, bytes]]:
    """Merges of ids as merges of bytes; ids as in the layout, those after FIRST_MERGE in the order of the merges."""
    texts: dict[int, bytes] = {FIRST_BYTE + place: bytes([byte]) for place, byte in enumerate(byte_alphabet())}
    ids = {text: number for number, text in texts.items()}
    spelled = []
    for left, right in merges:
        text = texts[left] + texts[right]
        if text not in ids:
            ids[text] = FIRST_BYTE + len(ids)
            texts[ids[text]] = text
        spelled.append((texts[left], texts[right]))
    return spelled


def save(out: Path, merges: Sequence[tuple[bytes, bytes]], pattern: str) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template, for `AutoTokenizer`."""
    import tokenizers
    from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

    alphabet = byte_alphabet()
    written = [(_shown(left, alphabet), _shown(right, alphabet)) for left, right in merges]
    vocabulary: dict[str, int] = {}
    for token in [*SPECIAL_TOKENS, *alphabet.values(), *(left + right for left, right in written)]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=written))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocabulary[BOS])]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = json.dumps(CONFIG, indent=2, sort_keys=True, ensure_ascii=False)
    (out / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def _shown(token: bytes, alphabet: dict[int, str]) -> str:
    return "".join(alphabet[byte] for byte in token)


def _bytes(token: str, by_character: dict[str, int]) -> bytes:
    return bytes(by_character[character] for character in token)


class NotOursError(UserError):
    """A tokenizer that is not a byte-level BPE of this project's kind."""


class Vocabulary:
    """The parts of a tokenizer folder that encoding needs.

    `tokens`: bytes of each ordinary token -> id; `merges` as pairs of bytes; `bos`, `eos`, `size`; the pattern's
    policies `digits` and `runs`; `digest` of tokenizer.json.
    Raises NotOursError where the folder holds a tokenizer of another kind, UserError where it holds none.
    """

    def __init__(self, folder: str | Path) -> None:
        import tokenizers

        file = Path(folder) / "tokenizer.json"
        if not file.is_file():
            raise UserError(f"{folder}: holds no tokenizer.json; `llm-core train-tokenizer` writes one")
        try:
            content: Any = json.loads(file.read_text(encoding="utf-8"))
            self.digits, self.runs = policies(content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
            by_character = {character: byte for byte, character in byte_alphabet().items()}
            self.merges = [
                (_bytes(left, by_character), _bytes(right, by_character)) for left, right in content["model"]["merges"]
            ]
            self.tokens = {
                _bytes(token, by_character): number
                for token, number in content["model"]["vocab"].items()
                if token not in SPECIAL_TOKENS
            }
            added = {item["content"]: item["id"] for item in content["added_tokens"]}
            self.bos, self.eos = added[BOS], added[EOS]
            if not all(item["special"] for item in content["added_tokens"]):
                raise ValueError("it has added words, which are found in a text before it is cut")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise NotOursError(f"{file}: not a byte-level BPE with this project's special tokens ({error!r})") from None
        self.size = tokenizers.Tokenizer.from_file(str(file)).get_vocab_size()
        self.digest = file_digest(file)
