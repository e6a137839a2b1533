"""A password in an address is in nothing that the verbs write or print, from the source to the card and the tracker."""

import json
import sqlite3
from pathlib import Path

import pytest

from llm_core.cli import main
from llm_core.formats.schema import without_secrets
from llm_core.formats.urls import plain_url
from llm_core.tracking import runs

SECRET = "s3cr3t-Pa55"
PARAMS = """
seed: 1
sources:
  web:
    kind: files
    license: CC0-1.0
    paths: ["http://user:{SECRET}@{host}/a.jsonl", "http://{host}/page.txt?token={SECRET}"]
    address_list: "http://{host}/list.txt?api_key={SECRET}"
cleaning: {{steps: [repair], min_characters: 1}}
split: {{heldout_share: 0.2}}
tokenizer: {{vocab_size: 300}}
deduplication: {{keep_signatures: true}}
retrieval: {{encoder: none}}
"""


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def text(number: int) -> str:
    words = " ".join(f"word{number * place % 89}" for place in range(1, 40))
    return f"This is number {number}, which is about the river and its towns. {words}."


def row(number: int) -> dict:
    """A document whose own address and facts have secrets, as crawls and exports of trackers bring them."""
    return {
        "id": f"d{number}",
        "text": text(number),
        "url": f"https://u{number}:{SECRET}@pages.example/{number}?page={number}&access_token={SECRET}",
        "referrer": {"from": [f'https://x.example/?signature={SECRET}"quoted"'], "key": "?code=IT&key=1"},
    }


def everything_written(folder: Path) -> list[str]:
    """Files below `folder` that hold the secret, but those that only repeat what a person or a server wrote."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        given = file.name in ("params.yaml", "config", "given.jsonl")
        given |= file.is_relative_to(folder / "cache") and not file.name.startswith(".")  # what the server sent
        given |= file.name == "shards.json" and not file.stat().st_mode & 0o077  # a run that failed goes on from it
        if SECRET in str(file) or (SECRET.encode() in file.read_bytes() and not given):
            found.append(str(file.relative_to(folder)))
    return found


def test_a_secret_in_an_address_is_in_no_artefact_and_no_output(site, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "LLM_CORE_TRACKING", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:{SECRET}@{site.address.removeprefix('http://')}/simple")
    host = site.address.removeprefix("http://")
    (tmp_path / "params.yaml").write_text(PARAMS.format(SECRET=SECRET, host=host))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(f"[core]\n    remote = r\n['remote \"r\"']\n    url = s3://k:{SECRET}@b/x\n")
    site.files["/a.jsonl"] = "".join(json.dumps(row(number)) + "\n" for number in range(30)).encode() + b"{broken\n"
    site.files["/page.txt"] = text(99).encode()
    site.files["/list.txt"] = f"{site.address}/more.jsonl?sig={SECRET}\n".encode()
    site.redirects["/more.jsonl"] = f"/moved.jsonl?password={SECRET}"
    site.files["/moved.jsonl"] = json.dumps(row(50)).encode()
    cache = f"network.cache={tmp_path / 'cache'}"
    assert run("fetch", "web", "--out", "data/raw/web", "--set", cache) == 0
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(60, 70)))
    data = [  # verb, its input and output
        ("clean", "data/raw/web", "data/clean/web"), ("clean", "given.jsonl", "data/clean/given"),
        ("dedup", "data/clean/web", "data/dedup"),
        ("dedup-text", "data/dedup", "data/deduplicated"), ("split", "data/dedup", "data/split"),
        ("mix", "data/split", "data/mix"), ("train-tokenizer", "data/split/train", "data/tokenizer"),
        ("index", "data/split/train", "data/index"),
    ]  # fmt: skip
    for verb, given, out in data:
        assert run(verb, "--in", given, "--out", out) == 0, verb
    assert run("tokenize", "--in", "data/split", "--tokenizer", "data/tokenizer", "--out", "data/tokens") == 0
    for arguments in (
        ["card", "--out", "data/card"], ["report", "--out", "data/report"], ["summary"], ["params"],
        ["inputs", "--out", "data/inputs"], ["trace", "--url", row(3)["url"]], ["trace", "--text", text(4), "--json"],
        ["search", "number 5 about the river", "--index", "data/index"],
        ["takedown", "--url", row(5)["url"], "--reason", "asked", "--apply"], ["takedown", "--check"],
        ["diff", "data/dedup", "data/clean/web"],
    ):  # fmt: skip
        assert run(*arguments) in (0, 1), arguments
    for wrong in (
        f"http://u:{SECRET}@{host}/none.jsonl",
        f"memory://k:{SECRET}@b/none.jsonl",
        f"nowhere://u:{SECRET}@h/x",
    ):
        assert run("fetch", "web", "--out", "data/none", "--set", cache, "--set", f"sources.web.paths=[{wrong!r}]") == 1
    assert run("fetch-benchmarks", "--out", "data/benchmarks", "--set", cache) == 1
    with runs.run("fetch", {"address": f"https://u:{SECRET}@h/", "list": [f"https://h/?key={SECRET}"]}) as current:
        current.tags({"from": f"https://h/?token={SECRET}"})
    captured = capfd.readouterr()
    assert "number 5" in captured.out and "***@pages.example" in captured.out
    assert SECRET not in captured.out + captured.err
    assert everything_written(tmp_path) == []
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        assert any("https://***@h/" in value for (value,) in store.execute("SELECT value FROM params"))
    tombstones = [json.loads(line) for line in (tmp_path / "takedowns.jsonl").read_text().splitlines()]
    assert [row["url"] for row in tombstones if "url" in row] == ["http://pages.example/5?page=5&access_token=***"]
    assert not Path("data/none").exists()


def test_a_page_keeps_what_tells_it_from_others():
    facts = json.dumps({"b": 'a "quoted" https://x/?token=1\\', "a": ["https://u:p@h/é"]})
    url, metadata = without_secrets("https://e.org/a?code=IT&key=2", facts)
    assert url == "https://e.org/a?code=IT&key=2"
    assert json.loads(str(metadata)) == {"b": 'a "quoted" https://x/?token=***', "a": ["https://***@h/é"]}
    plain = '{"z": "a?b=c", "a": "x@y.org"}'
    assert without_secrets(None, plain) == (None, plain)
    assert plain_url("https://u:p@e.org/a?token=1") == plain_url("http://***@e.org/a?token=***")


@pytest.mark.parametrize("metadata", ["[1]", "no json ?token=1", '"https://u:p@h/"'])
def test_metadata_that_is_no_object_is_redacted_as_text(metadata):
    assert without_secrets(None, metadata)[1] in ("[1]", "no json ?token=***", '"https://***@h/"')
