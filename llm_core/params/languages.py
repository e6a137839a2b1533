"""Language codes in one spelling: ISO 639-1, or 639-3 where a language has no shorter code.

People write `EN`, `en-US`, `eng` and `eng_Latn` (FLORES, fastText's later models) for what documents carry as `en`.
"""

import difflib
from functools import cache

CODES = (
    "af als am an ar arz as ast av az azb ba bar bcl be bg bh bn bo bpy br bs bxr ca cbk ce ceb ckb co cs cv cy da de "
    "diq dsb dty dv el eml en eo es et eu fa fi fr frr fy ga gd gl gn gom gu gv he hi hif hr hsb ht hu hy ia id ie ilo "
    "io is it ja jbo jv ka kk km kn ko krc ku kv kw ky la lb lez li lmo lo lrc lt lv mai mg mhr min mk ml mn mr mrj ms "
    "mt mwl my myv mzn nah nap nds ne new nl nn no oc or os pa pam pfl pl pms pnb ps pt qu rm ro ru rue sa sah sc scn "
    "sco sd sh si sk sl so sq sr su sv sw ta te tg th tk tl tr tt tyv ug uk ur uz vec vep vi vls vo wa war wuu xal xmf "
    "yi yo yue zh"
)
KNOWN = frozenset(CODES.split())
"""what the language identifier (fastText's lid.176) can answer"""


def language_code(written: str) -> str:
    """The code in the spelling that documents carry: `EN`, `en-US` and `eng_Latn` give `en`.

    Raises ValueError where `written` is no code of a language that the identifier knows.
    """
    from langcodes import LanguageTagError, standardize_tag

    tag = written.strip().replace("_", "-")
    found = ""
    if tag.lower() in KNOWN:
        return tag.lower()
    for macro in (False, True):  # `arb` is Arabic, `cmn` Chinese; but `arz` is known by itself
        try:
            found = standardize_tag(tag, macro=macro).split("-")[0]
        except LanguageTagError:
            continue
        if found in KNOWN:
            return found
    near = difflib.get_close_matches(written.lower(), KNOWN, n=3, cutoff=0.3)
    hint = f"; near: {', '.join(sorted(near))}" if near else ""
    raise ValueError(f"'{written}' is no language code that is known here (write ISO 639-1, such as en or de{hint})")


@cache
def known_code(written: str) -> str:
    """The code in the spelling that documents carry; one that is not known stays as it is written."""
    try:
        return language_code(written)
    except ValueError:
        return written
