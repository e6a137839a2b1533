"""The report card and the comparison: their numbers are those of the files, and the pages need no other files."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.evaluation.chat_answers import summarize_answers
from llm_core.evaluation.gate import decide, judge
from llm_core.evaluation.harness import summarize
from llm_core.evaluation.language_modelling import summarize_texts
from llm_core.evaluation.results import average, read_results
from llm_core.evaluation.stage import lines, rounded, with_error
from llm_core.formats.pages import GROUPS, Block, number, score_text, to_html, with_ends
from llm_core.params import Params
from llm_core.params.evaluation import Gate
from llm_core.params.report import Report
from llm_core.report.account import energy_kwh
from llm_core.report.champion import Champion, against_champions
from llm_core.report.comparison import differences, seed_rows, write_comparison
from llm_core.report.documents import Account, account
from llm_core.report.flow import Stage, flow_plot
from llm_core.report.headline import headline, headline_figures
from llm_core.report.scores import scores
from llm_core.report.stage import in_short, write_report
from llm_core.runtime.digests import content_digest
from llm_core.runtime.storage import write_json
from llm_core.tracking import registry

NOTHING = Account({}, {}, [], [], {}, {})
A4 = 718  # CSS pixels between margins of a centimetre
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def evaluation(folder: Path, shift: float = 0.0, right: int = 12, noise: int = 0) -> dict[str, Any]:
    """An evaluation of 20 documents and 30 items, with metrics by the project's own functions."""
    texts = [{"task": "bits_per_byte", "source": "ab"[n % 2], "id": f"d{n}", "tokens": 300, "bytes": 1000,
              "bits": 1000.0 * (2 + n / 50 - shift) + 7 * ((n * 13 + noise * 5) % 11)} for n in range(20)]  # fmt: skip
    items = [
        {"task": "arc_easy", "id": str(n), "acc": float((n + noise) % 30 < right), "acc_norm": 0.0} for n in range(30)
    ]
    asked = [{"task": "exact_match", "id": f"q{n}", "exact_match": 0.0, "most_frequent": float(n < 3),
              "question": f"What is {n} <b>?", "given": "no & no", "wanted": "yes"} for n in range(12)]  # fmt: skip
    metrics = rounded({
        "parameters": 1234,
        "bits_per_byte": summarize_texts(texts),
        "benchmarks": summarize(items, {"arc_easy": {"1", "2", "29"}}),
        "answers": summarize_answers(asked),
    })  # fmt: skip
    metrics["bits_per_byte"]["all"]["xz"] = 2.5
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*texts, *items, *asked]))
    (folder / "samples.json").write_text(json.dumps([{"prompt": "In <i>", "continuation": "the & beginning"}]))
    (folder / "about.json").write_text(json.dumps({"model": "data/models/base", "digest": "0" * 32 + ".dir"}))
    return metrics


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("LLM_CORE_PROJECT", raising=False)
    evaluation(tmp_path / "data" / "evaluation" / "base")
    clean = {"documents_in": 50, "documents_kept": 46, "bytes_in": 9000, "dropped_by_reason": {"too_short": 4}}
    model = {"parameters": 1234, "tokens": 5678, "steps": 9}
    split = {
        "documents_in": 46,
        "by_source": {"a": {"train_documents": 40, "heldout_documents": 6, "train_bytes": 8000}},
    }
    for name, metrics in (("clean/a", {"by_source": {"a": clean}}), ("split", split), ("models/base", model)):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "data/models/base/config.json").write_text("{}")
    log = [{"step": n, "loss": 5 - n / 4} for n in range(1, 10)]
    (tmp_path / "data/models/base/training_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    scratch = tmp_path / ".scratch"
    scratch.mkdir()
    times = {"verb": "pretrain", "stage": "pretrain", "failed": False, "out": "data/models/base", "seconds": 1800.0,
             "cpu_seconds": 3600.0, "peak_bytes": 5_000_000}  # fmt: skip
    (scratch / "timings.jsonl").write_text(json.dumps(times) + "\n")
    return tmp_path / "data"


def flat(blocks: Iterable[Block]) -> Iterator[Block]:
    """All blocks, those in groups in the place of their group."""
    for block in blocks:
        yield from flat(block.content) if block.kind in GROUPS else [block]


def answers(metrics: dict[str, Any]) -> str:
    """What the headline says of one evaluated model named m."""
    return " ".join(answer for _, answer in headline({"m": metrics}, {}, {}, {}, NOTHING))


class Page(HTMLParser):
    """Cells of all tables, the text of what is seen first, and every address that the page would load or lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.first = ""
        self._opened: list[str] = []
        self.addresses: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "data", "srcset")]
        assert tag not in ("script", "link", "iframe", "object")
        self._opened += [tag] if tag == "header" else []
        self._inside = tag == "td"
        if self._inside:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False
        if tag == "header":
            self._opened.remove(tag)

    def handle_data(self, data: str) -> None:
        if self._opened:
            self.first += data + " "
        if self._inside:
            self.cells[-1] += data


def test_the_pages_numbers_are_those_of_the_files(data: Path) -> None:
    params = Params(report=Report(price_per_hour=3.0, currency="EUR", watts=200))
    write_report(data, data / "report", params)
    text = (data / "report/report.html").read_text()
    cells = Page(text).cells
    metrics = json.loads((data / "evaluation/base/metrics.json").read_text())
    for source, score in metrics["bits_per_byte"].items():
        low, high = score["bits_per_byte_low"], score["bits_per_byte_high"]
        assert f"{score['bits_per_byte']:.3f}\u00a0[{low:.3f},\u00a0{high:.3f}]" in cells, source
    task = metrics["benchmarks"]["arc_easy"]
    assert task["acc"] == 0.4 and score_text(task, "acc") == "0.400\u00a0[0.246,\u00a00.577]"  # Wilson's of 12 of 30
    for part in ("", "_clean", "_touched"):
        assert score_text(task, f"acc{part}") in cells
    assert (task["items_clean"], task["items_touched"]) == (27, 3)
    assert "4" in cells and "8 %" in cells and "too short" in cells  # 4 of 50 dropped
    assert "30.0 minutes by the clock and 60.0 of CPU time" in text
    assert "About 0.1 kWh (200 W by the clock; an estimate, not measured)." in text  # half an hour
    assert "1.50 EUR at 3 EUR an hour" in text
    assert "What is 0 &lt;b&gt;?" in text and "<b>?" not in text
    assert "There has been no champion before base to compare with." in text
    markdown = (data / "report/report.md").read_text()
    assert score_text(task, "acc") in markdown


QUESTIONS = ["What it can do", "Better than the last?", "What it cannot do", "Its data", "What was dropped"]


def test_the_first_screen_answers_a_readers_five_questions(
    data: Path, gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{data.parent}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    old = data.parent / "old"
    evaluation(old / "evaluation", -0.1, right=12)
    shutil.copytree(gpt2, old / "model")
    about = {"model": "data/models/base", "digest": content_digest(old / "model")}
    (old / "evaluation/about.json").write_text(json.dumps(about))
    judged = partial(judge, gate=Gate(), seed=0)
    registry.register(old / "model", old / "evaluation", {}, judged, old / "record.json", "language-model-base")
    assert registry.promote_record(old / "record.json", old / "champion.json")
    write_report(data, data / "report", Params(seed=0))
    page = (data / "report/report.html").read_text()
    assert "By its gate base may become champion: better: bits per byte of held-out text +0.1" in page
    first = Page(page).first
    places = [first.index(question) for question in QUESTIONS]
    assert places == sorted(places)
    told = dict(zip(QUESTIONS, (first[a:b] for a, b in pairwise([*places, len(first)])), strict=True))
    whole = json.loads((data / "evaluation/base/metrics.json").read_text())["bits_per_byte"]["all"]
    value, low, high = with_ends(*(whole[f"bits_per_byte{end}"] for end in ("", "_low", "_high")), 2)
    assert f"base needs {value} ({low} to {high}) bits" in told["What it can do"]
    assert "xz -9 2.5" in told["What it can do"]
    better = told["Better than the last?"]
    assert "base against version 1, the champion before it: better at bits per byte of held-out text by 0.1 (" in better
    assert "worse at nothing that was measured" in better and "not distinguishable at ARC-Easy" in better
    assert "(95 % intervals). It may become champion by its gate." in better
    assert "base is above chance" not in first
    assert "not distinguishable from chance or the most frequent answer on ARC-Easy" in told["What it cannot do"]
    assert "50 documents (0.009 MB) of 1 source; of the training text: a 100 %." in told["Its data"]
    assert "base (1,234 parameters) was trained on 5,678 tokens." in told["Its data"]
    assert "4 of 50 documents (8 %): 4 too short." in told["What was dropped"]

    evaluation(data / "evaluation/other", -0.5)  # not the champion's name, so there is nothing to compare it with
    shutil.rmtree(data / "evaluation/base")
    evaluation(data / "evaluation/base", -0.5)
    worse = dict(in_short(data, Params(seed=0)))["Better than the last?"]
    assert "There has been no champion before other to compare with." in worse
    assert "worse at bits per byte of held-out text by 0.4 (" in worse and "stays challenger" in worse


def test_what_finetuning_made_worse_is_said_first(data: Path) -> None:
    evaluation(data / "evaluation/tuned", -0.3)
    (data / "models/tuned").mkdir()
    (data / "models/tuned/config.json").write_text("{}")
    parent = {"path": "data/models/base", "digest": "0"}
    (data / "models/tuned/metrics.json").write_text(json.dumps({"parent": parent, "parameters": 1}))
    told = dict(in_short(data, Params(seed=0)))["Better than the last?"]
    assert "Finetuning made tuned worse than base at bits per byte of held-out text by 0.3 (" in told


def test_a_model_alone_has_a_report(data: Path) -> None:
    for stage in ("clean", "split", "evaluation"):
        shutil.rmtree(data / stage)
    assert in_short(data, Params()) == [("Its data", "base (1,234 parameters) was trained on 5,678 tokens.")]
    file = data / "models/base/metrics.json"
    drawn = {"mixture_share/b c": 0.25, "mixture_share/a": 0.75, "mixture_tokens/a": 4258}
    file.write_text(json.dumps(json.loads(file.read_text()) | drawn))
    ((_, told),) = in_short(data, Params())
    assert told == "base (1,234 parameters) was trained on 5,678 tokens, drawn from a 75 % and b c 25 %."
    shutil.rmtree(data / "models")
    assert in_short(data, Params()) == []


def test_a_champion_of_other_items_is_no_error(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = data.parent / "old"
    other.mkdir()
    (other / "results.jsonl").write_text(json.dumps({"task": "piqa", "id": "x", "acc": 1.0}) + "\n")
    decision = decide(read_results(other), read_results(data / "evaluation/base"), Gate(), 0)
    found = differences(read_results(other), read_results(data / "evaluation/base"), Gate(), 0)
    metrics = json.loads((data / "evaluation/base/metrics.json").read_text())
    before = {"base": Champion("7", other, found, decision, 0.95)}
    told = dict(headline({"base": metrics}, {}, before, {}, account(data)))["Better than the last?"]
    assert "base and version 7, the champion before it, were evaluated on other items" in told
    assert to_html(list(against_champions({"base": metrics}, before)))


def test_the_page_names_no_raw_key(data: Path) -> None:
    write_report(data, data / "report", Params())
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", (data / "report/report.html").read_text(), flags=re.S)
    assert re.findall(r"\b[a-z]+_[a-z_]+\b", text) == []


def test_what_params_no_longer_name_is_left_out_or_said(data: Path) -> None:
    shutil.copytree(data / "clean/a", data / "clean/gone")
    metrics = json.loads((data / "clean/a/metrics.json").read_text())
    (data / "clean/gone/metrics.json").write_text(json.dumps({"by_source": {"gone": metrics["by_source"]["a"]}}))
    shutil.copytree(data / "models/base", data / "models/mood")
    params = Params.model_validate({"sources": {"a": {"kind": "files", "paths": ["a"], "license": "x"}}})
    assert account(data, params.sources).documents == {"a": 50}
    assert account(data).documents == {"a": 50, "gone": 50}
    write_report(data, data / "report", params)
    page = (data / "report/report.md").read_text()
    assert f"does not name {data / 'clean/gone'}, left out above; delete what" in page
    assert f"does not name {data / 'models/mood'}, shown above all the same; delete what" in page
    assert page.count("gone") == 1


def test_energy_is_by_core_where_the_machines_power_is_not_known() -> None:
    rows = [{"seconds": 3600.0, "cpu_seconds": 7200.0}]
    assert energy_kwh(rows, Report(watts_per_core=10)) == 0.02
    assert energy_kwh(rows, Report(watts=300)) == 0.3
    assert energy_kwh(rows, Report(watts_per_core=0)) == 0


def test_pages_load_nothing_and_know_dark_mode_and_print(data: Path) -> None:
    write_report(data, data / "report", Params())
    evaluation(data / "evaluation/new", 0.1)
    write_comparison([[data / "evaluation/base"], [data / "evaluation/new"]], data / "compare", Gate(), 0)
    for file in (data / "report/report.html", data / "compare/compare.html"):
        text = file.read_text()
        assert all(re.fullmatch(r"#section-\d", address) for address in Page(text).addresses)
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", text)
        assert "prefers-color-scheme: dark" in text and "@media print" in text
        assert not re.search(r'(fill|stroke)="(black|#)', text), "a colour that one of the schemes hides"


def test_a_comparison_tells_better_worse_and_unclear(data: Path) -> None:
    evaluation(data / "evaluation/new", 0.1, right=30)
    blocks = write_comparison([[data / "evaluation/base"], [data / "evaluation/new"]], data / "compare", Gate(), 0)
    rows = {
        row["metric"]: row for block in blocks if block.kind == "table" for row in block.content if "verdict" in row
    }
    assert (
        rows["bits per byte of held-out text"]["improvement"] == "+0.1000"
        and rows["bits per byte of held-out text"]["verdict"] == "better"
    )
    assert rows["ARC-Easy"]["improvement"] == "+0.6000" and rows["ARC-Easy"]["verdict"] == "better"
    assert rows["own questions"]["verdict"] == "not distinguishable"
    assert rows["own questions"]["smallest difference shown"] != "0"
    other = data / "other"
    other.mkdir()
    (other / "results.jsonl").write_text(json.dumps({"task": "piqa", "id": "x", "acc": 1.0}) + "\n")
    with pytest.raises(UserError, match="no items in common"):
        write_comparison([[data / "evaluation/base"], [other]], data / "x", Gate(), 0)


def test_any_number_of_evaluations_against_the_first(data: Path) -> None:
    for name, shift in (("better", 0.1), ("same", 0.0), ("worse", -0.1)):
        evaluation(data / "evaluation" / name, shift)
    groups = [[data / "evaluation" / name] for name in ("base", "better", "same", "worse")]
    blocks = write_comparison(groups, data / "compare", Gate(), 0)
    assert blocks[0].content == "better, same and worse against base"
    verdicts = {
        block.caption: table.content[0]["verdict"]
        for block in blocks
        if block.kind == "group"
        for table in block.content
    }
    assert verdicts == {
        "All differences of better in figures": "better",
        "All differences of same in figures": "not distinguishable",
        "All differences of worse in figures": "worse",
    }
    plots = next(block for block in blocks if block.kind == "pair").content
    assert "bits per byte of held-out text" in plots[0].content[0].caption
    assert plots[0].content[0].content.count("<circle") == 3, "one interval for each of the three"
    scores = next(block.content for block in blocks if block.kind == "table" and "base" in block.content[0])
    assert list(scores[0]) == ["metric", "base", "better", "same", "worse"]
    with pytest.raises(UserError, match="name at least two"):
        write_comparison(groups[:1], data / "x", Gate(), 0)
    with pytest.raises(UserError, match="base: is given twice"):
        write_comparison([groups[0] * 2, groups[1]], data / "x", Gate(), 0)


def test_seeds_widen_the_interval(data: Path) -> None:
    folders = {side: [data / side / str(n) for n in range(3)] for side in ("old", "new")}
    for side, shift in (("old", 0.0), ("new", 0.01)):
        for n, folder in enumerate(folders[side]):
            evaluation(folder, shift + 0.03 * n, noise=n)  # seeds differ by more than the recipes
    old, new = ([read_results(folder) for folder in folders[side]] for side in ("old", "new"))
    merged = average(old)["bits_per_byte"][0]["bits"]
    assert merged == pytest.approx(sum(one["bits_per_byte"][0]["bits"] for one in old) / 3)
    row = next(row for row in seed_rows(old, new, Gate(), 0) if row["metric"] == "bits per byte of held-out text")
    assert row["verdict"] == "not distinguishable"
    # Welch by hand: sd 0.03 on both sides (the noise adds next to nothing), 3 seeds each, 4 degrees of freedom
    low, high = (float(bound) for bound in row["95% interval"].split(" to "))
    assert (high - low) / 2 == pytest.approx(2.776 * 0.03 * (2 / 3) ** 0.5, rel=0.1)
    blocks = write_comparison([folders["old"], folders["new"]], data / "compare", Gate(), 0)
    alone = next(row for block in blocks if block.kind == "table" for row in block.content if "verdict" in row)
    assert alone["verdict"] == "better", "without the seeds it looks certain"


def test_seeds_of_other_metrics_are_compared_where_one_metric_cannot_be(data: Path) -> None:
    folders = {side: [data / side / str(n) for n in range(2)] for side in ("old", "new")}
    for side, shift in (("old", 0.0), ("new", 0.01)):
        for n, folder in enumerate(folders[side]):
            evaluation(folder, shift, noise=n)
            results = folder / "results.jsonl"
            results.write_text(results.read_text().replace('"question"', '"country": "Chad", "question"'))
    old, new = ([read_results(folder) for folder in folders[side]] for side in ("old", "new"))
    rows = {row["metric"]: row for row in seed_rows(old, new, Gate(), 0)}
    assert rows["own questions"]["improvement"] is None
    assert "all 12 common items are of one group (Chad)" in rows["own questions"]["verdict"]
    assert rows["bits per byte of held-out text"]["improvement"] == "+0.0100"
    assert len({tuple(row) for row in rows.values()}) == 1, "one table"
    write_comparison([folders["old"], folders["new"]], data / "compare", Gate(), 0)
    assert (data / "compare/compare.md").read_text().count("all 12 common items are of one group (Chad)") == 2


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.0, 0.27501, 2.1232186, 1309.16, 28664088.5)] == [
        "0", "0.275", "2.123", "1,309", "2.866e+07",
    ]  # fmt: skip


def test_a_value_and_its_interval_have_the_same_decimals() -> None:
    assert with_ends(1.0, 0.92, 1.08, 2) == ("1.00", "0.92", "1.08")
    assert with_ends(12.3, 9.5, 15.0, 2) == ("12.3", "9.5", "15.0")
    assert (
        with_ends(2866.2, 2500.0, 3333.3) == ("2,866", "2,500", "3,333")
        and with_ends(-0.001, -0.2, 0.2, 2)[0] == "0.00"
    )


def test_equal_documents_and_one_alone_have_an_unknown_error() -> None:
    rows = [{"source": "web", "bits": 8.0, "bytes": 8, "tokens": 4} for _ in range(5)]
    for scored in (rows, rows[:1]):
        whole = summarize_texts(scored)["all"]
        assert with_error(whole, "bits_per_byte") == "1.0000 (error unknown: one item or group, or all alike)"
        assert score_text({key: known for key, known in whole.items() if known == known}, "bits_per_byte") == (
            "1 (error unknown)"
        )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)")
def test_pages_fit_a_phone_and_a_desk_in_light_and_dark(data: Path) -> None:
    from playwright.sync_api import sync_playwright

    write_report(data, data / "report", Params())
    for name in ("new", "a-name-that-is-long"):
        evaluation(data / "evaluation" / name, 0.1 * len(name))
    groups = [[data / "evaluation" / name] for name in ("base", "new", "a-name-that-is-long")]
    write_comparison(groups, data / "compare", Gate(), 0)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for file in (data / "report/report.html", data / "compare/compare.html"):
            for width in (390, 1280):
                for scheme in ("light", "dark"):
                    page = browser.new_context(
                        viewport={"width": width, "height": 900}, color_scheme=scheme  # type: ignore[arg-type]
                    ).new_page()  # fmt: skip
                    asked: list[str] = []
                    page.on("request", lambda request, asked=asked: asked.append(request.url))
                    page.goto(file.as_uri())
                    assert asked == [file.as_uri()]
                    assert page.evaluate("document.documentElement.scrollWidth") <= width
                    if file.name == "report.html":
                        assert (
                            page.evaluate("document.querySelector('#first .lead').getBoundingClientRect().bottom") < 900
                        )
                    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
                    hidden = page.evaluate(
                        "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
                    )
                    assert hidden == 0, f"{file.name}: a table is cut off at {width} px"
                    text, ground = page.evaluate(
                        "(() => { const s = getComputedStyle(document.body);"
                        " return [s.color, getComputedStyle(document.documentElement).backgroundColor]; })()"
                    )
                    assert text == ("rgb(0, 0, 0)" if scheme == "light" else "rgb(255, 255, 255)"), (scheme, ground)
            page = browser.new_context(viewport={"width": A4, "height": 900}, color_scheme="dark").new_page()
            page.emulate_media(media="print")
            page.goto(file.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= A4, "paper cuts off what is wider"
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)", "paper is white"
        browser.close()


def test_word_vectors_and_search_are_shown_where_they_were_made(data: Path) -> None:
    out = data / "report"
    headings = {str(block.content) for block in write_report(data, out, Params()) if block.kind == "heading"}
    assert not headings & {"Word vectors", "Search, and answers with it"}
    analogies = {"asked": 40, "questions": 50, "accuracy": 0.25, "low": 0.14, "high": 0.4}
    worth = {"analogies": {"all": analogies}, "wordsim353": {"pairs": 7, "spearman": 0.31}}
    write_json(data / "word2vec/metrics.json", {"vocabulary": 1200, "words": 34567, "cbow": worth})
    write_json(data / "word2vec/neighbours.json", {"cbow": {"king": [["queen", 0.9], ["duke", 0.8]]}})
    places = [{"word": "france", "x": 0.0, "y": 1.0, "joined_to": None},
              {"word": "paris", "x": 1.0, "y": 0.0, "joined_to": "france"}]  # fmt: skip
    write_json(data / "word2vec/maps.json", {"cbow": places})
    scores = {"recall@5": 0.7, "recall@5_stderr": 0.1}
    gain = {"difference": 0.1, "low": -0.05, "high": 0.3}
    answers = {"questions": 10, "refused": 2, "citation_precision": 0.4, "exact_gain": gain, "f1_gain": gain}
    answers |= {f"{n}_{side}": 0.2 for n in ("exact", "f1") for side in ("with", "without")}
    answers |= {f"{n}_{side}_stderr": 0.1 for n in ("exact", "f1") for side in ("with", "without")}
    write_json(data / "retrieval/mine/metrics.json", {"search": {"questions": 10, "bm25": scores}, "answers": answers})
    write_report(data, out, Params())
    text = (out / "report.md").read_text().replace("\u00a0", " ")
    assert "| cbow | 0.250 [0.140, 0.400] | 40 | 0.31 | 7 |" in text
    assert "mine: 10 questions" in text
    assert "| king | queen, duke |" in text and "0.100 [-0.050, 0.300]" in text
    page = (out / "report.html").read_text()
    drawn = page[page.index("a map of words") :]
    assert drawn.index(">france<") < drawn.index(">paris<") and "their capitals" in drawn


def test_sampled_drops_stand_folded_by_source_and_reason(data: Path) -> None:
    drop = {"id": "1", "source": "a", "reason": "too_short", "score": 9.0, "url": None, "language": "en",
            "characters": 9, "excerpt": "A <b>|\nshort one"}  # fmt: skip
    rows = [drop, drop | {"reason": "language", "language": "de", "excerpt": "Wort " * 200, "url": "http://b.org/"}]
    (data / "clean/a/drops.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(data, data / "report", Params())
    page = Page((data / "report/report.html").read_text())
    assert "A <b>| short one" in page.cells and "http://b.org/" in page.cells
    assert max(map(len, page.cells)) <= 302
    text = (data / "report/report.md").read_text()
    assert "a: too short (1):\n\n| score |" in text and "| A &lt;b>&#124; short one |" in text


def floats(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of the floats in nested dictionaries."""
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in floats(inner, (*path, key))]
    return [path] if isinstance(value, float) else []


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")], ids=str)
def test_any_score_of_an_old_file_may_be_no_number(data: Path, bad: float | None) -> None:
    whole = json.loads((data / "evaluation/base/metrics.json").read_text())
    paths = floats(whole)
    assert len(paths) > 20
    for path in paths:
        metrics = json.loads(json.dumps(whole))
        inner = metrics
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = bad
        told = headline({"base": metrics}, {}, {}, {}, NOTHING)
        page = to_html([*scores({"base": metrics}), Block("lead", told), *headline_figures({"base": metrics})])
        assert not re.search(r'="(nan|inf)', page), path
    log = data / "models/base/training_log.jsonl"
    log.write_text('{"step": 1, "loss": null}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": 2.0}\n')
    results = data / "evaluation/base/results.jsonl"
    results.write_text(re.sub(r'"acc": [01]\.0', '"acc": null', results.read_text(), count=1))
    write_report(data, data / "report", Params())
    assert "nan," not in (data / "report/report.html").read_text()
    shutil.copytree(data / "evaluation/base", data / "evaluation/copy")
    write_comparison([[data / "evaluation/base"], [data / "evaluation/copy"]], data / "compare", Gate(), 1)
    assert "1 of 30 common items have no finite score" in (data / "compare/compare.md").read_text()


