"""Data sets in the field's formats as rows of one method: read, checked with file and line, split, freed of twins.

Formats by their fields: classification (text, label), Alpaca (instruction, input, output), messages (role, content),
ShareGPT
(conversations: from, value), pairs (FLAN's inputs, targets; Dolly's instruction, context, response), preference
(prompt,
chosen, rejected; UltraFeedback's message lists), HH-RLHF (two whole dialogues that part at the last answer),
verifiable (prompt, answer), retrieval (query or question or anchor; passage or positive or context).
Presets name a hub data set and its fields; they need the network, and `datasets` does the download.
"""

import csv
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.finetuning import Data
from llm_core.runtime import json_lines
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import log
from llm_core.training.finetuning.twins import remove_twins

Row = dict[str, Any]
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".csv", ".tsv", ".parquet")
PRESETS: dict[str, dict[str, Any]] = {  # name -> hub data set, its configuration, and the fields where they differ
    "imdb": {"path": "stanfordnlp/imdb"},
    "ag_news": {"path": "fancyzhx/ag_news"},
    "sms_spam": {"path": "ucirvine/sms_spam", "name": "plain_text", "text_field": "sms"},
    "alpaca": {"path": "tatsu-lab/alpaca"},
    "dolly": {"path": "databricks/databricks-dolly-15k"},
    "flan": {"path": "Muennighoff/flan"},
    "hh_rlhf": {"path": "Anthropic/hh-rlhf"},
    "ultrafeedback": {"path": "HuggingFaceH4/ultrafeedback_binarized", "split": "train_prefs"},
}
TEXT_FIELDS = ("text", "sentence", "content", "review", "message", "sms")
LABEL_FIELDS = ("label", "category", "class", "topic", "section")
QUERY_FIELDS = ("query", "question", "anchor")
PASSAGE_FIELDS = ("passage", "positive", "context", "document")
TURN = re.compile(r"\n\n(Human|Assistant): ?")
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def from_dataset(method: str, source: str, params: Params) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """(split, metrics) of the data set at `source`; UserError names the first bad rows when too many are bad."""
    data = params.finetuning.data
    preset = PRESETS.get(source)
    if preset and "text_field" in preset and not data.text_field:
        data = data.model_copy(update={"text_field": preset["text_field"]})
    rows: list[Row] = []
    bad: list[str] = []
    seen: set[str] = set()
    total = duplicates = 0
    for place, raw in read_hub(preset) if preset else read_raw(source):
        total += 1
        try:
            row = convert(method, raw, data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            bad.append(f"{place}: {error}")
            continue
        row["id"] = str(raw.get("id") or short_hash(json.dumps(row, sort_keys=True)))
        if (key := short_hash(json.dumps({**row, "id": ""}, sort_keys=True))) in seen:
            duplicates += 1
            continue
        seen.add(key)
        rows.append(row)
    for line in bad[:5]:
        log(f"finetune-data: bad row {line}")
    if len(bad) > data.maximum_bad_rows * total or not rows:
        first = bad[0] if bad else f"{source}: no rows"
        raise UserError(
            f"{len(bad)} of {total} rows are bad (finetuning.data.maximum_bad_rows {data.maximum_bad_rows}); {first}"
        )
    if data.maximum_rows and len(rows) > data.maximum_rows:
        rows = random.Random(params.seed).sample(rows, data.maximum_rows)
    split = stratified(rows, data.heldout_share, data.test_share, params.seed)
    twins = remove_twins(split, text_of, data.near_duplicate_similarity)
    return split, {"rows_in": total, "bad_rows": len(bad), "exact_duplicates": duplicates, "near_duplicates": twins}


def read_raw(source: str) -> Iterator[tuple[str, Row]]:
    """(`file:line`, row) of a file or of every data file in a folder; a bad line is a row with the key `__error__`."""
    path = Path(source)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not path.exists():
        raise UserError(f"{source}: no such file or folder, nor a preset ({', '.join(PRESETS)})")
    for file in files:
        name = file.name.lower()
        if name.endswith(".parquet"):
            yield from _parquet(file)
        elif name.endswith((".csv", ".tsv")) or "." not in name:
            yield from _table(file)
        elif name.endswith(".json"):
            yield from _json(file)
        elif name.endswith(ENDINGS):
            for number, line in enumerate(json_lines.read_lines(file), 1):
                if line.strip():
                    yield f"{file}:{number}", _parse(line)


def read_hub(preset: dict[str, Any]) -> Iterator[tuple[str, Row]]:
    """(`dataset row n`, row) of a hub data set's training split, label numbers as their names."""
    from datasets import ClassLabel, load_dataset

    try:
        found = load_dataset(preset["path"], preset.get("name"), split=preset.get("split", "train"))
    except Exception as error:
        raise UserError(
            f"{preset['path']}: not reachable on the hub ({str(error).splitlines()[0][:120]}); give a file"
        ) from None
    named = {key: kind for key, kind in found.features.items() if isinstance(kind, ClassLabel)}
    for number, row in enumerate(found):
        yield (
            f"{preset['path']} row {number}",
            {key: named[key].int2str(value) if key in named else value for key, value in row.items()},
        )


def convert(method: str, raw: Row, data: Data) -> Row:
    """A raw row as a row of `method`; ValueError says what is missing or wrong."""
    if "__error__" in raw:
        raise ValueError(raw["__error__"])
    if method == "classification":
        text, label = _first(raw, data.text_field, TEXT_FIELDS), _first(raw, data.label_field, LABEL_FIELDS)
        return {"text": _text(text, "text"), "label": _text(str(label) if label is not None else None, "label")}
    if method == "instruction":
        return {"messages": _conversation(raw, data.format)}
    if method == "rlhf":
        return {
            "prompt": _text(raw.get("prompt", raw.get("question")), "prompt"),
            "answer": _text(raw.get("answer"), "answer"),
        }
    if method == "contrastive":
        query, passage = _first(raw, None, QUERY_FIELDS), _first(raw, None, PASSAGE_FIELDS)
        return {"query": _text(query, "query"), "passage": _text(passage, "passage")}
    return _preference(raw)


def text_of(row: Row) -> str:
    """What two rows are compared by: the text, the query or the prompt (a twin prompt on both sides is a leak)."""
    if "messages" in row:
        return "\n".join(message["content"] for message in row["messages"][:-1])
    prompt = next(row[name] for name in ("text", "query", "prompt") if name in row)
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def stratified(rows: list[Row], heldout_share: float, test_share: float, seed: int) -> dict[str, list[Row]]:
    """Split so that each label (one group where there are none) has the same shares on every side."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get("label", "")].append(row)
    split: dict[str, list[Row]] = {"train": [], "heldout": [], "test": []}
    for label in sorted(groups):
        members = sorted(groups[label], key=lambda row: short_hash(str(seed), row["id"]))
        test, held = round(len(members) * test_share), round(len(members) * heldout_share)
        split["test"] += members[:test]
        split["heldout"] += members[test : test + held]
        split["train"] += members[test + held :]
    order = random.Random(seed)
    for side in split.values():
        order.shuffle(side)
    return split


def _conversation(raw: Row, form: str) -> list[dict[str, str]]:
    if isinstance(raw.get("messages"), list):
        turns = [(turn["role"], turn["content"]) for turn in raw["messages"]]
    elif isinstance(raw.get("conversations"), list):
        turns = [(turn["from"], turn["value"]) for turn in raw["conversations"]]
    else:
        question = raw.get("instruction", raw.get("inputs", raw.get("prompt", raw.get("question"))))
        answer = next(
            (raw[key] for key in ("output", "targets", "response", "completion", "answer") if raw.get(key)), None
        )
        extra = raw.get("input") or raw.get("context")
        asked = _text(question, "instruction") + (f"\n\n{extra}" if extra else "")
        turns = [("user", asked), ("assistant", _text(answer, "output"))]
    messages = []
    for role, content in turns:
        if role not in ROLES:
            raise ValueError(f"unknown role '{role}'")
        messages.append({"role": ROLES[role], "content": _text(content, "content")})
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise ValueError("the last turn is not an assistant's answer to anything")
    return messages


def _preference(raw: Row) -> Row:
    chosen, rejected, prompt = raw.get("chosen"), raw.get("rejected"), raw.get("prompt", raw.get("instruction"))
    if isinstance(chosen, str) and "\n\nHuman:" in chosen and prompt is None:
        one, other = _dialogue(chosen), _dialogue(rejected or "")
        if one[:-1] != other[:-1]:
            raise ValueError("chosen and rejected part before the last answer")
        row: Row = {"prompt": one[:-1], "chosen": one[-1]["content"], "rejected": other[-1]["content"]}
    else:
        if isinstance(chosen, list) and isinstance(rejected, list):
            prompt = prompt or [{"role": turn["role"], "content": turn["content"]} for turn in chosen[:-1]]
            chosen, rejected = chosen[-1]["content"], rejected[-1]["content"]
        asked = prompt if isinstance(prompt, list) else _text(prompt, "prompt")
        if isinstance(asked, str) and raw.get("input"):
            asked = f"{asked}\n\n{raw['input']}"
        row = {"prompt": asked, "chosen": _text(chosen, "chosen"), "rejected": _text(rejected, "rejected")}
    if row["chosen"].strip() == row["rejected"].strip():
        raise ValueError("chosen and rejected are the same")
    return row


def _dialogue(text: str) -> list[dict[str, str]]:
    parts = TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        {"role": roles[role], "content": said.strip()} for role, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise ValueError("a dialogue does not end with 'Assistant:'")
    return turns


def _first(raw: Row, named: str | None, usual: tuple[str, ...]) -> Any:
    if named:
        return raw.get(named)
    return next((raw[key] for key in usual if key in raw), None)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"field '{name}' is missing, empty or no text")
    return value


def _parse(line: bytes) -> Row:
    try:
        row = json_lines.parse(line)
    except json_lines.JsonLineError as error:
        return {"__error__": str(error)}
    return row if isinstance(row, dict) else {"__error__": "not a JSON object"}


def _json(file: Path) -> Iterator[tuple[str, Row]]:
    """One JSON list of objects, or, where the file is not that, JSON lines."""
    try:
        rows = json_lines.parse(file.read_bytes().removeprefix(json_lines.MARK))
    except json_lines.JsonLineError:
        for number, line in enumerate(json_lines.read_lines(file), 1):
            if line.strip():
                yield f"{file}:{number}", _parse(line)
        return
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        yield f"{file}: record {number}", row if isinstance(row, dict) else {"__error__": "not a JSON object"}


def _table(file: Path) -> Iterator[tuple[str, Row]]:
    """CSV or TSV with a header; a headerless `label<TAB>text` file (the SMS Spam Collection) without an ending too."""
    bare = "." not in file.name
    with open(file, encoding="utf-8", newline="") as stream:
        tab = bare or file.name.lower().endswith(".tsv")
        style: dict[str, Any] = {
            "delimiter": "\t" if tab else ",",
            "quoting": csv.QUOTE_NONE if tab else csv.QUOTE_MINIMAL,
        }
        try:
            reader = csv.reader(stream, **style)
            header = ["label", "text"] if bare else next(reader, [])
            for values in reader:
                place = f"{file}:{reader.line_num}"
                fits = len(values) == len(header)
                yield (
                    place,
                    dict(zip(header, values, strict=True))
                    if fits
                    else {"__error__": f"{len(values)} fields where the header has {len(header)}"},
                )
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{file}: cannot be read as a table ({error})") from None


def _parquet(file: Path) -> Iterator[tuple[str, Row]]:
    from llm_core.formats.parquet import bounded_batches, open_parquet

    number = 0
    with open_parquet(file, dictionaries=True) as parquet:
        for batch in bounded_batches(parquet, str(file)):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
