"""Tiny models of each family, built from config and saved locally, with a tokenizer trained on a few lines."""

import contextlib
import io
import os
from pathlib import Path
from typing import Any

from llm_core import cli
from llm_core.models.family import Vocabulary
from llm_core.params import Params
from llm_core.params.model import Model
from llm_core.tokenization.specials import CHAT_TEMPLATE, SPECIAL_TOKENS
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.data.entities import from_spans
from llm_core.training.finetuning.rows import write_rows

ROOT = Path(__file__).parents[4]
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # some tests set them in this process
LINES = [
    "What is the capital of Chad?",
    "The capital is a city, and the region is Africa.",
    "yes no spam ham",
    "0123456789",
]
OF_CLASSIFICATION = ("multi_label", "regression", "sentence_pairs")  # trained by the same code (sequence_heads.py)
COUNTRIES = ("Chad", "Mali", "Peru", "Fiji", "Cuba", "Togo", "Oman", "Iran")


def tokenizer(chat: bool = True, pad: bool = True) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = list(SPECIAL_TOKENS) if pad else [token for token in SPECIAL_TOKENS if token != "<|pad|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(LINES * 4, trainer)
    names = {"bos_token": "<|begin|>", "eos_token": "<|end|>"} | ({"pad_token": "<|pad|>"} if pad else {})
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    if chat:
        made.chat_template = CHAT_TEMPLATE
    return made


def model(family: str, folder: Path, chat: bool = True, pad: bool = True) -> Path:
    """Save a model of `family` (2 layers, width 64) and its tokenizer into `folder`."""
    import torch
    import transformers as t

    from llm_core.models.networks import build_config, build_network

    torch.manual_seed(0)
    tok = tokenizer(chat, pad)
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2 if pad else None, "vocab_size": len(tok)}
    long = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    short = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": 256}
    if family == "llama":
        made = t.LlamaForCausalLM(t.LlamaConfig(**long, **ids))
    elif family == "gpt2":
        made = t.GPT2LMHeadModel(t.GPT2Config(**short, **ids))
    elif family == "gptj":
        made = t.GPTJForCausalLM(t.GPTJConfig(rotary_dim=16, **short, **ids))
    elif family == "bloom":
        made = t.BloomForCausalLM(t.BloomConfig(hidden_size=64, n_layer=2, n_head=2, **ids))
    elif family == "opt":
        opt = {"ffn_dim": 128, "word_embed_proj_dim": 64, "max_position_embeddings": 256}
        kept = {key: value for key, value in long.items() if key != "intermediate_size"}
        made = t.OPTForCausalLM(t.OPTConfig(**kept, **opt, **ids))
    elif family == "bert":
        made = t.BertForMaskedLM(t.BertConfig(**long, **ids))
    elif family == "transformer":  # the encoder-decoder of 2017, as `model.family` builds it
        sizes = Model(family=family, layers=2, width=64, heads=2, feed_forward=128)
        config = build_config(sizes, Vocabulary(len(tok), bos=0, eos=1, pad=2), 256)
        made = build_network(config, "auto", 0)
    else:
        size = {"d_model": 64, "d_ff": 128, "d_kv": 32, "num_layers": 2, "num_heads": 2, "vocab_size": len(tok)}
        if family == "flan-t5":  # the layout of T5 1.1: gated GELU, a head of its own
            size |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        made = t.T5ForConditionalGeneration(
            t.T5Config(pad_token_id=2, eos_token_id=1, decoder_start_token_id=2, **size)
        )
    made.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def rows(method: str, folder: Path = Path()) -> Path:
    """Write rows of `method`, of lengths that differ, below `folder`; held-out and test rows are training rows."""
    made = []
    for number, country in enumerate(COUNTRIES):
        answer, wrong = ("yes", "no") if number % 2 else ("no", "yes")
        question = f"Is it in {country}{' now' * number}?"
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        fields = {
            "classification": {"text": question, "label": answer},
            "multi_label": {"text": question, "labels": [answer, "late"] if number > 3 else [answer]},
            "regression": {"text": question, "score": float(number)},
            "sentence_pairs": {"text": question, "text_pair": f"{country} is far", "label": answer},
            "multiple_choice": {
                "question": question,
                "choices": ["yes", "no", "maybe"][: 2 + number % 2],
                "answer": number % 2,
            },
            "instruction": {"messages": talk},
            "rlhf": {"prompt": question, "answer": answer},
            "question_answering": {
                "question": "Which country?",
                "context": question,
                "answers": [{"text": country, "start": 9}] if number % 4 else [],
            },
            "token_classification": from_spans(question, [{"start": 9, "end": 13, "label": "PLACE"}]),
            "translation": {"source": question, "target": f"{answer} {country}"},
            "summarization": {"source": question, "target": f"{answer} {country}"},
            "contrastive": {"query": question, "passage": f"{country}: {answer}{' now' * (7 - number)}"},
        }.get(method, {"prompt": question, "chosen": answer, "rejected": wrong})
        made.append({"id": str(number), **fields})
    written = folder / f"rows-{method}"
    written.mkdir(exist_ok=True)
    write_rows(written, {"train": made, "heldout": made[:4], "test": made[:4]})
    return written


def run(method, family, data=None, **knobs):
    """Finetune a tiny model for two steps, or as `knobs` say, from `base` into `out`; the metrics."""
    base = model(
        family, Path("base"), chat=family == "llama", pad=family in ("llama", "bert", "t5", "flan-t5", "transformer")
    )
    return finetune(method, base, data or rows(method), **knobs)


def finetune(method, base, data, **knobs):
    """The same from a model and rows that are there."""
    settings = {"zero_stage": None, "max_steps": 2, "micro_batch": 4, "evaluations": 1, "max_length": 64}
    if method in ("instruction", "dpo", "rlhf", "translation", "summarization"):
        settings |= {"max_new_tokens": 4, "scored_items": 4}
    if method == "rlhf":
        settings |= {"generations": 4, "reward": "pattern:.*[a-z].*"}  # what random weights say differs in
    params = Params.model_validate({"finetuning": {"runs": {method: settings | knobs}}})
    return stage.finetune(method, Path(base), data, Path("out"), params)


def environment() -> dict[str, str]:
    """Of a process that trains by itself, or under a launcher of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def said(*arguments: str) -> tuple[str, int]:
    """What `llm-core` prints on standard output with these arguments, run in this process, and its exit status."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        try:
            cli.main(arguments)
        except SystemExit as end:
            return stream.getvalue(), int(end.code or 0)
    return stream.getvalue(), 0
