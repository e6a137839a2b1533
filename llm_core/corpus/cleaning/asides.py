"""Short blocks that are not the article though they are between its paragraphs: what they say first tells.

A request to subscribe, a credit, or a line "Read more: …" has the tags and the length of a short paragraph, so neither
links nor names tell it apart. The phrases are those of sites in nine languages; they were collected from pages that the
extraction is developed on.
"""

import re

ASIDE = 200  # maximum number of characters of an aside

_ASIDES = (
    r"read (?:more|also|next)\b|also read\b|see also\b|more (?:from|stories|coverage|about this)\b|"
    r"related(?: (?:articles?|stories|posts?|topics?|content|coverage|links?|reading|news|videos?)\b|\s*:|$)|"
    r"recommended(?: for you|\s*:|$)|you (?:may|might) (?:also )?(?:like|be interested)|don'?t miss\b|"
    r"most (?:read|popular|viewed)\b|trending(?: now| topics?|\s*:|$)|continue reading|story continues|subscribe\b|"
    r"sign up\b|sign in\b|log in\b|register (?:now|here|to)\b|join (?:our|the conversation)\b|newsletter|"
    r"get (?:the latest|our)\b|follow (?:us|me|him|her|@)|like us on|find us on|share (?:this|on)\b|tweet this|"
    r"click here|print this|email this|send us\b|download (?:the|our) app|advertisement\b|"
    r"(?:sponsored|promoted)(?: content| by|\s*:|$)|"
    r"(?:photo|image|picture|graphic)s?(?: by| courtesy| credit|\s*:)|credits?\s*:|"
    r"copyright(?: ©| \(c\)|[a-z ]* \d{4}|$)|\(c\)|©|all rights reserved|"
    r"(?:filed under|posted in|tags|categories|topics|keywords|published|last updated|updated|by line)\s*:|"
    r"leave a (?:reply|comment)|no comments|comments?$|\d+ comments?\b|weiterlesen|"
    r"mehr (?:zum thema|zu |lesen|infos)|lesen sie (?:auch|mehr|hier)|das könnte (?:sie|dich)|auch interessant|"
    r"verwandte (?:artikel|beiträge|themen)|ähnliche (?:artikel|beiträge)|passend zum|jetzt abonnieren|anzeige$|"
    r"werbung$|foto(?:s)?\s*:|bild(?:er)?\s*:|quelle\s*:|titelbild|beitragsbild|alle rechte vorbehalten|"
    r"keine kommentare|(?:à )?lire aussi|lire la suite|sur le même sujet|crédits? photos?|partager (?:sur|cet)|"
    r"abonnez|suivez[- ]|publicité$|tous droits réservés|lea (?:también|además)|le puede interesar|"
    r"te puede interesar|vea también|noticias relacionadas|suscr[íi]b|s[íi]guenos|publicidad$|todos los derechos|"
    r"leia (?:também|mais)|veja (?:também|mais)|saiba mais|publicidade$|leggi anche|potrebbe interessarti|"
    r"iscriviti|pubblicità$|tutti i diritti|czytaj (?:także|też|więcej)|zobacz (?:także|też|również)|"
    r"przeczytaj (?:także|też)|reklama$|lees (?:ook|meer|verder)|bekijk ook|advertentie$"
)
PHRASES = re.compile(r"[\W_]*(?:" + _ASIDES + ")", re.I)


def is_aside(text: str) -> bool:
    """Whether a block of text is short and begins as an aside does."""
    return len(text) <= ASIDE and PHRASES.match(text) is not None