def test_a_model_without_a_finite_loss_is_named_so(data: Path) -> None:
    metrics = json.loads((data / "evaluation/base/metrics.json").read_text())
    diverged = json.loads(json.dumps(metrics))
    diverged["bits_per_byte"]["all"]["bits_per_byte"] = None
    told = dict(headline({"a": diverged, "b": metrics}, {}, {}, {}, NOTHING))["What it can do"]
    assert told.startswith("The loss of a on held-out text is no number, as of a training that diverged. b needs ")
    assert "no number bits" not in told


def test_a_finetunes_score_is_shown_where_a_baseline_is_no_number() -> None:
    own = {"score": "acc", "acc": 0.5, "acc_low": 0.4, "acc_high": 0.6, "baselines": {"a": None, "b": 0.3}}
    page = to_html(list(scores({"tone": {"finetuned": own | {"items": 90, "detectable": 0.1}}})))
    assert 'data-label="baseline">0.3<' in page


def test_names_without_a_space_are_cut_in_the_flow_not_left_out() -> None:
    name = "presidential_addresses"
    drawn = flow_plot({name: 4}, [Stage("cleaned", {name: 3}, {"my_long_reason" * 9: 1})], [("for training", 3, "")])
    assert ">presidential_ad…<" in drawn and ">1 my_long_reasonmy_lo" in drawn


