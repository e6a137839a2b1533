"""An encoder-decoder is generated from and scored by what it reads and writes; an encoder is refused by name."""

import json
from pathlib import Path

import pytest
import torch

from llm_core.cli import main
from llm_core.errors import UserError
from llm_core.evaluation.stage import evaluate
from llm_core.models.loading import load
from llm_core.params import Params
from llm_core.training.pretraining.samples import sample
from tests.llm_core.open_model_folders import make


@pytest.fixture
def t5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    return make("t5", tmp_path / "t5", seed=1)


def test_generate_writes_what_transformers_generates_for_the_text(t5: Path) -> None:
    loaded = load(t5)
    inputs = loaded.tokenizer("The river", return_tensors="pt")
    with torch.no_grad():
        written = loaded.network.generate(**inputs, max_new_tokens=6, do_sample=False)
    wanted = loaded.tokenizer.decode(written[0], skip_special_tokens=True)
    assert sample(loaded.network, loaded.tokenizer, ["The river"], new_tokens=6, temperature=0) == [wanted]


def test_evaluate_answers_questions_and_leaves_running_text_out(t5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load(t5)
    loaded.tokenizer.chat_template = "{{ messages[0]['content'] }} template"  # an encoder-decoder is asked without it
    loaded.tokenizer.save_pretrained(t5)
    (given,) = sample(loaded.network, loaded.tokenizer, ["The sea?"], new_tokens=8, temperature=0)
    talk = [{"role": "user", "content": "The sea?"}, {"role": "assistant", "content": given or "nothing"}]
    Path("test.jsonl").write_text(json.dumps({"id": "1", "messages": talk}) + "\n")
    Path("held.txt").write_text("The river runs to the sea.\n")
    params = Params.model_validate({"evaluation": {"answer_tokens": 8, "prompts": ["The river"]}})
    metrics = evaluate(t5, Path("out"), params, inputs=["held.txt"], answers=Path("test.jsonl"))
    assert metrics["answers"]["exact_match"] == float(bool(given))
    assert "bits_per_byte" not in metrics
    assert "has no bits per byte of running text" in capsys.readouterr().err


def test_an_encoder_is_refused_by_name_with_the_verbs_that_fit(tmp_path: Path) -> None:
    make("bert", tmp_path / "bert")
    with pytest.raises(
        UserError, match=r"BertForMaskedLM, an encoder, which does not continue text.*llm-core finetune"
    ):
        evaluate(tmp_path / "bert", tmp_path / "out", Params(), inputs=["x"])
    with pytest.raises(SystemExit):
        main(["generate", "--model", str(tmp_path / "bert"), "--prompt", "a"])
