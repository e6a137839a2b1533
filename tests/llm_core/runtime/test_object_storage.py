"""Shards on object storage: the same reading, the same bytes, and errors that say what is wrong."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.formats.token_shards import TokenShards, TokenWriter, token_schema
from llm_core.params.launch import StorageLaunch
from llm_core.runtime import object_cache, object_storage
from llm_core.runtime.manifests import MANIFEST, read_manifest
from llm_core.runtime.storage import glob_files, list_files, local_file, output_folder
from tests.object_store import object_store


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder with a cache of its own, and local outputs afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(object_cache.VARIABLE, "100")
    yield
    object_storage.use(StorageLaunch())


@pytest.fixture
def storage(tmp_path: Path) -> str:
    address = f"file://{tmp_path}/storage"
    object_storage.use(StorageLaunch(address=address))
    return address


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with object_store() as environment:
        yield environment


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()  # it keeps the credentials that it was made with
    if not fsspec.filesystem("s3").exists("lake"):
        fsspec.filesystem("s3").mkdir("lake")
    return "s3://lake/shards"


def write(out: Path, texts: list[str], stored: bool = True) -> Path:
    """A stage's output with one shard for each text, as good as; ledgers have one row each."""
    with output_folder(out, stored=stored) as folder:
        with DocumentWriter(folder / "documents", shard_bytes=1) as documents:
            for number, text in enumerate(texts):
                documents.write_rows([{"id": f"{number}", "source": "s", "text": text}])
        (folder / "metrics.json").write_text("{}")
    return out


def texts_of(folder: Path) -> list[str]:
    return [text for batch in read_documents(folder) for text in batch["text"].to_pylist()]


def only_object(storage: str, suffix: str = "parquet") -> Path:
    (found,) = Path(storage.removeprefix("file://")).glob(f"??/*.{suffix}")
    return found


def test_readers_open_a_manifest_as_they_open_shards(storage, tmp_path):
    stored = write(tmp_path / "stored", ["one", "two", "three"])
    object_storage.use(StorageLaunch())
    local = write(tmp_path / "local", ["one", "two", "three"])
    assert os.listdir(stored / "documents") == [MANIFEST]
    names = ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert [Path(file).name for file in list_files(stored, (".parquet",))] == names
    assert [file.name for file in glob_files(tmp_path, "stored/documents/*.parquet")] == names
    assert texts_of(stored) == texts_of(local) == ["one", "two", "three"]
    for name in names:
        assert local_file(stored / "documents" / name).read_bytes() == (local / "documents" / name).read_bytes()
    assert texts_of(stored / "documents/00001.parquet") == ["two"]


def test_a_manifest_states_name_address_size_and_digest_and_depends_on_the_content_alone(storage, tmp_path):
    first, second = (write(tmp_path / name, ["one"]) / "documents" / MANIFEST for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    (row,) = json.loads(first.read_text())["shards"]
    data = only_object(storage).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    address = f"{storage}/{digest[:2]}/{digest}.parquet"
    assert row == {"name": "00000.parquet", "address": address, "bytes": len(data), "sha256": digest}


def test_what_is_there_is_not_uploaded_again_and_half_an_object_is(storage, tmp_path):
    write(tmp_path / "out", ["one"])
    there = only_object(storage)
    before, data = there.stat(), there.read_bytes()
    write(tmp_path / "out", ["one"])
    assert (there.stat().st_ino, there.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    there.write_bytes(data[:100])
    write(tmp_path / "out", ["one"])
    assert there.read_bytes() == data


def test_tokens_are_mapped_from_the_copies(storage, tmp_path):
    batch = pa.record_batch([["a", "b"], ["s", "s"], [3, 3], [[1, 2, 3], [4, 5]]], schema=token_schema(100, "digest"))
    with output_folder(tmp_path / "tokens", stored=True) as folder, TokenWriter(folder / "train", batch.schema) as to:
        to.write(batch)
    shards = TokenShards(tmp_path / "tokens/train")
    assert [shards.ids(number).tolist() for number in range(2)] == [[1, 2, 3], [4, 5]]
    assert shards.files == [tmp_path / "tokens/train/00000.arrow"]
    assert np.array_equal(shards.lengths, [3, 2])


def test_a_changed_object_is_an_error_that_names_shard_and_digests(storage, tmp_path):
    out = write(tmp_path / "out", ["one"])
    there = only_object(storage)
    there.write_bytes(there.read_bytes()[:-1] + b"?")
    found = hashlib.sha256(there.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=rf"documents/00000\.parquet.*was changed.*{found}.*{there.stem}"):
        texts_of(out)
    there.unlink()
    with pytest.raises(UserError, match=rf"documents/00000\.parquet.*{there.stem}.*is not there"):
        texts_of(out)
    assert not list(Path(".scratch/objects").glob("??/*"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "../../up.parquet"}, "is no shard"),
        ({"address": "file:///etc/passwd"}, "does not end in"),
        ({"sha256": "0" * 64}, "does not end in"),
        ({"bytes": "many"}, "is no shard"),
        ({"more": 1}, "more"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(storage, tmp_path, change, reason):
    file = write(tmp_path / "out", ["one"]) / "documents" / MANIFEST
    value = json.loads(file.read_text())
    value["shards"][0] |= change
    file.write_text(json.dumps(value))
    with pytest.raises(UserError, match=reason):
        texts_of(tmp_path / "out")


def test_a_killed_stage_leaves_no_manifest_and_the_next_run_uses_what_was_uploaded(storage, tmp_path):
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from llm_core.params.launch import StorageLaunch\n"
        "from llm_core.runtime import object_storage\n"
        "from tests.llm_core.runtime.test_object_storage import write\n"
        "object_storage.write_manifest = lambda *_: os.kill(os.getpid(), 9)\n"  # when all shards are uploaded
        "object_storage.use(StorageLaunch(address=sys.argv[1]))\n"
        "write(Path('out'), ['one', 'two'])\n"
    )
    root = str(Path(__file__).parents[3])
    killed = subprocess.run([sys.executable, "-c", code, storage], env=os.environ | {"PYTHONPATH": root}, check=False)
    assert killed.returncode == -9
    assert not Path("out").exists()
    objects = {file: file.stat().st_mtime_ns for file in Path("storage").glob("??/*")}
    assert len(objects) == 2
    assert texts_of(write(tmp_path / "out", ["one", "two"])) == ["one", "two"]
    assert {file: file.stat().st_mtime_ns for file in Path("storage").glob("??/*")} == objects


def test_copies_are_bounded_and_those_in_use_stay(storage, tmp_path, monkeypatch):
    monkeypatch.setenv(object_cache.VARIABLE, "1")
    noise = [np.random.default_rng(number).bytes(400_000).hex()[:700_000] for number in range(4)]
    out = write(tmp_path / "out", noise)
    paths = [out / "documents" / f"0000{number}.parquet" for number in range(4)]
    first = local_file(paths[0], held=True)
    second = local_file(paths[1])
    os.utime(second, (time.time() - 1,) * 2)  # its few seconds are over
    local_file(paths[2])
    local_file(paths[3])
    assert first.exists(), "it is held"
    assert not second.exists()
    assert texts_of(out) == noise


def test_the_storage_is_tried_before_the_work_and_scratch_stays_local(tmp_path):
    (tmp_path / "file").write_text("")
    object_storage.use(StorageLaunch(address=f"file://{tmp_path}/file/below"))
    with pytest.raises(UserError, match="cannot be written"), output_folder(tmp_path / "out", stored=True):
        pytest.fail("the stage began")
    assert texts_of(write(tmp_path / "scratch", ["one"], stored=False)) == ["one"]
    assert os.listdir(tmp_path / "scratch/documents") == ["00000.parquet"]


@pytest.mark.parametrize(
    "address", ["s3://key:secret@lake/x", "s3://lake/x?token=secret", "https://lake/x", "/x", "s3://x/"]
)
def test_an_address_with_credentials_or_of_another_kind_is_refused(address):
    with pytest.raises(ValueError, match="without credentials"):
        StorageLaunch(address=address)
    with pytest.raises(UserError) as error:
        object_storage.check_address(address)
    assert "secret" not in str(error.value)


def test_on_s3_the_same_bytes_come_back_and_a_changed_object_is_found(bucket, tmp_path):
    object_storage.use(StorageLaunch(address=bucket))
    out = write(tmp_path / "out", ["one", "two"])
    assert texts_of(out) == ["one", "two"]
    shard = read_manifest(out / "documents")["00001.parquet"]
    assert fsspec.filesystem("s3").info(shard.address)["size"] == shard.bytes
    fsspec.filesystem("s3").pipe(shard.address, b"something else")
    for copy in Path(".scratch/objects").glob("??/*"):
        copy.unlink()
    with pytest.raises(UserError, match=rf"00001\.parquet.*14 bytes.*{shard.sha256}"):
        texts_of(out)


class Busy(BaseHTTPRequestHandler):
    """A server that is overloaded."""

    protocol_version = "HTTP/1.1"  # clients wait for a "100 Continue" before they send an object

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("no bucket", "no such bucket"),
        ("no credentials", "[Cc]redentials"),
        ("no server", "(?i)connect"),
        ("busy", "SlowDown|reduce your request rate|503"),
    ],
)
def test_errors_of_a_store_are_one_sentence_without_the_keys(bucket, monkeypatch, tmp_path, case, told):
    address = bucket
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    if case == "no bucket":
        address = "s3://nowhere/shards"
    if case == "no credentials":
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(tmp_path))
    if case == "no server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    if case == "busy":
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    fsspec.filesystem("s3").clear_instance_cache()
    object_storage.use(StorageLaunch(address=address))
    try:
        with pytest.raises(UserError, match=told) as error, output_folder(tmp_path / "out", stored=True):
            pytest.fail("the stage began")
        assert str(error.value).startswith(f"{address}: cannot be written")
        assert "s-e-c-r-e-t" not in str(error.value)
    finally:
        server.server_close()
        fsspec.filesystem("s3").clear_instance_cache()


