"""Passwords and tokens out of addresses, before they are written or printed anywhere.

An address may carry a secret as `user:password@` or in its query (`?token=…`, signed links of object stores). The one
function here is called at every edge: ledger, documents' addresses, metrics, logs, errors, names in the cache, cards,
MLflow. It works on any text that holds addresses, so that whole error messages can be passed through it.
"""

import re
from collections.abc import Callable
from typing import Any

HIDDEN = "***"
USER = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\\?#\s'\"<>]*@", re.I)
ALWAYS = (
    r"(?:[\w.-]*[_.-])?(?:token|secret|signature|credential|credentials|password|passwd|apikey)"
    r"|(?:[\w]*[_-])?(?:api[_-]?key|access[_-]?key|accesskeyid|auth|authorization|key[_-]pair[_-]id)"
    r"|sig|pwd|jwt|hmac|awsaccesskeyid|accesstoken|authtoken|sessionid"
)
"""names of query parameters that are secrets wherever they occur"""
PERHAPS = r"key|pass|policy|code"
"""names that are secrets in an address that somebody configures, and may tell pages of the web apart (`?code=IT`)"""
VALUE = r"[^&;#\s'\"<>]*"
PARAMETER = re.compile(rf"([?&;](?:amp;)?(?:{ALWAYS}|{PERHAPS})=){VALUE}", re.I)
PAGE_PARAMETER = re.compile(rf"([?&;](?:amp;)?(?:{ALWAYS})=){VALUE}", re.I)


def redact(text: str) -> str:
    """`text` with the user part and the secret query parameters of every address in it replaced by `***`."""
    return _without(PARAMETER, text)


def redact_page(text: str) -> str:
    """The same for the address of a document, which stays the address of one page: only what is always a secret."""
    return _without(PAGE_PARAMETER, text)


def _without(parameter: re.Pattern[str], text: str) -> str:
    if "@" in text:
        text = USER.sub(rf"\g<1>{HIDDEN}@", text)
    return parameter.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def redact_values(value: Any, change: Callable[[str], str] = redact) -> Any:
    """The same for every string inside lists and dictionaries (params, settings, a document's metadata)."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: redact_values(inner, change) for key, inner in value.items()}
    return [redact_values(inner, change) for inner in value] if isinstance(value, list | tuple) else value
