"""The rule `perplexity`: the figure is the n-gram model's, unknown words cost, CCNet's parts are kept or dropped."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.cli import main
from llm_core.corpus.cleaning.kernels_perplexity import FIRST, LINE, LINE_END, UNKNOWN_CHARACTER, WORD_END
from llm_core.corpus.cleaning.perplexity import PerplexityModel, Vocabulary
from llm_core.corpus.cleaning.perplexity_training import count_model, train_perplexity
from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.cleaning.token_memo import join
from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params import Params
from llm_core.params.cleaning import Cleaning, PerplexityTraining
from llm_core.params.external import external_inputs
from llm_core.params.quality import threshold
from tests.llm_core.corpus.cleaning.test_quality_model import menu, prose, shuffled, write

GIBBERISH = "Qx9 zzkv wwfq! Pqrx jjkt bvvn xqz kkwq vvz. " * 12


def encode(vocabulary: Vocabulary, text: str) -> list[int]:
    return vocabulary.encode(*join([text]))[0].tolist()


def perplexity(model: PerplexityModel, *texts: str) -> list[float]:
    return model.perplexity(*join(list(texts))).tolist()


def train(folder: Path, **params: Any) -> tuple[Path, dict[str, Any]]:
    """A model of prose; the sample's head is prose, its middle shuffled prose, its tail a menu."""
    reference = write(folder / "reference.jsonl", [prose(seed) for seed in range(80)])
    mixed = [prose(seed) for seed in range(100, 130)] + [shuffled(seed) for seed in range(200, 230)]
    sample = write(folder / "sample.jsonl", mixed + [menu(seed) for seed in range(300, 340)])
    settings = PerplexityTraining(**params)
    return folder / "model", train_perplexity([reference], [sample], folder / "model", settings, seed=7)


def recipe(folder: Path, **rule: Any) -> Cleaning:
    return Cleaning.model_validate(
        {"steps": ["likely"], "recipes": {"likely": [{"rule": "perplexity", "path": str(folder), **rule}]}}
    )


def change(file: Path, place: int, value: int) -> None:
    array = np.load(file)
    array[place] = value
    np.save(file, array)


def drops(out: Path) -> dict[str, dict[str, Any]]:
    rows = (row for batch in read_ledger(out) for row in batch.to_pylist())
    return {row["id"]: row for row in rows if row["verdict"] == "dropped"}


def test_lines_words_and_spelled_words_by_hand() -> None:
    vocabulary, _ = count_model(["the cat the dog\nthe 7 cats - cat “x” x 8"], PerplexityTraining(min_count=2))
    character = {char: FIRST + place for place, char in enumerate(map(chr, vocabulary.characters))}
    known = {word: encode(vocabulary, word)[1] for word in ("the", "cat", "0", "x", '"')}
    assert len(set(known.values())) == len(vocabulary.words) == 5
    assert min(known.values()) == FIRST + len(character)
    spelled = [*(character.get(char, UNKNOWN_CHARACTER) for char in "cats"), WORD_END]
    assert encode(vocabulary, "\n The CAT\t'cats'\n\n9\n")[:8] == [
        *(LINE, known["the"], known["cat"], UNKNOWN_CHARACTER, WORD_END),
        *spelled[:3],
    ]
    assert encode(vocabulary, "cats") == [LINE, *spelled, LINE_END]
    assert encode(vocabulary, "9\n\n„x”") == [
        LINE,
        known["0"],
        LINE_END,
        LINE,
        known['"'],
        known["x"],
        known['"'],
        LINE_END,
    ]
    assert encode(vocabulary, " \n ") == []


def test_the_figure_is_the_n_gram_models_by_word() -> None:
    model = PerplexityModel(*count_model([prose(seed) for seed in range(20)], PerplexityTraining()), ())
    lines = ["The council settled the budget.", "Nobody refused the zzz"]
    bits = sum(float(model.ngrams.bits(encode(model.vocabulary, line)).sum()) for line in lines)
    assert perplexity(model, "\n".join(lines)) == pytest.approx([2 ** (bits / (6 + 1 + 4 + 1))])
    together = perplexity(model, lines[0], " ", lines[1])  # neighbours change nothing
    assert together[0::2] == pytest.approx([perplexity(model, line)[0] for line in lines])
    assert np.isnan(together[1])


def test_prose_then_shuffled_words_then_what_the_reference_lacks(tmp_path: Path) -> None:
    folder, metrics = train(tmp_path)
    model = PerplexityModel.load(folder)
    found = perplexity(model, prose(900), shuffled(901), menu(902), GIBBERISH)
    assert 10 * found[0] < found[1] and 100 * found[1] < min(found[2:])
    assert metrics["reference"]["median"] < model.percentiles[29] < metrics["sample"]["median"] < model.percentiles[59]


