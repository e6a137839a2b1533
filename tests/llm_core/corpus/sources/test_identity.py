"""An id names one document of one source; no document is lost because of another's id."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.formats.documents import document_id
from llm_core.params.sources import FilesSource


def put(file, *rows) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_files_that_each_count_their_rows_from_0_are_told_apart(tmp_path, run):
    for part in ("river", "town"):
        put(tmp_path / f"set/{part}.jsonl", *({"id": n, "text": f"the {part} of page {n}"} for n in range(5)))
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "set")]))
    assert len(result.documents) == 10 and not result.dropped
    assert result.metrics["ids_told_apart"] == 5
    assert [row["reason"] for row in result.ledger] == [None] * 5 + ["id_told_apart"] * 5
    assert result.documents[0]["id"] == document_id("corpus", "0")
    assert [json.loads(row["metadata"])["source_id"] for row in result.documents] == [str(n) for n in range(5)] * 2
    # A file that comes later leaves the ids as they are.
    put(tmp_path / "set/zebra.jsonl", {"id": 0, "text": "another"})
    again = run(FilesSource(kind="files", paths=[str(tmp_path / "set")]), out="again")
    assert [row["id"] for row in again.documents[:10]] == [row["id"] for row in result.documents]


def test_a_dropped_copy_names_the_document_of_its_own_text(tmp_path, run):
    put(tmp_path / "set/a.jsonl", {"id": 1, "text": "one"})
    put(tmp_path / "set/b.jsonl", {"id": 1, "text": "other"}, {"id": 1, "text": "other"})
    result = run(FilesSource(kind="files", paths=[str(tmp_path / "set")]))
    texts = {row["id"]: row["text"] for row in result.documents}
    assert sorted(texts.values()) == ["one", "other"]
    [dropped] = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert (dropped["reason"], texts[dropped["survivor_id"]]) == ("repeated_id", "other")


def test_two_sources_with_the_same_rows_share_no_id(tmp_path, run):
    put(tmp_path / "x.jsonl", *({"id": n, "text": f"text {n}"} for n in range(5)))
    source = FilesSource(kind="files", paths=[str(tmp_path / "x.jsonl")])
    first, second = run(source, "first", "out1"), run(source, "second", "out2")
    assert not {row["id"] for row in first.documents} & {row["id"] for row in second.documents}


def test_files_of_one_name_in_two_folders_share_no_id(tmp_path, run):
    put(tmp_path / "en/part-0.jsonl", {"text": "the river"})
    put(tmp_path / "de/part-0.jsonl", {"text": "der Fluss"})
    result = run(FilesSource(kind="files", paths=[str(tmp_path)]))
    assert len({row["id"] for row in result.documents}) == 2


ROWS = st.lists(st.tuples(st.sampled_from(["", "0", "1", None]), st.sampled_from("abc")), min_size=1)


@given(st.lists(ROWS, min_size=1, max_size=4))
@settings(max_examples=25)
def test_every_text_of_every_id_stays(tmp_path_factory, run, files):
    folder = tmp_path_factory.mktemp("set")
    for number, rows in enumerate(files):
        put(folder / f"{number}.jsonl", *({"text": text} | ({} if own is None else {"id": own}) for own, text in rows))
    result = run(FilesSource(kind="files", paths=[str(folder)]), out=folder.name)
    wanted = {(own, text) for rows in files for own, text in rows if own is not None}
    found = [(json.loads(row["metadata"]).get("source_id"), row["text"]) for row in result.documents]
    assert {pair for pair in found if pair[0] is not None} == wanted
    without = sum(own is None for rows in files for own, _ in rows)
    assert sum(own is None for own, _ in found) == without
    assert result.metrics["documents_in"] == sum(map(len, files)) == len(result.documents) + len(result.dropped)