def test_rounding_is_not_above_chance() -> None:
    score = {"acc": 0.0, "acc_low": 1.4e-17, "acc_high": 0.16, "items": 20}
    wording = "m is {} chance {} the most frequent answer on ARC-Easy."
    assert wording.format("not distinguishable from", "or") in answers({"benchmarks": {"arc_easy": score}})
    above = score | {"acc_low": 0.01}
    assert wording.format("above", "and") in answers({"benchmarks": {"arc_easy": above}})


def test_the_lead_over_the_most_frequent_answer_is_told_for_each_kind_of_question() -> None:
    rows = [
        {"id": f"{country}-{kind}-{n}", "country": country, "kind": kind, "most_frequent": float(n == 0),
         "exact_match": float((kind == "open" and country != "a") or n == 0)}
        for country in "abcdefghi" for kind in ("closed", "open") for n in range(2)
    ]  # fmt: skip
    score = rounded(summarize_answers(rows))
    told = answers({"answers": score})
    assert "m answers 72 % (53 % to 86 %) of 36 questions exactly, 22.2 points (15.8 to 28.6) more than" in told
    assert " the most frequent answer (50 %): from memory 50 %, not distinguishable from its 50 %; " in told
    assert "with facts to read 94 %, 44.4 points" in told
    bare = {key: value for key, value in score.items() if not key.startswith("lead") and key != "kinds"}
    assert "exactly, more than the most frequent answer (50 %)." in answers({"answers": bare})


