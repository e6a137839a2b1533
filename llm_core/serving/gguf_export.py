"""A model folder as one GGUF file, which llama.cpp and the programs built on it run.

llama.cpp knows an architecture by name, and cuts text before BPE by a rule that its code holds under a name
(`tokenizer.ggml.pre`); a file with a wrong name loads and answers nonsense. So a folder is exported only where both are
known to be the same: an architecture of `ARCHITECTURES`, and a byte-level BPE whose pre-tokenizer's pattern is one of
`PRE_TOKENIZERS`. Everything else is refused by name. Weights keep their values; LLaMA's query and key rows change their
order, because llama.cpp rotates neighbouring pairs. Source: llama.cpp's convert_hf_to_gguf.py (MIT).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_core.errors import UserError
from llm_core.models.loading import context_of, load_network, load_tokenizer, read_config
from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime import progress
from llm_core.runtime.outputs import output_file
from llm_core.tokenization.pattern import pattern

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gpt2": "gpt2"}
"""model_type of transformers -> architecture of llama.cpp"""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
PRE_TOKENIZERS = {
    LLAMA3: "dbrx",  # LLaMA 3's pattern; under llama.cpp's `llama-bpe` merges would not count
    LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2",
    pattern(Tokenizer(digits=3, whitespace="runs")): "dbrx",
    pattern(Tokenizer(digits=1, whitespace="runs")): "qwen2",
    "GPT-2": "gpt-2",
}
"""pattern of the pre-tokenizer -> llama.cpp's name for it"""
WEIGHTS = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
"""what --dtype may be -> GGUF's type"""


def export_gguf(model: Path, file: Path, dtype: str = "float16") -> dict[str, Any]:
    """Write the language model in `model` to `file`; matrices as `dtype`, vectors as float32. Returns its figures.

    Raises UserError where llama.cpp has no such architecture, pre-tokenizer or positions, so that its answers would be
    others than the model's.
    """
    import gguf

    if dtype not in WEIGHTS:
        raise UserError(f"--dtype {dtype}: choose one of {', '.join(WEIGHTS)}")
    config = read_config(model)
    if config.model_type not in ARCHITECTURES:
        raise UserError(
            f"{model}: a {config.model_type} cannot be exported (there are {', '.join(ARCHITECTURES)}); "
            "try llama.cpp's own convert_hf_to_gguf.py"
        )
    architecture = ARCHITECTURES[config.model_type]
    tokenizer = load_tokenizer(model)
    vocabulary = _vocabulary(model, tokenizer, config)
    with output_file(file, "wb") as partial:
        writer = gguf.GGUFWriter(partial.name, architecture)
        writer.add_name(model.resolve().name)
        _describe(writer, model, config, architecture)
        _write_vocabulary(writer, vocabulary, tokenizer, config, model)
        kind = gguf.GGMLQuantizationType[WEIGHTS[dtype]]
        writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(kind.name, f"MOSTLY_{kind.name}")])
        tensors = 0
        for name, weight in _tensors(load_network(model, device="cpu"), architecture, model):
            stored = kind if weight.ndim > 1 and weight.shape[-1] % 32 == 0 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(name, gguf.quantize(weight, stored), raw_dtype=stored)
            tensors += 1
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    size = file.stat().st_size
    progress.log(f"{file}: {architecture}, {tensors} tensors, {size:,} bytes, pre-tokenizer {vocabulary['pre']}")
    return {"architecture": architecture, "pre_tokenizer": vocabulary["pre"], "tensors": tensors, "bytes": size}


def _describe(writer: Any, model: Path, config: Any, architecture: str) -> None:
    """The shape of the network."""
    context = context_of(config) or 0
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if architecture == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        if config.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
            raise UserError(
                f"{model}: llama.cpp's gpt2 has the activation gelu_new, this one {config.activation_function}"
            )
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    rope = getattr(config, "rope_parameters", None) or {}
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    if (kind := rope.get("rope_type", "default")) != "default":
        raise UserError(f"{model}: positions are scaled by {kind}, which this export does not write")
    window = getattr(config, "sliding_window", None)
    if window and window < context and getattr(config, "use_sliding_window", True):
        raise UserError(f"{model}: llama.cpp's {architecture} has no sliding window, this model one of {window} tokens")
    if getattr(config, "hidden_act", "silu") != "silu":
        raise UserError(f"{model}: llama.cpp's {architecture} has the activation silu, this one {config.hidden_act}")


