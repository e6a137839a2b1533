"""A GPT-2-shaped model with random weights, made in a second, for the tests of several rooms."""

from pathlib import Path

SENTENCES = [
    "The river runs to the sea and the sea is never full.",
    "A wise man keeps his counsel when the people are loud.",
    "Iron is a metal that rusts in wet air over many years.",
    "Plants turn light into sugar and give back the air we breathe.",
]


def make(folder: Path) -> Path:
    """Write a GPT-2 of 2 layers and a byte-level BPE tokenizer whose one special token is GPT-2's to `folder`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator(SENTENCES * 4, trainer)
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=end, eos_token=end, unk_token=end)
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        initializer_range=0.2,  # spread scores, so that answers differ between items
    )  # fmt: skip
    GPT2LMHeadModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
