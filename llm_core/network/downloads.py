"""Downloads that end whole or not at all: resumed, retried, verified, cached.

A file grows under a hidden name in the cache folder and takes its final name only when its
length and, where one is known, its checksum agree. A broken connection resumes by byte range
(with `If-Range`, so that a file which changed meanwhile starts anew). 408, 425, 429 and 5xx
answers are tried again after `Retry-After`, or after an exponential pause with jitter
(decorrelating many workers: AWS Architecture Blog, "Exponential Backoff and Jitter"); a
`Retry-After` holds back every worker on that host. Other file systems (`s3://…`) go through
fsspec; local paths are used where they lie. The address that answered, after redirects, is noted beside the file.
Passwords and tokens in an address are used, and written nowhere.
"""

import fcntl
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import requests
import urllib3

from llm_core.errors import UserError
from llm_core.network.addresses import is_web
from llm_core.network.cache_names import cache_path
from llm_core.network.http_headers import LONGEST_PAUSE_SECONDS, announced_digests, rate_limit_reset, retry_after
from llm_core.network.sessions import CERTIFICATE_ADVICE, Session, is_certificate_error
from llm_core.params.sources import Network
from llm_core.runtime.digests import file_digest
from llm_core.runtime.inputs import irregular
from llm_core.runtime.progress import Task, log, task
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import file_system, is_remote, open_file, read_json, write_json

