"""A miniature Common Crawl on loopback, served with everything that goes wrong on the way."""

import json
import zlib
from collections import Counter

import pytest
from pydantic import ValidationError

from llm_core.corpus.sources import stage as fetch_stage
from llm_core.corpus.sources.common_crawl import CommonCrawlRoom
from llm_core.corpus.sources.stage import fetch
from llm_core.errors import UserError
from llm_core.network.downloads import Client
from llm_core.params.sources import CommonCrawlSource
from tests.llm_core.corpus.sources.loopback import Loopback, serve_common_crawl
from tests.llm_core.corpus.sources.warc_files import http, page, record

CRAWL = "CC-MAIN-2026-43"


def warc(first: int, count: int) -> list[bytes]:
    """A WARC file's records as Common Crawl writes them: warcinfo, then request, response and metadata a page."""
    records = [record(first, b"software: test\r\n", "warcinfo", content_type="application/warc-fields")]
    for number in range(first, first + count):
        other = 1000 + 10 * number
        records.append(
            record(other, b"GET / HTTP/1.1\r\n\r\n", "request", content_type="application/http; msgtype=request")
        )
        records.append(record(number, http(page(number, 3000))))
        records.append(record(other + 1, b"fetchTimeMs: 9\r\n", "metadata", content_type="application/warc-fields"))
    return records