def _tensors(network: Any, architecture: str, model: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """(GGUF's name, float32 weights) of every tensor, in llama.cpp's order of rows."""
    import gguf

    config = network.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    # An older llama.cpp knows tied embeddings for its other architectures only, and refuses a gpt2 without `output`.
    tied = getattr(config, "tie_word_embeddings", False) and architecture != "gpt2"
    for name, weight in network.state_dict().items():
        if (tied and name == "lm_head.weight") or name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise UserError(f"{model}: llama.cpp's {architecture} has no tensor for {name}")
        array = weight.detach().to(torch.float32).numpy()
        if architecture == "llama" and re.search(r"\.(q|k)_proj\.", name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
            array = halves.swapaxes(1, 2).reshape(array.shape)
        elif architecture == "gpt2" and re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name):
            array = array.T  # Conv1D keeps its weight the other way round
        yield known, np.ascontiguousarray(array)


def _vocabulary(model: Path, tokenizer: Any, config: Any) -> dict[str, Any]:
    """`tokens` (one for each row of the embeddings), `types`, `merges` and `pre` of a byte-level BPE."""
    import gguf

    described = json.loads(tokenizer.backend_tokenizer.to_str())
    core, normalizer = described["model"], described.get("normalizer")
    if core["type"] != "BPE" or core.get("byte_fallback") or core.get("unk_token"):
        raise UserError(
            f"{model}: its tokenizer is no byte-level BPE, so it cannot be exported; try llama.cpp's own converter"
        )
    if normalizer and normalizer["type"] != "NFC":
        raise UserError(f"{model}: its tokenizer changes text ({normalizer['type']}), which llama.cpp would not")
    expression = _pattern(described.get("pre_tokenizer") or {})
    if expression not in PRE_TOKENIZERS:
        raise UserError(
            f"{model}: llama.cpp has no rule that cuts text by this tokenizer's pattern {expression}; a tokenizer "
            "trained with tokenizer.digits 3 or 1 and tokenizer.whitespace runs can be exported"
        )
    tokens = [f"[PAD{number}]" for number in range(config.vocab_size)]
    types = [gguf.TokenType.UNUSED] * config.vocab_size
    for token, number in core["vocab"].items():
        tokens[number], types[number] = token, gguf.TokenType.NORMAL
    for added in described.get("added_tokens", []):
        if added["id"] >= config.vocab_size:
            raise UserError(f"{model}: token {added['content']} has no row in the model's embeddings")
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in core["merges"]]
    return {"tokens": tokens, "types": types, "merges": merges, "pre": PRE_TOKENIZERS[expression]}


def _pattern(described: dict[str, Any]) -> str | None:
    """The pattern by which a described pre-tokenizer cuts text; `GPT-2` where it is the library's built-in one."""
    parts = described.get("pretokenizers", [described])
    splits = [part["pattern"].get("Regex") for part in parts if part.get("type") == "Split"]
    byte_level = [part for part in parts if part.get("type") == "ByteLevel"]
    if len(byte_level) != 1 or byte_level[0].get("add_prefix_space") or len(parts) != len(splits) + 1:
        return None
    if byte_level[0].get("use_regex", True):
        return "GPT-2" if not splits else None
    return splits[0] if len(splits) == 1 else None


def _write_vocabulary(writer: Any, vocabulary: dict[str, Any], tokenizer: Any, config: Any, model: Path) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    writer.add_token_merges(vocabulary["merges"])
    ends = [tokenizer.eos_token_id]
    settings = model / "generation_config.json"
    if settings.is_file():
        told = json.loads(settings.read_text(encoding="utf-8")).get("eos_token_id")
        ends = told if isinstance(told, list) else [told if told is not None else tokenizer.eos_token_id]
    plain, marked = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if ends[0] is not None:
        writer.add_eos_token_id(ends[0])
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(marked[: len(marked) - len(plain)] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(False)  # a prompt is to be continued
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
