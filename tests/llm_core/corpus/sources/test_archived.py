"""Zip and tar archives as folders: their members are read like files, or named by reason; none leads out of it."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
import zstandard

from llm_core.errors import UserError
from llm_core.params.sources import FilesSource
from tests.llm_core.corpus.sources import office_files as make

TEXTS = {"a/one.txt": b"the river", "a/two.MD": b"the town", "rows.jsonl": b'{"text": "a row"}\n{"text": "two"}\n'}
PACKERS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def source(*paths, **settings) -> FilesSource:
    return FilesSource(kind="files", paths=[str(path) for path in paths], **settings)


def tar(members: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for entry in special:
            archive.addfile(entry)
    return sink.getvalue()


def reasons(result) -> dict[str, str]:
    """Reason of each dropped record, by the name of its file below the folder."""
    return {
        row["shard"].rpartition("/corpus/")[2]: row["reason"] for row in result.ledger if row["verdict"] == "dropped"
    }


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


def test_members_are_documents_like_files(corpus, run):
    members = {**TEXTS, "page.pdf": make.pdf(["a page", "another"], "Atlas"), "t.csv.gz": gzip.compress(b"text\nb\n")}
    (corpus / "z.zip").write_bytes(make.zipped(members))
    for end, pack in PACKERS.items():
        (corpus / f"t.tar{end}").write_bytes(pack(tar(members)))
    (corpus / "t.TGZ").write_bytes(gzip.compress(tar(members)))
    result = run(source(corpus, unit="page"))
    texts = [row["text"] for row in result.documents]
    assert {text: texts.count(text) for text in texts} == dict.fromkeys(
        ("the river", "the town", "a row", "two", "a page", "another", "b"), 7
    )
    assert not result.dropped
    named = {row["shard"].rpartition("/corpus/")[2] for row in result.ledger}
    assert {f"z.zip!/{name}" for name in members} <= named and len(named) == 7 * len(members)
    (page,) = [row for row in result.documents if "z.zip!/page.pdf" in row["metadata"] and row["text"] == "another"]
    metadata = json.loads(page["metadata"])
    assert (metadata["page"], metadata["title"]) == (2, "Atlas") and metadata["file"].endswith("z.zip!/page.pdf")


def test_no_name_leads_out_and_links_and_devices_are_counted(corpus, run, tmp_path, capfd):
    link, hard, device = (tarfile.TarInfo(name) for name in ("link.txt", "hard.txt", "device.txt"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "../../outside.txt"
    device.type = tarfile.CHRTYPE
    (tmp_path / "outside.txt").write_text("not to be read")
    leading = dict.fromkeys(("../out.txt", "/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"), b"out")
    others = {"_hidden.txt": b"x", "__MACOSX/a.txt": b"x", "a.png": b"x", "none": b"x"}
    (corpus / "t.tar").write_bytes(tar({**TEXTS, **leading, **others}, link, hard, device))
    entry = zipfile.ZipInfo("link.txt")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    sink = io.BytesIO(make.zipped({**TEXTS, **leading, **others}))
    with zipfile.ZipFile(sink, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    (corpus / "z.zip").write_bytes(sink.getvalue())
    result = run(source(corpus))
    assert len(result.documents) == 2 * 4
    assert set(reasons(result)) == {f"{archive}!/{name}" for archive in ("t.tar", "z.zip") for name in leading}
    assert set(result.dropped) == {"quarantine_name_leaves_archive"}
    counted = {"hidden_name": 4, "linked_file": 3, "no_regular_file": 1, "other_ending .png": 2, "other_ending none": 2}
    assert result.metrics["records_skipped"] == counted
    assert "4 hidden_name, 3 linked_file" in capfd.readouterr().err
    assert not list(tmp_path.rglob("out.txt"))


def test_an_archive_in_an_archive_is_read_and_one_deeper_is_named(corpus, run):
    inner = make.zipped({"deep.txt": b"deep", "again.zip": make.zipped({"deeper.txt": b"deeper"})})
    (corpus / "z.zip").write_bytes(make.zipped({"inner.zip": inner, "inner.tar.xz": lzma.compress(tar(TEXTS))}))
    result = run(source(corpus))
    assert {row["text"] for row in result.documents} == {"deep", "the river", "the town", "a row", "two"}
    assert reasons(result) == {"z.zip!/inner.zip!/again.zip": "quarantine_nested_archive"}


def test_broken_members_and_archives_are_named_and_the_rest_is_read(corpus, run):
    whole = make.zipped(TEXTS)
    damaged = bytearray(whole)
    damaged[damaged.index(b"a/one.txt") + len("a/one.txt")] ^= 0xFF  # the first byte of the first member's data
    locked = bytearray(whole)
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1  # the last member's flag in the directory
    locked[locked.rindex(b"PK\x03\x04") + 6] |= 1
    records = b"11 a=bcdef\n" * 2900
    long = tarfile.TarInfo("x")
    long.type, long.size = tarfile.XHDTYPE, len(records)
    headers = (long.tobuf() + records + bytes(-len(records) % 512)) * 40
    big = tarfile.TarInfo("x")
    big.type, big.size = tarfile.XHDTYPE, 1 << 30
    (corpus / "damaged.zip").write_bytes(bytes(damaged))
    (corpus / "empty.zip").write_bytes(make.zipped({}))
    (corpus / "header.tar").write_bytes(big.tobuf() + bytes(10240))
    (corpus / "locked.zip").write_bytes(bytes(locked))
    (corpus / "no.tar").write_bytes(b"this is text" * 60)
    (corpus / "no.zip").write_bytes(b"this is text")
    (corpus / "headers.tar").write_bytes(headers + tar(TEXTS))
    (corpus / "short.tar").write_bytes(tar(TEXTS)[:1100])
    (corpus / "short.tar.gz").write_bytes(
        gzip.compress(tar({"a.txt": b"x" * 40, "b.txt": bytes(range(256)) * 90}))[:300]
    )
    (corpus / "short.zip").write_bytes(whole[:-30])
    result = run(source(corpus))
    assert reasons(result) == {
        "damaged.zip!/a/one.txt": "quarantine_broken_member",
        "empty.zip": "empty_file",
        "header.tar": "quarantine_broken_archive",
        "headers.tar": "quarantine_broken_archive",
        "locked.zip!/rows.jsonl": "quarantine_encrypted",
        "no.tar": "quarantine_broken_archive",
        "no.zip": "quarantine_broken_archive",
        "short.tar": "quarantine_truncated",
        "short.tar.gz": "quarantine_truncated",
        "short.zip": "quarantine_broken_archive",
    }
    assert [row["text"] for row in result.documents].count("the river") == 2


def test_bombs_are_bounded_over_the_whole_archive(corpus, run):
    nothing = bytes(30 << 20)
    (corpus / "a.txt").write_bytes(b"a good file")
    (corpus / "flat.zip").write_bytes(make.zipped({f"{n}.txt": nothing for n in range(3)}))
    inner = make.zipped({f"{n}.txt": nothing for n in range(2)})
    (corpus / "nested.zip").write_bytes(make.zipped({f"{n}.zip": inner for n in range(40)}))
    (corpus / "t.tar.gz").write_bytes(gzip.compress(tar({f"{n}.txt": nothing for n in range(3)})))
    result = run(source(corpus, max_document_bytes=1 << 20))
    bombs = [row["shard"] for row in result.ledger if row["reason"] == "quarantine_decompression_bomb"]
    assert {Path(name.partition("!/")[0]).name for name in bombs} == {"flat.zip", "nested.zip", "t.tar.gz"}
    assert [row["text"] for row in result.documents] == ["a good file"]


def test_an_archive_on_the_web(site, run):
    site.files["/z.zip"] = make.zipped({"what?.txt": b"the river", "b.txt": b"the town"})
    result = run(source(f"{site.address}/z.zip?token=secret"))
    assert [row["text"] for row in result.documents] == ["the river", "the town"]
    assert [row["shard"].rpartition("/z.zip")[2] for row in result.ledger] == ["!/what%3F.txt", "!/b.txt"]


def test_a_page_of_a_list_is_verified_by_its_checksum(site, run, tmp_path):
    site.files["/a.txt"] = b"the river"
    digest = hashlib.sha256(b"the river").hexdigest()
    addresses = tmp_path / "list.txt"
    addresses.write_text(f"{site.address}/a.txt {digest}\n")
    (row,) = run(FilesSource(kind="files", address_list=str(addresses))).documents
    assert (row["text"], row["url"]) == ("the river", f"{site.address}/a.txt")
    site.files["/a.txt"] = b"another"
    addresses.write_text(f"{site.address}/a.txt {'0' * 64}\n")
    with pytest.raises(UserError, match="sha256"):
        run(FilesSource(kind="files", address_list=str(addresses)), out="again")
