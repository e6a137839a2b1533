"""Folders as the hub has them, made in a second: tiny random models, each with a trained tokenizer of its own kind.

GPT-2: byte-level BPE, one special token. LLaMA: BPE over characters with byte fallback, a begin token and a space in
front. Qwen3: byte-level BPE, no begin token, ChatML. Gemma 3: BPE with byte fallback, a begin token, its own turns.
T5: unigram, whose vocabulary holds the end token as an ordinary piece. BERT: WordPiece.
"""

from pathlib import Path
from typing import Any

SENTENCES = [
    "The river runs to the sea and the sea is never full.",
    "A wise man keeps his counsel when the people are loud.",
    "Iron is a metal that rusts in wet air over many years.",
    "Plants turn light into sugar and give back the air we breathe.",
    "Counsel and iron, light and air: the people of the river keep them all.",
]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TURNS = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' "
    "else message['role']) + '\\n' + message['content'] + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
DECODERS = ("gpt2", "llama", "qwen3", "gemma3")


def make(kind: str, folder: Path, seed: int = 3) -> Path:
    """Write a model of `kind` (DECODERS, t5, bert) with its tokenizer, model card and licence to `folder`."""
    import torch

    torch.set_num_threads(1)
    tokenizer = TOKENIZERS[kind]()
    torch.manual_seed(seed)
    network(kind, tokenizer).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A tiny model\n")
    (folder / "LICENSE").write_text("Apache License 2.0\n")
    return folder


def network(kind: str, tokenizer: Any) -> Any:
    """The network with random weights; scores are spread, so that answers differ between prompts."""
    import transformers

    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    size = -(-len(tokenizer) // 32) * 32  # rows beyond the tokenizer's, as Qwen has them
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 64}
    common = {"vocab_size": size, "max_position_embeddings": 128, "initializer_range": 0.2, **ids}
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2, **ids
            )
        )
    if kind == "llama":
        return transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**common, **shape, num_key_value_heads=1, rope_theta=500_000.0)
        )
    if kind == "qwen3":
        return transformers.Qwen3ForCausalLM(
            transformers.Qwen3Config(
                **common, **shape, num_key_value_heads=1, head_dim=32, tie_word_embeddings=True, rope_theta=1_000_000.0
            )
        )
    if kind == "gemma3":
        return transformers.Gemma3ForCausalLM(
            transformers.Gemma3TextConfig(
                **common, **shape, num_key_value_heads=1, head_dim=16, sliding_window=8,
                layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=16,
            )
        )  # fmt: skip
    if kind == "t5":
        return transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=size, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
    return transformers.BertForMaskedLM(transformers.BertConfig(**common, **shape))


def _bpe(special: list[str], size: int, spaces: bool) -> Any:
    """A BPE over characters with byte fallback, spaces as U+2581, trained on SENTENCES."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(SENTENCES * 4, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    import json

    learnt = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = {}
    for token in [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt["vocab"]]:
        vocabulary.setdefault(token, len(vocabulary))
    merges = [tuple(pair) for pair in learnt["merges"]]
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), replace]) if spaces else replace
    return raw


def _byte_level(special: list[str], pattern: str | None) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    raw.pre_tokenizer = (
        level if pattern is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), level])
    )
    if pattern:
        raw.normalizer = normalizers.NFC()
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        SENTENCES * 4, trainers.BpeTrainer(vocab_size=380, initial_alphabet=alphabet, show_progress=False)
    )
    return raw


def _fast(raw: Any, **names: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=raw, **names)


def _begins(raw: Any, token: str) -> Any:
    from tokenizers import processors

    begin = (token, raw.token_to_id(token))
    raw.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=[begin]
    )
    return raw


def _gpt2() -> Any:
    end = "<|endoftext|>"
    return _fast(_byte_level([end], None), bos_token=end, eos_token=end, unk_token=end)


def _llama() -> Any:
    from tokenizers import decoders

    raw = _begins(_bpe(["<unk>", "<s>", "</s>"], 200, spaces=True), "<s>")
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _fast(raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def _qwen3() -> Any:
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer = _fast(
        _byte_level([], pattern), eos_token="<|im_end|>", pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer


def _gemma3() -> Any:
    from tokenizers import decoders, pre_tokenizers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    raw = _begins(_bpe(special, 200, spaces=False), "<bos>")
    raw.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = _fast(
        raw, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        extra_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    )  # fmt: skip
    tokenizer.chat_template = TURNS
    return tokenizer


def _t5() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    raw.train_from_iterator(
        SENTENCES * 4,
        trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    raw.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    sentinels = [f"<extra_id_{number}>" for number in range(99, -1, -1)]
    return _fast(raw, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", extra_special_tokens=sentinels)


def _bert() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.decoder = decoders.WordPiece()
    raw.train_from_iterator(
        SENTENCES * 4, trainers.WordPieceTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    )
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), special, strict=True))
    return _fast(raw, **names)


TOKENIZERS = {"gpt2": _gpt2, "llama": _llama, "qwen3": _qwen3, "gemma3": _gemma3, "t5": _t5, "bert": _bert}
