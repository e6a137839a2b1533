"""Archives read as data: every pattern must match a file."""

import zipfile

import pytest

from llm_core.errors import UserError
from llm_core.network.archives import read_members


def test_a_pattern_that_fits_no_member_is_an_error_beside_others_that_do(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/a.warc.gz", b"a")
    assert list(read_members(tmp_path / "a.zip", ["*/a.warc.gz"])) == [("top/a.warc.gz", b"a")]
    for patterns in (["*/a.warc.gz", "*/b.warc.gz"], ["*/b.warc.gz"]):
        with pytest.raises(UserError, match=r"a.zip: holds no file like \*/b.warc.gz"):
            list(read_members(tmp_path / "a.zip", patterns))
    with pytest.raises(UserError):
        list(read_members(tmp_path / "a.zip", []))
