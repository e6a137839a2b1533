"""Instruction tuning: supervised finetuning on conversations, with loss on the answers only.

Decoders train with TRL's SFTTrainer on rows that are encoded here, so that what is masked and what did not fit is known
exactly; encoder-decoders (T5, FLAN-T5) train with transformers' Seq2SeqTrainer, prompt in, answer out.
"""

import os
import random
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from llm_core.errors import UserError
from llm_core.evaluation.results import groups_of, kind_of_row, kinds_of_rows
from llm_core.params.finetuning import Training
from llm_core.training.finetuning.data.layouts import CONVERSATIONS, question_text
from llm_core.training.finetuning.method import Figure, Method, Row

if TYPE_CHECKING:
    from llm_core.training.finetuning.conversation import Encoded
    from llm_core.training.finetuning.data.factbook import Facts
    from llm_core.training.finetuning.training import Job


class Instruction(Training):
    """Supervised finetuning on conversations (SFT)."""

    too_long: Literal["drop", "trim_prompt", "refuse"] = "drop"
    """What is done with a row longer than max_length: leave it out (and count it), cut the prompt's beginning, or stop.
    Answers are never cut."""
    packing: bool = False
    """Pack several rows into one sequence of max_length; attention is masked between them, and a network that cannot
    mask it (OPT, BLOOM, a recurrent one) is refused. micro_batch then counts sequences."""
    scored_items: int = Field(300, ge=0)
    """Number of test questions that are answered before and after training, for exact match."""
    max_new_tokens: int = Field(24, ge=1)
    """Maximum length of a generated answer, in tokens."""


def default_rows(facts: "Facts") -> dict[str, list[Row]]:
    """Rows with `messages` (user asks, assistant answers): the Factbook's questions.

    Where there are conversations, they take the place of the single questions with context in training. They have no
    `field` and `answer`, since there are several; so the most frequent answers are counted once a country.
    """
    kept = ("id", "field", "country", "kind", "answer", "documents", "answerable")
    rows: dict[str, list[Row]] = {}
    for country, items in facts.items.items():
        rows[country] = [
            {
                **{key: item[key] for key in kept if key in item},
                "messages": _messages([(item["prompt"], item["answer"])]),
            }
            for item in items
        ]
        if facts.sides[country] == "train" and facts.conversations.get(country):
            rows[country] = [row for row in rows[country] if row["kind"] == "closed"]
            for item in facts.conversations[country]:
                row = {"country": country, "kind": "conversation"}
                turns = [turn[:2] for turn in item["turns"]]
                rows[country].append(
                    {**row, "id": item["id"], "documents": item["documents"], "messages": _messages(turns)}
                )
    return facts.by_side(rows)


def _messages(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for turn in turns for role, text in zip(roles, turn, strict=True)]


def encode_drawn(job: "Job", rows: list[Row]) -> tuple["Encoded", list[str]]:
    """As many of the training rows as `max_steps` steps read, drawn by the seed and encoded; all where that is not
    known. With the names of those kept, both in the order of `rows`.

    Another row is drawn for each that is dropped because it is too long, while there are any.
    Encoding takes 2 to 3 ms of CPU time a conversation, and the default run reads 3,840 of 13,400.
    """
    from llm_core.training.finetuning.conversation import Encoded
    from llm_core.training.finetuning.rows import names

    params, count, known = job.params, len(rows), names(rows)
    if params.max_steps is not None and not params.packing:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        count = min(count, params.max_steps * params.micro_batch * params.gradient_accumulation * processes)
    draw = random.Random(job.seed)
    drawn = sorted(draw.sample(range(len(rows)), count))
    others = sorted(set(range(len(rows))) - set(drawn))
    draw.shuffle(others)
    found, kept = Encoded(), dict[int, dict[str, list[int]]]()
    for number in [*drawn, *others]:
        if len(kept) == count:
            break
        one = encode(job, [{**rows[number], "id": known[number]}])
        found.dropped += one.dropped
        found.trimmed += one.trimmed
        if one.rows:
            kept[number] = one.rows[0]
    found.rows = [kept[number] for number in sorted(kept)]
    return found, [known[number] for number in sorted(kept)]


