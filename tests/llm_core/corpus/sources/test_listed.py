"""The Pile, Dolma and files of any kind: layouts, samples, broken lines and files."""

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from llm_core.errors import UserError
from llm_core.formats.documents import document_id
from llm_core.params.sources import DolmaSource, FilesSource, PileSource
from tests.llm_core.corpus.sources.warc_files import packed, page, record

SHARED = Path("../shared/data")
needs_samples = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"real samples are only in {SHARED}, which this checkout has not"
)


def lines(*rows: object) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def zstd(data: bytes) -> bytes:
    half = len(data) // 2  # two frames, as appending writers leave them
    return zstandard.compress(data[:half]) + zstandard.compress(data[half:])


def test_pile_lines_and_their_sets(tmp_path, run):
    rows = [
        {"text": "a page", "meta": {"pile_set_name": "Pile-CC"}},
        {"text": "a paper", "meta": {"pile_set_name": "ArXiv"}},
        {"text": "old copy", "meta": "{'pile_set_name': 'Pile-CC'}"},
        b"{broken",
        {"meta": {"pile_set_name": "Pile-CC"}},
        {"text": "lone \ud800 surrogate", "meta": {"pile_set_name": "Pile-CC"}},
    ]
    (tmp_path / "00.jsonl.zst").write_bytes(zstd(lines(*rows)))
    result = run(PileSource(kind="pile", paths=[str(tmp_path)], subsets=["Pile-CC"]))
    assert [row["text"] for row in result.documents] == ["a page", "old copy", "lone ? surrogate"]
    assert {json.loads(row["metadata"])["pile_set_name"] for row in result.documents} == {"Pile-CC"}
    assert result.dropped == ["pile_subset", "quarantine_json", "quarantine_no_text"]
    assert [row["offset"] for row in result.ledger] == [1, 2, 3, 4, 5, 6]
    assert [row["reason"] for row in result.ledger if row["verdict"] == "changed"] == ["surrogates_replaced"]


def test_dolma_documents_joined_with_attributes_by_id(tmp_path, run):
    def put(place: str, *rows: object) -> None:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(gzip.compress(lines(*rows)))

    texts = [
        {"id": f"https://example.org/{n}", "text": f"text {n}", "source": "cc", "created": "2020"} for n in range(4)
    ]
    put("v1/documents/a/000.json.gz", *texts)
    put("v1/attributes/pii/a/000.json.gz", *[{"id": row["id"], "attributes": {"pii": [[0, 4, 1]]}} for row in texts])
    scores = [{"id": row["id"], "attributes": {"toxicity": n / 10}} for n, row in enumerate(texts)]
    put("v1/attributes/toxicity/a/000.json.gz", scores[1], scores[0], scores[3])  # another order, one missing
    result = run(
        DolmaSource(kind="dolma", paths=[str(tmp_path / "v1/documents")], attributes=["pii", "toxicity"]), "web"
    )
    metadata = [json.loads(row["metadata"]) for row in result.documents]
    assert [one["attributes"].get("toxicity") for one in metadata] == [0.0, 0.1, None, 0.3]
    assert all(one["attributes"]["pii"] == [[0, 4, 1]] and one["origin"] == "cc" for one in metadata)
    first = result.documents[0]
    assert first["id"] == document_id("web", "https://example.org/0")
    assert first["url"] == "https://example.org/0" and first["created"] == "2020" and first["source"] == "web"


@needs_samples
def test_real_dolma_and_pile_samples(run):
    provided = SHARED / "dolma/provided/documents"
    result = run(DolmaSource(kind="dolma", paths=[str(provided)], attributes=["toxicity", "sample", "pii"]))
    assert len(result.documents) == 10 and not result.dropped
    assert "toxicity" in json.loads(result.documents[0]["metadata"])["attributes"]
    result = run(DolmaSource(kind="dolma", paths=[str(SHARED / "dolma/multiple_files/cc_en_head-0091.jsonl.gz")]))
    assert result.documents[0]["created"] == "2020-03-29T09:04:10Z" and result.documents[0]["language"] == "en"
    result = run(PileSource(kind="pile", paths=[str(SHARED / "pile")]))
    assert len(result.documents) == 5