@pytest.fixture
def crawl(site: Loopback) -> Loopback:
    files = {f"CC-{number}.warc.gz": warc(number * 10, 5) for number in range(4)}
    files["CC-3.warc.gz"].append(record(39, http(b"gone", b"HTTP/1.1 404 Not Found\r\n")))
    text = {"kind": "conversion", "content_type": "text/plain"}
    files["CC-0.warc.wet.gz"] = [record(number, b"text %d\n" % number, **text) for number in range(3)]
    envelope = {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Head": {"Title": "A title"}}}}}
    wat = json.dumps({"Envelope": envelope}).encode()
    files["CC-0.warc.wat.gz"] = [record(0, wat, "metadata", content_type="application/json")]
    serve_common_crawl(site, CRAWL, files)
    return site


def params(site: Loopback, **choice: object) -> CommonCrawlSource:
    values = {"kind": "common_crawl", "crawl": CRAWL, "base": site.address, "index": site.address, **choice}
    return CommonCrawlSource.model_validate(values)


def path_of(number: int) -> str:
    return f"/crawl-data/{CRAWL}/segments/1/warc/CC-{number}.warc.gz"


def test_every_record_is_accounted_for_whatever_the_network_does(crawl, run):
    crawl.faults[f"/crawl-data/{CRAWL}/warc.paths.gz"] = ["503", "truncate"]
    crawl.faults[path_of(0)] = ["503", "reset", "reset"]
    crawl.faults[path_of(1)] = ["truncate", "slow"]
    crawl.faults[path_of(2)] = ["corrupt", "503"]
    crawl.faults[path_of(3)] = ["reset", "corrupt", "slow"]
    result = run(params(crawl, files=4))
    expected = [10 * file + number for file in range(4) for number in range(5)]
    assert [row["url"] for row in result.documents] == [f"http://example.org/{number}" for number in expected]
    assert all(f"page {number}<" in row["text"] for number, row in zip(expected, result.documents, strict=True))
    assert result.dropped == ["http_status"]
    assert result.metrics["records_skipped"] == {"warcinfo": 4, "request": 20, "metadata": 20}
    assert result.metrics["documents_in"] == 21 and result.metrics["shards"] == 4
    assert all(not faults for faults in crawl.faults.values())
    resumed = [range_ for range_ in crawl.requests_for(path_of(0)) if range_]
    assert resumed, "the broken download was begun anew instead of resumed"
    assert all(agent.startswith("llm-core/") for agent in crawl.agents)


def test_second_run_downloads_nothing_and_writes_the_same_bytes(crawl, run):
    first = run(params(crawl, files=3))
    crawl.log.clear()
    second = run(params(crawl, files=3), out="again")
    assert crawl.log == []
    for file in sorted(first.out.rglob("*.*")):
        assert file.read_bytes() == (second.out / file.relative_to(first.out)).read_bytes()


def test_bytes_do_not_depend_on_faults_or_parallelism(crawl, run, network, tmp_path, monkeypatch):
    first = run(params(crawl, files=4))
    crawl.faults[path_of(1)] = ["reset"]
    monkeypatch.setattr(fetch_stage, "SMALL_BYTES", 0)  # every file in a process of its own
    other = network.model_copy(update={"cache": str(tmp_path / "cache2"), "parallel": 2})
    fetch("corpus", params(crawl, files=4), other, tmp_path / "again", tmp_path / "scratch2")
    for file in sorted(first.out.rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(first.out)).read_bytes()


def test_sample_is_seeded_and_a_share_is_a_share(crawl, network):
    def chosen(**choice: object) -> list[str]:
        return [shard.name for shard in CommonCrawlRoom(params(crawl, **choice), Client(network)).shards()]

    assert len(chosen(share=0.5)) == 2
    assert chosen(files=2, seed=1) == chosen(files=2, seed=1)
    assert len({tuple(chosen(files=2, seed=seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize(("kind", "texts"), [("wet", ["text 0\n", "text 1\n", "text 2\n"]), ("wat", ["A title"])])
def test_text_and_metadata_files(crawl, run, kind, texts):
    assert [row["text"] for row in run(params(crawl, files=1, format=kind)).documents] == texts


def test_a_list_of_crawls_is_one_source_and_grows_from_the_cache(crawl, run):
    older = "CC-MAIN-2026-38"
    serve_common_crawl(crawl, older, {"CC-0.warc.gz": warc(100, 5)})
    first = run(params(crawl, files=4, crawl=[CRAWL]))
    crawl.log.clear()
    both = run(params(crawl, files=4, crawl=[CRAWL, older]), out="both")
    assert len(both.documents) == 25, "four files of one crawl, and the only one of the other"
    assert {row["id"] for row in first.documents} < {row["id"] for row in both.documents}
    assert not [address for address in map(str, crawl.log) if CRAWL in address], "the first crawl came from the cache"
    for bad in ([], ["newest", CRAWL], [CRAWL, CRAWL]):
        with pytest.raises(ValidationError, match="at least one, each once"):
            params(crawl, files=1, crawl=bad)


def test_newest_crawl(crawl, run):
    result = run(params(crawl, files=1, crawl="newest"))
    assert len(result.documents) == 5


def test_captures_of_a_url_pattern_come_by_byte_range(crawl, run):
    crawl.faults[path_of(1)] = ["503", "reset"]
    crawl.faults[f"/{CRAWL}-index"] = ["503"]
    result = run(params(crawl, urls=["example.org/1*", "example.org/12"]))  # 1, 10 to 14; 12 again
    assert [row["url"].rpartition("/")[2] for row in result.documents] == ["1", "10", "11", "12", "13", "14"]
    assert None not in crawl.requests_for(path_of(1)) and None not in crawl.requests_for(path_of(0))
    [row] = [row for row in result.ledger if row["id"] == result.documents[2]["id"]]
    member = zlib.decompressobj(31).decompress(crawl.files[path_of(1)][row["offset"] :])
    assert b"page 11<" in member
    assert f"/{row['shard']}" == path_of(1)
    assert json.loads(result.documents[2]["metadata"])["warc_file"].endswith("CC-1.warc.gz")
    crawl.log.clear()
    run(params(crawl, urls=["example.org/1*", "example.org/12"]))
    assert crawl.log == []


def test_capture_that_cannot_be_had_is_quarantined_alone(crawl, run):
    kept = crawl.files.pop(path_of(0))
    assert kept
    result = run(params(crawl, urls=["example.org/1*"]))
    assert len(result.documents) == 5 and result.dropped == ["quarantine_unavailable"]
    assert result.ledger[0]["shard"].endswith("CC-0.warc.gz")


def test_records_of_a_pattern_can_be_sampled(crawl, run):
    result = run(params(crawl, urls=["example.org/*"], records=4))
    assert len(result.documents) == 4


def test_damage_inside_a_file_is_quarantined_with_its_place(crawl, run):
    crawl.digests = False
    data = bytearray(crawl.files[path_of(0)])
    members = [place for place in range(len(data)) if data[place : place + 4] == b"\x1f\x8b\x08\x00"]
    place = members[5]  # warcinfo, then three records a page: the second page's response
    data[place + 60] ^= 0xFF
    crawl.files[path_of(0)] = bytes(data)
    result = run(params(crawl, files=4))
    [lost] = [row for row in result.ledger if row["verdict"] == "dropped" and row["reason"].startswith("quarantine")]
    assert lost["reason"] == "quarantine_gzip" and lost["offset"] == place
    assert lost["shard"].endswith("CC-0.warc.gz")
    assert Counter(row["shard"] for row in result.ledger if row["verdict"] == "kept")[lost["shard"]] == 4


@pytest.mark.parametrize("choice", [{"files": 2}, {"urls": ["example.org/1*"]}])
def test_mirror_behind_fsspec(crawl, run, tmp_path, choice):
    for path, data in crawl.files.items():
        (tmp_path / f"mirror{path}").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"mirror{path}").write_bytes(data)
    crawl.files.clear()
    result = run(params(crawl, base=f"file://{tmp_path}/mirror", **choice))
    assert len(result.documents) == (10 if "files" in choice else 6)


def test_unknown_crawl_and_empty_patterns_are_one_clear_line(crawl, run, tmp_path):
    with pytest.raises(UserError, match="404 Not Found"):
        run(params(crawl, files=1, crawl="CC-MAIN-1999-01"))
    with pytest.raises(UserError, match=r"no capture of nowhere\.org"):
        run(params(crawl, urls=["nowhere.org/*"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("choice", [{}, {"files": 1, "share": 0.1}, {"urls": ["x"], "format": "wet"}, {"files": 0}])
def test_params_that_do_not_choose_one_way_are_refused(choice):
    with pytest.raises(ValidationError):
        CommonCrawlSource.model_validate({"kind": "common_crawl", "crawl": CRAWL, **choice})
