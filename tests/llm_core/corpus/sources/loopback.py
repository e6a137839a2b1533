"""A web server on loopback that serves files from memory, and misbehaves on request.

`faults[path]` is a list of what goes wrong with the next requests for that path, in order: `503`, `reset` (the
connection breaks in mid-body), `truncate` (a shorter body than announced), `slow` (a late start), `corrupt` (a byte
flipped, checksum header of the right one). `log` keeps (path, Range header) of every request.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.warm import start


class Loopback:
    """Serve `files` (path -> bytes) and `answers` (path -> function of the query) on 127.0.0.1."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[dict[str, str]], bytes | None]] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.log: list[tuple[str, str | None]] = []
        self.agents: set[str] = set()
        self.digests = True
        self.headers: dict[str, str] = {}
        self.prefixes: dict[str, Callable[[str, bytes, dict[str, str]], bytes | None]] = {}
        self.redirects: dict[str, str] = {}
        self.pause = 0.2
        self.retry_after = "0"
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        self._server = server
        self.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def requests_for(self, path: str) -> list[str | None]:
        """Range headers of the requests for one path."""
        return [range_ for requested, range_ in self.log if requested == path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self._serve(body=False)

            def do_GET(self) -> None:
                self._serve(body=True)

            def do_POST(self) -> None:
                self._serve(body=True)

            def _serve(self, body: bool) -> None:
                parts = urlsplit(self.path)
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                site.log.append((parts.path, self.headers.get("Range")))
                site.agents.add(self.headers.get("User-Agent", ""))
                query = {key: value[0] for key, value in parse_qs(parts.query).items()}
                if parts.path in site.redirects:
                    self._send(302, b"", {"Location": site.redirects[parts.path]}, body=body)
                    return
                if parts.path in site.answers:
                    data = site.answers[parts.path](query)
                elif prefix := next((prefix for prefix in site.prefixes if parts.path.startswith(prefix)), None):
                    data = site.prefixes[prefix](parts.path.removeprefix(prefix), sent, query)
                else:
                    data = site.files.get(parts.path)
                fault = site.faults[parts.path].pop(0) if site.faults[parts.path] else ""
                if fault == "slow":
                    time.sleep(site.pause)
                if fault == "503":
                    self._send(503, b"busy", {"Retry-After": site.retry_after}, body=body)
                elif data is None:
                    self._send(404, b"not here", {"X-Error-Code": "EntryNotFound"}, body=body)
                else:
                    self._file(data, fault, body)

            def _file(self, data: bytes, fault: str, body: bool) -> None:
                headers = {"ETag": f'"{hashlib.md5(data).hexdigest()[:12]}"', "Accept-Ranges": "bytes"}
                if site.digests:
                    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
                    headers["Repr-Digest"] = f"sha-256=:{digest}:"
                status, start, end = 200, 0, len(data)
                asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if asked and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
                    status, start = 206, int(asked[1])
                    end = min(int(asked[2]) + 1, len(data)) if asked[2] else len(data)
                    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
                    if start >= len(data):
                        self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                        return
                part = data[start:end]
                if fault == "corrupt":
                    part = part[: len(part) // 2] + bytes([part[len(part) // 2] ^ 0xFF]) + part[len(part) // 2 + 1 :]
                self._send(status, part, headers, fault, body)

            def _send(
                self, status: int, data: bytes, headers: dict[str, str], fault: str = "", body: bool = True
            ) -> None:
                self.send_response(status)
                for name, value in {**site.headers, **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if not body:
                    return
                if fault in ("reset", "truncate"):
                    self.wfile.write(data[: len(data) * 2 // 3])
                    self.wfile.flush()
                    if fault == "reset":
                        time.sleep(0.02)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_WR) if fault == "truncate" else self.connection.close()
                    return
                self.wfile.write(data)

        return Handler


def serve_common_crawl(site: Loopback, crawl: str, files: dict[str, list[bytes]], pages_at_once: int = 3) -> None:
    """Put a miniature Common Crawl on `site`: listings, files (name -> records) and a CDX index with pages."""
    kinds: dict[str, list[str]] = {"warc": [], "wet": [], "wat": []}
    captures: list[dict[str, str]] = []
    for name, records in files.items():
        kind = re.search(r"\.(wet|wat)\.gz$", name)
        path = f"crawl-data/{crawl}/segments/1/{kind[1] if kind else 'warc'}/{name}"
        kinds[kind[1] if kind else "warc"].append(path)
        data = b""
        for record in records:
            member = gzip.compress(record, mtime=0)
            url = re.search(rb"WARC-Target-URI: (\S+)", record)
            if b"WARC-Type: response" in record and url:
                place = {"filename": path, "offset": str(len(data)), "length": str(len(member))}
                captures.append({"url": url[1].decode(), "status": "200", **place})
            data += member
        site.files[f"/{path}"] = data
    for kind_name, paths in kinds.items():
        listing = "".join(f"{path}\n" for path in paths)
        site.files[f"/crawl-data/{crawl}/{kind_name}.paths.gz"] = gzip.compress(listing.encode(), mtime=0)
    site.files["/collinfo.json"] = json.dumps([{"id": crawl}, {"id": "CC-MAIN-2008-08"}]).encode()

    def index(query: dict[str, str]) -> bytes | None:
        prefix = query["url"].rstrip("*")
        fitting = [capture for capture in captures if capture["url"].partition("://")[2].startswith(prefix)]
        if query.get("showNumPages"):
            pages = -(-len(fitting) // pages_at_once)
            return json.dumps({"pages": pages, "pageSize": 5, "blocks": pages}).encode()
        first = int(query["page"]) * pages_at_once
        lines = [json.dumps(capture) for capture in fitting[first : first + pages_at_once]]
        return "\n".join(lines).encode() if lines else None

    site.answers[f"/{crawl}-index"] = index


def hub_environment(endpoint: str, home: Path) -> dict[str, str]:
    """Environment of a process whose hub is at `endpoint`, whatever a test before set in this one's."""
    path = os.pathsep.join([str(start.HUB), str(Path(__file__).parents[4])])
    offline = {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    return {**os.environ, **offline, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": path}


def serve_hub(site: Loopback, repo: str, revision: str, files: dict[str, bytes], kind: str = "datasets") -> None:
    """Put a miniature Hugging Face hub with one repository on `site`; `kind`: datasets or models."""
    above = "" if kind == "models" else f"/{kind}"
    site.headers = {"X-Repo-Commit": revision}
    tree = [
        {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for path, data in files.items()
    ]
    folders = {str(above) for path in files for above in PurePosixPath(path).parents} - {"."}
    for path, data in files.items():
        site.files[f"{above}/{repo}/resolve/{revision}/{path}"] = data
    about = {
        "id": repo,
        "sha": revision,
        "private": False,
        "disabled": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "lastModified": "2026-01-01T00:00:00.000Z",
        "createdAt": "2026-01-01T00:00:00.000Z",
        "siblings": [{"rfilename": path} for path in files],
    }
    for path in (f"/api/{kind}/{repo}", f"/api/{kind}/{repo}/revision/{revision}"):
        site.answers[path] = lambda query: json.dumps(about).encode()

    def list_tree(below: str, sent: bytes, query: dict[str, str]) -> bytes | None:
        top = below.strip("/")
        inside = [entry for entry in tree if entry["path"].startswith(f"{top}/" if top else "")]
        inside += [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders if top in ("", path)]
        if query.get("recursive", "").lower() != "true":
            parent = top or "."
            inside = [entry for entry in inside if str(PurePosixPath(entry["path"]).parent) == parent]
        return json.dumps([entry for entry in inside if entry["path"] != top]).encode() if inside else None

    def paths_info(_: str, sent: bytes, query: dict[str, str]) -> bytes:
        wanted = parse_qs(sent.decode()).get("paths", []) if b"=" in sent[:20] else json.loads(sent)["paths"]
        found = [entry for entry in tree if entry["path"] in wanted]
        found += [{"type": "directory", "path": path, "oid": "0" * 40} for path in wanted if path in folders]
        return json.dumps(found).encode()

    site.prefixes[f"/api/{kind}/{repo}/tree/{revision}"] = list_tree
    site.prefixes[f"/api/{kind}/{repo}/paths-info/{revision}"] = paths_info