def test_files_of_every_kind(tmp_path, run):
    folder = tmp_path / "corpus"
    (folder / "pages").mkdir(parents=True)
    (folder / "a.jsonl").write_bytes(lines({"content": "from jsonl", "link": "https://example.org", "stars": 3}))
    pq.write_table(pa.table({"content": ["from parquet"], "id": ["own-id"]}), folder / "b.parquet")
    (folder / "c.warc.gz").write_bytes(packed([record(1)]))
    (folder / "pages/d.html").write_bytes(page(2))
    (folder / "pages/e.txt").write_text("from text")
    (folder / "pages/f.txt").write_bytes(b"\0\1\2\3" * 50)
    (folder / "pages/.hidden.txt").write_text("no")
    params = FilesSource(kind="files", paths=[str(folder)], columns={"text": "content", "url": "link"})
    result = run(params)
    assert [row["text"][:12] for row in result.documents] == [
        "from jsonl",
        "from parquet",
        "<html><body>",
        "<html><body>",
        "from text",
    ]
    assert result.documents[0]["url"] == "https://example.org"
    assert json.loads(result.documents[0]["metadata"]) == {"stars": 3}
    assert result.documents[1]["id"] == document_id("corpus", "own-id")
    assert result.metrics["files_not_read"] == {"hidden_name": 1}
    types = [json.loads(row["metadata"] or "{}").get("content_type") for row in result.documents]
    assert types == [None, None, "text/html", "text/html", "text/plain"]
    assert result.dropped == ["quarantine_binary_file"]


def test_id_that_comes_twice_with_one_text_stays_once_and_in_the_ledger_twice(tmp_path, run):
    def put(name: str, *ids: str) -> None:
        (tmp_path / name).write_bytes(lines(*({"id": one, "text": f"one text {one}"} for one in ids)))

    put("a.jsonl", "1", "2", "2")
    put("b.jsonl", "3", "2", "1", "4")
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]))
    assert [row["text"] for row in result.documents] == [f"one text {n}" for n in (1, 2, 3, 4)]
    own = {document_id("corpus", str(number)): str(number) for number in range(5)}
    verdicts = [(own[row["id"]], row["verdict"], row["reason"]) for row in result.ledger]
    again = ("dropped", "repeated_id")
    assert verdicts == [
        ("1", "kept", None),
        ("2", "kept", None),
        ("2", *again),
        ("3", "kept", None),
        ("2", *again),
        ("1", *again),
        ("4", "kept", None),
    ]
    counted = {key: result.metrics[key] for key in ("documents_in", "documents_kept", "documents_dropped")}
    assert counted == {"documents_in": 7, "documents_kept": 4, "documents_dropped": 3}
    assert result.metrics["bytes_in"] == 7 * len("one text 1") and result.metrics["bytes_kept"] == 40


