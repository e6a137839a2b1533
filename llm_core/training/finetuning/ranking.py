"""Preferences made here: two sampled answers to each prompt, and a person or a reward model that chooses one.

Each decision is written at once as a row `prompt, chosen, rejected`, which the methods reward and dpo read. A prompt
that has its row is not asked again, so an interrupted ranking goes on where it ended.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models import generation, loading
from llm_core.models.generation import Decoding
from llm_core.models.loading import LoadedModel
from llm_core.runtime import json_lines, progress
from llm_core.runtime.digests import short_hash
from llm_core.runtime.outputs import check_output_file
from llm_core.training.finetuning.conversation import load_tokenizer, prompt_ids
from llm_core.training.finetuning.data.layouts import asked, conversation
from llm_core.training.finetuning.method import Row

ATTEMPTS = 4  # at two different answers
Choose = Callable[[Row, tuple[str, str]], int | None]
"""(row with its prompt, two answers) -> 0 or 1 for the better one, None for neither. EOFError ends the ranking."""


def read_prompts(file: Path) -> list[Row]:
    """Rows `id, prompt` of a file of JSON lines with `prompt` (a text or messages), `question`, or `messages`.

    Of `messages` the turns before the last answer are the prompt. Raises UserError, with the line, for other rows.
    """
    rows: dict[str, Row] = {}
    for number, raw in json_lines.read_rows(file):
        prompt = raw.get("prompt", raw.get("question"))
        if prompt is None and isinstance(raw.get("messages"), list):
            turns = raw["messages"]
            prompt = turns[:-1] if turns and turns[-1].get("role") == "assistant" else turns
        if not prompt or not isinstance(prompt, str | list):
            raise UserError(f"{file}:{number}: a row needs `prompt`, `question` or `messages`")
        key = short_hash(json.dumps(prompt, sort_keys=True))
        rows.setdefault(key, {"id": key, "prompt": prompt})
    if not rows:
        raise UserError(f"{file}: holds no prompts")
    return list(rows.values())


def rank(
    model: Path, prompts: list[Row], out: Path, choose: Choose, by: str, how: Decoding, limit: int | None = None
) -> dict[str, int]:
    """Sample two answers to each prompt, let `choose` decide, append rows to `out`; counts of what happened.

    `by` is kept in each row. Raises UserError where `out` holds rows that are no preferences.
    """
    known = _known(out)
    left = [row for row in prompts if row["id"] not in known][:limit]
    counts = {"pairs": 0, "skipped": 0, "one_answer": 0, "before": len(known)}
    if not left:
        return counts
    loaded = LoadedModel.of(loading.load_network(model), load_tokenizer(str(model)))
    with open(out, "a", encoding="utf-8") as stream:
        for row, answers in _answers(loaded, left, how):
            if answers is None:
                counts["one_answer"] += 1
                continue
            try:
                better = choose(row, answers)
            except EOFError:
                break
            if better is None:
                counts["skipped"] += 1
                continue
            made = {**row, "chosen": answers[better], "rejected": answers[1 - better], "by": by, "model": str(model)}
            stream.write(json_lines.dump(made))
            stream.flush()
            os.fsync(stream.fileno())
            counts["pairs"] += 1
    return counts


def judge(folder: Path) -> Choose:
    """A reward model as the one who chooses; None for two equal rewards. Raises UserError where `folder` holds none."""
    from llm_core.training.finetuning.conversation import encode_conversation
    from llm_core.training.finetuning.methods.reward import rewards

    network = loading.load_network(folder, "reward")
    tokenizer = load_tokenizer(str(folder))

    def choose(row: Row, answers: tuple[str, str]) -> int | None:
        talks = [encode_conversation(tokenizer, conversation(row, answer)) for answer in answers]
        one, other = rewards(network, talks, tokenizer.pad_token_id)
        return None if one == other else int(other > one)

    return choose


def person(ask: Callable[[str], str], tell: Callable[[str], None], seed: int) -> Choose:
    """A person in a terminal as the one who chooses; seed and prompt decide which answer is shown first."""

    def choose(row: Row, answers: tuple[str, str]) -> int | None:
        first = random.Random(f"{seed}-{row['id']}").randrange(2)
        for message in asked(row):
            tell(f"{message['role']}: {message['content']}")
        tell(f"\n[1] {answers[first]}\n\n[2] {answers[1 - first]}\n")
        while True:
            said = ask("better: 1 or 2, s to skip, q to end > ").strip().lower()
            if said in ("1", "2"):
                return first if said == "1" else 1 - first
            if said == "s":
                return None
            if said == "q":
                raise EOFError

    return choose


def _answers(model: LoadedModel, rows: list[Row], how: Decoding) -> Iterator[tuple[Row, tuple[str, str] | None]]:
    """Each row with two different answers to it, or None where ATTEMPTS gave one answer only."""
    assert how.seed is not None
    with progress.task("rank", total=len(rows), unit="prompts") as work:
        for row in rows:
            ids = prompt_ids(model.tokenizer, asked(row), model.kind)
            found: list[str] = []
            for attempt in range(ATTEMPTS):
                seed = int(short_hash(str(how.seed), row["id"], str(attempt)), 16) % (1 << 31)
                for one in generation.generate(model, [ids, ids], replace(how, seed=seed)):
                    if (text := one.text.strip()) and text not in found:
                        found.append(text)
                if len(found) > 1:
                    break
            yield row, (found[0], found[1]) if len(found) > 1 else None
            work.update(1)


def _known(out: Path) -> set[str]:
    """Ids of the prompts that have their row; a line that a killed process left half written is cut off."""
    check_output_file(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        return set()
    data = out.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        with open(out, "r+b") as stream:
            stream.truncate(len(whole))
    rows: list[dict[str, Any]] = [row for _, row in json_lines.read_rows(out)] if whole else []
    if not all({"id", "chosen", "rejected"} <= row.keys() for row in rows):
        raise UserError(f"{out}: holds rows that `rank` did not write; name another --out-file")
    return {str(row["id"]) for row in rows}
