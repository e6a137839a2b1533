"""Translation and summarization: scores are the reference packages', baselines are right, two layers learn."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from llm_core.errors import UserError
from llm_core.params import validate
from llm_core.training.finetuning import sequence_to_sequence as room
from llm_core.training.finetuning import use
from llm_core.training.finetuning.conversation import load_tokenizer, prompt_ids
from llm_core.training.finetuning.methods.summarization import lead
from llm_core.training.finetuning.word_translation import dictionary, translate
from tests.llm_core.training.finetuning import tiny

WRITTEN = ["To be, or not to be.", "He hath a deep plot", "Never", "What means death in this rude assault?"]
ROWS = [
    {"source": source, "target": target}
    for source, target in (
        ("To bee, or not to bee", "To be, or not to be:"),
        ("He hath a deepe plotte", "He has a deep plot"),
        ("Neuer, neuer", "Never, never, never"),
        ("What meanes Death", "What means Death in this rude assault?"),
    )
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)


def test_bleu_and_chrf_are_sacrebleus():
    import sacrebleu

    wanted = [row["target"] for row in ROWS]
    found = room.figures("translation", WRITTEN, ROWS, seed=1)
    assert found["BLEU"]["value"] == sacrebleu.corpus_bleu(WRITTEN, [wanted]).score
    assert found["chrF"]["value"] == sacrebleu.corpus_chrf(WRITTEN, [wanted]).score
    each = [sacrebleu.sentence_chrf(text, [target]).score for text, target in zip(WRITTEN, wanted, strict=True)]
    assert room.row_scores("translation", WRITTEN, ROWS) == each
    assert found["sentence_chrF"]["mean"] == pytest.approx(sum(each) / 4)
    assert all(one["low"] < one["value"] < one["high"] for one in (found["BLEU"], found["chrF"]))


def test_rouge_is_rouge_scores():
    from rouge_score.rouge_scorer import RougeScorer

    found = room.figures("summarization", WRITTEN, ROWS, seed=1)
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        each = [
            RougeScorer([name]).score(row["target"], text)[name].fmeasure
            for text, row in zip(WRITTEN, ROWS, strict=True)
        ]
        assert found[name]["value"] == pytest.approx(sum(each) / 4)
        if name == "rougeL":
            assert room.row_scores("summarization", WRITTEN, ROWS) == pytest.approx(each)


def test_the_dictionary_learns_what_each_word_becomes():
    sources = ["haue loue", "haue gone", "loue gone", "the loue", "the"]
    targets = ["have love", "have gone", "love gone", "love the", "the"]  # the fourth in another order
    words = dictionary(sources, targets)
    assert words == {"haue": "have", "loue": "love", "gone": "gone", "the": "the"}
    assert translate("The loue, haue; unknowne!", words) == "The love, have; unknowne!"
    assert dictionary(["...", ""], ["a", "b"]) == {}


def test_the_lead_is_the_first_sentences():
    assert lead("Dr. No came.\n\nHe left! Nobody saw.", 3) == "Dr.\nNo came.\nHe left!"


@pytest.mark.parametrize("prompt", ["no field", "{source} {source}", "{source} {target}", "{source", "{0}"])
def test_a_template_that_cannot_hold_the_source_is_refused_with_its_knob(prompt):
    with pytest.raises(UserError, match=r"finetuning\.runs\.t\.prompt"):
        validate({"finetuning": {"runs": {"t": {"method": "translation", "prompt": prompt}}}}, "params.yaml")


def test_a_long_source_loses_its_end_and_the_template_does_not():
    tokenizer = tiny.tokenizer()
    (message,) = room.question(tokenizer, "spam spam spam ham", "say {source} now", 3)
    kept = message["content"].removeprefix("say ").removesuffix(" now")
    assert "spam spam spam ham".startswith(kept)
    assert len(tokenizer(kept, add_special_tokens=False)["input_ids"]) == 3
    assert room.question(tokenizer, "ham", "say {source} now", 3)[0]["content"] == "say ham now"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "family"), [("translation", "t5"), ("translation", "transformer"), ("summarization", "llama")]
)
def test_a_model_of_two_layers_learns_its_rows_and_rewrites_as_it_was_scored(method, family):
    knobs = {"prompt": "say it: {source} =", "learning_rate": 0.01, "max_new_tokens": 12}
    metrics = tiny.run(method, family, max_steps=60, micro_batch=8, **knobs)
    name = "sentence_chrF" if method == "translation" else "rougeL"
    assert metrics[f"{name}_change"]["after"] > metrics[f"{name}_change"]["before"] + 0.3
    assert metrics["after"]["stopped_by_itself"] == 1
    assert "first_sentences" in metrics["baseline"] or "word_by_word" in metrics["baseline"]
    tested = [json.loads(line) for line in Path("out/test_items.jsonl").read_text().splitlines()]
    assert [set(row) for row in tested] == [{"id", name}] * 4
    config = transformers.AutoConfig.from_pretrained("out")
    assert (config.source_prompt, config.source_tokens) == ("say it: {source} =", None)
    samples = json.loads(Path("out/samples.json").read_text())["after"]
    written = use.rewrite(Path("out"), [one["prompt"] for one in samples], 12)
    assert written == [one["answer"] for one in samples]


def test_what_an_encoder_decoder_is_asked_when_scored_is_what_it_was_trained_on():
    from llm_core.training.finetuning.methods.instruction import Instruction, encode
    from llm_core.training.finetuning.training import Job

    tokenizer = load_tokenizer(str(tiny.model("t5", Path("base"))))
    talk = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "yes"}]
    rows = {"train": [{"messages": talk}]}
    job = Job("instruction", Path("base"), "encoder-decoder", "full", rows, Instruction(), 1, Path(), None, tokenizer)
    (row,) = encode(job, rows["train"]).rows
    assert row["input_ids"] == prompt_ids(tokenizer, talk[:-1], "encoder-decoder")
    assert row["labels"][-1] == tokenizer.eos_token_id  # without it the model could not learn to stop
    assert tokenizer.decode(row["labels"], skip_special_tokens=True) == "yes"


def test_rewrite_refuses_a_model_of_another_method_in_one_line():
    tiny.model("t5", Path("base"))
    with pytest.raises(UserError, match=r"^base: was made by neither .*`llm-core generate`.*$"):
        use.rewrite(Path("base"), ["a"])