def test_questions_that_can_only_be_guessed_have_no_part_in_the_score_and_a_line_of_their_own() -> None:
    rows = [
        {"id": f"{country}-{kind}-{n}", "country": country, "kind": kind, "most_frequent": float(n == 0),
         "exact_match": float(kind == "open"), "answerable": kind == "open"}
        for country in "abcdefghi" for kind in ("closed", "open") for n in range(2)
    ]  # fmt: skip
    score = rounded(summarize_answers(rows))
    assert (score["exact_match"], score["items"], score["kinds"]["closed"]["items"]) == (1.0, 18, 18)
    told = answers({"answers": score})
    assert "m answers 100 % (77 % to 100 %) of 18 questions with facts to read exactly, 50.0 points" in told
    guessed = "m can only guess 18 questions{}, because nothing that it read has their answers: 0 % are right (most"
    assert guessed.format(" from memory") in told
    table = next(block.content for block in flat(scores({"m": {"answers": score}})) if block.kind == "table")
    assert [(row["benchmark"], row["items"]) for row in table] == [
        ("own questions with facts to read, exact match", 18),
        ("own questions from memory, exact match (guessed: nothing that it read has the answers)", 18),
    ]
    alone = summarize_answers([row for row in rows if not row["answerable"]])
    assert (alone["answerable"], alone["items"]) == (False, 18)
    told = answers({"answers": alone})
    assert guessed.format("") in told and "m answers" not in told
    assert "own questions (guesses), m" in to_html(list(headline_figures({"m": {"answers": alone}})))
    assert "(18 questions, guessed: nothing that it read has their answers)" in lines({"answers": alone})[0]
    assert lines({"answers": score})[0].endswith("(18 questions)")
    assert "guessed" in lines({"answers": score})[1]


