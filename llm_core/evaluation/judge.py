"""Answers to questions of an own benchmark, judged by a language model.

The judge reads question, right answer and given answer, and is not asked to write: the probabilities of the verdicts
after the prompt are the judgement (the weighting of G-Eval, Liu et al. 2023), so that a score is deterministic, has no
text to be parsed, and exists for a model of any size. What a judge is worth is measured in the same run: it also judges
each item's own right answer and the right answer of another question. A judge that does not prefer the first says
nothing about the answers between them.

A model favours its own answers (Panickssery et al. 2024), by an amount that nobody knows, and the gate would compare
such a score with others. So a model is refused as its own judge, by the digest of its weights, before anything is
scored. A model that was trained from the judge is scored: the report names the judge.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.answer_matching import normalize
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.own import weights_digest
from llm_core.models import loading
from llm_core.params.evaluation import Evaluation
from llm_core.runtime.progress import log
from llm_core.runtime.storage import read_json

FIGURES = ("judge", "exact_match", "f1", "judge_mass", "judge_right", "judge_wrong", "judge_prefers_right")
"""What is written of each item: the score of the answer, what word by word comparison gives it, the probability of all
verdicts together, the scores of the right answer and of another question's, and whether the first is higher."""
LITTLE = 0.01  # of the probability of all verdicts together, below which they are not what the judge would write
Record = Mapping[str, Any]
"""An entry `judge` of the manifest, as `own.judge_record` makes it."""


class Judgement(NamedTuple):
    """The verdict on one answer."""

    score: float
    """mean of the verdicts' values, weighted by their probabilities"""
    mass: float
    """probability of all verdicts together; near 0 the judge would write something else"""


def judges(benchmarks: Path) -> dict[str, Record]:
    """Own benchmark -> its judge, of those in a folder of `fetch-benchmarks` that have one."""
    file = benchmarks / "manifest.json"
    manifest = read_json(file) if file.is_file() else {}
    return {name: entry["judge"] for name, entry in manifest.items() if "judge" in entry}


def described(judge: Record) -> str:
    """The judge's name and the beginning of its weights' digest."""
    return f"{judge['model']} (weights {judge['weights'][:12]})"


def refuse_itself(model: Path, benchmarks: Path, tasks: Sequence[str]) -> None:
    """Raise UserError where `model` would judge its own answers."""
    wanted = {name: judge for name, judge in judges(benchmarks).items() if name in tasks}
    if not wanted or not Path(model).is_dir():
        return
    own = weights_digest(Path(model))
    for name, judge in wanted.items():
        if judge["weights"] == own:
            raise UserError(
                f"{model}: is also the judge of the benchmark '{name}' ({judge['model']}: the same weights), and a "
                f"model favours its own answers; take another evaluation.benchmarks.own.{name}.judge.model, or leave "
                "this model out of evaluation.models"
            )


def judge_rows(
    name: str, judge: Record, docs: Sequence[Any], given: Sequence[str], chosen: Evaluation, journal: Journal
) -> list[dict[str, float]]:
    """The judge's figures on each item, and `majority`: its score of the most frequent right answer.

    `docs`: the items; `given`: the evaluated model's answer to each. Figures about a wrong answer are left out where
    all items have the same right one. Raises UserError where the judge's weights are not those that were fetched.
    """
    rights = [doc["answers"][0] for doc in docs]
    wrongs = _wrong_answers(docs)
    often = _most_frequent(rights)
    asked = {
        "given": list(given),
        "right": rights,
        "majority": [often] * len(docs),
        **({"wrong": wrongs} if wrongs else {}),
    }
    prompts = {kind: [_prompt(judge, doc, answer) for doc, answer in zip(docs, answers, strict=True)]
               for kind, answers in asked.items()}  # fmt: skip
    different = list(dict.fromkeys(prompt for of_kind in prompts.values() for prompt in of_kind))
    verdict = dict(zip(different, _judgements(name, judge, different, chosen, journal), strict=True))
    found = []
    for number in range(len(docs)):
        one = {kind: verdict[of_kind[number]] for kind, of_kind in prompts.items()}
        row = {"judge": one["given"].score, "judge_mass": one["given"].mass, "judge_right": one["right"].score}
        if wrongs:
            lead = one["right"].score - one["wrong"].score
            row |= {"judge_wrong": one["wrong"].score, "judge_prefers_right": 0.5 if lead == 0 else float(lead > 0)}
        found.append(row | {"majority": one["majority"].score})
    return found


