"""A model's own tokenizer: its files unchanged, its ids, its begin and end tokens; names of control tokens are text."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from llm_core.errors import UserError
from llm_core.formats.token_shards import TokenShards
from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime.storage import read_json
from llm_core.tokenization.any_tokenizer import LibraryEncoder, encoder_of
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.stage import tokenize
from llm_core.tokenization.taking import take_tokenizer
from tests.llm_core.open_model_folders import SENTENCES, TOKENIZERS, make
from tests.llm_core.tokenization.conftest import TEXTS, write

ALL = [text for texts in TEXTS.values() for text in texts] + SENTENCES
FRAMES = {  # tokens before and after a document
    "gpt2": (["<|endoftext|>"], ["<|endoftext|>"]),
    "llama": (["<s>"], ["</s>"]),
    "qwen3": (["<|endoftext|>"], ["<|endoftext|>"]),
    "gemma3": (["<bos>"], ["<eos>"]),
    "t5": ([], ["</s>"]),
    "bert": (["[CLS]"], ["[SEP]"]),
    "opt": (["</s>"], ["</s>"]),
    "bloom": (["</s>"], ["</s>"]),
    "roberta": (["<s>"], ["</s>"]),
    "modernbert": (["[CLS]"], ["[SEP]"]),
    "gptj": (["<|endoftext|>"], ["<|endoftext|>"]),
    "mistral": (["<s>"], ["</s>"]),
    "qwen2": (["<|endoftext|>"], ["<|endoftext|>"]),
    "phi": (["<|endoftext|>"], ["<|endoftext|>"]),
    "smollm": (["<|endoftext|>"], ["<|endoftext|>"]),
    "olmo2": (["<|endoftext|>"], ["<|endoftext|>"]),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("open")
    return {kind: make(kind, place / kind) for kind in FRAMES}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_tokenizer_is_taken_unchanged_and_encodes_as_transformers_does(
    kind: str, folders: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tokenizer"
    metrics = take_tokenizer([corpus], out, Tokenizer.model_validate({"from": str(folders[kind])}), 1)
    for file in out.iterdir():
        if file.name != "metrics.json" and not file.name.startswith("."):
            assert file.read_bytes() == (folders[kind] / file.name).read_bytes()
    assert metrics["taken_from"] == str(folders[kind]) and metrics["bytes_per_token"] > 0.5
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    encoder = encoder_of(out)
    assert isinstance(encoder, LibraryEncoder) and encoder.size == len(theirs)
    ids, starts = encoder.encode(pa.array(ALL, pa.large_string()))
    for number, text in enumerate(ALL):
        found = ids[starts[number] : starts[number + 1]].tolist()
        assert found == theirs(text, add_special_tokens=False)["input_ids"], text


@pytest.mark.parametrize("kind", FRAMES)
def test_documents_have_the_begin_and_end_of_the_model(
    kind: str, folders: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    tokenize([corpus], folders[kind], tmp_path / "tokens")
    shards, theirs = TokenShards(tmp_path / "tokens"), AutoTokenizer.from_pretrained(folders[kind])
    before, behind = (theirs.convert_tokens_to_ids(tokens) for tokens in FRAMES[kind])
    texts = {f"{source}-{at}": text for source, part in TEXTS.items() for at, text in enumerate(part)}
    for number in range(len(shards)):
        inner = theirs(texts[shards.id(number)], add_special_tokens=False)["input_ids"]
        assert shards.ids(number).tolist() == [*before, *inner, *behind]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_names_of_control_tokens_in_a_text_are_text(kind: str, folders: dict[str, Path]) -> None:
    encoder = encoder_of(folders[kind])
    theirs = AutoTokenizer.from_pretrained(folders[kind])
    control = set(theirs.all_special_ids) - {theirs.unk_token_id}

    @settings(max_examples=40)
    @given(st.lists(st.sampled_from([*theirs.all_special_tokens, "the", " ", "river", "<", "s>"]), max_size=6))
    def holds(parts: list[str]) -> None:
        ids, _ = encoder.encode(pa.array(["".join(parts)], pa.large_string()))
        assert not control.intersection(ids.tolist())

    holds()


def test_our_own_kind_keeps_its_compiled_encoder(tokenizer: Path) -> None:
    assert isinstance(encoder_of(tokenizer), Encoder)


def test_both_encoders_agree_on_our_own_kind(tokenizer: Path) -> None:
    texts = pa.array(ALL, pa.large_string())
    for ends in (False, True):
        ours, theirs = encoder_of(tokenizer).encode(texts, ends), LibraryEncoder(tokenizer).encode(texts, ends)
        assert ours[0].tolist() == theirs[0].tolist() and ours[1].tolist() == theirs[1].tolist()


def test_added_tokens_are_special_and_behind_the_others(folders: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    params = Tokenizer.model_validate({"from": str(folders["gpt2"]), "add_tokens": ["<|user|>"]})
    take_tokenizer([corpus], tmp_path / "out", params, 1)
    before, after = (AutoTokenizer.from_pretrained(place) for place in (folders["gpt2"], tmp_path / "out"))
    assert after.convert_tokens_to_ids("<|user|>") == len(before) == len(after) - 1
    assert "<|user|>" in after.all_special_tokens
    doubled = Tokenizer.model_validate({"from": str(folders["gpt2"]), "add_tokens": ["<|endoftext|>"]})
    with pytest.raises(UserError, match=r"has <\|endoftext\|> already"):
        take_tokenizer([corpus], tmp_path / "again", doubled, 1)


def test_a_folder_that_names_its_class_in_config_alone(folders: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    """GPT-2's folder on the hub: vocab.json and merges.txt, and a tokenizer_config.json that names no class."""
    old = tmp_path / "old"
    old.mkdir()
    content = json.loads((folders["gpt2"] / "tokenizer.json").read_text())
    (old / "vocab.json").write_text(json.dumps(content["model"]["vocab"] | {"<|endoftext|>": 374}))
    merges = "\n".join(" ".join(pair) for pair in content["model"]["merges"])
    (old / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (old / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    (old / "config.json").write_bytes((folders["gpt2"] / "config.json").read_bytes())
    take_tokenizer([corpus], tmp_path / "out", Tokenizer.model_validate({"from": str(old)}), 1)
    before, after = (AutoTokenizer.from_pretrained(place) for place in (old, tmp_path / "out"))
    assert all(before(text)["input_ids"] == after(text)["input_ids"] for text in ALL)
    assert not (tmp_path / "out" / "config.json").exists(), "a tokenizer's folder is no model"


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"from": "elsewhere", "vocab_size": 4096}, "remove vocab_size"),
        ({"add_tokens": ["<|x|>"]}, "add_tokens needs 'from'"),
    ],
)
def test_knobs_that_would_do_nothing_are_refused(section: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Tokenizer.model_validate(section)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    corpus = write(tmp_path / "documents", {"a": ["text"]})
    with pytest.raises(UserError, match="holds no tokenizer; give data/models/NAME"):
        take_tokenizer([corpus], tmp_path / "out", Tokenizer.model_validate({"from": str(tmp_path)}), 1)


def test_metrics_say_which_tokenizer(folders: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    tokenize([corpus], folders["llama"], tmp_path / "tokens")
    metrics = read_json(tmp_path / "tokens" / "metrics.json")
    assert metrics["vocab_size"] == 414 and metrics["tokenizer"] == encoder_of(folders["llama"]).digest
