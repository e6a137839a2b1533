"""The encoder's loss is the library's, twins are no negatives, and training finds what it could not find before."""

from pathlib import Path

import pytest
import torch

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.finetuning import Data
from llm_core.retrieval.encoders import Encoder
from llm_core.tracking.runs import Run
from llm_core.training.finetuning import stage
from llm_core.training.finetuning.conversation import load_tokenizer
from llm_core.training.finetuning.data.dataset import convert
from llm_core.training.finetuning.data.stage import prepare
from llm_core.training.finetuning.methods.contrastive import finish, measure
from llm_core.training.finetuning.registry import check_applies
from llm_core.training.finetuning.rows import write_rows
from llm_core.training.finetuning.sentence_vectors import info_nce, rank
from llm_core.training.finetuning.training import Job
from tests.llm_core.training.finetuning import tiny

NAMES = [first + last for first in ("Ba", "Do", "Ki", "Lu", "Me", "Po", "Ra", "Su") for last in "bdfgklmnprst"]


def unit(rows: int, seed: int) -> torch.Tensor:
    drawn = torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_the_loss_is_sentence_transformers() -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    queries, passages = unit(12, 0), unit(12, 1)
    library = MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)  # type: ignore[arg-type]
    expected = library.compute_loss_from_embeddings([queries, passages], labels=None)
    assert info_nce(queries, passages, torch.arange(12), 1 / 20).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_passage_that_two_queries_share_is_no_negative() -> None:
    queries, passages = unit(3, 0), unit(3, 1)
    passages[2] = passages[0]
    shared = info_nce(queries, passages, torch.tensor([7, 8, 7]), 0.05)
    alone = [info_nce(queries[[0, 1]], passages[[0, 1]], torch.tensor([7, 8]), 0.05) * 2]
    alone.append(torch.nn.functional.cross_entropy(queries[2:] @ passages[1:].T / 0.05, torch.tensor([1])))
    assert shared.item() * 3 == pytest.approx(sum(alone).item(), rel=1e-5)


def test_ranks_by_hand() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.3, 0.2, 0.1], [0.4, 0.4, 0.4]])
    assert rank(scores, [0, 2, 1]) == [1, 3, 3]  # a tie counts against it


def test_rows_of_a_data_set_and_of_documents(tmp_path: Path) -> None:
    assert convert("contrastive", {"anchor": "a", "positive": "b"}, Data()) == {"query": "a", "passage": "b"}
    assert convert("contrastive", {"question": "a", "context": "b"}, Data()) == {"query": "a", "passage": "b"}
    with pytest.raises(ValueError, match="passage"):
        convert("contrastive", {"query": "a", "passage": " "}, Data())
    (tmp_path / "train" / "documents").mkdir(parents=True)
    with pytest.raises(UserError, match="encoder-data"):
        prepare("contrastive", tmp_path / "out", Params(), str(tmp_path))


@pytest.mark.parametrize("kinds", [["name", "name", None, ""], ["name"] * 4, [None] * 4])
def test_figures_without_a_kind_are_of_all_rows(kinds: list[str | None], tmp_path: Path) -> None:
    """Some rows may have a kind and others none; the groups are then those of the rows of each figure."""
    base = tiny.model("llama", tmp_path / "base")
    rows = [{"query": f"is it {name}", "passage": f"it is {name}", "group": name[0], "kind": kind}
            for name, kind in zip(("ab", "ac", "ba", "bb"), kinds, strict=True)]  # fmt: skip
    rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    params = Params.model_validate({"finetuning": {"runs": {"contrastive": {}}}}).finetuning.run("contrastive")
    kind = check_applies("contrastive", base)
    tokenizer = load_tokenizer(str(base), chat=False)
    job = Job("contrastive", base, kind, "full", {"test": rows}, params, 0, tmp_path, Run(None, "", ""), tokenizer)
    model = job.load_base("cpu")
    found = measure(job, model)
    named = kinds.count("name")
    wanted = {"mrr": 4 if named < 4 else None, "name_mrr": named or None}
    assert {name: found.get(name, {}).get("items") for name in wanted} == wanted
    assert len(found["items"]["mrr"]) == 4
    assert named == 4 or found["mrr"]["mean"] == pytest.approx(sum(found["items"]["mrr"]) / 4)
    changes = finish(job, model, {"before": found, "after": found}, tmp_path)
    assert changes["mrr_change"]["items"] == 4
    assert "name_mrr_change" not in changes or changes["name_mrr_change"]["items"] == named


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_an_encoder_learns_to_find_names_it_was_not_trained_on(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    torch.set_num_threads(1)
    sides: dict[str, list[dict[str, str]]] = {"train": [], "heldout": [], "test": []}
    for number, name in enumerate(NAMES):
        side = "test" if number % 4 == 1 else "heldout" if number % 12 == 0 else "train"
        passage = f"The region is Africa and the capital of it is {name}."
        sides[side].append({"id": name, "kind": "name", "query": f"Is it in {name}?", "passage": passage})
    write_rows(tmp_path / "rows", sides)
    knobs = {"zero_stage": None, "micro_batch": 16, "evaluations": 1, "max_length": 64, "learning_rate": 0.003}
    params = Params.model_validate({"finetuning": {"runs": {"contrastive": knobs | {"max_steps": 80}}}})
    base = tiny.model(family, tmp_path / "base")
    metrics = stage.finetune("contrastive", base, tmp_path / "rows", tmp_path / "out", params)
    change = metrics["name_mrr_change"]
    assert change["items"] == 24
    assert change["change"] > 3 * change["change_standard_error"]
    assert change["p_value"] < 0.01
    encoder = Encoder(str(tmp_path / "out"))  # as `retrieval.encoder` reads it
    queries, passages = (encoder([row[side] for row in sides["test"]]) for side in ("query", "passage"))
    found = rank(torch.from_numpy(queries @ passages.T), range(24))
    assert sum(1 / at for at in found) / 24 == pytest.approx(metrics["after"]["name_mrr"]["mean"], abs=0.1)