def encode(job: "Job", rows: list[Row]) -> "Encoded":
    """Encode rows; for an encoder-decoder `input_ids` is the prompt and `labels` the last answer."""
    from llm_core.models.prompts import encode_source
    from llm_core.training.finetuning.conversation import Encoded, encode_rows, prompt_ids
    from llm_core.training.finetuning.rows import names

    if job.kind == "decoder":
        return encode_rows(job.tokenizer, rows, job.params.max_length, job.params.too_long)
    encoded = Encoded()
    for name, row in zip(names(rows), rows, strict=True):
        ids = prompt_ids(job.tokenizer, row["messages"][:-1], job.kind)
        labels = encode_source(job.tokenizer, row["messages"][-1]["content"])
        if max(len(ids), len(labels)) > job.params.max_length:
            if job.params.too_long == "refuse":
                raise UserError(
                    f"row {name}: {max(len(ids), len(labels))} tokens, over max_length {job.params.max_length}; "
                    "raise the run's max_length or set too_long to drop or trim_prompt"
                )
            if job.params.too_long == "drop" or len(labels) > job.params.max_length:
                encoded.dropped.append(name)
                continue
            ids = ids[-job.params.max_length :]
            encoded.trimmed.append(name)
        encoded.rows.append({"input_ids": ids, "labels": labels})
    return encoded


def finetune(job: "Job") -> dict[str, Any]:
    """Train; returns what `training.train` does, with `data` (what was encoded and left out)."""
    from datasets import Dataset

    from llm_core.models.batches import shifted_right
    from llm_core.training.finetuning.conversation import IGNORED
    from llm_core.training.finetuning.heldout_loss import by_targets
    from llm_core.training.finetuning.packing import check_packing, packed
    from llm_core.training.finetuning.scoring import mean_token_loss
    from llm_core.training.finetuning.training import arguments, only_answers_scored, train

    drawn, kept = encode_drawn(job, job.rows["train"])
    encoded = {"train": drawn, "heldout": encode(job, job.rows["heldout"])}
    data = {side: Dataset.from_list(value.rows) for side, value in encoded.items()}
    if not len(data["train"]) or not len(data["heldout"]):
        raise UserError(f"max_length {job.params.max_length}: no training or held-out row fits")
    model = job.adapt(job.load_base())
    sequences = data["train"]
    if job.params.packing and job.kind == "decoder":
        check_packing(model)
        sequences = packed(sequences, job.params.max_length)
    common = arguments(job, len(sequences))
    shift = int(job.kind == "decoder")  # whose first token nothing predicts
    targets = [sum(label != IGNORED for label in row["labels"][shift:]) for row in encoded["heldout"].rows]
    trainer: Any
    if job.kind == "decoder":
        from trl import SFTConfig, SFTTrainer

        length = job.params.max_length if job.params.packing else None
        config = SFTConfig(**common, max_length=length, packing=job.params.packing, eval_packing=False)
        trainer = by_targets(SFTTrainer, targets)(
            model,
            args=config,
            train_dataset=data["train"],
            eval_dataset=data["heldout"],
            processing_class=job.tokenizer,
        )
    else:
        from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

        paired, start = DataCollatorForSeq2Seq(job.tokenizer, model=model), model.config.decoder_start_token_id

        def collate(rows: list[Row]) -> Row:
            batch = dict(paired(rows))
            if "decoder_input_ids" not in batch:  # NLLB's network makes them, of labels, which the trainer takes out
                batch["decoder_input_ids"] = shifted_right(batch["labels"], start, job.tokenizer.pad_token_id)
            return batch

        trainer = by_targets(Seq2SeqTrainer, targets)(
            model,
            args=Seq2SeqTrainingArguments(**common),
            train_dataset=data["train"],
            eval_dataset=data["heldout"],
            data_collator=collate,
            processing_class=job.tokenizer,
            compute_loss_func=mean_token_loss,  # T5's own is the mean of a pass, of which the trainer takes the sum
        )
    with only_answers_scored():
        result = train(job, trainer, None if job.params.packing else kept)
    result["data"] = {"train_encoded": len(drawn.rows), "heldout_rows": len(encoded["heldout"].rows)}
    for side, value in encoded.items():
        result["data"] |= {f"{side}_dropped": len(value.dropped), f"{side}_trimmed": len(value.trimmed)}
    return result


