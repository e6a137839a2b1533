"""What a server says about waiting and about checksums, in the headers of its answers."""

import base64
import email.utils
import re
import time
from collections.abc import Mapping

import requests

LONGEST_PAUSE_SECONDS = 120.0  # whatever a server asks for


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or an HTTP date), at most two minutes."""
    if not value:
        return None
    if value.strip().isdigit():
        return min(float(value), LONGEST_PAUSE_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return min(max(moment.timestamp() - time.time(), 0.0), LONGEST_PAUSE_SECONDS)


def rate_limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until a rate limit's window ends, by the IETF draft's RateLimit header (as the hub sends it)."""
    match = re.search(r"\b(?:t|reset)=(\d+)", headers.get("RateLimit", ""))
    return min(float(match[1]), LONGEST_PAUSE_SECONDS) if match else None


def announced_digests(response: requests.Response) -> dict[str, str]:
    """Checksums of the whole file that the server states (algorithm -> hexadecimal), where it does.

    RFC 9530 Repr-Digest, Google Storage's x-goog-hash, the older Content-MD5 (of a whole answer only), and
    the hub's X-Linked-Etag, a SHA-256, on the redirect to a large file.
    """
    found: dict[str, str] = {}
    if match := re.search(r"sha-256=:([A-Za-z0-9+/=]+):", response.headers.get("Repr-Digest", "")):
        found["sha256"] = base64.b64decode(match[1]).hex()
    if match := re.search(r"md5=([A-Za-z0-9+/=]+)", response.headers.get("x-goog-hash", "")):
        found["md5"] = base64.b64decode(match[1]).hex()
    if response.status_code == 200 and (value := response.headers.get("Content-MD5")):
        found["md5"] = base64.b64decode(value).hex()
    for earlier in response.history:
        if re.fullmatch(r'"?[0-9a-f]{64}"?', etag := earlier.headers.get("X-Linked-Etag", "")):
            found["sha256"] = etag.strip('"')
    return found