def test_truncated_files_give_what_came_before(tmp_path, run):
    whole = lines(*({"text": f"document {number} " + "word " * number} for number in range(200)))
    packed_ = gzip.compress(whole)
    (tmp_path / "a.jsonl.gz").write_bytes(packed_[: len(packed_) // 2])
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.jsonl.gz")]))
    assert result.dropped[-1] == "quarantine_truncated" and len(result.documents) > 20
    assert [row["text"].split()[1] for row in result.documents] == [str(n) for n in range(len(result.documents))]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz", "a.jsonl.zst", "a.warc.gz"])
def test_file_that_is_not_what_its_name_says(tmp_path, run, name):
    (tmp_path / name).write_bytes(b"<html>an error page that was saved</html>")
    with pytest.raises(UserError, match="is not what its name says"):
        run(FilesSource(kind="files", paths=[str(tmp_path / name)]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "data",
    [
        "\ufefftext;stars\nGrüße;1\nnaïve, “a”;2\n".encode(),
        "text;stars\nGrüße;1\nnaïve, “a”;2\n".encode("cp1252"),
        b"text\tstars\nGr\xfc\xdfe\t1\nna\xefve, \x93a\x94\t2\n",
    ],
)
def test_tables_as_excel_writes_them(tmp_path, run, data):
    (tmp_path / "a.csv").write_bytes(data)
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.csv")]))
    assert [row["text"] for row in result.documents] == ["Grüße", "naïve, “a”"]
    assert [json.loads(row["metadata"])["stars"] for row in result.documents] == ["1", "2"]


def test_a_byte_that_is_no_utf_8_does_not_change_the_lines_that_are(tmp_path, run):
    (tmp_path / "a.csv").write_bytes(b"text,n\nplain,0\n" + "Grüße,1\n".encode() + b"cut \xc3,2\n")
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.csv")]))
    assert [row["text"] for row in result.documents] == ["plain", "Grüße", "cut ?"]


def test_a_quote_that_nothing_closes_costs_its_own_line(tmp_path, run):
    good = "".join(f'"text {number},\nof two lines",{number}\n' for number in range(3))
    rest = "".join(f"text {number},0\n" for number in range(3, 50))
    (tmp_path / "a.csv").write_text(f'text,n\n{good}"not closed,1\n{rest}')
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.csv")]))
    assert [row["text"] for row in result.documents] == [
        *(f"text {number},\nof two lines" for number in range(3)),
        *(f"text {number}" for number in range(3, 50)),
    ]
    [dropped] = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert (dropped["reason"], dropped["offset"]) == ("quarantine_csv", 8)


def test_lines_that_a_broken_quote_joins_are_named(tmp_path, run):
    (tmp_path / "a.csv").write_text('text,n\n"one,1\ntwo,2\n"three" is quoted,3\nfour,4\n')
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "a.csv")]))
    assert [row["text"] for row in result.documents] == ["four"]
    [dropped] = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert dropped["detail"].endswith("(lines 2 to 4)")


def test_sources_without_a_document_are_errors(tmp_path, run):
    (tmp_path / "a.jsonl").write_bytes(lines({"no": "text"}))
    told = (
        r"not one document in 1 shards \(quarantine_no_text: 1\); the first: .*no column 'text' \(there are no\)"
        r"; name the column .* sources.corpus.columns"
    )
    with pytest.raises(UserError, match=told):
        run(FilesSource(kind="files", paths=[str(tmp_path / "a.jsonl")]))
    (tmp_path / "header.csv").write_text("text,label\n")
    with pytest.raises(UserError, match=r"empty_file: 1\).*put texts into the files, or take sources.corpus out"):
        run(FilesSource(kind="files", paths=[str(tmp_path / "header.csv")]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="names no file ending in"):
        run(FilesSource(kind="files", paths=[str(tmp_path / "empty")]))
    with pytest.raises(UserError, match="no such file or folder"):
        run(FilesSource(kind="files", paths=[str(tmp_path / "nowhere")]))
    assert not (tmp_path / "out").exists()


def test_address_lists_with_checksums(site, tmp_path, run):
    for number in range(3):
        site.files[f"/dolma/documents/{number}.json.gz"] = gzip.compress(
            lines({"id": number, "text": f"text {number}"})
        )
    good = [hashlib.sha256(site.files[f"/dolma/documents/{number}.json.gz"]).hexdigest() for number in range(3)]
    listing = "".join(f"{site.address}/dolma/documents/{number}.json.gz {good[number]}\n" for number in range(3))
    (tmp_path / "urls.txt").write_text(f"# a comment\n{listing}\n")
    site.faults["/dolma/documents/1.json.gz"] = ["reset", "503", "corrupt"]
    params = DolmaSource(kind="dolma", address_list=str(tmp_path / "urls.txt"))
    assert [row["text"] for row in run(params).documents] == ["text 0", "text 1", "text 2"]
    assert len(run(params.model_copy(update={"files": 1})).documents) == 1
    site.log.clear()
    run(params, out="again")
    assert site.log == []
    (tmp_path / "urls.txt").write_text(listing.replace(good[2], "0" * 64))
    with pytest.raises(UserError, match=f"sha256 is {good[2]}, {'0' * 64} was expected"):
        run(params, out="wrong")
    (tmp_path / "urls.txt").write_text("https://example.org/a b c\n")
    with pytest.raises(UserError, match=r"urls\.txt:1"):
        run(params, out="wrong")


def test_nothing_listed_is_refused():
    with pytest.raises(ValidationError, match="give paths or address_list"):
        PileSource(kind="pile")
