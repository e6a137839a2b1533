"""Short blocks that are not the article though they are between its paragraphs: what they say first tells.

A request to subscribe, a credit, or a line "Read more: …" has the tags and the length of a short paragraph, so neither
links nor names tell it apart. The phrases are those of sites in nine languages; they were collected from pages that the
extraction is developed on. Many of them begin sentences too ("Follow me," he said): those make an aside only of a block
that does not end as a sentence does.
"""

import re

ASIDE = 200  # maximum number of characters of an aside
SENTENCE_ENDS = tuple(".!?\"'\u201d\u2019\u2026\u3002\uff01\uff1f")

_ALWAYS = (
    r"read (?:more|also|next)\b|also read\b|recommended for you|subscribe\b|sign up (?:for|to|now|here|today)\b|"
    r"sign up$|follow @|click here|advertisement$|(?:sponsored|promoted)(?: content| by)|\(c\)|©|all rights reserved|"
    r"(?:photo|image|picture|graphic|credit|related|recommended|trending|filed under|posted in|tag|categorie|topic|"
    r"keyword|published|last updated|updated|by line|foto|bild|bilder|quelle)s?\s*:|no comments|comments?$|"
    r"\d+ comments?\b|weiterlesen|lesen sie (?:auch|mehr|hier)|auch interessant|jetzt abonnieren|anzeige$|werbung$|"
    r"alle rechte vorbehalten|keine kommentare|(?:à )?lire aussi|lire la suite|sur le même sujet|crédits? photos?|"
    r"publicité$|tous droits réservés|lea (?:también|además)|vea también|noticias relacionadas|suscr[íi]b|s[íi]guenos|"
    r"publicidad$|todos los derechos|leia (?:também|mais)|veja (?:também|mais)|saiba mais|publicidade$|leggi anche|"
    r"pubblicità$|tutti i diritti|czytaj (?:także|też|więcej)|zobacz (?:także|też|również)|przeczytaj (?:także|też)|"
    r"reklama$|advertentie$"
)
_UNLESS_A_SENTENCE = (
    r"see also\b|more (?:from|stories|coverage|about this)\b|"
    r"related(?: (?:articles?|stories|posts?|topics?|content|coverage|links?|reading|news|videos?)\b|$)|"
    r"recommended$|you (?:may|might) (?:also )?(?:like|be interested)|don'?t miss\b|most (?:read|popular|viewed)\b|"
    r"trending(?: now| topics?|$)|continue reading|story continues|sign in\b|log in\b|register (?:now|here|to)\b|"
    r"join (?:our|the conversation)\b|newsletters?\b|get (?:the latest|our)\b|follow (?:us|me|him|her)\b|like us on|"
    r"find us on|share (?:this|on)\b|tweet this|print this|email this|send us\b|download (?:the|our) app|"
    r"(?:photo|image|picture|graphic)s?(?: by| courtesy| credit)|copyright(?: ©| \(c\)|[a-z ]* \d{4}|$)|"
    r"leave a (?:reply|comment)|mehr (?:zum thema|zu |lesen|infos)|das könnte (?:sie|dich)|"
    r"verwandte (?:artikel|beiträge|themen)|ähnliche (?:artikel|beiträge)|passend zum|titelbild|beitragsbild|"
    r"partager (?:sur|cet)|abonnez|suivez[- ]|le puede interesar|te puede interesar|potrebbe interessarti|iscriviti|"
    r"lees (?:ook|meer|verder)|bekijk ook"
)
ALWAYS = re.compile(rf"[\W_]*(?:{_ALWAYS})", re.I)
UNLESS_A_SENTENCE = re.compile(rf"[\W_]*(?:{_UNLESS_A_SENTENCE})", re.I)


def is_aside(text: str) -> bool:
    """Whether a block of text is short and begins as an aside does.

    >>> is_aside("Follow us on Mastodon"), is_aside('"Follow me," he said, and went out.')
    (True, False)
    """
    if len(text) > ASIDE:
        return False
    return bool(ALWAYS.match(text) or (not text.endswith(SENTENCE_ENDS) and UNLESS_A_SENTENCE.match(text)))
