"""The tokenizer's folder is written without transformers, in the bytes that transformers itself writes."""

from pathlib import Path

from llm_core.params.tokenizer import Tokenizer
from llm_core.tokenization.layout import save
from llm_core.tokenization.pattern import pattern

MERGES = [(b"t", b"h"), (b"th", b"e"), (b" ", b"the"), (b"\xc3", b"\xbc")]


def test_the_bytes_are_those_of_save_pretrained(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save(tmp_path / "ours", MERGES, pattern(Tokenizer()))
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "ours"))
    tokenizer.save_pretrained(str(tmp_path / "theirs"))
    ours, theirs = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("ours", "theirs")
    )
    assert set(ours) == set(theirs)
    assert ours["tokenizer.json"] == theirs["tokenizer.json"]
    assert ours["chat_template.jinja"] == theirs["chat_template.jinja"]
    assert tokenizer.bos_token == "<|begin|>" and tokenizer.decode(tokenizer.encode("the ü")[1:]) == "the ü"
