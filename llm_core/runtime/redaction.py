"""Passwords and tokens out of addresses, before they are written or printed anywhere.

An address may carry a secret as `user:password@` or in its query (`?token=…`, signed links of object stores). The one
function here is called at every edge: ledger, documents' addresses, metrics, logs, errors, names in the cache, cards,
MLflow. It works on any text that holds addresses, so that whole error messages can be passed through it.
"""

import re
from typing import Any

HIDDEN = "***"
USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/?#\s'\"<>]*@", re.I)
NAMES = (
    r"(?:[\w.-]*[_.-])?(?:token|secret|signature|credential|credentials|password|passwd|apikey)"
    r"|(?:[\w]*[_-])?(?:api[_-]?key|access[_-]?key|accesskeyid|auth|authorization|key[_-]pair[_-]id)"
    r"|key|sig|pwd|pass|jwt|hmac|policy|awsaccesskeyid|accesstoken|authtoken|sessionid|code"
)
PARAMETER = re.compile(rf"([?&;](?:amp;)?(?:{NAMES})=)[^&;#\s'\"<>]*", re.I)


def redact(text: str) -> str:
    """`text` with the user part and the secret query parameters of every address in it replaced by `***`."""
    if "@" in text:
        text = USER.sub(rf"\g<1>{HIDDEN}@", text)
    return PARAMETER.sub(rf"\g<1>{HIDDEN}", text) if "=" in text else text


def redact_values(value: Any) -> Any:
    """The same for every string inside lists and dictionaries (params, settings)."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_values(inner) for key, inner in value.items()}
    return [redact_values(inner) for inner in value] if isinstance(value, list | tuple) else value
