"""GGUF files, read by transformers' own reader: the same logits and tokens; what llama.cpp cannot know is refused."""

import json
from pathlib import Path

import pytest
import torch

from llm_core.errors import UserError
from llm_core.serving.gguf_export import export_gguf
from tests.llm_core.open_model_folders import SENTENCES, make


def logits(network: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network(input_ids=torch.tensor([row], device="cpu")).logits[0] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pre"), [("gpt2", "gpt-2"), ("qwen3", "qwen2"), ("own", "dbrx")])
def test_the_file_is_the_model(kind: str, pre: str, tmp_path: Path, small_llama: Path) -> None:
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = small_llama if kind == "own" else make(kind, tmp_path / kind)
    figures = export_gguf(folder, tmp_path / "out" / "model.gguf", "float32")
    assert figures["pre_tokenizer"] == pre
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(text)["input_ids"] for text in SENTENCES]
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    shape = {} if kind == "own" else {"config": network.config}  # the reader knows not all fields of these
    read = AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", gguf_file="model.gguf", dtype=torch.float32, **shape
    ).eval()
    assert torch.allclose(logits(read, rows), logits(network, rows), atol=1e-5)

    found = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    names = [bytes(part).decode() for part in [found.fields["tokenizer.ggml.tokens"].parts[at]
             for at in found.fields["tokenizer.ggml.tokens"].data]]  # fmt: skip
    assert names[: len(tokenizer)] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert len(names) == network.config.vocab_size
    types = [int(found.fields["tokenizer.ggml.token_type"].parts[at][0])
             for at in found.fields["tokenizer.ggml.token_type"].data]  # fmt: skip
    assert all(types[number] == gguf.TokenType.CONTROL for number in tokenizer.all_special_ids)


@pytest.mark.slow
def test_eight_bits_are_close(tmp_path: Path, small_llama: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export_gguf(small_llama, tmp_path / "model.gguf", "q8_0")
    rows = [AutoTokenizer.from_pretrained(small_llama)(text)["input_ids"] for text in SENTENCES]
    network = AutoModelForCausalLM.from_pretrained(small_llama, dtype=torch.float32).eval()
    read = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    exact, rough = logits(network, rows), logits(read, rows)
    assert 0 < (rough - exact).std() / exact.std() < 0.1


def test_refusals(tmp_path: Path) -> None:
    for kind, said in {
        "gemma3": "a gemma3_text cannot be exported",
        "llama": "no byte-level BPE",
        "bert": "a bert",
    }.items():
        folder = make(kind, tmp_path / kind)
        with pytest.raises(UserError, match=said):
            export_gguf(folder, tmp_path / "model.gguf")
    folder = make("qwen3", tmp_path / "cut")
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text())
    described["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+|\S+"
    file.write_text(json.dumps(described))
    with pytest.raises(UserError, match="no rule that cuts text by this tokenizer's pattern"):
        export_gguf(folder, tmp_path / "model.gguf")
    with pytest.raises(UserError, match="--dtype int4: choose one of float32"):
        export_gguf(make("gpt2", tmp_path / "gpt2"), tmp_path / "model.gguf", "int4")
    assert not list(tmp_path.glob("*model.gguf*"))


@pytest.fixture(scope="module")
def small_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaMA with grouped heads and a tokenizer of this project."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from llm_core.params.tokenizer import Tokenizer
    from llm_core.tokenization.training.stage import train_tokenizer

    folder = tmp_path_factory.mktemp("own")
    rows = [{"id": str(number), "text": text} for number, text in enumerate(SENTENCES)]
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train_tokenizer([str(folder / "text.jsonl")], folder / "tokenizer", Tokenizer(vocab_size=320), 1)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=384, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"
