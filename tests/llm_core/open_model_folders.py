"""Folders as the hub has them, made in a second: tiny random models, each with a trained tokenizer of its own kind.

GPT-2: byte-level BPE, one special token. LLaMA: BPE over characters with byte fallback, a begin token and a space in
front. Qwen3: byte-level BPE, no begin token, ChatML. Gemma 3: BPE with byte fallback, a begin token, its own turns.
T5: unigram, whose vocabulary holds the end token as an ordinary piece. BERT: WordPiece.

RELATED are other families, most with a byte-level BPE that differs in special tokens and in how words are cut. OPT:
GPT-2's with </s> in front. BLOOM: four special tokens at the start and no begin token. RoBERTa: <s> and </s> around a
text. ModernBERT: the same with BERT's names. SmolLM: each digit by itself, ChatML, LLaMA's architecture. OLMo 2: one
end token and one for padding, as GPT-NeoX. GPT-J and Phi have GPT-2's tokenizer, Mistral LLaMA's, Qwen2 that of Qwen3.
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
RELATED = ("opt", "bloom", "roberta", "modernbert", "gptj", "mistral", "qwen2", "phi", "smollm", "olmo2")


def make(kind: str, folder: Path, seed: int = 3) -> Path:
    """Write a model of `kind` (DECODERS, t5, bert, RELATED) with its tokenizer, model card and licence to `folder`."""
    import torch

    torch.set_num_threads(1)
    tokenizer = (TOKENIZERS | OF_RELATED)[kind]()
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
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**common, **shape))
    return _related(kind, common, shape)


def _related(kind: str, common: dict[str, Any], shape: dict[str, int]) -> Any:
    """A network of one of RELATED."""
    import transformers as t

    grouped = {"num_key_value_heads": 1}
    narrow = {key: value for key, value in shape.items() if key != "intermediate_size"}
    older = {
        "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128,
        **{key: value for key, value in common.items() if key != "max_position_embeddings"},
    }  # fmt: skip
    configs = {
        "opt": lambda: t.OPTConfig(
            ffn_dim=64, word_embed_proj_dim=32, layerdrop=0.0, dropout=0.0, init_std=0.2, **common, **narrow
        ),
        "bloom": lambda: t.BloomConfig(hidden_size=32, **{k: v for k, v in older.items() if k != "n_embd"}),
        "roberta": lambda: t.RobertaConfig(**{**common, "max_position_embeddings": 130}, **shape),
        "modernbert": lambda: t.ModernBertConfig(
            **common, **shape, local_attention=8, global_attn_every_n_layers=2, cls_token_id=common["bos_token_id"],
            sep_token_id=common["eos_token_id"],
        ),
        "gptj": lambda: t.GPTJConfig(rotary_dim=8, **older),
        "mistral": lambda: t.MistralConfig(**common, **shape, **grouped, sliding_window=16),
        "qwen2": lambda: t.Qwen2Config(**common, **shape, **grouped, tie_word_embeddings=True),
        "phi": lambda: t.PhiConfig(**common, **shape),
        "smollm": lambda: t.LlamaConfig(**common, **shape, **grouped, tie_word_embeddings=True),
        "olmo2": lambda: t.Olmo2Config(**common, **shape, **grouped),
    }  # fmt: skip
    config = configs[kind]()
    encoder = kind in ("roberta", "modernbert")
    return (t.AutoModelForMaskedLM if encoder else t.AutoModelForCausalLM).from_config(config)


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
    """A byte-level BPE trained on SENTENCES, `special` first; words are cut as GPT-2 does, or by `pattern`."""
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
        SENTENCES * 4,
        trainers.BpeTrainer(vocab_size=380, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
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
    return _fast(_byte_level([], None), bos_token=end, eos_token=end, unk_token=end)


def _opt() -> Any:
    raw = _byte_level(["<s>", "<pad>", "</s>", "<unk>"], None)
    raw = _begins(raw, "</s>")
    return _fast(raw, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>")


def _bloom() -> Any:
    raw = _byte_level(["<unk>", "<s>", "</s>", "<pad>"], r" ?[^(\s|[.,!?…。,、।۔،])]+")
    raw.normalizer = None
    return _fast(raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def _around(names: dict[str, str]) -> Any:
    """A byte-level BPE of an encoder, with its names of bos_token, eos_token, pad_token, unk_token and mask_token."""
    from tokenizers import processors

    raw = _byte_level(list(names.values()), None)
    first, last = ((names[name], raw.token_to_id(names[name])) for name in ("bos_token", "eos_token"))
    raw.post_processor = processors.TemplateProcessing(
        single=f"{first[0]} $A {last[0]}", pair=f"{first[0]} $A {last[0]} $B {last[0]}", special_tokens=[first, last]
    )
    return _fast(raw, cls_token=first[0], sep_token=last[0], **names)


def _roberta() -> Any:
    return _around(
        {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    )


def _modernbert() -> Any:
    names = ("unk_token", "bos_token", "eos_token", "pad_token", "mask_token")
    return _around(dict(zip(names, ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"), strict=True)))


def _smollm() -> Any:
    from tokenizers import pre_tokenizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw = _byte_level(special, None)
    raw.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), raw.pre_tokenizer])
    names = {"bos_token": special[1], "eos_token": special[2], "pad_token": special[2], "unk_token": special[0]}
    tokenizer = _fast(raw, **names)
    tokenizer.chat_template = CHATML
    return tokenizer


def _olmo2() -> Any:
    end, padding = "<|endoftext|>", "<|padding|>"
    return _fast(_byte_level([padding, end], None), bos_token=end, eos_token=end, unk_token=end, pad_token=padding)


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
OF_RELATED = {
    "opt": _opt, "bloom": _bloom, "roberta": _roberta, "modernbert": _modernbert, "gptj": _gpt2, "mistral": _llama,
    "qwen2": _qwen3, "phi": _gpt2, "smollm": _smollm, "olmo2": _olmo2,
}  # fmt: skip