@pytest.mark.parametrize(
    ("keep", "kept", "reasons"),
    [
        (["head"], ["prose"], {"shuffled": "perplexity_middle", "menu": "perplexity_tail"}),
        (["head", "middle"], ["prose", "shuffled"], {"menu": "perplexity_tail"}),
        (["middle"], ["shuffled"], {"prose": "perplexity_head", "menu": "perplexity_tail"}),
        (["head", "middle", "tail"], ["prose", "shuffled", "menu"], {}),
    ],
)
def test_parts_are_kept_and_dropped_with_the_figure(
    tmp_path: Path, keep: list[str], kept: list[str], reasons: dict[str, str]
) -> None:
    folder, _ = train(tmp_path)
    texts = {"prose": prose(100), "shuffled": shuffled(200), "menu": menu(300)}  # of the sample, so of its percentiles
    rows = [{"id": name, "source": "s", "text": text, "metadata": '{"page": 3}'} for name, text in texts.items()]
    given = tmp_path / "mixed.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = recipe(folder, keep=keep, head_percentile=31, tail_percentile=61)
    metrics = clean([given], tmp_path / "out", params)
    assert metrics["documents_kept"] == len(kept)
    found = [row for batch in read_documents([tmp_path / "out"]) for row in batch.to_pylist()]
    figures = dict(zip(texts, perplexity(PerplexityModel.load(folder), *texts.values()), strict=True))
    assert {row["id"]: json.loads(row["metadata"]) for row in found} == {
        name: {"page": 3, "perplexity": pytest.approx(figures[name], rel=1e-5)} for name in kept
    }
    dropped = drops(tmp_path / "out")
    scores = {row["id"]: row["score"] for batch in read_ledger(tmp_path / "out") for row in batch.to_pylist()}
    assert scores == pytest.approx(figures, rel=1e-5)  # kept ones too
    assert {name: row["reason"] for name, row in dropped.items()} == reasons
    percentiles = json.loads((folder / "config.json").read_text())["percentiles"]
    for name, reason in reasons.items():
        assert dropped[name]["score"] == pytest.approx(figures[name])
        limit = threshold(reason, params.recipes["likely"])  # what `trace` shows beside the figure
        assert limit == percentiles[60 if reason == "perplexity_tail" else 30]
        assert (figures[name] <= limit) == (reason == "perplexity_head")


def test_bounds_drop_too(tmp_path: Path) -> None:
    folder, _ = train(tmp_path)
    given = write(tmp_path / "mixed.jsonl", [prose(1), shuffled(2), GIBBERISH])
    low, _, high = perplexity(PerplexityModel.load(folder), prose(1), shuffled(2), GIBBERISH)
    params = recipe(folder, min_perplexity=low * 1.01, max_perplexity=high * 0.99)
    assert clean([given], tmp_path / "out", params)["documents_kept"] == 1
    reasons = {name: row["reason"] for name, row in drops(tmp_path / "out").items()}
    assert reasons == {"mixed-0": "perplexity_low", "mixed-2": "perplexity_high"}
    assert threshold("perplexity_low", params.recipes["likely"]) == low * 1.01


def test_same_documents_same_bytes_in_any_order_and_by_the_verb(tmp_path: Path, monkeypatch: Any) -> None:
    folder, _ = train(tmp_path)
    backwards = write(tmp_path / "backwards.jsonl", [prose(seed) for seed in reversed(range(80))])
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("seed: 7\n")
    verb = ["train-perplexity", "--in", str(backwards), "--sample", "sample.jsonl", "--out"]
    with pytest.raises(SystemExit) as ended:
        main([*verb, "again"])
    assert ended.value.code == 0
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")}
    assert len(names) == 10 and {"tokens.npy", "config.json", "metrics.json"} < names
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with pytest.raises(SystemExit):
        main([*verb, "small", "--set", "cleaning.perplexity.max_characters=20000"])
    small, whole = (json.loads(Path(name, "metrics.json").read_text()) for name in ("small", "again"))
    assert small["reference"]["trained"] < whole["reference"]["trained"]
    assert Path("small/tokens.npy").stat().st_size < (folder / "tokens.npy").stat().st_size


def test_another_model_makes_the_stage_stale() -> None:
    assert external_inputs(Params(cleaning=recipe(Path("models/likely"))))["cleaning"] == ["models/likely"]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "config.json").write_text('{"kind": "x"}'), "train-perplexity` writes one"),
        (lambda folder: (folder / "tokens.npy").write_bytes(b"\x80\x04K\x01."), "no n-gram model can be read"),
        (lambda folder: (folder / "rest.npy").unlink(), "no n-gram model can be read"),
        (lambda folder: os.truncate(folder / "discounted.npy", 200), "no n-gram model can be read"),
        (lambda folder: np.save(folder / "rest.npy", np.zeros(3)), "arrays do not belong together"),
        (lambda folder: np.save(folder / "tokens.npy", np.load(folder / "starts.npy")), "another type"),
        (lambda folder: change(folder / "starts.npy", 1, 1 << 40), "arrays do not belong together"),
        (
            lambda folder: (folder / "config.json").write_text(
                (folder / "config.json").read_text().replace('"order": 5', '"order": 6')
            ),
            "has the order 5, config.json says 6",
        ),
    ],
)
def test_a_bad_folder_is_one_line(tmp_path: Path, damage: Any, told: str) -> None:
    folder, _ = train(tmp_path)
    damage(folder)
    with pytest.raises(UserError, match=told) as raised:
        clean([tmp_path / "sample.jsonl"], tmp_path / "out", recipe(folder))
    assert "\n" not in str(raised.value)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", ["one text", "one text", " "])
    with pytest.raises(UserError, match=r"--reference .*few.jsonl: 1 distinct documents are too few"):
        train_perplexity([few], [], tmp_path / "model", PerplexityTraining(), seed=7)
    with pytest.raises(UserError, match="path: FOLDER"):
        clean([few], tmp_path / "out", Cleaning(steps=["perplexity"]))
    two = write(tmp_path / "two.jsonl", [prose(1), prose(2)])
    train_perplexity([two], [], tmp_path / "model", PerplexityTraining(), seed=7)
    assert clean([two], tmp_path / "all", recipe(tmp_path / "model"))["documents_kept"] == 2
    with pytest.raises(UserError, match=r"train-perplexity` with --sample, or set max_perplexity"):
        clean([two], tmp_path / "out", recipe(tmp_path / "model", keep=["head"]))
    gone = recipe(tmp_path / "gone", keep=["head"]).recipes["likely"]
    assert threshold("perplexity_tail", gone) is None  # `trace` goes on without the model
    with pytest.raises(ValueError, match="exchange them"):
        recipe(tmp_path / "model", head_percentile=70)