def test_objects_that_no_manifest_names_are_found_by_outputs_and_dvc_caches(storage, tmp_path):
    kept = read_manifest(write(tmp_path / "project/data/kept", ["kept"]) / "documents")
    earlier = write(tmp_path / "project/data/earlier", ["earlier"]) / "documents" / MANIFEST
    in_cache = tmp_path / "project/.dvc/cache/files/md5/ab/cdef"
    in_cache.parent.mkdir(parents=True)
    earlier.rename(in_cache)
    gone = read_manifest(write(tmp_path / "gone", ["gone"]) / "documents")["00000.parquet"]
    named = object_storage.named_below([tmp_path / "project"])
    assert named.manifests == 2
    assert kept["00000.parquet"].address in named.addresses
    assert not list(object_storage.unnamed_objects(storage, named, older_than=1)), "it is young"
    (found,) = object_storage.unnamed_objects(storage, named, older_than=0)
    assert (Path(found.place).stem, found.bytes) == (gone.sha256, gone.bytes)
    object_storage.remove_objects(storage, [found])
    assert not Path(found.place).exists()
    assert len(list((tmp_path / "storage").glob("??/*"))) == 2
    assert texts_of(tmp_path / "project/data/kept") == ["kept"]


def test_a_ledger_is_read_through_its_manifest(storage, tmp_path):
    from llm_core.formats.ledger import LedgerWriter

    with output_folder(tmp_path / "out", stored=True) as folder, LedgerWriter(folder / "ledger", "clean") as ledger:
        ledger.record([{"id": "1", "source": "s", "verdict": "kept", "bytes": 3}])
    assert os.listdir(tmp_path / "out/ledger") == [MANIFEST]
    assert [batch["id"].to_pylist() for batch in read_ledger(tmp_path / "out", ["id"])] == [["1"]]