def doubts(score: Mapping[str, Any]) -> str | None:
    """What speaks against a judge's verdicts, by the scores of a benchmark; None where nothing does."""
    if score["judge_mass"] < LITTLE:
        return (
            f"The verdicts have a probability of {score['judge_mass']:.2g} together, so the judge would write "
            "something else; change judge.prompt or judge.verdicts (an instructed model may need judge.chat)"
        )
    low = score.get("judge_prefers_right_low")
    if low is None:
        return "All items have the same right answer, so it is not known what the judge is worth"
    if not low > 0.5:
        return (
            "The judge does not distinguishably prefer the right answer to that of another question, so its scores "
            "say nothing; take a larger judge, or change judge.prompt"
        )
    return None


def _judgements(
    name: str, judge: Record, prompts: Sequence[str], chosen: Evaluation, journal: Journal
) -> list[Judgement]:
    """A judgement for each prompt."""
    import numpy as np
    from lm_eval.api.instance import Instance

    from llm_core.evaluation.harness_model import harness_model, with_begin_token

    place = Path(judge["place"])
    if not place.is_dir() or weights_digest(place) != judge["weights"]:
        raise UserError(
            f"{place}: the judge of '{name}' is not there as it was fetched; run `llm-core fetch-benchmarks` again"
        )
    loaded = loading.load(place, dtype=chosen.dtype)
    tokenizer, begin = loaded.tokenizer, None
    if loaded.kind == "decoder" and not judge["chat"]:
        tokenizer, begin = with_begin_token(tokenizer, None)
    model = harness_model(judge["chat"], journal, f"judge {judge['weights']} ")(
        pretrained=loaded.network,
        tokenizer=tokenizer,
        batch_size=chosen.batch_size,
        add_bos_token=begin,
        device=str(loaded.device),
    )
    texts = [model.apply_chat_template([{"role": "user", "content": one}]) if judge["chat"] else one for one in prompts]
    room = loaded.context
    long = sum(len(model.tok_encode(text)) >= room for text in texts) if room else 0
    if long:
        log(
            f"judge of {name}: {long} of {len(texts)} prompts are longer than its {room} tokens; their beginning is cut"
        )
    between = "" if judge["chat"] else " "
    words = list(judge["verdicts"])
    requests = [
        Instance("loglikelihood", {}, (text, f"{between}{word}"), number)
        for number, text in enumerate(texts)
        for word in words
    ]
    likelihoods = np.array([value for value, _ in model.loglikelihood(requests, disable_tqdm=True)])
    likelihoods = likelihoods.reshape(len(texts), len(words))
    values = np.array(list(judge["verdicts"].values()))
    shares = np.exp(likelihoods - likelihoods.max(1, keepdims=True))
    scores = (shares * values).sum(1) / shares.sum(1)
    return [Judgement(*pair) for pair in zip(scores.tolist(), np.exp(likelihoods).sum(1).tolist(), strict=True)]


def _prompt(judge: Record, doc: Mapping[str, Any], answer: str) -> str:
    import jinja2

    values = {**doc, "answer": answer.strip(), "reference": " / ".join(doc["answers"])}
    return jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(judge["prompt"]).render(**values)


def _wrong_answers(docs: Sequence[Any]) -> list[str]:
    """For each item the right answer of the next one that has other right answers; [] where some item has none."""
    rights = [{normalize(answer) for answer in doc["answers"]} for doc in docs]
    found = []
    for number, own in enumerate(rights):
        others = (at % len(docs) for at in range(number + 1, number + len(docs)))
        other = next((at for at in others if not rights[at] & own), None)
        if other is None:
            return []
        found.append(docs[other]["answers"][0])
    return found


def _most_frequent(answers: Sequence[str]) -> str:
    """The answer that is most often right, as it is first written; of equally frequent ones the first."""
    counts: dict[str, list[str]] = {}
    for answer in answers:
        counts.setdefault(normalize(answer), []).append(answer)
    return max(counts.values(), key=len)[0]
