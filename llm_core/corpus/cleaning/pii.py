"""Personal data and secrets replaced by typed placeholders: the step `pii`.

Patterns with a check, for precision rather than recall: card numbers must pass Luhn's checksum,
addresses must be public ones, telephone numbers be written internationally or the North American way. Names and street
addresses are not looked for. Kinds and placeholders follow Dolma's and StarCoder's practice.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable

from llm_core.corpus.cleaning.batch import Batch
from llm_core.params.cleaning import Pii

# Letters that may touch an address and belong to it. Han, kana, Thai, Cyrillic … are written up to a Latin address
# without a space, and are not part of it.
LATIN = r"A-Za-z0-9_\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\u0300-\u036f"
NO_WORD_BEFORE, NO_WORD_AFTER = rf"(?<![{LATIN}])", rf"(?![{LATIN}])"
OTHER = rf"(?:(?![{LATIN}])\w)"  # a letter or digit of another script
LABEL = rf"(?:(?!_)[{LATIN}](?:[{LATIN}-]{{0,61}}[{LATIN}])?|{OTHER}{{1,63}})"  # one label of a domain name
EMAIL = re.compile(
    rf"(?:(?<![{LATIN}.+%-])(?!_)[{LATIN}][{LATIN}.+%-]{{0,63}}"
    rf"|(?<![\w.+%-]){OTHER}(?:{OTHER}|[0-9_.+%-]){{0,63}})"
    rf"@(?:{LABEL}\.){{1,10}}(?:(?:(?![0-9_])[{LATIN}]){{2,24}}{NO_WORD_AFTER}|{OTHER}{{2,24}})"
)
PHONE = re.compile(
    rf"(?<![\d{LATIN}.+/=-])(?:\+\d{{1,3}}[ .-]?(?:\(\d{{1,4}}\)[ .-]?)?\d{{1,4}}(?:[ .-]?\d{{2,4}}){{1,4}}"
    rf"|(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{{4}})(?![\d{LATIN}/-]|\.\d)"
)
CARD = re.compile(
    rf"(?<![\d{LATIN}.+-])[2-6](?:\d{{12,18}}|\d{{3}}(?:([ -])\d{{4}})(?:\1\d{{4}}){{2}}|\d{{3}}[ -]\d{{6}}[ -]\d{{5}})"
    rf"(?![\d{LATIN}-]|\.\d)"
)
IPV4 = re.compile(rf"(?<![\d{LATIN}.])(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?![\d{LATIN}]|\.\d)")
IPV6 = re.compile(rf"(?<![{LATIN}:.])(?:[0-9A-Fa-f]{{1,4}}:){{2,7}}(?::?[0-9A-Fa-f]{{1,4}}){{1,6}}(?![{LATIN}:])")
VERSION = re.compile(r"(?:\bv|version|release|build)[\s:=.]*$", re.I)
KEY = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[^-]|-(?!----)){1,10000}-----END (?:[A-Z]+ )*PRIVATE KEY-----"
    rf"|{NO_WORD_BEFORE}(?:"
    rf"(?:AKIA|ASIA)[0-9A-Z]{{16}}{NO_WORD_AFTER}"
    rf"|gh[pousr]_[A-Za-z0-9]{{36,251}}{NO_WORD_AFTER}|github_pat_[A-Za-z0-9_]{{40,250}}{NO_WORD_AFTER}"
    r"|glpat-[A-Za-z0-9_-]{20,50}|sk-[A-Za-z0-9_-]{20,250}"
    rf"|hf_[A-Za-z0-9]{{30,40}}{NO_WORD_AFTER}|xox[abprs]-[A-Za-z0-9-]{{10,200}}"
    rf"|AIza[0-9A-Za-z_-]{{35}}{NO_WORD_AFTER}|[sr]k_live_[0-9A-Za-z]{{20,100}}{NO_WORD_AFTER}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000})"
)
RANDOM = re.compile(r"(?=[A-Za-z_]*[0-9])(?=[0-9_]*[A-Za-z])[A-Za-z0-9_]{16,}")  # letters and digits mixed, no hyphen


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


def _is_key(match: re.Match[str]) -> bool:
    """`sk-` begins ordinary hyphenated names too (sk-learn-…): a key has a long run of letters and digits, mixed."""
    return not match.group().startswith("sk-") or RANDOM.search(match.group()[3:]) is not None


def _always(match: re.Match[str]) -> bool:
    return True


KEY_HINTS = (
    *("PRIVATE KEY", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "sk-", "hf_"),
    *("xox", "AIza", "k_live_", "eyJ"),
)
# kind -> (substrings without one of which there is nothing to find, pattern, check), in the order of their use
FINDERS: dict[str, tuple[tuple[str, ...], re.Pattern[str], Check]] = {
    "key": (KEY_HINTS, KEY, _is_key),
    "email": (("@",), EMAIL, _always),
    "card": ((), CARD, _is_card),
    "ip": ((".",), IPV4, _is_public),
    "ipv6": ((":",), IPV6, _is_public),
    "phone": ((), PHONE, _is_phone),
}