CHUNK_BYTES = 1 << 18
MAX_BODY_BYTES = 65 << 20  # of a body that is held in memory
SHOWN_BYTES = 16 << 20  # a larger download gets a progress bar of its own
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class TransientError(Exception):
    """A failure that another try may mend; `pause` is the server's Retry-After in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class WrongChecksumError(TransientError):
    """The bytes are not those that were promised; if a second download differs too, the pinned checksum is wrong."""


class Client:
    """An HTTP client for many threads that retries, resumes and remembers a host's Retry-After.

    `requests_sent` and `bytes_received` count the traffic, so that a second run can be shown to have none.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.cache = Path(network.cache).expanduser()
        self.answered: dict[str, str] = {}
        """address -> the one that answered in its place, after redirects; both without secrets."""
        self.requests_sent = 0
        self.bytes_received = 0
        self._local = threading.local()
        self._lock = threading.Lock()
        self._not_before: dict[str, float] = {}

    def get(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        byte_range: tuple[int, int] | None = None,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> bytes:
        """A body in memory, cut at `max_bytes`; `byte_range` is (offset, length) and must be honoured by the server.

        Raises UserError when the address does not exist or every try has failed.
        """
        if byte_range and not is_web(url):
            filesystem, path = file_system(url)
            try:
                data: bytes = filesystem.cat_file(path, byte_range[0], sum(byte_range))
            except OSError as error:
                raise UserError(f"{redact(url)}: cannot be read ({error})") from None
            return data
        headers = {"Accept-Encoding": "identity", **(headers or {})}
        if byte_range:
            headers["Range"] = f"bytes={byte_range[0]}-{byte_range[0] + byte_range[1] - 1}"

        def attempt() -> bytes:
            with self._request(url, headers) as response:
                if response.status_code == 416:
                    raise UserError(f"{redact(url)}: has no bytes {headers['Range'].removeprefix('bytes=')}")
                if byte_range and response.status_code != 206:
                    raise UserError(f"{redact(url)}: the server ignores byte ranges, a single record cannot be read")
                body = bytearray()
                for chunk in self._chunks(response):
                    body += chunk
                    if len(body) >= max_bytes:
                        return bytes(body[:max_bytes])
                if byte_range and len(body) != byte_range[1]:
                    raise TransientError(f"{len(body)} bytes came instead of {byte_range[1]}")
                return bytes(body)

        return self._retry(url, attempt)

    def download(
        self, url: str, target: Path, sha256: str | None = None, size: int | None = None, work: Task | None = None
    ) -> Path:
        """Bring `url` to `target`, which appears only when whole and verified; keep one that is there.

        A `target` without a given `sha256` is trusted when its length is the one noted at its download.
        Raises UserError: no such address, wrong checksum after a second try, every try failed.
        """
        with _locked(target):
            if not self.is_whole(target, sha256):
                partial = target.with_name(f".{target.name}.partial")
                with ExitStack() as bars:
                    answered = self._retry(url, lambda: self._attempt(url, partial, sha256, size, work, bars), partial)
                note = {"url": redact(url), "answered": answered, "size": partial.stat().st_size}
                write_json(_note(target), {**note, "sha256": sha256 or file_digest(partial, "sha256")})
                partial.replace(target)
                _etag(partial).unlink(missing_ok=True)
            if _note(target).is_file():
                self._remember(url, read_json(_note(target)).get("answered"))
        return target

    def bring(self, address: str, sha256: str | None = None, size: int | None = None, work: Task | None = None) -> Path:
        """A local path for `address`: a local path itself, else a verified copy in the cache."""
        if not is_remote(address):
            if not Path(address).exists():
                raise UserError(f"{address}: no such file")
            if kind := irregular(address):
                raise UserError(f"{address}: is {kind}, not a file; give regular files")
            return Path(address)
        target = cache_path(self.cache, address)
        if is_web(address):
            return self.download(address, target, sha256, size, work)
        with _locked(target):
            if not self.is_whole(target, sha256):
                partial = target.with_name(f".{target.name}.partial")
                try:
                    with open_file(address) as source, open(partial, "wb") as sink:
                        while chunk := source.read(CHUNK_BYTES):
                            sink.write(chunk)
                except (FileNotFoundError, PermissionError, ValueError) as error:
                    raise UserError(f"{redact(address)}: cannot be read ({redact(str(error))[:200]})") from None
                digest = file_digest(partial, "sha256")
                if sha256 and digest != sha256:
                    partial.unlink()
                    raise UserError(f"{redact(address)}: sha256 is {digest}, {sha256} was expected")
                write_json(_note(target), {"url": redact(address), "size": partial.stat().st_size, "sha256": digest})
                partial.replace(target)
        return target

    def is_whole(self, target: Path, sha256: str | None) -> bool:
        """Whether `target` is there, with the given checksum or, without one, the length noted at its download."""
        if not target.is_file():
            return False
        if sha256:
            return file_digest(target, "sha256") == sha256
        return _note(target).is_file() and read_json(_note(target))["size"] == target.stat().st_size

    def _remember(self, url: str, answered: str | None) -> None:
        if answered and answered != redact(url):
            with self._lock:
                self.answered[redact(url)] = answered

    def _attempt(
        self, url: str, partial: Path, sha256: str | None, size: int | None, work: Task | None, bars: ExitStack
    ) -> str:
        """One try: append what is missing to `partial`, check length and checksum; the address that answered."""
        have = partial.stat().st_size if partial.exists() else 0
        etag = _etag(partial).read_text() if _etag(partial).exists() else ""
        headers = {"Accept-Encoding": "identity"}
        if have and (etag or sha256):
            headers["Range"] = f"bytes={have}-"
            if etag:
                headers["If-Range"] = etag
        else:
            have = 0
        with self._request(url, headers) as response:
            if response.status_code == 416:  # the partial file is whole already, or longer than the file
                expected: int | None = _range_total(response)
                if expected != have:
                    partial.unlink()
                    raise TransientError("the partial file no longer fits")
            else:
                resumed = response.status_code == 206
                start = have if resumed else 0
                length = response.headers.get("Content-Length")
                expected = _range_total(response) if resumed else int(length) if length else None
                largest = self.network.max_file_bytes
                if (expected or 0) > largest:
                    raise UserError(f"{redact(url)}: {expected} bytes; network.max_file_bytes allows {largest}")
                room = largest - start
                tag = response.headers.get("ETag", "")
                _etag(partial).write_text("" if tag.startswith("W/") else tag)
                with open(partial, "ab" if resumed else "wb") as sink:
                    if work is None and expected and expected - start > SHOWN_BYTES:
                        name = f"download {urlsplit(url).path.rpartition('/')[2]}"
                        work = bars.enter_context(task(name, total=expected, unit="B"))
                    if work and expected:
                        work.total = expected
                    if work and start > work.done:
                        work.update(start - work.done)
                    for chunk in self._chunks(response, decoded=False):
                        room -= len(chunk)
                        if room < 0:
                            raise UserError(f"{redact(url)}: more bytes than network.max_file_bytes ({largest}) allows")
                        sink.write(chunk)
                        if work:
                            work.update(len(chunk))
        got = partial.stat().st_size
        wanted = expected if expected is not None else size
        if wanted is not None and got < wanted:
            raise TransientError(f"the connection ended after {got} of {wanted} bytes")
        if (wanted is not None and got > wanted) or (size is not None and got != size):
            partial.unlink()
            raise TransientError(f"{got} bytes came instead of {size if size is not None else wanted}")
        for algorithm, value in ({"sha256": sha256} if sha256 else announced_digests(response)).items():
            if (digest := file_digest(partial, algorithm)) != value:
                partial.unlink()
                raise WrongChecksumError(f"{algorithm} is {digest}, {value} was expected")
        return redact(response.url)

    @contextmanager
    def _request(self, url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Send a GET; raise TransientError on what may pass, UserError on what will not."""
        try:
            host = urlsplit(url).netloc
        except ValueError as error:
            raise UserError(f"{redact(url)}: not an address ({error})") from None
        self._take_turn(host)
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = Session()
        with self._lock:
            self.requests_sent += 1
        timeout = self.network.timeout_seconds
        try:
            with session.get(url, headers=headers, stream=True, timeout=(timeout, timeout)) as response:
                status = response.status_code
                if status in TRY_AGAIN:
                    wait = retry_after(response.headers.get("Retry-After")) or rate_limit_reset(response.headers)
                    if wait:
                        with self._lock:
                            self._not_before[host] = max(self._not_before.get(host, 0.0), time.monotonic() + wait)
                    raise TransientError(f"the server answered {status} {response.reason}", wait)
                if status not in (200, 206, 416):
                    raise UserError(f"{redact(url)}: the server answered {status} {response.reason}")
                self._remember(url, redact(response.url))
                yield response
        except BROKEN as error:
            if is_certificate_error(error):
                raise UserError(f"{redact(url)}: its certificate is not trusted; {CERTIFICATE_ADVICE}") from None
            raise TransientError(_short(error)) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError, ValueError) as error:
            raise UserError(f"{redact(url)}: {_short(error)}") from None

    def _take_turn(self, host: str) -> None:
        """Wait until the host may be asked again: after its Retry-After, and `network.pause_seconds` apart."""
        while True:
            with self._lock:
                now = time.monotonic()
                pause = self._not_before.get(host, 0.0) - now
                if pause <= 0:
                    self._not_before[host] = now + self.network.pause_seconds
                    return
            time.sleep(pause)

    def _chunks(self, response: requests.Response, decoded: bool = True) -> Iterator[bytes]:
        """The body as it arrives; not `decoded`, what came before a break is yielded too, for resuming."""
        pieces = response.iter_content(CHUNK_BYTES) if decoded else iter(lambda: response.raw.read1(CHUNK_BYTES), b"")
        try:
            for piece in pieces:
                with self._lock:
                    self.bytes_received += len(piece)
                yield piece
        except urllib3.exceptions.HTTPError as error:
            raise TransientError(_short(error)) from None

    def _retry(self, url: str, attempt: Any, partial: Path | None = None) -> Any:
        """Call `attempt` until it succeeds or `network.retries` further tries in a row brought nothing.

        A try after which `partial` has grown is not counted: a long download survives many breaks.
        """
        tries = wrong = have = 0
        while True:
            try:
                return attempt()
            except TransientError as failure:
                reason = str(failure)
                wrong += isinstance(failure, WrongChecksumError)
                size = partial.stat().st_size if partial and partial.exists() else 0
                tries = 1 if size > have else tries + 1
                have = size
                if tries > self.network.retries or wrong == 2:
                    break
                backoff = min(self.network.backoff_seconds * 2 ** (tries - 1), LONGEST_PAUSE_SECONDS)
                pause = failure.pause if failure.pause is not None else backoff * random.uniform(0.5, 1.5)
                log(f"{redact(url)}: {reason}; try {tries + 1} of {self.network.retries + 1} in {pause:.1f} s")
                time.sleep(pause)
        advice = "check the pinned checksum" if wrong == 2 else "run again to go on from where it stopped"
        raise UserError(f"{redact(url)}: {reason} (after {max(tries, wrong)} tries); {advice}")


def _range_total(response: requests.Response) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _short(error: BaseException) -> str:
    text = redact(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:200]}"


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.json")


def _etag(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


@contextmanager
def _locked(target: Path) -> Iterator[IO[str]]:
    """Hold the lock of one target: two processes that want the same file fetch it once."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(
            f"{target}: the cache holds a file where this address needs a folder; remove it, or set network.cache"
        ) from None
    with open(target.with_name(f".{target.name}.lock"), "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream
