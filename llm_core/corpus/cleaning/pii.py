"""Personal data and secrets replaced by typed placeholders: the step `pii`.

Patterns with a check behind them, made to be right rather than complete: card numbers must pass Luhn's checksum,
addresses must be public ones, telephone numbers be written internationally or the North American way. Names and street
addresses are not looked for. Kinds and placeholders follow Dolma's and StarCoder's practice.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

from llm_core.corpus.cleaning.batch import Batch
from llm_core.params.cleaning import Pii

EMAIL = re.compile(
    r"(?<![\w.+%-])[A-Za-z0-9][\w.+%-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}\b"
)
PHONE = re.compile(
    r"(?<![\w.+/=-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4})(?![\w/-]|\.\d)"
)
CARD = re.compile(
    r"(?<![\w.+-])[2-6](?:\d{12,18}|\d{3}(?:([ -])\d{4})(?:\1\d{4}){2}|\d{3}[ -]\d{6}[ -]\d{5})(?![\w-]|\.\d)"
)
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,6}(?![\w:])")
VERSION = re.compile(r"(?:\bv|version|release|build)[\s:=.]*$", re.I)
KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[\s\S]{1,10000}?-----END (?:[A-Z]+ )*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,251}\b|\bgithub_pat_[A-Za-z0-9_]{40,250}\b|\bglpat-[\w-]{20,50}"
    r"|\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,200}|\bhf_[A-Za-z0-9]{30,40}\b|\bxox[abprs]-[A-Za-z0-9-]{10,200}"
    r"|\bAIza[0-9A-Za-z_-]{35}\b|\b[sr]k_live_[0-9A-Za-z]{20,100}\b"
    r"|\beyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"
)


class PiiStep:
    """Replaces what it finds, and counts it by kind."""

    def __init__(self, params: Pii) -> None:
        self.placeholders: dict[str, str] = {
            kind: params.placeholders[kind] for kind in FINDERS if kind in params.placeholders
        }

    def __call__(self, batch: Batch) -> None:
        """Change the living documents."""
        for row in batch.alive():
            text, found = replace(batch.texts[row], self.placeholders)
            if found:
                batch.change(row, text, "pii")
                for kind, count in found.items():
                    batch.tallies[batch.sources[row], f"pii_{kind}"] += count


def replace(text: str, placeholders: dict[str, str]) -> tuple[str, Counter[str]]:
    """The text with placeholders, and how many of each kind; `placeholders` in the order of FINDERS."""
    found: Counter[str] = Counter()
    for kind, placeholder in placeholders.items():
        hints, pattern, check = FINDERS[kind]
        if hints and not any(hint in text for hint in hints):
            continue

        def put(match: re.Match[str], kind: str = kind, placeholder: str = placeholder, check: Check = check) -> str:
            if not check(match):
                return match.group()
            found[kind] += 1
            return placeholder

        text = pattern.sub(put, text)
    return text, found


Check = Callable[[re.Match[str]], bool]


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of those before it (ISO/IEC 7812)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_card(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match.group())
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _is_public(match: re.Match[str]) -> bool:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return False
    return address.is_global and not VERSION.search(match.string[max(0, match.start() - 12) : match.start()])


def _is_phone(match: re.Match[str]) -> bool:
    return 10 <= sum(map(str.isdigit, match.group())) <= 15


def _always(match: re.Match[str]) -> bool:
    return True


KEY_HINTS = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "hf_"),
    *("xox", "AIza", "k_live_", "eyJ"),
)
# kind -> (substrings without one of which there is nothing to find, pattern, check), in the order of their use
FINDERS: dict[str, tuple[tuple[str, ...], re.Pattern[str], Check]] = {
    "key": (KEY_HINTS, KEY, _always),
    "email": (("@",), EMAIL, _always),
    "card": ((), CARD, _is_card),
    "ip": ((".",), IPV4, _is_public),
    "ipv6": ((":",), IPV6, _is_public),
    "phone": ((), PHONE, _is_phone),
}
