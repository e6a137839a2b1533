"""Folders of any name are read as what they are: no quote in it ends a query, no bracket reads another folder."""

import shutil

import pyarrow.parquet as pq
import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.lineage import search
from llm_core.lineage.cards import dataset_card
from llm_core.lineage.diff import diff
from llm_core.lineage.index import open_index
from llm_core.lineage.listing import write_documents
from llm_core.params import Params
from llm_core.params.evaluation import Gate
from tests.llm_core.lineage.conftest import IDS, rows

NAMES = ["it's", 'a "quote"', "back\\slash", "line\nend"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_signs_of_sql(project, name):
    data = shutil.copytree(project / "data", project / name)
    index = open_index(data)
    assert [hit.id for hit in search.by_id(index, IDS[7])] == [IDS[7]]
    assert index.rows("journeys", "id = ?", [IDS[39]])[-1]["ledger"].startswith(f"{data}/clean")
    assert diff(data / "clean/web", data / "dedup", Gate(), 1).sources[0]["removed"] == 1
    assert any(block.kind == "table" and block.content for block in dataset_card(data, Params()))
    out = project / f"{name}.parquet"
    assert write_documents(data / "models/base", out, data) == pq.read_metadata(out).num_rows > 0


def test_rows_that_are_gone_are_an_error_of_one_line(project):
    (project / "data/tokens").rename(project / "elsewhere")
    with pytest.raises(UserError, match="its token shards are not here as they were"):
        write_documents(project / "data/models/base", project / "out.parquet", project / "data")
    assert not (project / "out.parquet").exists()


def test_brackets_in_a_name_read_no_other_folder(project):
    for folder, number in (("version[1]", 3), ("version1", 9)):
        with DocumentWriter(project / folder / "documents") as writer:
            writer.write_rows(rows()[:number])
    (found,) = diff(project / "version[1]", project / "version1", Gate(), 1).sources
    assert (found["before"], found["after"], found["added"]) == (3, 9, 6)