def test_bits_of_the_right_answer_come_first_where_accuracy_is_at_its_baselines() -> None:
    score = {"metric": "acc", "acc": 0.5, "acc_stderr": 0.05, "acc_low": 0.4, "acc_high": 0.6, "chance": 0.25}
    score |= {"majority": 0.45, "items": 100, "detectable": 0.1, "gold_bpb": 1.5, "gold_bpb_stderr": 0.1}
    score |= {"gold_bpb_low": 1.3, "gold_bpb_high": 1.7, "margin": 0.2, "margin_low": 0.1, "margin_high": 0.3}

    def shown(**changes: float) -> list[str]:
        blocks = scores({"m": {"benchmarks": {"quiz": {**score, **changes}}}})
        table = next(block.content for block in flat(blocks) if block.kind == "table")
        assert table[0]["baseline"] in (None, changes.get("majority", 0.45))
        return [row["benchmark"] for row in table]

    bits = ["quiz, bits per byte of the right answer", "quiz, lead of the right answer in bits per byte"]
    assert shown() == [*bits, "quiz, accuracy"], "0.4 is not above the most frequent answer's 0.45"
    assert shown(majority=0.3) == ["quiz, accuracy", *bits]
    told = answers({"benchmarks": {"quiz": score, "other": {**score, "margin_low": -0.1}}})
    assert "fewer bits per byte than the best wrong one, on average, on quiz." in told
