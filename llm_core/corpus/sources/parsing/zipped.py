"""What DOCX, PPTX, ODT and EPUB have in common: a zip archive of XML, which must not be encrypted or a bomb."""

import io
import zipfile
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError
from llm_core.runtime.inputs import RATIO_COUNTS_FROM

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # Microsoft's older container: encrypted OOXML, or .doc and .ppt
ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")


def open_zip(path: Path, limits: Limits) -> zipfile.ZipFile:
    """The archive, its directory checked. Raises NotParsedError: encrypted, another format, a decompression bomb."""
    with open(path, "rb") as stream:
        begin = stream.read(1 << 20)
    if begin.startswith(COMPOUND):
        if ENCRYPTED_PACKAGE in path.read_bytes():
            raise NotParsedError("quarantine_encrypted", "needs a password")
        raise NotParsedError("quarantine_wrong_kind", "an older Office format (.doc, .ppt) under a newer name")
    if not begin.startswith(b"PK"):
        raise NotParsedError("quarantine_wrong_kind", "is not what its name says (no zip archive)")
    archive = zipfile.ZipFile(path)
    members = archive.infolist()
    if any(member.flag_bits & 1 for member in members):
        raise NotParsedError("quarantine_encrypted", "needs a password")
    size = sum(member.file_size for member in members)
    if size > RATIO_COUNTS_FROM and size > limits.max_inflation * path.stat().st_size:
        raise NotParsedError("quarantine_decompression_bomb", f"{size} bytes when decompressed")
    return archive


def read_xml(archive: zipfile.ZipFile, name: str) -> Any:
    """The root element (lxml) of a member. Entities are not resolved, nothing is loaded from elsewhere."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    return etree.parse(io.BytesIO(archive.read(name)), parser).getroot()