def measure(job: "Job", model: Any) -> dict[str, Any]:
    """Held-out loss, exact match on test questions per kind, share of answers that ended by themselves."""
    from llm_core.training.finetuning.scoring import answer_loss, exact_answer, generate, mean_and_error, sample_rows

    figures: dict[str, Any] = {}
    if job.kind == "decoder":
        figures["heldout_loss"] = answer_loss(model, encode(job, job.rows["heldout"]).rows, job.tokenizer.pad_token_id)
    items = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    if items:
        answers = generate(model, job.tokenizer, [row["messages"][:-1] for row in items], job.params.max_new_tokens)
        right = [
            exact_answer(text, row["messages"][-1]["content"]) for row, (text, _) in zip(items, answers, strict=True)
        ]
        figures["exact_match"] = mean_and_error(right, groups_of(items))
        figures["items"] = {"exact_match": right}
        for kind in kinds_of_rows(items):
            picked = [(score, row) for score, row in zip(right, items, strict=True) if kind_of_row(row) == kind]
            scores, rows = zip(*picked, strict=True)
            figures[f"exact_match_{kind}"] = mean_and_error(scores, groups_of(rows))
        figures["stopped_by_itself"] = sum(stopped for _, stopped in answers) / len(answers)
        figures["samples"] = [
            {"prompt": row["messages"][-2]["content"], "answer": text, "right_answer": row["messages"][-1]["content"]}
            for row, (text, _) in list(zip(items, answers, strict=True))[:12]
        ]
    return figures


def baseline(job: "Job") -> dict[str, Any]:
    """Exact match on the same test questions of each field's most frequent training answer, and of two readers that
    copy a given fact and otherwise answer so; {} without fields.
    """
    from llm_core.training.finetuning.data.factbook import copied, most_frequent_answers
    from llm_core.training.finetuning.scoring import exact_answer, mean_and_error, sample_rows

    items = sample_rows(job.rows["test"], job.params.scored_items, job.seed)
    known = [_fact(row) for row in job.rows["train"] if "field" in row]
    if not items or not known or any("field" not in row for row in items):
        return {}
    usual = most_frequent_answers(known)
    given: dict[str, list[str]] = {name: [] for name in ("most_frequent_answer", "first_fact", "similar_fact")}
    for row in items:
        guess, prompt = usual.get(row["field"], ""), row["messages"][-2]["content"]
        given["most_frequent_answer"].append(guess)
        given["first_fact"].append(copied(prompt, similar=False) or guess)
        given["similar_fact"].append(copied(prompt, similar=True) or guess)
    if given["first_fact"] == given["most_frequent_answer"]:
        given = {"most_frequent_answer": given["most_frequent_answer"]}  # no question gives facts
    wanted = [row["messages"][-1]["content"] for row in items]
    groups = groups_of(items)
    return {
        name: mean_and_error([exact_answer(*pair) for pair in zip(answers, wanted, strict=True)], groups)
        for name, answers in given.items()
    }


def _fact(row: Row) -> Row:
    return {"field": row["field"], "answer": row["messages"][-1]["content"]}


METHOD = Method(
    help="Supervised finetuning on conversations, with loss on the answers only.",
    params=Instruction,
    fields=("messages",),
    kinds=("decoder", "encoder-decoder"),
    why_not="an encoder does not generate text",
    layouts=CONVERSATIONS,
    finetune=finetune,
    measure=measure,
    baseline=baseline,
    default_rows=default_rows,
    compared=question_text,
    asked=lambda job, row: list(row["messages"][:-1]),
    figures={
        "heldout_loss": Figure("loss on held-out answers", "nats per token"),
        "exact_match": Figure("exact match on test questions"),
        "exact_match_*": Figure("exact match on test questions, {}"),
        "stopped_by_itself": Figure("answers that ended with the end token"),
        "most_frequent_answer": Figure("exact match of the most frequent answer"),
        "first_fact": Figure("exact match of the first fact given, without facts of the most frequent answer"),
        "similar_fact": Figure(
            "exact match of the fact whose name has most words of the question, without facts of the most frequent "
            "answer"
        ),
    },
    score="exact_match",
)
